/*
 * tsan_queue.c - several senders and one receiver on a message queue (ipc/queue.c), and several producers and
 * consumers on a ring of landing slots (ipc/landing.c): nothing lost, doubled or torn, each sender in order
 * (Q10).
 */
#include "ipc/landing.h"
#include "ipc/queue.h"
#include "tests/tsan/threads.h"

#define SENDERS 3u

static u8 page[PAGE_SIZE] aligned_to(4096);
static struct msg_queue *q;
static struct landing landing;
static u64 steps;
static _Atomic u64 refused, slot_sum_in, slot_sum_out, slots_in, slots_out;
static _Atomic u32 senders_left = SENDERS;

static void *sender(u32 id)
{
    u64 random = env_number("PB_SEED", 1) + id * 31 + 1;

    for (u64 n = 1; n <= steps;) {
        struct pb_message m = {.sender = id, .page = n, .sequence = n * 3 + id};
        if (!msg_queue_reserve(q)) {
            atomic_fetch_add_explicit(&refused, 1, memory_order_relaxed);
            sched_yield();
            continue;
        }
        if (next_random(&random) % 16 == 0) {
            msg_queue_unreserve(q);
            continue;
        }
        for (u32 i = 0; i < PB_INLINE_BYTES; i++)
            m.data[i] = (u8)(n + i);
        msg_queue_put(q, &m);
        n++;
    }
    atomic_fetch_sub_explicit(&senders_left, 1, memory_order_release);
    return NULL;
}

static void *receiver(void)
{
    u64 last[SENDERS] = {0}, total = 0;
    struct pb_message m;

    while (total < steps * SENDERS) {
        if (!msg_queue_take(q, &m)) {
            sched_yield();
            continue;
        }
        REQUIRE(m.sender < SENDERS);
        REQUIRE(m.page == ++last[m.sender]);
        REQUIRE(m.sequence == m.page * 3 + m.sender);
        for (u32 i = 0; i < PB_INLINE_BYTES; i++)
            REQUIRE(m.data[i] == (u8)(m.page + i));
        total++;
    }
    REQUIRE(!msg_queue_take(q, &m));
    return NULL;
}

static void *queue_thread(void *arg)
{
    u32 id = (u32)(uintptr_t)arg;

    return id < SENDERS ? sender(id) : receiver();
}

static void *landing_thread(void *arg)
{
    u64 id = (uintptr_t)arg, gfn;

    for (u64 n = 0; n < steps; n++) {
        if (id % 2 == 0) {
            gfn = n * 2 + (id >> 1);
            if (!landing_put(&landing, gfn)) {
                sched_yield();
                continue;
            }
            atomic_fetch_add_explicit(&slots_in, 1, memory_order_relaxed);
            atomic_fetch_add_explicit(&slot_sum_in, gfn, memory_order_relaxed);
        } else if (landing_take(&landing, &gfn)) {
            atomic_fetch_add_explicit(&slots_out, 1, memory_order_relaxed);
            atomic_fetch_add_explicit(&slot_sum_out, gfn, memory_order_relaxed);
        } else {
            sched_yield();
        }
    }
    return NULL;
}

int main(void)
{
    u64 gfn;

    steps = env_number("PB_STEPS", 300000);
    q = msg_queue_init(page);
    run_threads(SENDERS + 1, queue_thread);
    REQUIRE(q->credits == MSG_QUEUE_DEPTH);
    landing_init(&landing);
    run_threads(4, landing_thread);
    while (landing_take(&landing, &gfn)) {
        slots_out++;
        slot_sum_out += gfn;
    }
    REQUIRE(slots_in == slots_out && slot_sum_in == slot_sum_out);
    printf("queue: %u senders, %llu operations: %llu refusals; landing: %llu slots\n", SENDERS,
           (unsigned long long)(steps * (SENDERS + 4)), (unsigned long long)refused,
           (unsigned long long)slots_in);
    return 0;
}
