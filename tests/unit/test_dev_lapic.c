/* links: vmm/dev/platform.c vmm/dev/vplat_io.c vmm/dev/vlapic.c vmm/dev/vlapic_reg.c vmm/dev/vlapic_timer.c
 * vmm/dev/vroute.c vmm/dev/vioapic.c vmm/dev/vpic.c vmm/dev/vpit.c vmm/dev/vrtc.c vmm/dev/vuart.c
 * vmm/dev/vacpi.c vmm/dev/vmsr.c */
/* test_dev_lapic.c - local APIC: registers, modes, priorities, IPIs, timer. SDM Vol 3A chapter 10. */
#include "tests/unit/test_dev_machine.h"

#define ENABLED          0x1FF
#define ICR_ALL_BUT_SELF (3u << 18)
#define ICR_ALL          (2u << 18)
#define ICR_SELF         (1u << 18)

static struct machine *enabled_machine(u32 vcpus)
{
    struct machine *m = machine_new(vcpus, TEST_HZ);
    for (u32 i = 0; i < vcpus; i++)
        apic_write(m, i, VLAPIC_SVR, ENABLED);
    return m;
}

static int take(struct machine *m, u32 vcpu)
{
    return vplat_irq_accept(&m->vp, vcpu);
}

static void power_on_values(void **state)
{
    (void)state;
    struct machine *m = machine_new(2, TEST_HZ);
    u64 base;
    assert_true(rdmsr_ok(m, 0, MSR_IA32_APIC_BASE, &base));
    assert_int_equal(base, 0xFEE00900);
    assert_true(rdmsr_ok(m, 1, MSR_IA32_APIC_BASE, &base));
    assert_int_equal(base, 0xFEE00800);
    assert_int_equal(apic_read(m, 1, VLAPIC_ID), 1u << 24);
    assert_int_equal(apic_read(m, 1, VLAPIC_VERSION), 0x50014);
    assert_int_equal(apic_read(m, 1, VLAPIC_SVR), 0xFF);
    assert_int_equal(apic_read(m, 1, VLAPIC_DFR), 0xFFFFFFFF);
    for (u32 reg = VLAPIC_LVT_TIMER; reg <= VLAPIC_LVT_ERROR; reg += 0x10)
        assert_int_equal(apic_read(m, 1, reg), VLAPIC_LVT_MASKED);
    assert_int_equal(apic_read(m, 0, VLAPIC_LVT_LINT0), 0x700); /* the boot CPU: virtual wire */
    assert_int_equal(apic_read(m, 0, VLAPIC_LVT_LINT1), 0x400);
    assert_int_equal(apic_read(m, 0, VLAPIC_SVR), ENABLED);
    free(m);
}

static void priorities_and_nesting(void **state)
{
    (void)state;
    struct machine *m = enabled_machine(1);
    struct vlapic *l = lapic_of(m, 0);
    assert_false(vplat_irq_pending(&m->vp, 0));
    assert_true(vlapic_post(l, 0x41, false));
    assert_true(vlapic_post(l, 0x52, false));
    assert_true(vlapic_post(l, 0x4F, false));
    assert_int_equal(take(m, 0), 0x52);
    assert_int_equal(apic_read(m, 0, VLAPIC_PPR), 0x50);
    assert_int_equal(take(m, 0), -1); /* class 4 below class 5 in service */
    assert_true(vlapic_post(l, 0x5F, false));
    assert_int_equal(take(m, 0), -1); /* same class */
    assert_true(vlapic_post(l, 0x60, false));
    assert_int_equal(take(m, 0), 0x60);
    apic_write(m, 0, VLAPIC_EOI, 0);
    assert_int_equal(apic_read(m, 0, VLAPIC_PPR), 0x50);
    apic_write(m, 0, VLAPIC_EOI, 0);
    assert_int_equal(take(m, 0), 0x5F);
    apic_write(m, 0, VLAPIC_EOI, 0);
    assert_int_equal(take(m, 0), 0x4F);
    apic_write(m, 0, VLAPIC_EOI, 0);
    assert_int_equal(take(m, 0), 0x41);
    assert_int_equal(apic_read(m, 0, VLAPIC_ISR + 0x20), 2);
    apic_write(m, 0, VLAPIC_EOI, 0);
    apic_write(m, 0, VLAPIC_EOI, 0); /* one too many does nothing */
    assert_false(vplat_irq_pending(&m->vp, 0));
    free(m);
}

static void task_priority_and_cr8(void **state)
{
    (void)state;
    struct machine *m = enabled_machine(1);
    struct vlapic *l = lapic_of(m, 0);
    vlapic_cr8_set(l, 5);
    assert_int_equal(apic_read(m, 0, VLAPIC_TPR), 0x50);
    assert_true(vlapic_post(l, 0x61, false));
    assert_int_equal(take(m, 0), 0x61);
    apic_write(m, 0, VLAPIC_TPR, 0x67);
    assert_int_equal(apic_read(m, 0, VLAPIC_PPR), 0x67); /* TPR's, as it is not the lower class (10.8.3.1) */
    apic_write(m, 0, VLAPIC_TPR, 0x57);
    assert_int_equal(apic_read(m, 0, VLAPIC_PPR), 0x60);
    apic_write(m, 0, VLAPIC_EOI, 0);
    apic_write(m, 0, VLAPIC_TPR, 0x50);
    vlapic_post(l, 0x55, false);
    assert_false(vplat_irq_pending(&m->vp, 0));
    apic_write(m, 0, VLAPIC_TPR, 0x4F);
    assert_int_equal(vlapic_cr8(l), 4);
    assert_int_equal(apic_read(m, 0, VLAPIC_PPR), 0x4F);
    assert_true(vplat_irq_pending(&m->vp, 0));
    assert_int_equal(take(m, 0), 0x55);
    free(m);
}

/* As the CPU does it (SDM Vol 3C 29.1.2): MOV CR8 changes TPR in the virtual-APIC page alone, and exits if its class is
 * below the threshold. Whatever the order of posts, priorities and ends of interrupts: if the guest would not exit,
 * nothing is deliverable that was not before; and the threshold is never above TPR's class (26.2.1.1). */
static void the_threshold_is_what_tpr_has_to_fall_below(void **state)
{
    (void)state;
    struct machine *m = enabled_machine(1);
    struct vlapic *l = lapic_of(m, 0);
    u32 page[1024] = {0};

    vlapic_cr8_set(l, 3);
    vlapic_keep_tpr_at(l, &page[32]);
    assert_int_equal(page[32], 0x30);
    assert_int_equal(apic_read(m, 0, VLAPIC_TPR), 0x30);
    assert_int_equal(vlapic_tpr_threshold(l), 0);
    assert_true(vlapic_post(l, 0x35, false));
    assert_int_equal(vlapic_tpr_threshold(l), 3);
    assert_true(vlapic_post(l, 0x41, false));
    assert_int_equal(vlapic_tpr_threshold(l), 0); /* nothing holds that back */
    page[32] = 0xF0;
    assert_int_equal(vlapic_cr8(l), 15);
    assert_int_equal(vlapic_tpr_threshold(l), 4);
    page[32] = 0x00;
    assert_int_equal(take(m, 0), 0x41);
    assert_int_equal(vlapic_tpr_threshold(l), 0); /* that in service does */
    page[32] = 0x50;
    assert_int_equal(vlapic_tpr_threshold(l), 3);
    apic_write(m, 0, VLAPIC_EOI, 0);
    page[32] = 0x20;
    assert_int_equal(take(m, 0), 0x35);

    srand(7);
    for (u32 i = 0; i < 20000; i++) {
        switch (rand() % 4) {
        case 0: assert_true(vlapic_post(l, (u8)(16 + rand() % 240), false)); break;
        case 1: apic_write(m, 0, VLAPIC_TPR, (u32)rand() & 0xFF); break;
        case 2: apic_write(m, 0, VLAPIC_EOI, 0); break;
        default: (void)take(m, 0);
        }
        u32 threshold = vlapic_tpr_threshold(l), before = page[32];
        bool was = vlapic_pending_vector(l) >= 0;
        assert_true(threshold <= before >> 4);
        for (u32 cr8 = 0; cr8 < 16; cr8++) {
            page[32] = cr8 << 4;
            assert_true(was || cr8 < threshold || vlapic_pending_vector(l) < 0);
        }
        page[32] = before;
    }
    free(m);
}

static void software_disable_masks_and_refuses(void **state)
{
    (void)state;
    struct machine *m = enabled_machine(1);
    apic_write(m, 0, VLAPIC_LVT_ERROR, 0x30);
    apic_write(m, 0, VLAPIC_SVR, 0xFF);
    assert_int_equal(apic_read(m, 0, VLAPIC_LVT_ERROR), 0x10030);
    apic_write(m, 0, VLAPIC_LVT_ERROR, 0x30);
    assert_int_equal(apic_read(m, 0, VLAPIC_LVT_ERROR), 0x10030);
    assert_false(vlapic_post(lapic_of(m, 0), 0x40, false));
    assert_false(vplat_irq_pending(&m->vp, 0));
    free(m);
}

static void base_transitions(void **state)
{
    (void)state;
    struct machine *m = enabled_machine(2);
    u64 on = 0xFEE00800, x2 = 0xFEE00C00, off = 0xFEE00000, v;
    assert_false(wrmsr_ok(m, 1, MSR_IA32_APIC_BASE, 0xFEE00400)); /* EXTD without EN */
    assert_false(wrmsr_ok(m, 1, MSR_IA32_APIC_BASE, on | 1));
    assert_false(wrmsr_ok(m, 1, MSR_IA32_APIC_BASE, on | BIT(9)));
    assert_false(wrmsr_ok(m, 1, MSR_IA32_APIC_BASE, on | BIT(39))); /* above MAXPHYADDR */
    assert_true(wrmsr_ok(m, 1, MSR_IA32_APIC_BASE, on));
    assert_true(wrmsr_ok(m, 1, MSR_IA32_APIC_BASE, x2));
    assert_int_equal(apic_read(m, 1, VLAPIC_ID), 0xFFFFFFFF); /* no xAPIC page now */
    assert_true(rdmsr_ok(m, 1, 0x802, &v));
    assert_int_equal(v, 1);
    assert_true(rdmsr_ok(m, 1, 0x80D, &v));
    assert_int_equal(v, 2);
    assert_true(rdmsr_ok(m, 1, 0x80F, &v));
    assert_int_equal(v, ENABLED);                         /* kept over the change */
    assert_false(wrmsr_ok(m, 1, MSR_IA32_APIC_BASE, on)); /* x2APIC -> xAPIC */
    assert_true(wrmsr_ok(m, 1, MSR_IA32_APIC_BASE, off));
    assert_false(rdmsr_ok(m, 1, 0x802, &v));
    assert_false(wrmsr_ok(m, 1, MSR_IA32_APIC_BASE, x2)); /* disabled -> x2APIC */
    assert_true(wrmsr_ok(m, 1, MSR_IA32_APIC_BASE, on));
    assert_int_equal(apic_read(m, 1, VLAPIC_SVR), 0xFF);
    assert_true(wrmsr_ok(m, 1, MSR_IA32_APIC_BASE, 0x42000800));
    assert_int_equal(mmio_read(m, 1, 0x42000030), 0x50014);
    assert_int_equal(apic_read(m, 1, VLAPIC_VERSION), 0xFFFFFFFF);
    free(m);
}

static void x2apic_registers_fault_as_they_should(void **state)
{
    (void)state;
    struct machine *m = enabled_machine(1);
    u64 v;
    assert_false(rdmsr_ok(m, 0, 0x802, &v)); /* xAPIC mode */
    assert_true(wrmsr_ok(m, 0, MSR_IA32_APIC_BASE, 0xFEE00C00));
    static const u32 read_only[] = {0x802, 0x803, 0x80A, 0x80D, 0x810, 0x818, 0x820, 0x839};
    for (u32 i = 0; i < ARRAY_SIZE(read_only); i++) {
        assert_true(rdmsr_ok(m, 0, read_only[i], &v));
        assert_false(wrmsr_ok(m, 0, read_only[i], 0));
    }
    static const u32 absent[] = {0x800, 0x801, 0x804, 0x809, 0x80C, 0x80E,
                                 0x829, 0x82F, 0x831, 0x83A, 0x840, 0x8FF};
    for (u32 i = 0; i < ARRAY_SIZE(absent); i++) {
        assert_false(rdmsr_ok(m, 0, absent[i], &v));
        assert_false(wrmsr_ok(m, 0, absent[i], 0));
    }
    assert_false(rdmsr_ok(m, 0, 0x80B, &v)); /* EOI and SELF IPI are write-only */
    assert_false(rdmsr_ok(m, 0, 0x83F, &v));
    assert_true(wrmsr_ok(m, 0, 0x80B, 0));
    assert_false(wrmsr_ok(m, 0, 0x80B, 1));
    assert_false(wrmsr_ok(m, 0, 0x828, 1));
    assert_false(wrmsr_ok(m, 0, 0x808, 0x100));
    assert_false(wrmsr_ok(m, 0, 0x80F, 0x1000));
    assert_false(wrmsr_ok(m, 0, 0x838, BIT(32)));
    assert_true(wrmsr_ok(m, 0, 0x83F, 0x77));
    assert_int_equal(take(m, 0), 0x77);
    assert_true(wrmsr_ok(m, 0, 0x830, 0x88)); /* physical, to id 0 */
    assert_true(rdmsr_ok(m, 0, 0x830, &v));
    assert_int_equal(v, 0x88);
    assert_int_equal(take(m, 0), 0x88);
    free(m);
}

static void icr(struct machine *m, u32 from, u32 dest, u32 low)
{
    memset(m->delivered, 0, sizeof m->delivered);
    apic_write(m, from, VLAPIC_ICR_HIGH, dest << 24);
    apic_write(m, from, VLAPIC_ICR, low);
}

/* Bit per vCPU that deliver was called for. */
static u64 receivers(const struct machine *m)
{
    u64 set = 0;
    for (u32 i = 0; i < m->vp.config.vcpus; i++)
        set |= (u64)(m->delivered[i] != 0) << i;
    return set;
}

static void ipi_destinations_xapic(void **state)
{
    (void)state;
    struct machine *m = enabled_machine(8);
    for (u32 i = 0; i < 8; i++)
        apic_write(m, i, VLAPIC_LDR, 1u << (24 + i));
    icr(m, 0, 3, 0x60);
    assert_int_equal(receivers(m), 1 << 3);
    assert_int_equal(take(m, 3), 0x60);
    icr(m, 0, 9, 0x60);
    assert_int_equal(receivers(m), 0);
    icr(m, 0, 0xFF, 0x61);
    assert_int_equal(receivers(m), 0xFF);
    icr(m, 2, 0, 0x62 | ICR_ALL_BUT_SELF);
    assert_int_equal(receivers(m), 0xFF & ~(1 << 2));
    icr(m, 2, 0, 0x63 | ICR_ALL);
    assert_int_equal(receivers(m), 0xFF);
    icr(m, 2, 0, 0x64 | ICR_SELF);
    assert_int_equal(receivers(m), 1 << 2);
    icr(m, 0, 0xA5, 0x65 | 0x800); /* logical, flat */
    assert_int_equal(receivers(m), 0xA5);
    for (u32 i = 0; i < 8; i++) { /* cluster: 2 clusters of 4 */
        apic_write(m, i, VLAPIC_DFR, 0);
        apic_write(m, i, VLAPIC_LDR, (i / 4 << 4 | 1u << i % 4) << 24);
    }
    icr(m, 0, 0x16, 0x66 | 0x800);
    assert_int_equal(receivers(m), 0x60);
    icr(m, 0, 0xFF, 0x67 | 0x800);
    assert_int_equal(receivers(m), 0xFF);
    u64 seen = 0;
    for (u32 i = 0; i < 8;
         i++) { /* lowest priority: one of the matching each time, and not always the same */
        icr(m, 0, 0x0C, 0x68 | 0x900);
        assert_int_equal(__builtin_popcountll(receivers(m)), 1);
        seen |= receivers(m);
    }
    assert_int_equal(seen, 0x0C);
    assert_int_equal(apic_read(m, 0, VLAPIC_ICR_HIGH), 0x0C000000);
    apic_write(m, 0, VLAPIC_ICR_HIGH, 0x0C123456);
    assert_int_equal(apic_read(m, 0, VLAPIC_ICR_HIGH), 0x0C000000);
    apic_write(m, 2, VLAPIC_SVR, 0xFF); /* disabled by software: it takes no vector ... */
    for (u32 i = 0; i < 8; i++) {
        icr(m, 0, 0x0C, 0x69 | 0x900);
        assert_int_equal(receivers(m), 1 << 3);
    }
    assert_true(wrmsr_ok(m, 4, MSR_IA32_APIC_BASE, 0xFEE00000)); /* ... and altogether: it takes nothing */
    icr(m, 0, 0, 0x400 | ICR_ALL_BUT_SELF);
    assert_int_equal(receivers(m), 0xFE & ~(1 << 4));
    icr(m, 0, 0xFF, 0x400);
    assert_int_equal(receivers(m), 0xFF & ~(1 << 4));
    free(m);
}

static void ipi_destinations_x2apic(void **state)
{
    (void)state;
    struct machine *m = enabled_machine(40);
    for (u32 i = 0; i < 40; i++)
        assert_true(wrmsr_ok(m, i, MSR_IA32_APIC_BASE, 0xFEE00C00 | (i ? 0 : 0x100)));
    assert_true(wrmsr_ok(m, 0, 0x830, (u64)37 << 32 | 0x60));
    assert_int_equal(receivers(m), BIT(37));
    memset(m->delivered, 0, sizeof m->delivered);
    assert_true(wrmsr_ok(m, 0, 0x830, (u64)0x00020081 << 32 | 0x860)); /* cluster 2, members 0 and 7 */
    assert_int_equal(receivers(m), BIT(32) | BIT(39));
    memset(m->delivered, 0, sizeof m->delivered);
    assert_true(wrmsr_ok(m, 0, 0x830, 0xFFFFFFFFull << 32 | 0x60));
    assert_int_equal(receivers(m), BIT(40) - 1);
    memset(m->delivered, 0, sizeof m->delivered);
    assert_true(wrmsr_ok(m, 0, 0x830, 0xFFull << 32 | 0x60)); /* no broadcast in this format */
    assert_int_equal(receivers(m), 0);
    /* INIT leaves the mode and the ID as they are (10.12.5.1), and LDR follows from the ID (10.12.10.2) */
    vplat_vcpu_init(&m->vp, 37);
    u64 ldr;
    assert_true(rdmsr_ok(m, 37, 0x80D, &ldr));
    assert_int_equal(ldr, 0x00020020);
    assert_true(wrmsr_ok(m, 37, 0x80F, ENABLED));
    assert_true(wrmsr_ok(m, 0, 0x830, (u64)0x00020020 << 32 | 0x860));
    assert_int_equal(receivers(m), BIT(37));
    free(m);

    m = enabled_machine(
        2); /* one has not come to x2APIC mode yet: it knows 8-bit destinations only (10.6.2.2) */
    assert_true(wrmsr_ok(m, 1, MSR_IA32_APIC_BASE, 0xFEE00C00));
    apic_write(m, 0, VLAPIC_LDR, 1u << 24);
    assert_true(wrmsr_ok(m, 1, 0x830, (u64)0x00010001 << 32 | 0x860));
    assert_int_equal(receivers(m), 0);
    assert_true(wrmsr_ok(m, 1, 0x830, 1ull << 32 | 0x860));
    assert_int_equal(receivers(m), 1);
    free(m);
}

static void nmi_init_and_sipi(void **state)
{
    (void)state;
    struct machine *m = enabled_machine(4);
    icr(m, 0, 1, 0x400);
    assert_int_equal(m->last_kind, VPLAT_DELIVER_NMI);
    assert_int_equal(vlapic_events_take(lapic_of(m, 1), VLAPIC_EVENT_NMI), VLAPIC_EVENT_NMI);
    assert_int_equal(vlapic_events(lapic_of(m, 1)), 0);
    icr(m, 0, 0, 0xC500); /* INIT, assert, level, */
    icr(m, 0, 0, 0x4500 | ICR_ALL_BUT_SELF);
    assert_int_equal(receivers(m), 0xE);
    assert_int_equal(m->last_kind, VPLAT_DELIVER_INIT);
    icr(m, 0, 2, 0x8500); /* de-assert: nothing */
    assert_int_equal(receivers(m), 0);
    icr(m, 0, 2, 0x4699);
    assert_int_equal(receivers(m), 4);
    assert_int_equal(vlapic_events(lapic_of(m, 2)), VLAPIC_EVENT_INIT | VLAPIC_EVENT_SIPI);
    assert_int_equal(vlapic_sipi_vector(lapic_of(m, 2)), 0x99);
    for (u32 mode = 0x500; mode <= 0x600; mode += 0x100) {
        icr(m, 2, 0, mode | ICR_SELF); /* not defined: nothing */
        assert_int_equal(receivers(m), 0);
    }
    apic_write(m, 3, VLAPIC_SVR, 0xFF); /* software-disabled APICs still take NMI, INIT and SIPI */
    icr(m, 0, 3, 0x400);
    assert_int_equal(receivers(m), 8);
    apic_write(m, 3, VLAPIC_TPR, 0x20);
    vplat_vcpu_init(&m->vp, 3);
    assert_int_equal(apic_read(m, 3, VLAPIC_TPR), 0);
    free(m);
}

/* A SIPI is lost on a CPU that does not wait for one, unless an INIT waits to be taken before it. */
static void sipi_counts_after_init(void **state)
{
    (void)state;
    struct machine *m = enabled_machine(2);
    struct vlapic *l = lapic_of(m, 1);
    icr(m, 0, 1, 0x608);
    assert_int_equal(vlapic_startup(l, true), VLAPIC_EVENT_SIPI);
    assert_int_equal(vlapic_startup(l, false), 0);
    assert_int_equal(vlapic_startup(l, true), 0);
    icr(m, 0, 1, 0x4500);
    icr(m, 0, 1, 0x609);
    assert_int_equal(vlapic_startup(l, false), VLAPIC_EVENT_STARTUP);
    assert_int_equal(vlapic_events_take(l, VLAPIC_EVENT_STARTUP), VLAPIC_EVENT_STARTUP);
    assert_int_equal(vlapic_sipi_vector(l), 9);
    icr(m, 0, 1, 0x60B); /* a start that an INIT has overtaken: it waits for another */
    icr(m, 0, 1, 0x4500);
    assert_int_equal(vlapic_startup(l, true), VLAPIC_EVENT_INIT);
    assert_int_equal(vlapic_events_take(l, VLAPIC_EVENT_STARTUP), VLAPIC_EVENT_INIT);
    icr(m, 0, 1, 0x400);
    icr(m, 0, 1, 0x60A);
    assert_int_equal(vlapic_startup(l, false), 0);
    assert_true(vlapic_nmi_take(l));
    free(m);
}

/* A CPU runs one NMI and remembers one: two that come together are two, and while one cannot be taken there is one. */
static void two_nmis_at_once(void **state)
{
    (void)state;
    struct machine *m = enabled_machine(2);
    struct vlapic *l = lapic_of(m, 1);
    assert_false(vlapic_nmi_take(l));
    for (u32 i = 0; i < 3; i++)
        icr(m, 0, 1, 0x400);
    assert_true(vlapic_nmi_take(l));
    assert_true(vlapic_nmi_take(l));
    assert_false(vlapic_nmi_take(l));
    icr(m, 0, 1, 0x400);
    vlapic_nmi_collapse(l);
    assert_true(vlapic_nmi_take(l));
    assert_false(vlapic_nmi_take(l));
    for (u32 i = 0; i < 2; i++)
        icr(m, 0, 1, 0x400);
    vlapic_nmi_collapse(l);
    assert_true(vlapic_nmi_take(l));
    assert_int_equal(vlapic_events(l), 0);
    free(m);
}

static void errors_are_latched(void **state)
{
    (void)state;
    struct machine *m = enabled_machine(1);
    apic_write(m, 0, VLAPIC_LVT_ERROR, 0x70);
    icr(m, 0, 0, 0x0F);
    assert_int_equal(apic_read(m, 0, VLAPIC_ESR), 0); /* until it is written */
    assert_int_equal(take(m, 0), 0x70);
    apic_write(m, 0, VLAPIC_EOI, 0);
    apic_write(m, 0, VLAPIC_ESR, 0);
    assert_int_equal(apic_read(m, 0, VLAPIC_ESR), VLAPIC_ESR_SEND_ILLEGAL);
    apic_write(m, 0, 0x40, 0);
    apic_write(m, 0, VLAPIC_ESR, 0);
    assert_int_equal(apic_read(m, 0, VLAPIC_ESR), VLAPIC_ESR_REGISTER);
    assert_int_equal(take(m, 0), 0x70);
    apic_write(m, 0, VLAPIC_ESR, 0);
    assert_int_equal(apic_read(m, 0, VLAPIC_ESR), 0);
    free(m);
}

static void level_interrupts_go_round_through_the_ioapic(void **state)
{
    (void)state;
    struct machine *m = enabled_machine(2);
    route_pin(m, 20, 0x8045 | 1ull << 56); /* level, to APIC 1 */
    irq_line(m, 20, true);
    assert_int_equal(take(m, 1), 0x45);
    assert_int_equal(apic_read(m, 1, VLAPIC_TMR + 0x20), 1 << 5);
    assert_int_equal(ioapic_read(m, 0x10 + 40), 0xC045); /* remote IRR */
    apic_write(m, 1, VLAPIC_EOI, 0);                     /* still asserted: again */
    assert_int_equal(take(m, 1), 0x45);
    irq_line(m, 20, false);
    apic_write(m, 1, VLAPIC_EOI, 0);
    assert_int_equal(take(m, 1), -1);
    assert_int_equal(ioapic_read(m, 0x10 + 40), 0x8045);
    route_pin(m, 20, 0x0045 | 1ull << 56);
    irq_line(m, 20, true); /* an edge: TMR goes off */
    assert_int_equal(take(m, 1), 0x45);
    assert_int_equal(apic_read(m, 1, VLAPIC_TMR + 0x20), 0);
    free(m);
}

/* A level that no APIC would take is taken when one can. */
static void level_waits_for_its_apic(void **state)
{
    (void)state;
    struct machine *m = machine_new(2, TEST_HZ);
    route_pin(m, 20, 0x8045 | 1ull << 56);
    irq_line(m, 20, true); /* APIC 1 is disabled by software */
    assert_int_equal(ioapic_read(m, 0x10 + 40), 0x8045);
    apic_write(m, 1, VLAPIC_SVR, ENABLED);
    assert_int_equal(m->delivered[1], 1);
    assert_int_equal(take(m, 1), 0x45);
    assert_int_equal(ioapic_read(m, 0x10 + 40), 0xC045);
    irq_line(m, 20, false);
    apic_write(m, 1, VLAPIC_EOI, 0);
    route_pin(m, 20, 0x8845 | 0x20ull << 56); /* logical, to nobody */
    irq_line(m, 20, true);
    assert_int_equal(take(m, 1), -1);
    apic_write(m, 1, VLAPIC_LDR, 0x20u << 24);
    assert_int_equal(take(m, 1), 0x45);
    irq_line(m, 20, false);
    apic_write(m, 1, VLAPIC_EOI, 0);
    route_pin(m, 20, 0x8045 | 1ull << 56);
    assert_true(wrmsr_ok(m, 1, MSR_IA32_APIC_BASE, 0xFEE00000)); /* off, and on again: reset */
    irq_line(m, 20, true);
    assert_true(wrmsr_ok(m, 1, MSR_IA32_APIC_BASE, 0xFEE00800));
    assert_int_equal(take(m, 1), -1);
    apic_write(m, 1, VLAPIC_SVR, ENABLED);
    assert_int_equal(take(m, 1), 0x45);
    irq_line(m, 20, false);
    apic_write(m, 1, VLAPIC_EOI, 0);
    route_pin(m, 20, 0x8845 | 2ull << 56); /* logical: what APIC 1 is in x2APIC mode */
    irq_line(m, 20, true);
    assert_int_equal(take(m, 1), -1);
    assert_true(wrmsr_ok(m, 1, MSR_IA32_APIC_BASE, 0xFEE00C00));
    assert_int_equal(take(m, 1), 0x45);
    free(m);
}

/* An NMI has no end that the IOAPIC could be told of: the next one must not wait for it. */
static void nmis_of_the_ioapic_are_edges(void **state)
{
    (void)state;
    struct machine *m = enabled_machine(2);
    route_pin(m, 20, 0x8400 | 1ull << 56); /* level, NMI, to APIC 1 */
    for (u32 i = 0; i < 3; i++) {
        irq_line(m, 20, true);
        assert_int_equal(ioapic_read(m, 0x10 + 40), 0x8400);
        assert_true(vlapic_nmi_take(lapic_of(m, 1)));
        irq_line(m, 20, false);
    }
    free(m);
}

static void narrow_and_crooked_accesses(void **state)
{
    (void)state;
    struct machine *m = enabled_machine(1);
    u64 v = 0;
    apic_write(m, 0, VLAPIC_SVR, 0x1AB);
    assert_true(vplat_mmio(&m->vp, 0, m->now, GPA(0xFEE000F1), 1, false, &v));
    assert_int_equal(v, 1);
    assert_true(vplat_mmio(&m->vp, 0, m->now, GPA(0xFEE000F4), 4, false, &v));
    assert_int_equal(v, 0);
    v = 0x55;
    assert_true(vplat_mmio(&m->vp, 0, m->now, GPA(0xFEE000F0), 1, true, &v));
    assert_int_equal(apic_read(m, 0, VLAPIC_SVR), 0x1AB);
    assert_false(vplat_mmio(&m->vp, 0, m->now, GPA(0xFED00000), 4, false, &v));
    assert_int_equal(v, 0xFFFFFFFF);
    assert_int_equal(m->unclaimed, 1);
    free(m);
}

/* The poster's half and the owner's half of the IRR summary, one after the other; at once: tests/model. */
static void no_post_is_lost(void **state)
{
    (void)state;
    struct machine *m = enabled_machine(1);
    struct vlapic *l = lapic_of(m, 0);
    u64 seed = env_number("PB_SEED", 7), posted = 0, taken = 0;
    bool set[256] = {0};
    print_message("seed %llu\n", (unsigned long long)seed);
    for (u32 i = 0; i < 200000; i++) {
        u64 r = random_next(&seed);
        u8 vector = 16 + r % 240;
        if (r & BIT(40)) {
            posted += !set[vector];
            set[vector] = true;
            assert_true(vlapic_post(l, vector, false));
        } else {
            int got = take(m, 0);
            int best = -1;
            for (int v = 255; v >= 16 && best < 0; v--)
                if (set[v])
                    best = v;
            assert_int_equal(got, best);
            if (got >= 0) {
                taken++;
                set[got] = false;
                apic_write(m, 0, VLAPIC_EOI, 0);
            }
        }
    }
    while (take(m, 0) >= 0) {
        taken++;
        apic_write(m, 0, VLAPIC_EOI, 0);
    }
    assert_int_equal(posted, taken);
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(power_on_values),
        cmocka_unit_test(priorities_and_nesting),
        cmocka_unit_test(task_priority_and_cr8),
        cmocka_unit_test(the_threshold_is_what_tpr_has_to_fall_below),
        cmocka_unit_test(software_disable_masks_and_refuses),
        cmocka_unit_test(base_transitions),
        cmocka_unit_test(x2apic_registers_fault_as_they_should),
        cmocka_unit_test(ipi_destinations_xapic),
        cmocka_unit_test(ipi_destinations_x2apic),
        cmocka_unit_test(nmi_init_and_sipi),
        cmocka_unit_test(two_nmis_at_once),
        cmocka_unit_test(errors_are_latched),
        cmocka_unit_test(level_interrupts_go_round_through_the_ioapic),
        cmocka_unit_test(level_waits_for_its_apic),
        cmocka_unit_test(nmis_of_the_ioapic_are_edges),
        cmocka_unit_test(sipi_counts_after_init),
        cmocka_unit_test(narrow_and_crooked_accesses),
        cmocka_unit_test(no_post_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
