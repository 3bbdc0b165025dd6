/* vlapic.c - local APIC state: modes, IRR/ISR, priorities, EOI. Registers: vlapic_reg.c, timer:
 * vlapic_timer.c. */
#include "vmm/dev/vlapic.h"
#include "arch/msr.h"
#include "arch/regs.h"
#include "vmm/dev/platform.h"

enum { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR };

#define LVT_MODE(lvt)      (((lvt) >> 8) & 7)
#define VECTOR_FIRST_LEGAL 16
#define VECTOR_CLASS       0xF0u
#define APIC_BASE_RESERVED (BIT(9) | 0xFFull)
#define SVR_AFTER_RESET    0xFFu
#define SVR_FIRMWARE       (VLAPIC_SVR_ENABLE | SVR_AFTER_RESET)
#define LVT_EXTINT         (VLAPIC_MODE_EXTINT << 8)
#define LVT_NMI            (VLAPIC_MODE_NMI << 8)

static u32 load32(const _Atomic u32 *p)
{
    return atomic_load_explicit((_Atomic u32 *)p, memory_order_relaxed);
}
static void store32(_Atomic u32 *p, u32 v)
{
    atomic_store_explicit(p, v, memory_order_relaxed);
}
static u32 top_bit(u64 word)
{
    return 63 - (u32)__builtin_clzll(word);
}

/* In x2APIC mode it follows from the ID, also after INIT, which leaves both (SDM Vol 3A 10.12.5.1, 10.12.10.2). */
static u32 first_ldr(const struct vlapic *l)
{
    return vlapic_is_x2apic(l) ? (l->id >> 4) << 16 | 1u << (l->id & 15) : 0;
}

void vlapic_reset(struct vlapic *l)
{
    for (u32 i = 0; i < VLAPIC_WORDS; i++) {
        atomic_store_explicit(&l->irr[i], 0, memory_order_relaxed);
        atomic_store_explicit(&l->tmr[i], 0, memory_order_relaxed);
        l->isr[i] = 0;
    }
    l->isr_words = 0;
    atomic_store_explicit(&l->irr_words, 0, memory_order_release);
    for (u32 i = 0; i < VLAPIC_LVT_COUNT; i++)
        store32(&l->lvt[i], VLAPIC_LVT_MASKED);
    store32(&l->ldr, first_ldr(l));
    store32(&l->dfr, ~0u);
    store32(&l->svr, SVR_AFTER_RESET);
    *l->tpr = 0;
    l->esr = l->esr_next = 0;
    l->icr_low = l->icr_high = 0;
    l->timer_initial = l->timer_divide = 0;
    l->timer_start = 0;
    l->timer_deadline = VTIME_NEVER;
    l->tsc_deadline = 0;
}

void vlapic_init(struct vlapic *l, struct vplatform *vp, u32 id, bool bsp)
{
    l->vp = vp;
    l->id = id;
    l->tpr = &l->own_tpr;
    l->bsp = bsp;
    l->tsc_offset = 0;
    atomic_store_explicit(&l->base, VLAPIC_DEFAULT_BASE | APIC_BASE_EN | (bsp ? APIC_BASE_BSP : 0),
                          memory_order_relaxed);
    store32(&l->events, 0);
    store32(&l->sipi_vector, 0);
    vlapic_reset(l);
}

void vlapic_firmware_handover(struct vlapic *l)
{
    store32(&l->svr, SVR_FIRMWARE);
    store32(&l->lvt[LVT_LINT0], LVT_EXTINT);
    store32(&l->lvt[LVT_LINT1], LVT_NMI);
}

/* The states of EN and EXTD and the ways between them: SDM Vol 3A figure 10-27. */
bool vlapic_base_set(struct vlapic *l, u64 value)
{
    u64 old = vlapic_base(l);
    u64 address_bits = BIT(l->vp->cpuid.maxphyaddr) - 1;
    u64 mode = value & (APIC_BASE_EN | APIC_BASE_EXTD), old_mode = old & (APIC_BASE_EN | APIC_BASE_EXTD);

    if ((value & APIC_BASE_RESERVED) || (value & ~address_bits))
        return false;
    if (mode == APIC_BASE_EXTD)
        return false;
    if (mode != old_mode && mode != 0) {
        bool to_x2apic = mode & APIC_BASE_EXTD;
        if (to_x2apic && old_mode == 0)
            return false;
        if (!to_x2apic && (old_mode & APIC_BASE_EXTD))
            return false;
    }
    value = (value & ~APIC_BASE_BSP) | (l->bsp ? APIC_BASE_BSP : 0);
    atomic_store_explicit(&l->base, value, memory_order_relaxed);
    if (mode == 0 && old_mode != 0)
        vlapic_reset(l);
    if ((mode & APIC_BASE_EXTD) && !(old_mode & APIC_BASE_EXTD)) {
        store32(&l->ldr, first_ldr(l));
        l->icr_high = 0;
    }
    if (mode != old_mode)
        vplat_retry_levels(l->vp); /* other destinations are its own now */
    return true;
}

/* ------------------------------------------------------------------ IRR, ISR and priorities */

bool vlapic_post(struct vlapic *l, u8 vector, bool level)
{
    if (vector < VECTOR_FIRST_LEGAL || !vlapic_enabled(l) || !(load32(&l->svr) & VLAPIC_SVR_ENABLE))
        return false;
    u32 word = vector / 64;
    u64 bit = BIT(vector % 64);
    u64 tmr = atomic_load_explicit(&l->tmr[word], memory_order_relaxed);
    if (level && !(tmr & bit))
        atomic_fetch_or_explicit(&l->tmr[word], bit, memory_order_relaxed);
    if (!level && (tmr & bit))
        atomic_fetch_and_explicit(&l->tmr[word], ~bit, memory_order_relaxed);
    atomic_fetch_or_explicit(&l->irr[word], bit, memory_order_release);
    atomic_fetch_or_explicit(&l->irr_words, 1u << word, memory_order_release);
    return true;
}

void vlapic_post_event(struct vlapic *l, enum vlapic_event event, u8 sipi_vector)
{
    if (event == VLAPIC_EVENT_SIPI)
        store32(&l->sipi_vector, sipi_vector);
    if (event == VLAPIC_EVENT_INIT) /* a start before it is over, even if the target has not got to it */
        (void)vlapic_events_take(l, VLAPIC_EVENT_SIPI);
    u32 was = atomic_fetch_or_explicit(&l->events, event, memory_order_release);
    if (event == VLAPIC_EVENT_NMI && (was & VLAPIC_EVENT_NMI))
        atomic_fetch_or_explicit(&l->events, VLAPIC_EVENT_NMI_AGAIN, memory_order_release);
}

u32 vlapic_startup(struct vlapic *l, bool waits_for_sipi)
{
    u32 now = vlapic_events(l);

    /* An INIT that comes in between makes the SIPI after it count: then look again. */
    while (!waits_for_sipi && (now & VLAPIC_EVENT_STARTUP) == VLAPIC_EVENT_SIPI) {
        u32 without = now & ~(u32)VLAPIC_EVENT_SIPI;
        if (atomic_compare_exchange_weak_explicit(&l->events, &now, without, memory_order_acq_rel,
                                                  memory_order_acquire))
            now = without;
    }
    return now & VLAPIC_EVENT_STARTUP;
}

/*
 * irr[word] was seen empty: takes it out of the summary. A post that comes in between sets irr[word] before
 * irr_words, so either its bit in irr_words survives, or the second look here finds irr[word] set.
 */
static void irr_word_emptied(struct vlapic *l, u32 word)
{
    atomic_fetch_and_explicit(&l->irr_words, ~(1u << word), memory_order_acq_rel);
    if (atomic_load_explicit(&l->irr[word], memory_order_acquire))
        atomic_fetch_or_explicit(&l->irr_words, 1u << word, memory_order_relaxed);
}

u32 vlapic_ppr(const struct vlapic *l)
{
    u32 in_service = 0;
    if (l->isr_words) {
        u32 word = 31 - (u32)__builtin_clz(l->isr_words);
        in_service = (word * 64 + top_bit(l->isr[word])) & VECTOR_CLASS;
    }
    return (*l->tpr & VECTOR_CLASS) >= in_service ? *l->tpr : in_service;
}

/* -1: none. */
static int highest_request(struct vlapic *l)
{
    u32 words = atomic_load_explicit(&l->irr_words, memory_order_acquire);
    while (words) {
        u32 word = 31 - (u32)__builtin_clz(words);
        u64 irr = atomic_load_explicit(&l->irr[word], memory_order_acquire);
        if (irr)
            return (int)(word * 64 + top_bit(irr));
        irr_word_emptied(l, word);
        words &= ~(1u << word);
    }
    return -1;
}

int vlapic_pending_vector(struct vlapic *l)
{
    int vector = highest_request(l);

    return vector >= 0 && ((u32)vector & VECTOR_CLASS) > (vlapic_ppr(l) & VECTOR_CLASS) ? vector : -1;
}

u32 vlapic_tpr_threshold(struct vlapic *l)
{
    int vector = highest_request(l);

    if (vector < 0 || ((u32)vector & VECTOR_CLASS) > (*l->tpr & VECTOR_CLASS))
        return 0;
    return (u32)vector >> 4;
}

void vlapic_accept(struct vlapic *l, u8 vector)
{
    u32 word = vector / 64;
    u64 bit = BIT(vector % 64);
    u64 left = atomic_fetch_and_explicit(&l->irr[word], ~bit, memory_order_acq_rel) & ~bit;
    if (!left)
        irr_word_emptied(l, word);
    l->isr[word] |= bit;
    l->isr_words |= 1u << word;
}

void vlapic_eoi(struct vlapic *l, u64 now)
{
    if (!l->isr_words)
        return;
    u32 word = 31 - (u32)__builtin_clz(l->isr_words);
    u32 bit = top_bit(l->isr[word]);
    l->isr[word] &= ~BIT(bit);
    if (!l->isr[word])
        l->isr_words &= ~(1u << word);
    if (atomic_load_explicit(&l->tmr[word], memory_order_relaxed) & BIT(bit))
        vplat_eoi_broadcast(l->vp, now, (u8)(word * 64 + bit));
}

/* ------------------------------------------------------------------ local interrupt pins */

bool vlapic_takes_extint(const struct vlapic *l)
{
    if (!vlapic_enabled(l))
        return l->bsp; /* the pin goes straight to the CPU, SDM Vol 3A 10.4.3 */
    u32 lint0 = load32(&l->lvt[LVT_LINT0]);
    return !(lint0 & VLAPIC_LVT_MASKED) && LVT_MODE(lint0) == VLAPIC_MODE_EXTINT;
}

void vlapic_lint_edge(struct vlapic *l, u32 pin)
{
    const struct vplat_ops *ops = &l->vp->config.ops;
    u32 lvt = load32(&l->lvt[LVT_LINT0 + pin]);
    if (!vlapic_enabled(l) || (lvt & VLAPIC_LVT_MASKED))
        return;
    if (LVT_MODE(lvt) == VLAPIC_MODE_NMI) {
        vlapic_post_event(l, VLAPIC_EVENT_NMI, 0);
        ops->deliver(ops->ctx, l->id, VPLAT_DELIVER_NMI, VECTOR_NMI);
    } else if (LVT_MODE(lvt) == VLAPIC_MODE_FIXED && vlapic_post(l, (u8)lvt, false)) {
        ops->deliver(ops->ctx, l->id, VPLAT_DELIVER_INTERRUPT, (u8)lvt);
    }
}
