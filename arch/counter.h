/*
 * counter.h - an event counter with one writer, which any CPU may read at any time.
 *
 * Writer: the owner only, by counter_add() or counter_set(). The `++` of C would do, too, but as a locked instruction,
 * which an exit path has no use for (tests/lint/check_house_rules.py finds it). Readers: any CPU, by counter_get();
 * relaxed, so two counters that are read one after the other may belong to different moments.
 */
#pragma once
#include "arch/types.h"
#include <stdatomic.h>

typedef _Atomic u64 counter_t;

static inline u64 counter_get(const counter_t *c)
{
    return atomic_load_explicit(c, memory_order_relaxed);
}
static inline void counter_set(counter_t *c, u64 value)
{
    atomic_store_explicit(c, value, memory_order_relaxed);
}
static inline void counter_add(counter_t *c, u64 n)
{
    counter_set(c, counter_get(c) + n);
}
static inline void counter_one(counter_t *c)
{
    counter_add(c, 1);
}
