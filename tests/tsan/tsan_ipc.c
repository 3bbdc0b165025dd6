/*
 * tsan_ipc.c - VMs as threads that send each other pages and messages by all means, take them back, return
 * them and end (ipc/send.c, receive.c, page.c, grant.c). The p2m is an array of atomic words, as in mm/. In
 * the end every page is in one place, and each pair's messages came in order, none missing.
 */
#include "ipc/ipc.h"
#include "tests/tsan/threads.h"

#include <string.h>

#define VMS    3u
#define RAM    8u
#define WINDOW 8u
#define GFNS   (RAM + WINDOW)

static struct ipc_vm vm[VMS];
static u8 queues[VMS][PAGE_SIZE] aligned_to(4096);
static _Atomic u64 grants[VMS][GFNS], p2m[VMS][GFNS];
static u64 content[VMS * RAM]; /* of the frames; a VM writes those it has alone */
static u64 tag_in[VMS][VMS], tag_out[VMS][VMS];
static u64 steps;
static _Atomic u64 moved, messages;

static hpa_t frame_of(void *ctx, u32 v, u64 gfn)
{
    (void)ctx;
    return HPA(atomic_load_explicit(&p2m[v][gfn], memory_order_acquire));
}
static void unmap(void *ctx, u32 v, u64 gfn, hpa_t frame)
{
    (void)ctx;
    REQUIRE(atomic_exchange_explicit(&p2m[v][gfn], 0, memory_order_acq_rel) == frame.v);
}
static void map(void *ctx, u32 v, u64 gfn, hpa_t frame, enum ipc_map how)
{
    (void)ctx;
    (void)how;
    atomic_store_explicit(&p2m[v][gfn], frame.v, memory_order_release);
}
static void zero(void *ctx, hpa_t frame)
{
    (void)ctx;
    content[frame.v - 1] = 0;
}
static void notify(void *ctx, u32 v, bool now)
{
    (void)ctx;
    (void)v;
    (void)now;
}

static const struct ipc_ops ops = {frame_of, unmap, map, zero, notify};
static struct ipc ipc = {.ops = &ops, .count = VMS};

static void send(u32 me, u64 r)
{
    static const u16 kinds[] = {PB_KIND_DATA, PB_KIND_DONATE, PB_KIND_LEND, PB_KIND_SHARE_RO};
    struct pb_message m = {
        .receiver = (me + 1 + (u32)(r % (VMS - 1))) % VMS, .kind = kinds[r / 4 % 4], .length = 8};
    u64 tag = tag_in[me][m.receiver] + 1, gfn = r / 16 % GFNS;

    memcpy(m.data, &tag, sizeof(tag));
    if (m.kind != PB_KIND_DATA) {
        m.page = gfn << PAGE_SHIFT;
        /* a page that nobody else can be given meanwhile: writing it is no race */
        if (m.kind != PB_KIND_SHARE_RO && grants_get(&vm[me].grants, gfn).state == GRANT_OWNED)
            content[frame_of(NULL, me, gfn).v - 1] = r;
    }
    if (ipc_send(&ipc, me, (struct msg_queue *)(void *)queues[me], &m) != PB_STATUS_OK)
        return;
    tag_in[me][m.receiver] = tag;
    atomic_fetch_add_explicit(m.kind == PB_KIND_DATA ? &messages : &moved, 1, memory_order_relaxed);
}

static void receive(u32 me)
{
    struct pb_message m;
    u64 tag;

    if (ipc_receive(&ipc, me, &m) != PB_STATUS_OK || m.kind >= PB_KIND_RETURNED)
        return;
    memcpy(&tag, m.data, sizeof(tag));
    REQUIRE(tag == ++tag_out[m.sender][me]);
}

static void *vm_main(void *arg)
{
    u32 me = (u32)(uintptr_t)arg;
    u64 random = env_number("PB_SEED", 1) * 131 + me + 1, accepted;

    for (u64 n = 0; n < steps; n++) {
        u64 r = next_random(&random), gfn = r / 16 % GFNS;
        if (r / 4096 % 16 == 0)
            sched_yield(); /* on few CPUs too */
        switch (r % 16) {
        case 0:
        case 1:
        case 2:
        case 3: send(me, r / 16); break;
        case 4:
        case 5: REQUIRE(ipc_offer(&ipc, me, gfn, 2, &accepted) < PB_STATUS_COUNT); break;
        case 6:
        case 7: REQUIRE(ipc_reclaim(&ipc, me, gfn) < PB_STATUS_COUNT); break;
        case 8:
        case 9: REQUIRE(ipc_return(&ipc, me, gfn) < PB_STATUS_COUNT); break;
        default: receive(me);
        }
    }
    return NULL;
}

static void check_pages(void)
{
    u32 places[VMS * RAM] = {0};

    for (u32 v = 0; v < VMS; v++)
        for (u64 g = 0; g < GFNS; g++) {
            enum grant_state state = grants_get(&vm[v].grants, g).state;
            REQUIRE(state != GRANT_MOVING);
            if (p2m[v][g] && state != GRANT_HELD_RO)
                places[p2m[v][g] - 1]++;
        }
    for (u32 f = 0; f < VMS * RAM; f++)
        REQUIRE(places[f] == 1);
}

int main(void)
{
    steps = env_number("PB_STEPS", 1500000);
    for (u32 v = 0; v < VMS; v++) {
        ipc.vm[v] = &vm[v];
        ipc_vm_init(&vm[v], msg_queue_init(queues[v]));
        grants_init(&vm[v].grants, grants[v], GFNS);
        grants_set(&vm[v].grants, 0, RAM, GRANT_OWNED);
        grants_set(&vm[v].grants, RAM, WINDOW, GRANT_EMPTY);
        for (u64 g = 0; g < RAM; g++)
            p2m[v][g] = v * RAM + g + 1;
    }
    for (u32 a = 0; a < VMS; a++)
        for (u32 b = a + 1; b < VMS; b++)
            ipc_connect(&ipc, a, b, PB_MODE_ALL, 6);
    run_threads(VMS, vm_main);
    check_pages();
    for (u32 round = 0; round < VMS * 2 * MSG_QUEUE_DEPTH; round++)
        receive(round % VMS);
    for (u32 a = 0; a < VMS; a++)
        for (u32 b = 0; b < VMS; b++)
            REQUIRE(tag_in[a][b] == tag_out[a][b]);
    ipc_vm_ended(&ipc, 0);
    check_pages();
    printf("ipc: %u VMs, %llu operations: %llu messages, %llu pages\n", VMS,
           (unsigned long long)(steps * VMS), (unsigned long long)messages, (unsigned long long)moved);
    return 0;
}
