/* links: vmm/dev/platform.c vmm/dev/vplat_io.c vmm/dev/vlapic.c vmm/dev/vlapic_reg.c vmm/dev/vlapic_timer.c
 * vmm/dev/vroute.c vmm/dev/vioapic.c vmm/dev/vpic.c vmm/dev/vpit.c vmm/dev/vrtc.c vmm/dev/vuart.c
 * vmm/dev/vacpi.c vmm/dev/vmsr.c */
/* test_dev_time.c - the timers: LAPIC timer in its three modes, PIT, RTC, ACPI PM timer; exact to the tick.
 */
#include "tests/unit/test_dev_machine.h"

#define PERIODIC (1u << 17)
#define DEADLINE (2u << 17)

static u64 tick(const struct machine *m)
{
    return m->vp.tick;
}

static bool timer_fired(struct machine *m, int vector)
{
    if (vplat_irq_accept(&m->vp, 0) != vector)
        return false;
    apic_write(m, 0, VLAPIC_EOI, 0);
    return true;
}

static void crystal_is_found_for_real_clocks(void **state)
{
    (void)state;
    static const u64 clocks[] = {1000000,    2000000,    50000000,   1000000000, 2100000000, 2304000000,
                                 2394454000, 2900000000, 3399999000, 3792874000, 4294967295};
    for (u32 i = 0; i < ARRAY_SIZE(clocks); i++) {
        struct machine *m = machine_new(1, clocks[i]);
        u64 crystal_khz = m->vp.crystal_hz / 1000; /* what a guest computes with */
        u64 tsc_khz = crystal_khz * m->vp.tick;
        assert_true(m->vp.crystal_hz <= 24000000);
        assert_int_equal(clocks[i] / m->vp.crystal_hz, m->vp.tick);
        assert_true(clocks[i] / 1000 - tsc_khz <= clocks[i] / 1000 / 20000); /* 50 ppm */
        free(m);
    }
}

static void one_shot(void **state)
{
    (void)state;
    struct machine *m = machine_new(1, TEST_HZ);
    static const u32 divides[8] = {0xB, 0, 1, 2, 3, 8, 9, 0xA}; /* 1, 2, 4 ... 128 */
    for (u32 d = 0; d < 8; d++) {
        u64 unit = tick(m) << d, start = m->now;
        apic_write(m, 0, VLAPIC_TIMER_DIVIDE, divides[d]);
        apic_write(m, 0, VLAPIC_LVT_TIMER, 0x40);
        apic_write(m, 0, VLAPIC_TIMER_INITIAL, 100);
        assert_int_equal(vplat_next_deadline(&m->vp, 0), start + 100 * unit);
        run_until(m, start + 37 * unit);
        assert_int_equal(apic_read(m, 0, VLAPIC_TIMER_CURRENT), 63);
        run_until(m, start + 100 * unit - 1);
        assert_int_equal(apic_read(m, 0, VLAPIC_TIMER_CURRENT), 1);
        assert_false(timer_fired(m, 0x40));
        run_until(m, start + 100 * unit);
        assert_true(timer_fired(m, 0x40));
        assert_int_equal(apic_read(m, 0, VLAPIC_TIMER_CURRENT), 0);
        run_until(m, start + 1000 * unit);
        assert_false(timer_fired(m, 0x40));
    }
    apic_write(m, 0, VLAPIC_TIMER_INITIAL, 100);
    apic_write(m, 0, VLAPIC_TIMER_INITIAL, 0); /* stops it */
    assert_int_equal(lapic_of(m, 0)->timer_deadline, VTIME_NEVER);
    free(m);
}

static void periodic_keeps_phase(void **state)
{
    (void)state;
    struct machine *m = machine_new(1, TEST_HZ);
    u64 start = m->now, period = 50000 * tick(m);
    apic_write(m, 0, VLAPIC_TIMER_DIVIDE, 0xB);
    apic_write(m, 0, VLAPIC_LVT_TIMER, 0x41 | PERIODIC);
    apic_write(m, 0, VLAPIC_TIMER_INITIAL, 50000);
    for (u64 i = 1; i <= 20; i++) {
        assert_int_equal(lapic_of(m, 0)->timer_deadline, start + i * period);
        run_until(m, start + i * period + i); /* a little late each time */
        assert_true(timer_fired(m, 0x41));
        assert_false(timer_fired(m, 0x41));
    }
    m->now = start + 1000 * period + 5; /* very late: one interrupt, phase kept */
    vplat_advance(&m->vp, 0, m->now);
    assert_true(timer_fired(m, 0x41));
    assert_false(timer_fired(m, 0x41));
    assert_int_equal(lapic_of(m, 0)->timer_deadline, start + 1001 * period);
    apic_write(m, 0, VLAPIC_TIMER_DIVIDE, 0); /* half the rate from here on */
    u32 left = apic_read(m, 0, VLAPIC_TIMER_CURRENT);
    assert_int_equal(lapic_of(m, 0)->timer_deadline, m->now + 2 * tick(m) * left);
    apic_write(m, 0, VLAPIC_LVT_TIMER, 0x41 | PERIODIC | VLAPIC_LVT_MASKED);
    run_until(m, m->now + 10 * period);
    assert_false(timer_fired(m, 0x41));
    free(m);
}

static void a_fast_periodic_timer_is_bounded(void **state)
{
    (void)state;
    struct machine *m = machine_new(1, TEST_HZ);
    u32 fired = 0;
    apic_write(m, 0, VLAPIC_TIMER_DIVIDE, 0xB);
    apic_write(m, 0, VLAPIC_LVT_TIMER, 0x41 | PERIODIC);
    apic_write(m, 0, VLAPIC_TIMER_INITIAL, 1);
    for (u64 end = m->now + TEST_HZ / 100; m->now < end;) {
        m->now = vplat_next_deadline(&m->vp, 0);
        vplat_advance(&m->vp, 0, m->now);
        fired += timer_fired(m, 0x41);
    }
    assert_true(fired <= VPLAT_DEADLINES_PER_SECOND / 100 + 1);
    free(m);
}

static void tsc_deadline(void **state)
{
    (void)state;
    struct machine *m = machine_new(1, TEST_HZ);
    u64 v;
    assert_true(wrmsr_ok(m, 0, MSR_IA32_TSC_DEADLINE, 5000)); /* wrong mode: ignored */
    assert_true(rdmsr_ok(m, 0, MSR_IA32_TSC_DEADLINE, &v));
    assert_int_equal(v, 0);
    apic_write(m, 0, VLAPIC_LVT_TIMER, 0x42 | DEADLINE);
    assert_true(wrmsr_ok(m, 0, MSR_IA32_TSC_DEADLINE, 5000));
    assert_int_equal(vplat_next_deadline(&m->vp, 0), 5000);
    apic_write(m, 0, VLAPIC_TIMER_INITIAL, 7); /* ignored */
    assert_int_equal(apic_read(m, 0, VLAPIC_TIMER_INITIAL), 0);
    run_until(m, 4999);
    assert_false(timer_fired(m, 0x42));
    run_until(m, 5000);
    assert_true(timer_fired(m, 0x42));
    assert_true(rdmsr_ok(m, 0, MSR_IA32_TSC_DEADLINE, &v));
    assert_int_equal(v, 0);
    assert_true(wrmsr_ok(m, 0, MSR_IA32_TSC_DEADLINE, 1)); /* the past: at once */
    assert_true(timer_fired(m, 0x42));
    assert_true(wrmsr_ok(m, 0, MSR_IA32_TSC_DEADLINE, ~0ull));
    assert_true(vplat_next_deadline(&m->vp, 0) > BIT(62));
    apic_write(m, 0, VLAPIC_LVT_TIMER, 0x42); /* leaving the mode disarms */
    apic_write(m, 0, VLAPIC_LVT_TIMER, 0x42 | DEADLINE);
    assert_true(rdmsr_ok(m, 0, MSR_IA32_TSC_DEADLINE, &v));
    assert_int_equal(v, 0);
    free(m);
}

static void deadline_follows_the_guests_tsc(void **state)
{
    (void)state;
    struct machine *m = machine_new(1, TEST_HZ);
    u64 v;
    apic_write(m, 0, VLAPIC_LVT_TIMER, 0x42 | DEADLINE);
    assert_true(wrmsr_ok(m, 0, MSR_IA32_TIME_STAMP_COUNTER, 1000000));
    assert_int_equal(m->now + m->tsc_offset, 1000000);
    assert_true(rdmsr_ok(m, 0, MSR_IA32_TSC_ADJUST, &v));
    assert_int_equal(v, 1000000 - m->now);
    assert_true(wrmsr_ok(m, 0, MSR_IA32_TSC_DEADLINE, 1000500));
    assert_int_equal(vplat_next_deadline(&m->vp, 0), m->now + 500);
    assert_true(wrmsr_ok(m, 0, MSR_IA32_TSC_ADJUST, v - 100)); /* guest TSC goes back by 100 */
    assert_int_equal(vplat_next_deadline(&m->vp, 0), m->now + 600);
    assert_true(rdmsr_ok(m, 0, MSR_IA32_TIME_STAMP_COUNTER, &v));
    assert_int_equal(v, 1000000 - 100);
    free(m);
}

/* ------------------------------------------------------------------ PIT */

static u64 pit_time(u64 ticks)
{
    return vtime_scale_up(ticks, TEST_HZ, VPIT_HZ);
}

static void pit_load(struct machine *m, u8 channel, u8 mode, u16 count)
{
    outb(m, 0x43, (u8)(channel << 6 | 3 << 4 | mode << 1));
    outb(m, 0x40 + channel, (u8)count);
    outb(m, 0x40 + channel, (u8)(count >> 8));
}

static u32 pit_read(struct machine *m, u8 channel)
{
    u32 low = inb(m, 0x40 + channel);
    return low | (u32)inb(m, 0x40 + channel) << 8;
}
static u32 pit_latched(struct machine *m, u8 channel)
{
    outb(m, 0x43, (u8)(channel << 6));
    return pit_read(m, channel);
}

static void pit_rate_generator_interrupts(void **state)
{
    (void)state;
    struct machine *m = machine_new(1, TEST_HZ);
    u64 start = m->now;
    route_pin(m, 2, 0x30); /* IRQ 0 is IOAPIC pin 2 */
    pit_load(m, 0, 2, 1193);
    for (u64 i = 1; i <= 50; i++) {
        assert_int_equal(vplat_next_deadline(&m->vp, 0), start + pit_time(i * 1193));
        run_until(m, start + pit_time(i * 1193) - 1);
        assert_false(timer_fired(m, 0x30));
        run_until(m, start + pit_time(i * 1193));
        assert_true(timer_fired(m, 0x30));
    }
    m->now = start + pit_time(1000 * 1193ull);
    vplat_advance(&m->vp, 0, m->now); /* late: one */
    assert_true(timer_fired(m, 0x30));
    assert_int_equal(vplat_next_deadline(&m->vp, 0), start + pit_time(1001 * 1193ull));
    pit_load(m, 0, 0, 500); /* one shot */
    run_until(m, m->now + pit_time(500));
    assert_true(timer_fired(m, 0x30));
    assert_int_equal(vplat_next_deadline(&m->vp, 0), VTIME_NEVER);
    free(m);
}

static void a_fast_pit_is_bounded(void **state)
{
    (void)state;
    struct machine *m = machine_new(1, TEST_HZ);
    u32 rounds = 0;
    route_pin(m, 2, 0x30);
    pit_load(m, 0, 2, 1);
    for (u64 end = m->now + TEST_HZ / 100; m->now < end; rounds++) {
        m->now = vplat_next_deadline(&m->vp, 0);
        vplat_advance(&m->vp, 0, m->now);
        assert_true(timer_fired(m, 0x30));
        inb(m, 0x61); /* other accesses do not put it off */
    }
    assert_in_range(rounds, VPLAT_DEADLINES_PER_SECOND / 100 - 1, VPLAT_DEADLINES_PER_SECOND / 100 + 1);
    free(m);
}

static void pit_counts_and_latches(void **state)
{
    (void)state;
    struct machine *m = machine_new(1, TEST_HZ);
    u64 start = m->now;
    pit_load(m, 0, 2, 1000);
    m->now = start + pit_time(300);
    assert_int_equal(pit_latched(m, 0), 700);
    outb(m, 0x43, 0); /* latch; the count stays as latched */
    m->now = start + pit_time(400);
    assert_int_equal(pit_read(m, 0), 700);
    outb(m, 0x43, 0xC2); /* read back count and status of channel 0 */
    u8 status = inb(m, 0x40);
    assert_int_equal(status, 0x80 | 3 << 4 | 2 << 1);
    assert_int_equal(pit_read(m, 0), 600);
    m->now = start + pit_time(1250);
    assert_int_equal(pit_latched(m, 0), 750);
    outb(m, 0x43, 0x16); /* mode 3, low byte only */
    outb(m, 0x40, 100);
    m->now += pit_time(10);
    assert_int_equal(inb(m, 0x40), 80); /* by twos */
    outb(m, 0x43, 0x35);                /* BCD */
    outb(m, 0x40, 0x00);
    outb(m, 0x40, 0x10);
    m->now += pit_time(1);
    assert_int_equal(pit_latched(m, 0), 0x0999);
    free(m);
}

/* What kernels do to measure other clocks: channel 2, gate on, wait for the output. */
static void pit_speaker_channel_as_a_stop_watch(void **state)
{
    (void)state;
    struct machine *m = machine_new(1, TEST_HZ);
    outb(m, 0x61, (inb(m, 0x61) & ~2u) | 1);
    pit_load(m, 2, 0, 0x1234);
    u64 start = m->now;
    m->now = start + pit_time(0x1234) - 1;
    assert_false(inb(m, 0x61) & 0x20);
    m->now = start + pit_time(0x1234);
    assert_true(inb(m, 0x61) & 0x20);
    pit_load(m, 2, 0, 1000);
    m->now += pit_time(400);
    outb(m, 0x61, 0); /* gate off: it stands still */
    m->now += pit_time(5000);
    assert_int_equal(pit_latched(m, 2), 600);
    outb(m, 0x61, 1);
    m->now += pit_time(100);
    assert_in_range(pit_latched(m, 2), 499, 500);
    u8 refresh = inb(m, 0x61) & 0x10;
    m->now += TEST_HZ / 66287 + 1;
    assert_int_not_equal(inb(m, 0x61) & 0x10, refresh);
    free(m);
}

/* ------------------------------------------------------------------ RTC */

static u8 cmos(struct machine *m, u8 index)
{
    outb(m, 0x70, index);
    return inb(m, 0x71);
}
static void cmos_write(struct machine *m, u8 index, u8 value)
{
    outb(m, 0x70, index);
    outb(m, 0x71, value);
}

static void rtc_tells_the_time(void **state)
{
    (void)state;
    struct machine *m = machine_new(1, TEST_HZ);
    static const u8 expect[][2] = {{0, 0x20}, {2, 0x13}, {4, 0x22}, {6, 0x03},
                                   {7, 0x14}, {8, 0x11}, {9, 0x23}, {0x32, 0x20}};
    for (u32 i = 0; i < ARRAY_SIZE(expect); i++)
        assert_int_equal(cmos(m, expect[i][0]), expect[i][1]);
    assert_int_equal(cmos(m, 0xD), 0x80);
    m->now = TEST_START + TEST_HZ - 100000; /* 100 us before the second */
    assert_int_equal(cmos(m, 0xA) & 0x80, 0x80);
    m->now = TEST_START + TEST_HZ - 300000;
    assert_int_equal(cmos(m, 0xA) & 0x80, 0);
    m->now = TEST_START + TEST_HZ;
    assert_int_equal(cmos(m, 0), 0x21);
    m->now = TEST_START + 106 * 60 * TEST_HZ + 40 * TEST_HZ; /* 24:00:00 */
    assert_int_equal(cmos(m, 4), 0);
    assert_int_equal(cmos(m, 7), 0x15);
    cmos_write(m, 0xB, 0x04); /* binary, 12 hours */
    assert_int_equal(cmos(m, 4), 12);
    m->now += 13 * 3600 * TEST_HZ;
    assert_int_equal(cmos(m, 4), 0x81);
    assert_int_equal(cmos(m, 0x15) | cmos(m, 0x16) << 8, 640);
    assert_int_equal(cmos(m, 0x34) | cmos(m, 0x35) << 8, (256 - 16) * 16);
    free(m);
}

static void rtc_can_be_set(void **state)
{
    (void)state;
    struct machine *m = machine_new(1, TEST_HZ);
    static const u8 leap[][2] = {{0, 0x58}, {2, 0x59}, {4, 0x23},   {7, 0x28},
                                 {8, 0x02}, {9, 0x24}, {0x32, 0x20}};
    cmos_write(m, 0xB, 0x82);
    for (u32 i = 0; i < ARRAY_SIZE(leap); i++)
        cmos_write(m, leap[i][0], leap[i][1]);
    m->now += 30 * TEST_HZ; /* stands still meanwhile */
    assert_int_equal(cmos(m, 0), 0x58);
    cmos_write(m, 0xB, 0x02);
    m->now += 2 * TEST_HZ;
    assert_int_equal(cmos(m, 7), 0x29);
    assert_int_equal(cmos(m, 8), 0x02);
    m->now += 86400 * TEST_HZ;
    assert_int_equal(cmos(m, 7), 0x01);
    assert_int_equal(cmos(m, 8), 0x03);
    assert_int_equal(cmos(m, 6), 0x06); /* Friday */
    free(m);
}

static void rtc_interrupts(void **state)
{
    (void)state;
    struct machine *m = machine_new(1, TEST_HZ);
    route_pin(m, 8, 0x38);
    cmos_write(m, 0xB, 0x42); /* periodic at 1024 Hz */
    u64 start = m->vp.rtc.periodic_from;
    for (u64 i = 1; i < 10; i++) {
        run_until(m, start + vtime_scale_up(i, TEST_HZ, 1024));
        assert_true(timer_fired(m, 0x38));
        run_until(m, m->now + 100);
        assert_false(timer_fired(m, 0x38));
        assert_int_equal(cmos(m, 0xC), 0xC0);
        assert_int_equal(cmos(m, 0xC), 0);
    }
    cmos_write(m, 0xB, 0x02);
    cmos_write(m, 0x1, 0x30); /* 22:13:30 */
    cmos_write(m, 0x3, 0x13);
    cmos_write(m, 0x5, 0x22);
    cmos(m, 0xC);
    cmos_write(m, 0xB, 0x22);
    run_until(m, TEST_START + 10 * TEST_HZ - 1);
    assert_false(timer_fired(m, 0x38));
    run_until(m, TEST_START + 10 * TEST_HZ);
    assert_true(timer_fired(m, 0x38));
    assert_int_equal(cmos(m, 0xC) & 0xA0, 0xA0);
    cmos_write(m, 0xB, 0x12); /* every second */
    run_until(m, TEST_START + 11 * TEST_HZ);
    assert_true(timer_fired(m, 0x38));
    free(m);
}

static void pm_timer_counts(void **state)
{
    (void)state;
    struct machine *m = machine_new(1, TEST_HZ);
    assert_int_equal(in_n(m, 0x608, 4), 0);
    m->now = TEST_START + TEST_HZ;
    assert_int_equal(in_n(m, 0x608, 4), 3579545);
    m->now = TEST_START + 1000 * TEST_HZ + TEST_HZ / 2;
    assert_int_equal(in_n(m, 0x608, 4), 3579545ull * 1000 + 3579545 / 2);
    m->now = TEST_START + 86400ull * 365 * TEST_HZ; /* a year */
    assert_int_equal(in_n(m, 0x608, 4), (u32)(3579545ull * 86400 * 365));
    free(m);
}

static void pm_timer_overflow_raises_the_sci(void **state)
{
    (void)state;
    struct machine *m = machine_new(1, TEST_HZ);
    route_pin(m, 9, 0x8039);
    out_n(m, 0x602, 2, 1);
    u64 overflow = TEST_START + vtime_scale_up(BIT(31), TEST_HZ, VACPI_TIMER_HZ);
    assert_int_equal(vplat_next_deadline(&m->vp, 0), overflow);
    run_until(m, overflow - 1);
    assert_int_equal(vplat_irq_accept(&m->vp, 0), -1);
    run_until(m, overflow);
    assert_int_equal(vplat_irq_accept(&m->vp, 0), 0x39);
    assert_int_equal(in_n(m, 0x600, 2), 1);
    out_n(m, 0x600, 2, 1);
    assert_int_equal(in_n(m, 0x600, 2), 0);
    apic_write(m, 0, VLAPIC_EOI, 0);
    assert_int_equal(vplat_irq_accept(&m->vp, 0), -1);
    free(m);
}

static void scaling_is_exact(void **state)
{
    (void)state;
    u64 seed = env_number("PB_SEED", 3);
    print_message("seed %llu\n", (unsigned long long)seed);
    for (u32 i = 0; i < 100000; i++) {
        u64 value = random_next(&seed) >> (random_next(&seed) & 31) >> 4;
        u64 num = (random_next(&seed) & 0xFFFFFFFF) | 1, den = (random_next(&seed) & 0xFFFFFFFF) | 1;
        unsigned __int128 product = (unsigned __int128)value * num;
        if (product / den >> 63)
            continue;
        assert_true(vtime_scale(value, num, den) == (u64)(product / den));
        assert_true(vtime_scale_up(value, num, den) == (u64)((product + den - 1) / den));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crystal_is_found_for_real_clocks),
        cmocka_unit_test(one_shot),
        cmocka_unit_test(periodic_keeps_phase),
        cmocka_unit_test(a_fast_periodic_timer_is_bounded),
        cmocka_unit_test(tsc_deadline),
        cmocka_unit_test(deadline_follows_the_guests_tsc),
        cmocka_unit_test(pit_rate_generator_interrupts),
        cmocka_unit_test(a_fast_pit_is_bounded),
        cmocka_unit_test(pit_counts_and_latches),
        cmocka_unit_test(pit_speaker_channel_as_a_stop_watch),
        cmocka_unit_test(rtc_tells_the_time),
        cmocka_unit_test(rtc_can_be_set),
        cmocka_unit_test(rtc_interrupts),
        cmocka_unit_test(pm_timer_counts),
        cmocka_unit_test(pm_timer_overflow_raises_the_sci),
        cmocka_unit_test(scaling_is_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
