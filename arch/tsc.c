/* tsc.c - how fast the TSC runs. */
#include "arch/tsc.h"
#include "arch/apic.h"
#include "arch/cpu.h"

/* ACPI 4.8.3.3; Intel 8254 data sheet */
#define PM_TIMER_HZ    3579545ull
#define PM_TIMER_MASK  0xFFFFFFu
#define PIT_HZ         1193182ull
#define PIT_CHANNEL2   0x42
#define PIT_COMMAND    0x43
#define PIT_CH2_MODE0  0xB0 /* channel 2, low then high byte, interrupt on terminal count */
#define PORT_B         0x61
#define PORT_B_GATE2   0x01
#define PORT_B_SPEAKER 0x02
#define PORT_B_OUT2    0x20

#define MEASURE_HZ  200ull /* one measurement takes 5 ms */
#define MAX_POLLS   3000000u
#define ASSUMED_HZ  5000000000ull /* before calibration: waits become longer, never shorter */
#define FALLBACK_HZ 1000000000ull
#define TOLERANCE   50  /* 1/50 = 2 % between CPUID and measurement */
#define AGREEMENT   256 /* 0.4 % between two measurements */
#define MAX_RUNS    6u
#define US_PER_S    1000000ull

static u64 hz; /* written once */

u64 tsc_hz(void)
{
    return hz;
}

void tsc_wait_us(u64 us)
{
    u64 start = tsc_read(), ticks = us * ((hz ? hz : ASSUMED_HZ) / 1000) / (US_PER_S / 1000) + 1;

    while (tsc_read() - start < ticks)
        cpu_pause();
}

/* Waits 1/MEASURE_HZ s; false if the clock does not move. */
static bool wait_pm_timer(u16 port)
{
    u32 start = port_read32(port);

    for (u32 i = 0; i < MAX_POLLS; i++)
        if (((port_read32(port) - start) & PM_TIMER_MASK) >= PM_TIMER_HZ / MEASURE_HZ)
            return true;
    return false;
}

static bool wait_pit(void)
{
    u32 count = PIT_HZ / MEASURE_HZ;

    port_write8(PORT_B, (u8)((port_read8(PORT_B) & ~PORT_B_SPEAKER) | PORT_B_GATE2));
    port_write8(PIT_COMMAND, PIT_CH2_MODE0);
    port_write8(PIT_CHANNEL2, (u8)count);
    port_write8(PIT_CHANNEL2, (u8)(count >> 8));
    for (u32 i = 0; i < MAX_POLLS; i++)
        if (port_read8(PORT_B) & PORT_B_OUT2)
            return true;
    return false;
}

struct sample {
    u64 tsc, apic; /* ticks in 1/MEASURE_HZ s */
};

static bool measure(u16 pm_timer, struct sample *s)
{
    apic_timer_measure_start();
    u64 start = tsc_read();
    bool moved = pm_timer ? wait_pm_timer(pm_timer) : wait_pit();

    *s = (struct sample){tsc_read() - start, apic_timer_measure_read()};
    return moved;
}

/* Whatever disturbs a measurement (SMM, a busy machine under an emulator) makes it longer: the shortest
 * counts, and two that agree are enough. Zeros if there is no clock. */
static struct sample measure_best(u16 pm_timer)
{
    struct sample best, s;

    if (!measure(pm_timer, &best))
        return (struct sample){0, 0};
    for (u32 i = 1; i < MAX_RUNS && measure(pm_timer, &s); i++) {
        u64 difference = s.tsc > best.tsc ? s.tsc - best.tsc : best.tsc - s.tsc;
        bool agree = difference <= best.tsc / AGREEMENT;
        if (s.tsc < best.tsc)
            best = s;
        if (agree)
            break;
    }
    return best;
}

const char *tsc_calibrate(u16 pm_timer)
{
    u32 max_leaf = cpuid_read(CPUID_LEAF_MAX, 0).eax;
    struct cpuid_regs leaf15 = cpuid_read(CPUID_LEAF_TSC, 0), leaf16 = cpuid_read(CPUID_LEAF_FREQUENCY, 0);
    u64 stated = tsc_hz_from_cpuid(max_leaf, &leaf15, &leaf16);
    struct sample s = measure_best(pm_timer);
    u64 measured = s.tsc * MEASURE_HZ;

    apic_set_timer_hz(s.apic * MEASURE_HZ);
    u64 difference = stated > measured ? stated - measured : measured - stated;
    if (stated && (!measured || difference < measured / TOLERANCE)) {
        hz = stated;
        return "CPUID";
    }
    hz = measured ? measured : FALLBACK_HZ;
    return !measured ? "a guess: no working clock found" : pm_timer ? "ACPI PM timer" : "PIT";
}
