/*
 * spinlock.h - a ticket lock for boot, console and allocation. Never taken on a guest's path of execution
 * but where a VM's vCPUs share their shadow tables (mm/shadow_shared.c). The hypervisor runs with interrupts off, so
 * there is no interrupt variant; an NMI handler takes no lock.
 */
#pragma once
#include "arch/types.h"
#include <stdatomic.h>

struct spinlock {
    _Atomic u32 next;    /* next ticket to hand out; writers: whoever wants the lock */
    _Atomic u32 serving; /* ticket that holds the lock; writer: the holder. Its release pairs with the acquire
                            in spinlock_acquire() */
};

static inline void spinlock_acquire(struct spinlock *l)
{
    u32 ticket = atomic_fetch_add_explicit(&l->next, 1, memory_order_relaxed);
    while (atomic_load_explicit(&l->serving, memory_order_acquire) != ticket)
        __builtin_ia32_pause();
}

/* Takes the lock only if it is free now. */
static inline bool must_check spinlock_try(struct spinlock *l)
{
    u32 serving = atomic_load_explicit(&l->serving, memory_order_acquire);
    return atomic_compare_exchange_strong_explicit(&l->next, &serving, serving + 1, memory_order_acquire,
                                                   memory_order_relaxed);
}

static inline void spinlock_release(struct spinlock *l)
{
    u32 serving = atomic_load_explicit(&l->serving, memory_order_relaxed);
    atomic_store_explicit(&l->serving, serving + 1, memory_order_release);
}
