/*
 * vlapic.h - one virtual CPU's local APIC. SDM Vol 3A chapter 10.
 *
 *            other vCPUs, IOAPIC, ICR                     owner only
 *        ----------------------------------     --------------------------------
 *        vlapic_post() --> IRR (+TMR) ------------> pending_vector / accept --> ISR
 *        NMI, INIT, SIPI --> events --------------> vlapic_events_take()
 *
 * Concurrency. "Owner" is the physical CPU that runs the vCPU now. Any CPU may call vlapic_post_*() and the
 * routing in vroute.c; everything else is the owner's. The shared words are atomic and named below; no lock
 * is taken on any path except the broadcast of a level-triggered EOI to the IOAPIC.
 *
 * A post is complete (with release) before `deliver` is called, so a CPU that is kicked by it and then
 * looks (with acquire) sees the interrupt.
 */
#pragma once
#include "arch/types.h"
#include "vmm/dev/vtime.h"
#include <stdatomic.h>

struct vplatform;

#define VLAPIC_DEFAULT_BASE 0xFEE00000ull
#define VLAPIC_PAGE_SIZE    0x1000ull
#define VLAPIC_WORDS        4 /* 256 vectors in 64-bit words */

/* Register offsets in the xAPIC page; the x2APIC MSR is 0x800 + offset / 16. SDM Vol 3A table 10-1, 10-6 */
enum vlapic_reg {
    VLAPIC_ID = 0x20,
    VLAPIC_VERSION = 0x30,
    VLAPIC_TPR = 0x80,
    VLAPIC_APR = 0x90,
    VLAPIC_PPR = 0xA0,
    VLAPIC_EOI = 0xB0,
    VLAPIC_RRD = 0xC0,
    VLAPIC_LDR = 0xD0,
    VLAPIC_DFR = 0xE0,
    VLAPIC_SVR = 0xF0,
    VLAPIC_ISR = 0x100,
    VLAPIC_TMR = 0x180,
    VLAPIC_IRR = 0x200,
    VLAPIC_ESR = 0x280,
    VLAPIC_CMCI = 0x2F0,
    VLAPIC_ICR = 0x300,
    VLAPIC_ICR_HIGH = 0x310,
    VLAPIC_LVT_TIMER = 0x320,
    VLAPIC_LVT_THERMAL = 0x330,
    VLAPIC_LVT_PERF = 0x340,
    VLAPIC_LVT_LINT0 = 0x350,
    VLAPIC_LVT_LINT1 = 0x360,
    VLAPIC_LVT_ERROR = 0x370,
    VLAPIC_TIMER_INITIAL = 0x380,
    VLAPIC_TIMER_CURRENT = 0x390,
    VLAPIC_TIMER_DIVIDE = 0x3E0,
    VLAPIC_SELF_IPI = 0x3F0, /* x2APIC only */
};
#define VLAPIC_LVT_COUNT     6
#define VLAPIC_VERSION_VALUE (0x14u | (VLAPIC_LVT_COUNT - 1) << 16) /* no EOI broadcast suppression */

#define VLAPIC_SVR_ENABLE     0x100u
#define VLAPIC_SVR_WRITABLE   0x3FFu
#define VLAPIC_LVT_MASKED     0x10000u
#define VLAPIC_LVT_LEVEL      0x8000u
#define VLAPIC_DFR_FLAT       0xFu
#define VLAPIC_TIMER_ONESHOT  0u
#define VLAPIC_TIMER_PERIODIC 1u
#define VLAPIC_TIMER_DEADLINE 2u

/* ESR bits, SDM Vol 3A 10.5.3 */
#define VLAPIC_ESR_SEND_ILLEGAL    0x20u
#define VLAPIC_ESR_RECEIVE_ILLEGAL 0x40u
#define VLAPIC_ESR_REGISTER        0x80u

/* ICR and RTE delivery modes, SDM Vol 3A 10.6.1 */
enum vlapic_mode {
    VLAPIC_MODE_FIXED = 0,
    VLAPIC_MODE_LOWEST = 1,
    VLAPIC_MODE_SMI = 2,
    VLAPIC_MODE_NMI = 4,
    VLAPIC_MODE_INIT = 5,
    VLAPIC_MODE_SIPI = 6,
    VLAPIC_MODE_EXTINT = 7,
};

/* What waits in vlapic.events besides interrupts. */
enum vlapic_event {
    VLAPIC_EVENT_NMI = 1,
    VLAPIC_EVENT_INIT = 2,
    VLAPIC_EVENT_SIPI = 4,      /* start at vlapic_sipi_vector() << 12 */
    VLAPIC_EVENT_NMI_AGAIN = 8, /* one more: see vlapic_nmi_take() */
};
#define VLAPIC_EVENT_NMIS    ((u32)(VLAPIC_EVENT_NMI | VLAPIC_EVENT_NMI_AGAIN))
#define VLAPIC_EVENT_STARTUP ((u32)(VLAPIC_EVENT_INIT | VLAPIC_EVENT_SIPI))

struct vlapic {
    /* Shared. Writers: any CPU (bits set), owner (bits cleared). Readers: owner.
     * irr: set with release after tmr; taken with acquire by the owner.
     * irr_words: bit n says that irr[n] may hold something; set after irr[n], cleared by the owner, who then
     * reads irr[n] once more. */
    _Atomic u64 irr[VLAPIC_WORDS];
    _Atomic u64 tmr[VLAPIC_WORDS];
    _Atomic u32 irr_words;
    _Atomic u32 events;
    _Atomic u32 sipi_vector;

    /* Shared. Writer: owner. Readers: CPUs that route interrupts; any value it ever had will do, so relaxed.
     */
    _Atomic u64 base; /* IA32_APIC_BASE */
    _Atomic u32 ldr, dfr, svr;
    _Atomic u32 lvt[VLAPIC_LVT_COUNT]; /* timer, thermal, perf, LINT0, LINT1, error */

    /* Owner only */
    u64 isr[VLAPIC_WORDS];
    u32 isr_words; /* bit n: isr[n] is not 0 */
    u32 *tpr;      /* own_tpr, or where the CPU itself keeps it while the guest runs */
    u32 own_tpr;
    u32 esr, esr_next; /* as read; collected since the last write of ESR */
    u32 icr_low, icr_high;
    u32 timer_initial, timer_divide;
    u64 timer_start;    /* host TSC when the count was timer_initial */
    u64 timer_deadline; /* host TSC of the next expiry, VTIME_NEVER */
    u64 tsc_deadline;   /* IA32_TSC_DEADLINE as the guest wrote it (guest TSC), 0: disarmed */
    u64 tsc_offset;     /* guest TSC = host TSC + this */

    /* Constant after init */
    struct vplatform *vp;
    u32 id; /* APIC id = vCPU number */
    bool bsp;
};

/* State after power-on (SDM Vol 3A 10.4.7.1). */
rarely_run void vlapic_init(struct vlapic *l, struct vplatform *vp, u32 id, bool bsp);

/* What an INIT leaves: as after power-on, but IA32_APIC_BASE stays as it is. */
rarely_run void vlapic_reset(struct vlapic *l);

/* Virtual-wire mode as firmware leaves it on the boot CPU: enabled, LINT0 = ExtINT, LINT1 = NMI. */
rarely_run void vlapic_firmware_handover(struct vlapic *l);

/* ------------------------------------------------------------------ registers (owner) */

/* IA32_APIC_BASE. set: false = #GP (reserved bits, forbidden mode change; SDM Vol 3A 10.12.5). */
static inline u64 vlapic_base(const struct vlapic *l)
{
    return atomic_load_explicit(&((struct vlapic *)l)->base, memory_order_relaxed);
}
rarely_run bool vlapic_base_set(struct vlapic *l, u64 value) must_check;

/* xAPIC page; false: nothing answers there (APIC disabled or in x2APIC mode): unclaimed. */
bool vlapic_mmio_read(struct vlapic *l, u64 now, u32 offset, u32 size, u64 *value);
bool vlapic_mmio_write(struct vlapic *l, u64 now, u32 offset, u32 size, u64 value);

/* MSRs 0x800..0x8FF; false = #GP. */
bool vlapic_msr_read(struct vlapic *l, u64 now, u32 msr, u64 *value) must_check;
bool vlapic_msr_write(struct vlapic *l, u64 now, u32 msr, u64 value) must_check;

/* CR8 is TPR[7:4]; the caller has checked that bits 63:4 are 0 (#GP). */
static inline u64 vlapic_cr8(const struct vlapic *l)
{
    return *l->tpr >> 4;
}
static inline void vlapic_cr8_set(struct vlapic *l, u64 cr8)
{
    *l->tpr = (u32)(cr8 & 0xF) << 4;
}

/* From now on TPR is kept at `at`, where MOV CR8 finds it without an exit (SDM Vol 3C 29.3). */
static inline void vlapic_keep_tpr_at(struct vlapic *l, u32 *at)
{
    *at = *l->tpr;
    l->tpr = at;
}

u32 vlapic_ppr(const struct vlapic *l);
void vlapic_eoi(struct vlapic *l, u64 now);

/* ------------------------------------------------------------------ interrupts to the CPU (owner) */

/* Cheap: may there be an interrupt in IRR? */
static inline bool vlapic_may_have_irq(const struct vlapic *l)
{
    return atomic_load_explicit(&((struct vlapic *)l)->irr_words, memory_order_acquire) != 0;
}

/* Highest vector in IRR that PPR lets through, -1 when none. */
int vlapic_pending_vector(struct vlapic *l);

/* The priority class below which TPR must fall for the highest vector in IRR; 0 if it is not TPR that holds it back, or
 * there is none. Never above TPR's class. */
u32 vlapic_tpr_threshold(struct vlapic *l);

/* The CPU takes `vector` (what vlapic_pending_vector() said): IRR -> ISR. */
void vlapic_accept(struct vlapic *l, u8 vector);

/* Takes and returns those events of `mask` that wait. */
static inline u32 vlapic_events(const struct vlapic *l)
{
    return atomic_load_explicit(&((struct vlapic *)l)->events, memory_order_acquire);
}
static inline u32 vlapic_events_take(struct vlapic *l, u32 mask)
{
    return atomic_fetch_and_explicit(&l->events, ~mask, memory_order_acq_rel) & mask;
}
/*
 * Takes one NMI that waits, if any does. A CPU that can take NMIs begins with one at once and remembers one more
 * (SDM Vol 3A 6.7.1), so two wait at most; the owner calls vlapic_nmi_collapse() where it finds that it cannot take
 * one now: then there is one, whatever came.
 */
static inline bool vlapic_nmi_take(struct vlapic *l)
{
    return vlapic_events_take(l, VLAPIC_EVENT_NMI_AGAIN) || vlapic_events_take(l, VLAPIC_EVENT_NMI);
}
static inline void vlapic_nmi_collapse(struct vlapic *l)
{
    if ((vlapic_events(l) & VLAPIC_EVENT_NMIS) == VLAPIC_EVENT_NMIS)
        vlapic_events_take(l, VLAPIC_EVENT_NMI_AGAIN);
}
/* INIT and SIPI that wait and will have an effect. A SIPI alone has one only on a CPU that waits for it: on any other it
 * is lost (SDM Vol 3A 8.4.4.1), without ending a HLT. */
u32 vlapic_startup(struct vlapic *l, bool waits_for_sipi);
static inline u8 vlapic_sipi_vector(const struct vlapic *l)
{
    return (u8)atomic_load_explicit(&((struct vlapic *)l)->sipi_vector, memory_order_relaxed);
}

/* LINT0 is asserted by the 8259: does this CPU take ExtINT now? */
bool vlapic_takes_extint(const struct vlapic *l);

/* A rising edge on LINT0 (pin 0) or LINT1 (pin 1): posts what the LVT says (fixed or NMI) and calls deliver.
 * ExtINT is not posted: vlapic_takes_extint(). Any CPU. */
void vlapic_lint_edge(struct vlapic *l, u32 pin);

/* ------------------------------------------------------------------ posting (any CPU) */

/* Puts `vector` into IRR unless the APIC is disabled. Does not call deliver. True if it was accepted. */
bool vlapic_post(struct vlapic *l, u8 vector, bool level);

/* Raises events; does not call deliver. */
void vlapic_post_event(struct vlapic *l, enum vlapic_event event, u8 sipi_vector);

static inline bool vlapic_enabled(const struct vlapic *l) /* globally */
{
    return vlapic_base(l) & BIT(11);
}
static inline bool vlapic_is_x2apic(const struct vlapic *l)
{
    return vlapic_base(l) & BIT(10);
}

/* ------------------------------------------------------------------ timer (owner; vlapic_timer.c) */

/* Posts the timer interrupt if it is due. */
void vlapic_timer_expire(struct vlapic *l, u64 now);
static inline void vlapic_advance(struct vlapic *l, u64 now)
{
    if (unlikely(now >= l->timer_deadline))
        vlapic_timer_expire(l, now);
}
u32 vlapic_timer_current(const struct vlapic *l, u64 now);
void vlapic_timer_set_initial(struct vlapic *l, u64 now, u32 count);
void vlapic_timer_set_divide(struct vlapic *l, u64 now, u32 divide);
void vlapic_timer_set_lvt(struct vlapic *l, u64 now, u32 lvt);

/* IA32_TSC_DEADLINE, SDM Vol 3A 10.5.4.1 */
u64 vlapic_tsc_deadline(const struct vlapic *l);
void vlapic_tsc_deadline_set(struct vlapic *l, u64 now, u64 value);

/* The guest's TSC offset changed (WRMSR to IA32_TSC or IA32_TSC_ADJUST). */
void vlapic_tsc_offset_set(struct vlapic *l, u64 now, u64 offset);
