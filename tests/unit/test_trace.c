/* links: mm/trace.c */
/* test_trace.c - the two masks of a frame (mm/trace.h), one step at a time; all orders of two vCPUs: tests/model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mm/trace.h"

static struct trace t;

static u64 writable(void)
{
    return atomic_load_explicit(&t.writable, memory_order_relaxed);
}

static void start(u64 interest, u64 may_write)
{
    struct trace_map map;

    trace_map_init(&map, &t, 1);
    assert_ptr_equal(trace_of(&map, 0), &t);
    assert_null(trace_of(&map, 1));
    atomic_store_explicit(&t.interest, interest, memory_order_relaxed);
    atomic_store_explicit(&t.writable, may_write, memory_order_relaxed);
}

static void a_trace_tells_who_can_write(void **state)
{
    (void)state;
    start(BIT(1), BIT(2) | BIT(3));
    assert_int_equal(trace_install(&t, 3), BIT(2) | BIT(3));
    assert_int_equal(trace_interest(&t), BIT(1) | BIT(3));
}

/* What is not removed is told of writes for ever. */
static void each_vcpu_removes_its_own_interest(void **state)
{
    (void)state;
    start(BIT(1) | BIT(3), 0);
    trace_remove(&t, 3);
    assert_int_equal(trace_interest(&t), BIT(1));
    assert_true(trace_active(&t));
    trace_remove(&t, 3);
    trace_remove(&t, 1);
    assert_false(trace_active(&t));
}

static void ended_for_everybody(void **state)
{
    (void)state;
    start(BIT(1) | BIT(3), BIT(2));
    assert_int_equal(trace_give_up(&t), BIT(1) | BIT(3));
    assert_false(trace_active(&t));
    assert_int_equal(trace_give_up(&t), 0);
    assert_int_equal(writable(), BIT(2));
}

static void writable_only_while_nobody_has_interest(void **state)
{
    (void)state;
    start(0, BIT(2));
    assert_true(trace_allow_writable(&t, BIT(1)));
    assert_int_equal(writable(), BIT(1) | BIT(2));
    (void)trace_install(&t, 3);
    assert_false(trace_allow_writable(&t, BIT(0)));
    assert_int_equal(writable(), BIT(1) | BIT(2));  /* its own bit is taken back */
    assert_false(trace_allow_writable(&t, BIT(1))); /* nor one more mapping of who has some */
    assert_int_equal(writable(), BIT(1) | BIT(2));  /* which it may have still */
    trace_clear_writable(&t, 1);
    assert_int_equal(writable(), BIT(2));
}

/* Shared tables: all vCPUs at once. Those that have yet to flush keep their bit. */
static void what_was_writable_before_is_not_taken_back(void **state)
{
    (void)state;
    start(BIT(0), BIT(2));
    assert_false(trace_allow_writable(&t, BIT(0) | BIT(1) | BIT(2)));
    assert_int_equal(writable(), BIT(2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_trace_tells_who_can_write),
        cmocka_unit_test(each_vcpu_removes_its_own_interest),
        cmocka_unit_test(ended_for_everybody),
        cmocka_unit_test(writable_only_while_nobody_has_interest),
        cmocka_unit_test(what_was_writable_before_is_not_taken_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
