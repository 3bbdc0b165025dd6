/* links: vmm/dev/platform.c vmm/dev/vplat_io.c vmm/dev/vlapic.c vmm/dev/vlapic_reg.c vmm/dev/vlapic_timer.c
 * vmm/dev/vroute.c vmm/dev/vioapic.c vmm/dev/vpic.c vmm/dev/vpit.c vmm/dev/vrtc.c vmm/dev/vuart.c
 * vmm/dev/vacpi.c vmm/dev/vmsr.c */
/* test_dev_irq.c - 8259 pair, IOAPIC, and the ways from a line to a CPU. */
#include "tests/unit/test_dev_machine.h"

/* ICW1-4 as PCs do: vectors 0x20 and 0x28, nothing masked. */
static void pic_init(struct machine *m, u8 icw4)
{
    outb(m, 0x20, 0x11);
    outb(m, 0x21, 0x20);
    outb(m, 0x21, 0x04);
    outb(m, 0x21, icw4);
    outb(m, 0xA0, 0x11);
    outb(m, 0xA1, 0x28);
    outb(m, 0xA1, 0x02);
    outb(m, 0xA1, icw4);
    outb(m, 0x21, 0);
    outb(m, 0xA1, 0);
}

static int take(struct machine *m)
{
    return vplat_irq_pending(&m->vp, 0) ? vplat_irq_accept(&m->vp, 0) : -1;
}

static void extint_through_lint0(void **state)
{
    (void)state;
    struct machine *m = machine_new(2, TEST_HZ);
    pic_init(m, 1);
    irq_line(m, 5, true);
    assert_int_equal(m->delivered[0], 1);
    assert_int_equal(m->last_kind, VPLAT_DELIVER_EXTINT);
    assert_false(vplat_irq_pending(&m->vp, 1)); /* only the boot CPU has the wire */
    assert_int_equal(take(m), 0x25);
    assert_int_equal(take(m), -1);
    outb(m, 0x20, 0x20);
    assert_int_equal(take(m), -1); /* an edge is one interrupt */
    apic_write(m, 0, VLAPIC_LVT_LINT0, 0x10700);
    irq_line(m, 5, false);
    irq_line(m, 5, true);
    assert_int_equal(take(m), -1); /* masked at the APIC */
    apic_write(m, 0, VLAPIC_LVT_LINT0, 0x700);
    assert_int_equal(take(m), 0x25);
    outb(m, 0x20, 0x20);
    u64 base = 0xFEE00100; /* APIC off altogether: the wire goes to the CPU */
    assert_true(wrmsr_ok(m, 0, MSR_IA32_APIC_BASE, base));
    irq_line(m, 6, true);
    assert_int_equal(take(m), 0x26);
    free(m);
}

static void lint0_as_a_fixed_vector(void **state)
{
    (void)state;
    struct machine *m = machine_new(1, TEST_HZ);
    pic_init(m, 1);
    apic_write(m, 0, VLAPIC_LVT_LINT0, 0x31);
    irq_line(m, 0, true);
    assert_int_equal(take(m), 0x31);
    free(m);
}

static void pic_priorities_cascade_and_eoi(void **state)
{
    (void)state;
    struct machine *m = machine_new(1, TEST_HZ);
    pic_init(m, 1);
    irq_line(m, 12, true);
    irq_line(m, 3, true);
    assert_int_equal(take(m), 0x2C); /* the slave hangs on IR2, above IR3 */
    irq_line(m, 9, true);
    assert_int_equal(take(m), -1); /* IR2 in service blocks the slave (not specially nested) */
    irq_line(m, 1, true);
    assert_int_equal(take(m), 0x21);
    outb(m, 0x20, 0x0B);
    assert_int_equal(inb(m, 0x20), 0x06); /* ISR: 1 and 2 */
    outb(m, 0x20, 0x0A);
    assert_int_equal(inb(m, 0x20) & 0x08, 0x08); /* IRR: 3 waits */
    outb(m, 0x20, 0x20);                         /* ends 1 */
    outb(m, 0xA0, 0x64);                         /* specific EOI of 12 */
    outb(m, 0x20, 0x62);
    assert_int_equal(take(m), 0x29);
    outb(m, 0xA0, 0x20);
    outb(m, 0x20, 0x20);
    assert_int_equal(take(m), 0x23);
    free(m);
}

static void pic_masks_and_spurious(void **state)
{
    (void)state;
    struct machine *m = machine_new(1, TEST_HZ);
    irq_line(m, 11, true);
    irq_line(m, 11, false);
    assert_int_equal(take(m), 0x73); /* with testdev = on a pulse is remembered ... */
    vpic_reset(&m->vp.pic);          /* ... otherwise not, and nothing is open */
    irq_line(m, 11, true);
    assert_int_equal(take(m), -1);
    irq_line(m, 11, false);
    pic_init(m, 1);
    outb(m, 0x21, 0x10);
    irq_line(m, 4, true);
    assert_int_equal(take(m), -1);
    outb(m, 0x21, 0);
    assert_int_equal(take(m), 0x24);
    outb(m, 0x20, 0x20);
    irq_line(m, 4, false);
    irq_line(m, 4, true);
    assert_true(vplat_irq_pending(&m->vp, 0));
    irq_line(m, 4, false); /* goes before it is acknowledged */
    assert_false(vplat_irq_pending(&m->vp, 0));
    assert_int_equal(vpic_acknowledge(&m->vp.pic), 0x27); /* IR7 without an ISR bit */
    outb(m, 0x20, 0x0B);
    assert_int_equal(inb(m, 0x20), 0);
    free(m);
}

static void pic_modes(void **state)
{
    (void)state;
    struct machine *m = machine_new(1, TEST_HZ);
    pic_init(m, 3); /* automatic EOI */
    irq_line(m, 1, true);
    assert_int_equal(take(m), 0x21);
    outb(m, 0x20, 0x0B);
    assert_int_equal(inb(m, 0x20), 0);
    pic_init(m, 1);
    outb(m, 0x20, 0xC4); /* IR4 has the lowest priority: IR5 the highest */
    irq_line(m, 1, false);
    irq_line(m, 1, true);
    irq_line(m, 5, true);
    assert_int_equal(take(m), 0x25);
    outb(m, 0x20, 0xA0); /* rotate on EOI: now IR6 first */
    irq_line(m, 5, false);
    irq_line(m, 5, true);
    irq_line(m, 7, true);
    assert_int_equal(take(m), 0x27);
    outb(m, 0x20, 0x68); /* special mask mode: a masked one in service does not block */
    outb(m, 0x21, 0x80);
    assert_int_equal(take(m), 0x21);
    outb(m, 0x20, 0x0C); /* poll */
    outb(m, 0x21, 0);
    pic_init(m, 1);
    irq_line(m, 6, true);
    outb(m, 0x20, 0x0C);
    assert_int_equal(inb(m, 0x20), 0x86);
    outb(m, 0x20, 0x0C);
    assert_int_equal(inb(m, 0x20), 0);
    free(m);
}

static void pic_level_inputs(void **state)
{
    (void)state;
    struct machine *m = machine_new(1, TEST_HZ);
    pic_init(m, 1);
    outb(m, 0x4D0, 0xFF);
    outb(m, 0x4D1, 0xFF);
    assert_int_equal(inb(m, 0x4D0), 0xF8); /* 0, 1, 2, 8 and 13 stay edges */
    assert_int_equal(inb(m, 0x4D1), 0xDE);
    irq_line(m, 10, true);
    assert_int_equal(take(m), 0x2A);
    outb(m, 0xA0, 0x20);
    outb(m, 0x20, 0x20);
    assert_int_equal(take(m), 0x2A); /* still asserted */
    irq_line(m, 10, false);
    outb(m, 0xA0, 0x20);
    outb(m, 0x20, 0x20);
    assert_int_equal(take(m), -1);
    free(m);
}

static void ioapic_registers(void **state)
{
    (void)state;
    struct machine *m = machine_new(1, TEST_HZ);
    assert_int_equal(ioapic_read(m, 1), 0x170011);
    for (u32 pin = 0; pin < 24; pin++)
        assert_int_equal(ioapic_read(m, 0x10 + 2 * pin), 0x10000);
    ioapic_write(m, 0, 0xFFFFFFFF);
    assert_int_equal(ioapic_read(m, 0), 0x0F000000);
    assert_int_equal(ioapic_read(m, 2), 0x0F000000);
    ioapic_write(m, 1, 0);
    assert_int_equal(ioapic_read(m, 1), 0x170011);
    ioapic_write(m, 0x3E, 0xFFFFFFFF);
    ioapic_write(m, 0x3F, 0xFFFFFFFF);
    assert_int_equal(ioapic_read(m, 0x3E), 0x1AFFF); /* delivery status and remote IRR are read-only */
    assert_int_equal(ioapic_read(m, 0x3F), 0xFF000000);
    ioapic_write(m, 0x40, 1);
    assert_int_equal(ioapic_read(m, 0x40), 0);
    assert_int_equal(mmio_read(m, 0, VIOAPIC_BASE), 0x40);
    free(m);
}

static void ioapic_edges_and_levels(void **state)
{
    (void)state;
    struct machine *m = machine_new(1, TEST_HZ);
    irq_line(m, 20, true); /* masked: lost */
    route_pin(m, 20, 0x50);
    assert_int_equal(take(m), -1);
    irq_line(m, 20, false);
    irq_line(m, 20, true);
    irq_line(m, 20, true); /* no second edge */
    assert_int_equal(take(m), 0x50);
    apic_write(m, 0, VLAPIC_EOI, 0);
    assert_int_equal(take(m), -1);
    irq_line(m, 21, true);
    route_pin(m, 21, 0x8051); /* a level is found when it is unmasked */
    assert_int_equal(take(m), 0x51);
    irq_line(m, 21, false);
    irq_line(m, 21, true);
    assert_int_equal(take(m), -1); /* remote IRR holds it back until EOI */
    apic_write(m, 0, VLAPIC_EOI, 0);
    assert_int_equal(take(m), 0x51);
    route_pin(m, 21, 0x18051);
    apic_write(m, 0, VLAPIC_EOI, 0);
    assert_int_equal(take(m), -1); /* masked */
    route_pin(m, 21, 0x8051);
    assert_int_equal(take(m), 0x51);
    route_pin(m, 21, 0x10051); /* edge and back clears a stuck remote IRR */
    route_pin(m, 21, 0x8051);
    apic_write(m, 0, VLAPIC_EOI, 0);
    assert_int_equal(take(m), 0x51);
    free(m);
}

static void ioapic_destinations(void **state)
{
    (void)state;
    struct machine *m = machine_new(4, TEST_HZ);
    for (u32 i = 0; i < 4; i++) {
        apic_write(m, i, VLAPIC_SVR, 0x1FF);
        apic_write(m, i, VLAPIC_LDR, 1u << (24 + i));
    }
    route_pin(m, 20, 0x50 | 0x800 | 0xAull << 56); /* logical, fixed: 1 and 3 */
    irq_line(m, 20, true);
    assert_int_equal(m->delivered[0] + m->delivered[2], 0);
    assert_int_equal(m->delivered[1] + m->delivered[3], 2);
    route_pin(m, 21, 0x400 | 2ull << 56); /* NMI */
    irq_line(m, 21, true);
    assert_int_equal(vlapic_events(lapic_of(m, 2)), VLAPIC_EVENT_NMI);
    route_pin(m, 22, 0x8050 | 9ull << 56); /* nobody there: no remote IRR, no loop */
    irq_line(m, 22, true);
    assert_int_equal(ioapic_read(m, 0x10 + 44), 0x8050);
    free(m);
}

static void isa_lines_reach_both_controllers(void **state)
{
    (void)state;
    struct machine *m = machine_new(1, TEST_HZ);
    route_pin(m, 4, 0x34);
    pic_init(m, 1);
    outb(m, 0x3FC, 0x0B);
    outb(m, 0x3F9, 0x02); /* UART: THRE interrupt */
    assert_int_equal(vplat_irq_accept(&m->vp, 0), 0x24);
    assert_int_equal(vplat_irq_accept(&m->vp, 0), 0x34);
    free(m);
}

static void testdev_lines(void **state)
{
    (void)state;
    struct machine *m = machine_new(1, TEST_HZ);
    route_pin(m, 17, 0x51);
    out_n(m, 0x2000 + 17, 1, 1);
    assert_int_equal(take(m), 0x51);
    out_n(m, 0xE0, 4, 0x11223344);
    assert_int_equal(in_n(m, 0xE0, 4), 0x11223344);
    assert_int_equal(in_n(m, 0xE1, 2), 0x2233);
    u64 v = 0x1122334455667788;
    assert_true(vplat_mmio(&m->vp, 0, m->now, GPA(0xFF00FFF8), 8, true, &v));
    v = 0;
    assert_true(vplat_mmio(&m->vp, 0, m->now, GPA(0xFF00FFFC), 2, false, &v));
    assert_int_equal(v, 0x3344);
    assert_false(vplat_mmio(&m->vp, 0, m->now, GPA(0xFF00FFFC), 8, false, &v)); /* over the end */
    free(m);
}

static void other_ports(void **state)
{
    (void)state;
    struct machine *m = machine_new(1, TEST_HZ);
    assert_int_equal(in_n(m, 0xCFC, 4), 0xFFFFFFFF); /* no PCI */
    for (u32 address = 0x80000000; address < 0x80010000; address += 4)
        out_n(m, 0xCF8, 4, address); /* must not be taken for the reset register at 0xCF9 */
    assert_int_equal(in_n(m, 0xCF8, 4), 0xFFFFFFFF);
    assert_int_equal(m->ends, 0);
    outb(m, 0xED, 1);
    outb(m, 0x80, 1);
    assert_int_equal(m->unclaimed, 0);
    assert_int_equal(in_n(m, 0x1234, 2), 0xFFFF);
    for (u32 i = 0; i < 100; i++)
        outb(m, 0x1234, 1);
    assert_int_equal(m->unclaimed, 1 + VPLAT_UNCLAIMED_REPORTS);
    assert_int_equal(m->vp.unclaimed[VPLAT_UNCLAIMED_PORT_WRITE], 100);
    outb(m, 0xE9, 'x');
    assert_int_equal(m->debug[0], 'x');
    assert_int_equal(inb(m, 0xE9), 0xE9);
    out_n(m, 0xF4, 4, 0x12345);
    assert_int_equal(m->end_why, VPLAT_END_EXIT);
    assert_int_equal(m->end_code, 0x12345);
    outb(m, 0xF4, 3);
    assert_int_equal(m->end_code, 3);
    assert_int_equal(inb(m, 0x64), 4);
    outb(m, 0x64, 0xAA);
    assert_int_equal(inb(m, 0x64), 5);
    assert_int_equal(inb(m, 0x60), 0x55);
    assert_int_equal(m->ends, 2);
    outb(m, 0x64, 0xFE);
    assert_int_equal(m->end_why, VPLAT_END_RESET);
    outb(m, 0xCF9, 2);
    assert_int_equal(m->ends, 3);
    outb(m, 0xCF9, 6);
    assert_int_equal(m->ends, 4);
    outb(m, 0x92, 3);
    assert_int_equal(m->ends, 5);
    assert_int_equal(in_n(m, 0xFFFF, 4), 0xFFFFFFFF);
    free(m);
}

static void acpi_power(void **state)
{
    (void)state;
    struct machine *m = machine_new(1, TEST_HZ);
    route_pin(m, 9, 0x8039);
    assert_int_equal(in_n(m, 0x604, 2), 1); /* SCI_EN */
    vplat_press_power_button(&m->vp, m->now);
    assert_int_equal(take(m), -1); /* not enabled yet */
    out_n(m, 0x602, 2, 0x100);
    assert_int_equal(take(m), 0x39);
    assert_int_equal(in_n(m, 0x600, 4), 0x01000100);
    out_n(m, 0x600, 2, 0x100);
    apic_write(m, 0, VLAPIC_EOI, 0);
    assert_int_equal(take(m), -1);
    out_n(m, 0x602, 2, 0x500); /* the clock's event, which never comes: Linux looks whether it is on */
    assert_int_equal(in_n(m, 0x602, 2), 0x500);
    assert_int_equal(take(m), -1);
    out_n(m, 0x604, 2, 1 | 3 << 10 | 1 << 13); /* another sleep state: nothing */
    assert_int_equal(m->ends, 0);
    out_n(m, 0x604, 2, 1 | VACPI_S5_TYPE << 10);
    assert_int_equal(m->ends, 0);
    out_n(m, 0x604, 2, 1 | VACPI_S5_TYPE << 10 | 1 << 13);
    assert_int_equal(m->end_why, VPLAT_END_POWER_OFF);
    assert_int_equal(m->ends, 1);
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(extint_through_lint0),
        cmocka_unit_test(lint0_as_a_fixed_vector),
        cmocka_unit_test(pic_priorities_cascade_and_eoi),
        cmocka_unit_test(pic_masks_and_spurious),
        cmocka_unit_test(pic_modes),
        cmocka_unit_test(pic_level_inputs),
        cmocka_unit_test(ioapic_registers),
        cmocka_unit_test(ioapic_edges_and_levels),
        cmocka_unit_test(ioapic_destinations),
        cmocka_unit_test(isa_lines_reach_both_controllers),
        cmocka_unit_test(testdev_lines),
        cmocka_unit_test(other_ports),
        cmocka_unit_test(acpi_power),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
