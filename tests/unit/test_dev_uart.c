/* links: vmm/dev/platform.c vmm/dev/vplat_io.c vmm/dev/vlapic.c vmm/dev/vlapic_reg.c vmm/dev/vlapic_timer.c
 * vmm/dev/vroute.c vmm/dev/vioapic.c vmm/dev/vpic.c vmm/dev/vpit.c vmm/dev/vrtc.c vmm/dev/vuart.c
 * vmm/dev/vacpi.c vmm/dev/vmsr.c */
/* test_dev_uart.c - 16550A: the probe sequence of an operating system, FIFOs, interrupts, a slow console. */
#include "tests/unit/test_dev_machine.h"

#define COM1    0x3F8
#define FCR_ON  0x01
#define LCR_8N1 0x03
#define VECTOR  0x34

static struct machine *uart_machine(void)
{
    struct machine *m = machine_new(1, TEST_HZ);
    route_pin(m, 4, VECTOR);
    return m;
}

static bool interrupted(struct machine *m)
{
    if (vplat_irq_accept(&m->vp, 0) != VECTOR)
        return false;
    apic_write(m, 0, VLAPIC_EOI, 0);
    return true;
}

/* The steps by which 8250 drivers tell the chips of the family apart. */
static void probing_finds_a_16550a(void **state)
{
    (void)state;
    struct machine *m = uart_machine();
    outb(m, COM1 + 1, 0);
    assert_int_equal(inb(m, COM1 + 1) & 0x0F, 0);
    outb(m, COM1 + 1, 0x0F);
    assert_int_equal(inb(m, COM1 + 1), 0x0F); /* four bits exist, no more */
    outb(m, COM1 + 1, 0xFF);
    assert_int_equal(inb(m, COM1 + 1), 0x0F);
    outb(m, COM1 + 1, 0);
    outb(m, COM1 + 4, 0x1A); /* loopback, RTS, OUT2 */
    assert_int_equal(inb(m, COM1 + 6) & 0xF0, 0x90);
    outb(m, COM1 + 4, 0);
    outb(m, COM1 + 3, 0xBF); /* the enhanced register of later chips: not there */
    outb(m, COM1 + 2, 0);
    outb(m, COM1 + 3, 0);
    outb(m, COM1 + 2, FCR_ON);
    assert_int_equal(inb(m, COM1 + 2) >> 6, 3);
    outb(m, COM1 + 3, 0x80);
    assert_int_not_equal(inb(m, COM1 + 2), 0); /* no EFR behind IIR */
    outb(m, COM1 + 3, 0);
    outb(m, COM1 + 7, 0xA5);
    assert_int_equal(inb(m, COM1 + 7), 0xA5);

    /* size of the FIFO: 256 bytes round in loopback, 16 stay */
    outb(m, COM1 + 2, 0x07);
    outb(m, COM1 + 4, 0x10);
    for (u32 i = 0; i < 256; i++)
        outb(m, COM1, (u8)i);
    assert_int_equal(m->console_count, 0);
    u32 count = 0;
    while (inb(m, COM1 + 5) & 1)
        assert_int_equal(inb(m, COM1), count++);
    assert_int_equal(count, 16);
    outb(m, COM1 + 4, 0);
    outb(m, COM1 + 3, LCR_8N1);

    /* does THRE interrupt again when it is enabled again? */
    for (u32 i = 0; i < 2; i++) {
        outb(m, COM1 + 1, 2);
        assert_int_equal(inb(m, COM1 + 2) & 0x0F, 0x02);
        assert_int_equal(inb(m, COM1 + 2) & 0x0F, 0x01);
        outb(m, COM1 + 1, 0);
    }
    free(m);
}

static void divisor_latch_hides_data(void **state)
{
    (void)state;
    struct machine *m = uart_machine();
    outb(m, COM1 + 3, 0x83);
    outb(m, COM1, 1);
    outb(m, COM1 + 1, 0);
    assert_int_equal(inb(m, COM1), 1);
    assert_int_equal(inb(m, COM1 + 1), 0);
    outb(m, COM1 + 3, LCR_8N1);
    assert_int_equal(m->console_count, 0);
    outb(m, COM1, 'A');
    assert_int_equal(m->console_count, 1);
    assert_int_equal(inb(m, COM1 + 3), LCR_8N1);
    free(m);
}

static void transmit_by_interrupts(void **state)
{
    (void)state;
    struct machine *m = uart_machine();
    const char *text = "The quick brown fox jumps over the lazy dog";
    u32 sent = 0, interrupts = 0, size = (u32)strlen(text);
    outb(m, COM1 + 2, FCR_ON);
    outb(m, COM1 + 4, 0x0B);
    outb(m, COM1 + 1, 0x02);
    while (interrupted(m)) {
        interrupts++;
        if (sent == size) { /* the edge from before it was switched off */
            assert_int_equal(inb(m, COM1 + 2) & 0x0F, 0x01);
            continue;
        }
        assert_int_equal(inb(m, COM1 + 2) & 0x0F, 0x02);
        assert_int_equal(inb(m, COM1 + 5) & 0x60, 0x60);
        for (u32 i = 0; i < 16 && sent < size; i++)
            outb(m, COM1, (u8)text[sent++]);
        if (sent == size)
            outb(m, COM1 + 1, 0);
    }
    assert_int_equal(m->console_count, size);
    assert_memory_equal(m->console, text, size);
    assert_in_range(interrupts, 3, 4);
    free(m);
}

static void a_busy_console_loses_nothing(void **state)
{
    (void)state;
    struct machine *m = uart_machine();
    outb(m, COM1 + 2, FCR_ON);
    outb(m, COM1 + 4, 0x0B);
    m->console_room = 5;
    for (u32 i = 0; i < 16; i++)
        outb(m, COM1, (u8)('a' + i));
    assert_int_equal(m->console_count, 5);
    assert_int_equal(inb(m, COM1 + 5) & 0x60, 0); /* neither empty nor ready */
    outb(m, COM1 + 1, 0x02);
    assert_false(interrupted(m));
    assert_true(vplat_next_deadline(&m->vp, 0) <= m->now + TEST_HZ / 1000);
    m->console_room = 4;
    run_until(m, m->now + TEST_HZ / 500);
    assert_int_equal(m->console_count, 9);
    assert_false(interrupted(m));
    outb(m, COM1 + 2, FCR_ON | 4); /* clearing the FIFO does not take back what is on its way */
    m->console_room = 100;
    vplat_advance_devices(&m->vp, m->now);
    assert_true(interrupted(m));
    assert_int_equal(inb(m, COM1 + 5) & 0x60, 0x60);
    assert_memory_equal(m->console, "abcdefghijklmnop", 16);
    assert_int_equal(m->console_count, 16);
    free(m);
}

static void receive_trigger_and_timeout(void **state)
{
    (void)state;
    struct machine *m = uart_machine();
    outb(m, COM1 + 2, FCR_ON | 0x80); /* trigger at 8 */
    outb(m, COM1 + 4, 0x08);
    outb(m, COM1 + 1, 0x01);
    for (u32 i = 0; i < 3; i++)
        assert_true(vplat_uart_receive(&m->vp, m->now, (u8)('x' + i)));
    assert_false(interrupted(m));
    assert_int_equal(inb(m, COM1 + 5) & 1, 1);
    run_until(m, m->now + TEST_HZ / 1000);
    assert_true(interrupted(m)); /* character timeout */
    assert_int_equal(inb(m, COM1 + 2), 0xCC);
    assert_int_equal(inb(m, COM1), 'x');
    assert_int_equal(inb(m, COM1 + 2), 0xC1);
    inb(m, COM1);
    inb(m, COM1);
    assert_int_equal(inb(m, COM1 + 5) & 1, 0);
    for (u32 i = 0; i < 8; i++)
        vplat_uart_receive(&m->vp, m->now, (u8)i);
    assert_true(interrupted(m));
    assert_int_equal(inb(m, COM1 + 2), 0xC4);
    for (u32 i = 8; i < 16; i++)
        assert_true(vplat_uart_receive(&m->vp, m->now, (u8)i));
    assert_false(vplat_uart_receive(&m->vp, m->now, 99)); /* full: the caller keeps it */
    for (u32 i = 0; i < 16; i++)
        assert_int_equal(inb(m, COM1), i);
    assert_int_equal(inb(m, COM1 + 5), 0x60); /* no overrun */
    free(m);
}

static void without_fifo_one_byte_fits(void **state)
{
    (void)state;
    struct machine *m = uart_machine();
    outb(m, COM1 + 4, 0x08);
    outb(m, COM1 + 1, 0x01);
    assert_true(vplat_uart_receive(&m->vp, m->now, 'a'));
    assert_true(interrupted(m));
    assert_int_equal(inb(m, COM1 + 2), 0x04);
    assert_false(vplat_uart_receive(&m->vp, m->now, 'b'));
    assert_int_equal(inb(m, COM1), 'a');
    assert_int_equal(inb(m, COM1 + 2), 0x01);
    assert_true(vplat_uart_receive(&m->vp, m->now, 'b'));
    assert_true(interrupted(m));
    free(m);
}

static void modem_lines_and_out2(void **state)
{
    (void)state;
    struct machine *m = uart_machine();
    assert_int_equal(inb(m, COM1 + 6), 0xB0); /* DCD, DSR, CTS: somebody is there */
    outb(m, COM1 + 4, 0x10);
    assert_int_equal(inb(m, COM1 + 6), 0x0B); /* all dropped, deltas once */
    assert_int_equal(inb(m, COM1 + 6), 0x00);
    outb(m, COM1 + 4, 0x14); /* OUT1 -> RI: only its trailing edge is a delta */
    assert_int_equal(inb(m, COM1 + 6), 0x40);
    outb(m, COM1 + 4, 0x10);
    assert_int_equal(inb(m, COM1 + 6), 0x04);
    outb(m, COM1 + 4, 0x00);
    inb(m, COM1 + 6);
    outb(m, COM1 + 1, 0x02); /* pending, but OUT2 is off: no line */
    assert_false(interrupted(m));
    outb(m, COM1 + 4, 0x08);
    assert_true(interrupted(m));
    free(m);
}

static void line_status_has_priority(void **state)
{
    (void)state;
    struct machine *m = uart_machine();
    outb(m, COM1 + 4, 0x10);
    outb(m, COM1 + 1, 0x07);
    outb(m, COM1, 1);
    outb(m, COM1, 2); /* overrun in loopback without FIFO */
    assert_int_equal(inb(m, COM1 + 2), 0x06);
    assert_int_equal(inb(m, COM1 + 5), 0x63);
    assert_int_equal(inb(m, COM1 + 2), 0x04);
    inb(m, COM1);
    assert_int_equal(inb(m, COM1 + 2), 0x02);
    assert_int_equal(inb(m, COM1 + 2), 0x01);
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probing_finds_a_16550a),      cmocka_unit_test(divisor_latch_hides_data),
        cmocka_unit_test(transmit_by_interrupts),      cmocka_unit_test(a_busy_console_loses_nothing),
        cmocka_unit_test(receive_trigger_and_timeout), cmocka_unit_test(without_fifo_one_byte_fits),
        cmocka_unit_test(modem_lines_and_out2),        cmocka_unit_test(line_status_has_priority),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
