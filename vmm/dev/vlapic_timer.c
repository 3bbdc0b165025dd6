/*
 * vlapic_timer.c - the local APIC's timer. SDM Vol 3A 10.5.4.
 *
 * The counter is arithmetic: it was timer_initial at timer_start and loses one every `unit` host ticks, where
 * unit = platform tick * divide. Periodic mode moves timer_start on by whole periods, so phase never drifts;
 * expiries that come late are given as one.
 */
#include "vmm/dev/platform.h"

#define LVT_TIMER       0
#define TIMER_MODE(lvt) (((lvt) >> 17) & 3)

static u32 timer_lvt(const struct vlapic *l)
{
    return atomic_load_explicit((_Atomic u32 *)&l->lvt[LVT_TIMER], memory_order_relaxed);
}

/* Host ticks per count. Divide configuration: bits 3, 1, 0 = 2, 4, ... 128, 1. SDM Vol 3A figure 10-10 */
static u64 timer_unit(const struct vlapic *l)
{
    u32 code = (l->timer_divide & 3) | (l->timer_divide & 8) >> 1;
    return (u64)l->vp->tick << ((code + 1) & 7);
}

static u64 timer_period(const struct vlapic *l)
{
    return l->timer_initial * timer_unit(l); /* below 2^32 * 2^7 * tick (at most 2^10): no overflow */
}

u32 vlapic_timer_current(const struct vlapic *l, u64 now)
{
    u32 mode = TIMER_MODE(timer_lvt(l));
    if (mode >= VLAPIC_TIMER_DEADLINE || l->timer_initial == 0 || l->timer_deadline == VTIME_NEVER)
        return 0;
    u64 counts = vtime_since(now, l->timer_start) / timer_unit(l);
    if (mode == VLAPIC_TIMER_PERIODIC)
        counts %= l->timer_initial;
    return counts >= l->timer_initial ? 0 : l->timer_initial - (u32)counts;
}

static void post_timer(struct vlapic *l)
{
    u32 lvt = timer_lvt(l);
    if (lvt & VLAPIC_LVT_MASKED)
        return;
    if (vlapic_post(l, (u8)lvt, false)) {
        const struct vplat_ops *ops = &l->vp->config.ops;
        ops->deliver(ops->ctx, l->id, VPLAT_DELIVER_INTERRUPT, (u8)lvt);
    }
}

void vlapic_timer_expire(struct vlapic *l, u64 now)
{
    u32 mode = TIMER_MODE(timer_lvt(l));
    if (now < l->timer_deadline)
        return;
    if (mode == VLAPIC_TIMER_PERIODIC && l->timer_initial) {
        u64 period = timer_period(l);
        u64 shortest = l->vp->hz / VPLAT_DEADLINES_PER_SECOND;
        l->timer_start += vtime_since(now, l->timer_start) / period * period;
        l->timer_deadline = l->timer_start + period;
        if (l->timer_deadline < now + shortest)
            l->timer_deadline = now + shortest;
    } else {
        l->timer_deadline = VTIME_NEVER;
        l->tsc_deadline = 0;
    }
    post_timer(l);
}

void vlapic_timer_set_initial(struct vlapic *l, u64 now, u32 count)
{
    if (TIMER_MODE(timer_lvt(l)) >= VLAPIC_TIMER_DEADLINE)
        return; /* ignored in TSC-deadline mode */
    l->timer_initial = count;
    l->timer_start = now;
    l->timer_deadline = count ? now + timer_period(l) : VTIME_NEVER;
}

void vlapic_timer_set_divide(struct vlapic *l, u64 now, u32 divide)
{
    u32 left = vlapic_timer_current(l, now);
    bool running = left && l->timer_deadline != VTIME_NEVER;
    l->timer_divide = divide;
    if (!running)
        return;
    /* Goes on from the same count at the new rate. */
    l->timer_deadline = now + left * timer_unit(l);
    l->timer_start = l->timer_deadline - timer_period(l);
    if (timer_period(l) > l->timer_deadline)
        l->timer_start = 0;
}

void vlapic_timer_set_lvt(struct vlapic *l, u64 now, u32 lvt)
{
    u32 mode = TIMER_MODE(lvt), old = TIMER_MODE(timer_lvt(l));
    if (mode == VLAPIC_TIMER_DEADLINE + 1)
        lvt &= ~(3u << 17); /* reserved encoding: one-shot */
    bool was_deadline = old >= VLAPIC_TIMER_DEADLINE, is_deadline = TIMER_MODE(lvt) >= VLAPIC_TIMER_DEADLINE;
    if (was_deadline != is_deadline) { /* disarms, SDM Vol 3A 10.5.4.1 */
        l->timer_deadline = VTIME_NEVER;
        l->tsc_deadline = 0;
        l->timer_initial = 0;
    } else {
        vlapic_advance(l, now);
    }
    atomic_store_explicit(&l->lvt[LVT_TIMER], lvt, memory_order_relaxed);
}

u64 vlapic_tsc_deadline(const struct vlapic *l)
{
    return l->tsc_deadline;
}

static void arm_tsc_deadline(struct vlapic *l, u64 now)
{
    u64 host = l->tsc_deadline - l->tsc_offset;
    u64 guest_now = now + l->tsc_offset;
    if (l->tsc_deadline <= guest_now)
        host = now; /* in the past: at once */
    else if (l->tsc_deadline - guest_now > VTIME_AGE_MAX)
        host = VTIME_NEVER - 1;
    l->timer_deadline = host;
}

void vlapic_tsc_deadline_set(struct vlapic *l, u64 now, u64 value)
{
    if (TIMER_MODE(timer_lvt(l)) != VLAPIC_TIMER_DEADLINE)
        return;
    l->tsc_deadline = value;
    if (value == 0)
        l->timer_deadline = VTIME_NEVER;
    else
        arm_tsc_deadline(l, now);
    vlapic_advance(l, now);
}

void vlapic_tsc_offset_set(struct vlapic *l, u64 now, u64 offset)
{
    l->tsc_offset = offset;
    if (l->tsc_deadline)
        arm_tsc_deadline(l, now);
}
