/* links: ipc/queue.c ipc/landing.c */
/* test_queue.c - the message queue of a VMCS and the ring of landing slots, against plain counters (Q1, Q10).
 */
#include "ipc/landing.h"
#include "ipc/queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static u8 page[PAGE_SIZE] aligned_to(4096);

static u64 env(const char *name, u64 value)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 0) : value;
}

static struct pb_message numbered(u64 n)
{
    struct pb_message m = {.sender = (u32)n, .page = n << PAGE_SHIFT};
    memcpy(m.data, &n, sizeof(n));
    return m;
}

static void test_bounds(void **state)
{
    struct msg_queue *q;
    struct pb_message m, wanted;

    (void)state;
    memset(page, 0xa5, sizeof(page));
    q = msg_queue_init(page);
    assert_false(msg_queue_ready(q));
    assert_false(msg_queue_take(q, &m));
    for (u64 i = 0; i < MSG_QUEUE_DEPTH; i++) {
        assert_true(msg_queue_reserve(q));
        m = numbered(i);
        msg_queue_put(q, &m);
    }
    assert_false(msg_queue_reserve(q));
    for (u64 i = 0; i < MSG_QUEUE_DEPTH; i++) {
        assert_true(msg_queue_take(q, &m));
        wanted = numbered(i);
        assert_memory_equal(&m, &wanted, sizeof(m));
    }
    assert_false(msg_queue_take(q, &m));
    for (u64 i = 0; i < MSG_QUEUE_DEPTH; i++)
        assert_true(msg_queue_reserve(q));
    assert_false(msg_queue_reserve(q));
    assert_false(msg_queue_ready(q)); /* reserved is not sent */
    msg_queue_unreserve(q);
    assert_true(msg_queue_reserve(q));
}

static void test_staged(void **state)
{
    struct msg_queue *q = msg_queue_init(page);
    struct pb_message m;

    (void)state;
    assert_null(msg_queue_staged(q));
    msg_queue_unstage(q);
    for (u64 round = 0; round < 5; round++) {
        for (u64 i = 0; i < MSG_QUEUE_STAGED; i++) {
            m = numbered(i);
            assert_true(msg_queue_stage(q, &m));
        }
        assert_false(msg_queue_stage(q, &m));
        for (u64 i = 0; i < MSG_QUEUE_STAGED - round; i++) {
            assert_int_equal(msg_queue_staged(q)->sender, i);
            msg_queue_unstage(q);
        }
        while (msg_queue_staged(q))
            msg_queue_unstage(q);
    }
    assert_false(msg_queue_ready(q));
}

/* Positions near 2^32, where the 32-bit turns wrap. */
static void test_wrap(void **state)
{
    struct msg_queue *q = msg_queue_init(page);
    u64 start = (1ull << 32) - 3 * MSG_QUEUE_DEPTH;
    struct pb_message m;

    (void)state;
    q->head = start;
    q->tail = start;
    for (u32 i = 0; i < MSG_QUEUE_DEPTH; i++)
        q->turn[(start + i) % MSG_QUEUE_DEPTH] = (u32)(start + i + 1 - MSG_QUEUE_DEPTH);
    for (u64 i = 0; i < 1000; i++) {
        assert_false(msg_queue_ready(q));
        for (u64 k = 0; k < 1 + i % MSG_QUEUE_DEPTH; k++) {
            assert_true(msg_queue_reserve(q));
            m = numbered(i + k);
            msg_queue_put(q, &m);
        }
        for (u64 k = 0; k < 1 + i % MSG_QUEUE_DEPTH; k++) {
            assert_true(msg_queue_take(q, &m));
            assert_int_equal(m.sender, i + k);
        }
    }
}

static void test_random(void **state)
{
    struct msg_queue *q = msg_queue_init(page);
    u64 seed = env("PB_SEED", 1), steps = env("PB_STEPS", 1000000), in = 0, out = 0, reserved = 0;
    struct pb_message m;

    (void)state;
    print_message("PB_SEED=%lu PB_STEPS=%lu\n", (unsigned long)seed, (unsigned long)steps);
    srandom((u32)seed);
    for (u64 i = 0; i < steps; i++) {
        switch (random() % 4) {
        case 0:
            if (msg_queue_reserve(q))
                reserved++;
            else
                assert_int_equal(reserved + in - out, MSG_QUEUE_DEPTH);
            break;
        case 1:
            if (reserved) {
                reserved--;
                m = numbered(in++);
                msg_queue_put(q, &m);
            }
            break;
        case 2:
            if (reserved && random() % 4 == 0) {
                reserved--;
                msg_queue_unreserve(q);
            }
            break;
        default:
            assert_int_equal(msg_queue_ready(q), in != out);
            assert_int_equal(msg_queue_take(q, &m), in != out);
            if (in != out)
                assert_int_equal(m.sender, (u32)out++);
        }
        assert_int_equal(q->credits, MSG_QUEUE_DEPTH - reserved - (in - out));
    }
}

static void test_landing(void **state)
{
    static struct landing l;
    u64 in = 0, out = 0, gfn;

    (void)state;
    srandom((u32)env("PB_SEED", 1));
    landing_init(&l);
    assert_false(landing_take(&l, &gfn));
    for (u64 i = 0; i < env("PB_STEPS", 200000); i++) {
        u32 burst = (u32)random() % (2 * LANDING_SLOTS);
        bool puts = random() % 2;
        for (; burst; burst--) {
            if (puts) {
                assert_int_equal(landing_put(&l, in * 3), in - out < LANDING_SLOTS);
                in += in - out < LANDING_SLOTS;
                if (in - out == LANDING_SLOTS)
                    break;
            } else {
                assert_int_equal(landing_take(&l, &gfn), in != out);
                if (in == out)
                    break;
                assert_int_equal(gfn, out++ * 3);
            }
        }
        i += LANDING_SLOTS;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bounds), cmocka_unit_test(test_staged),  cmocka_unit_test(test_wrap),
        cmocka_unit_test(test_random), cmocka_unit_test(test_landing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
