/* vlapic_reg.c - the local APIC's registers, as xAPIC page and as x2APIC MSRs. SDM Vol 3A tables 10-1 and
 * 10-6. */
#include "arch/msr.h"
#include "vmm/dev/platform.h"

enum { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR };

/* Bits software may write; delivery status (12) and remote IRR (14) are read-only, everything else reserved.
 */
#define LVT_TIMER_WRITABLE 0x700FFu
#define LVT_LOCAL_WRITABLE 0x107FFu
#define LVT_PIN_WRITABLE   0x1A7FFu
#define LVT_ERROR_WRITABLE 0x100FFu
static const u32 lvt_writable[VLAPIC_LVT_COUNT] = {
    [LVT_TIMER] = LVT_TIMER_WRITABLE, [LVT_THERMAL] = LVT_LOCAL_WRITABLE, [LVT_PERF] = LVT_LOCAL_WRITABLE,
    [LVT_LINT0] = LVT_PIN_WRITABLE,   [LVT_LINT1] = LVT_PIN_WRITABLE,     [LVT_ERROR] = LVT_ERROR_WRITABLE,
};
#define LVT_READ_ONLY    0x5000u
#define TPR_WRITABLE     0xFFu
#define DIVIDE_WRITABLE  0xBu
#define LDR_WRITABLE     0xFF000000u
#define DFR_FIXED        0x0FFFFFFFu
#define ICR_WRITABLE     0xCCFFFu
#define ICR_STATUS       0x1000u
#define ICR_LOGICAL      BIT(11)
#define ICR_ASSERT       BIT(14)
#define ICR_LEVEL        BIT(15)
#define ICR_SHORTHAND(x) (((x) >> 18) & 3)
#define SHORTHAND_SELF   1
#define SHORTHAND_ALL    2
#define VECTOR_LEGAL     16
#define MSR_TO_OFFSET(m) (((m)-MSR_X2APIC_FIRST) << 4)

static u32 load32(_Atomic u32 *p)
{
    return atomic_load_explicit(p, memory_order_relaxed);
}
static void store32(_Atomic u32 *p, u32 v)
{
    atomic_store_explicit(p, v, memory_order_relaxed);
}

/* Raises the error interrupt when one more kind of error has happened. SDM Vol 3A 10.5.3 */
static void report_error(struct vlapic *l, u32 esr_bit)
{
    bool news = !(l->esr_next & esr_bit);
    u32 lvt = load32(&l->lvt[LVT_ERROR]);
    l->esr_next |= esr_bit;
    if (news && !(lvt & VLAPIC_LVT_MASKED) && vlapic_post(l, (u8)lvt, false)) {
        const struct vplat_ops *ops = &l->vp->config.ops;
        ops->deliver(ops->ctx, l->id, VPLAT_DELIVER_INTERRUPT, (u8)lvt);
    }
}

static u32 icr_destination(const struct vlapic *l)
{
    return vlapic_is_x2apic(l) ? l->icr_high : l->icr_high >> 24;
}

static void send_ipi(struct vlapic *l)
{
    u32 icr = l->icr_low;
    struct vroute_message m = {
        .dest = icr_destination(l),
        .vector = (u8)icr,
        .mode = (icr >> 8) & 7,
        .logical = icr & ICR_LOGICAL,
        .level = false, /* an IPI is an edge */
        .x2apic = vlapic_is_x2apic(l),
    };
    if (m.mode == VLAPIC_MODE_INIT && (icr & ICR_LEVEL) && !(icr & ICR_ASSERT))
        return; /* INIT level de-assert: nothing since the Pentium 4 */
    if ((m.mode == VLAPIC_MODE_FIXED || m.mode == VLAPIC_MODE_LOWEST) && m.vector < VECTOR_LEGAL) {
        report_error(l, VLAPIC_ESR_SEND_ILLEGAL);
        return;
    }
    u32 shorthand = ICR_SHORTHAND(icr);
    if (shorthand == 0) {
        vroute_send(l->vp, &m);
    } else if (shorthand == SHORTHAND_SELF) {
        if (m.mode <= VLAPIC_MODE_NMI) /* INIT and SIPI to oneself are not defined */
            vroute_self(l->vp, &m, l->id);
    } else {
        vroute_broadcast(l->vp, &m, l->id, shorthand == SHORTHAND_ALL);
    }
}

static void self_ipi(struct vlapic *l, u8 vector)
{
    struct vroute_message m = {.vector = vector, .mode = VLAPIC_MODE_FIXED};
    if (vector < VECTOR_LEGAL)
        report_error(l, VLAPIC_ESR_SEND_ILLEGAL);
    else
        vroute_self(l->vp, &m, l->id);
}

static void set_lvt(struct vlapic *l, u64 now, u32 index, u32 value)
{
    value &= lvt_writable[index];
    if (!(load32(&l->svr) & VLAPIC_SVR_ENABLE))
        value |= VLAPIC_LVT_MASKED;
    if (index == LVT_TIMER)
        vlapic_timer_set_lvt(l, now, value);
    else
        store32(&l->lvt[index], value);
}

static void set_svr(struct vlapic *l, u32 value)
{
    bool was = load32(&l->svr) & VLAPIC_SVR_ENABLE;

    store32(&l->svr, value & VLAPIC_SVR_WRITABLE);
    if (value & VLAPIC_SVR_ENABLE) {
        if (!was)
            vplat_retry_levels(l->vp);
        return;
    }
    for (u32 i = 0; i < VLAPIC_LVT_COUNT; i++) /* SDM Vol 3A 10.4.7.2 */
        store32(&l->lvt[i], load32(&l->lvt[i]) | VLAPIC_LVT_MASKED);
}

static bool read_register(struct vlapic *l, u64 now, u32 reg, u32 *value)
{
    bool x2apic = vlapic_is_x2apic(l);
    if (reg >= VLAPIC_ISR && reg < VLAPIC_ESR) {
        u32 part = (reg >> 4) & 7;
        u64 word = reg < VLAPIC_TMR   ? l->isr[part / 2]
                   : reg < VLAPIC_IRR ? atomic_load_explicit(&l->tmr[part / 2], memory_order_relaxed)
                                      : atomic_load_explicit(&l->irr[part / 2], memory_order_relaxed);
        *value = (u32)(word >> (part & 1) * 32);
        return true;
    }
    if (reg >= VLAPIC_LVT_TIMER && reg <= VLAPIC_LVT_ERROR) {
        *value = load32(&l->lvt[(reg - VLAPIC_LVT_TIMER) >> 4]);
        return true;
    }
    switch (reg) {
    case VLAPIC_ID: *value = x2apic ? l->id : l->id << 24; return true;
    case VLAPIC_VERSION: *value = VLAPIC_VERSION_VALUE; return true;
    case VLAPIC_TPR: *value = *l->tpr; return true;
    case VLAPIC_PPR: *value = vlapic_ppr(l); return true;
    case VLAPIC_APR:
    case VLAPIC_RRD:
    case VLAPIC_EOI: *value = 0; return !x2apic;
    case VLAPIC_LDR: *value = load32(&l->ldr); return true;
    case VLAPIC_DFR: *value = load32(&l->dfr); return !x2apic;
    case VLAPIC_SVR: *value = load32(&l->svr); return true;
    case VLAPIC_ESR: *value = l->esr; return true;
    case VLAPIC_ICR: *value = l->icr_low; return true;
    case VLAPIC_ICR_HIGH: *value = l->icr_high; return !x2apic;
    case VLAPIC_TIMER_INITIAL: *value = l->timer_initial; return true;
    case VLAPIC_TIMER_CURRENT: *value = vlapic_timer_current(l, now); return true;
    case VLAPIC_TIMER_DIVIDE: *value = l->timer_divide; return true;
    default: *value = 0; return false;
    }
}

static bool write_register(struct vlapic *l, u64 now, u32 reg, u32 value)
{
    bool x2apic = vlapic_is_x2apic(l);
    if (reg >= VLAPIC_LVT_TIMER && reg <= VLAPIC_LVT_ERROR) {
        set_lvt(l, now, (reg - VLAPIC_LVT_TIMER) >> 4, value);
        return true;
    }
    switch (reg) {
    case VLAPIC_TPR: *l->tpr = value & TPR_WRITABLE; return true;
    case VLAPIC_EOI: vlapic_eoi(l, now); return true;
    case VLAPIC_SVR: set_svr(l, value); return true;
    case VLAPIC_ESR:
        l->esr = l->esr_next;
        l->esr_next = 0;
        return true;
    case VLAPIC_ICR:
        l->icr_low = value & ICR_WRITABLE & ~ICR_STATUS;
        send_ipi(l);
        return true;
    case VLAPIC_TIMER_INITIAL: vlapic_timer_set_initial(l, now, value); return true;
    case VLAPIC_TIMER_DIVIDE: vlapic_timer_set_divide(l, now, value & DIVIDE_WRITABLE); return true;
    case VLAPIC_SELF_IPI:
        if (x2apic)
            self_ipi(l, (u8)value);
        return x2apic;
    default: break;
    }
    if (x2apic)
        return false;
    switch (reg) { /* xAPIC only */
    case VLAPIC_LDR:
        store32(&l->ldr, value & LDR_WRITABLE);
        vplat_retry_levels(l->vp);
        return true;
    case VLAPIC_DFR:
        store32(&l->dfr, value | DFR_FIXED);
        vplat_retry_levels(l->vp);
        return true;
    case VLAPIC_ICR_HIGH: l->icr_high = value & LDR_WRITABLE; return true;
    case VLAPIC_ID: /* read-only here, and no error */
    case VLAPIC_VERSION:
    case VLAPIC_PPR:
    case VLAPIC_APR:
    case VLAPIC_RRD:
    case VLAPIC_TIMER_CURRENT: return true;
    default: return reg >= VLAPIC_ISR && reg < VLAPIC_ESR;
    }
}

/* ------------------------------------------------------------------ xAPIC page */

bool vlapic_mmio_read(struct vlapic *l, u64 now, u32 offset, u32 size, u64 *value)
{
    u32 reg = 0;
    if (!vlapic_enabled(l) || vlapic_is_x2apic(l))
        return false;
    /* A register is the first 4 of its 16 bytes. */
    if ((offset & 0xC) == 0 && !read_register(l, now, offset & ~0xFu, &reg))
        report_error(l, VLAPIC_ESR_REGISTER);
    *value = (u64)reg >> 8 * (offset & 3);
    if (size < 8)
        *value &= BIT(8 * size) - 1;
    return true;
}

bool vlapic_mmio_write(struct vlapic *l, u64 now, u32 offset, u32 size, u64 value)
{
    if (!vlapic_enabled(l) || vlapic_is_x2apic(l))
        return false;
    /* Only aligned 32-bit stores are defined (SDM Vol 3A 10.4.1); others have no effect here. */
    if ((offset & 0xF) == 0 && size >= 4 && !write_register(l, now, offset, (u32)value))
        report_error(l, VLAPIC_ESR_REGISTER);
    return true;
}

/* ------------------------------------------------------------------ x2APIC MSRs */

bool vlapic_msr_read(struct vlapic *l, u64 now, u32 msr, u64 *value)
{
    u32 reg;
    if (!vlapic_is_x2apic(l) || !read_register(l, now, MSR_TO_OFFSET(msr), &reg))
        return false;
    *value = reg;
    if (MSR_TO_OFFSET(msr) == VLAPIC_ICR)
        *value |= (u64)l->icr_high << 32;
    return true;
}

/* Bits that must be 0 in a write, SDM Vol 3A 10.12.1.2 and table 10-6. */
static u64 msr_reserved(u32 reg)
{
    if (reg >= VLAPIC_LVT_TIMER && reg <= VLAPIC_LVT_ERROR)
        return ~(u64)(lvt_writable[(reg - VLAPIC_LVT_TIMER) >> 4] | LVT_READ_ONLY);
    switch (reg) {
    case VLAPIC_SELF_IPI:
    case VLAPIC_TPR: return ~(u64)TPR_WRITABLE;
    case VLAPIC_EOI:
    case VLAPIC_ESR: return ~0ull;
    case VLAPIC_SVR: return ~(u64)VLAPIC_SVR_WRITABLE;
    case VLAPIC_ICR: return ~(u64)ICR_WRITABLE & 0xFFFFFFFF;
    case VLAPIC_TIMER_DIVIDE: return ~(u64)DIVIDE_WRITABLE;
    case VLAPIC_TIMER_INITIAL: return ~0xFFFFFFFFull;
    default: return ~0ull; /* not writable at all */
    }
}

bool vlapic_msr_write(struct vlapic *l, u64 now, u32 msr, u64 value)
{
    u32 reg = MSR_TO_OFFSET(msr);
    if (!vlapic_is_x2apic(l) || (value & msr_reserved(reg)))
        return false;
    if (reg == VLAPIC_ICR)
        l->icr_high = (u32)(value >> 32);
    return write_register(l, now, reg, (u32)value);
}
