/* vacpi.c - ACPI fixed hardware: PM1a event and control, PM timer. ACPI 6.4 section 4.8.3. */
#include "vmm/dev/vacpi.h"
#include "arch/string.h"
#include "vmm/dev/platform.h"

#define PM1_TIMER         0x0001
#define PM1_POWER_BUTTON  0x0100
#define PM1_STATUS_CLEARS 0x8D31 /* write 1 to clear: timer, bus master, global, buttons, RTC, wake */
#define PM1_ENABLES       0x0521 /* timer, global, power button, RTC */
#define CONTROL_SCI_EN    0x0001 /* always: there is no SMM to leave */
#define CONTROL_WRITABLE  0x1C02
#define CONTROL_SLP_EN    0x2000
#define CONTROL_SLP_TYPE  0x1C00
#define SLP_TYPE_SHIFT    10
#define TIMER_HALF        (1ull << 31) /* the status bit is set when bit 31 changes */

static u64 pm_ticks(const struct vacpi *a, u64 now)
{
    return vtime_scale(vtime_since(now, a->start), VACPI_TIMER_HZ, a->hz);
}

void vacpi_reset(struct vacpi *a, u64 hz, u64 now)
{
    memset(a, 0, sizeof *a);
    a->hz = hz;
    a->start = now;
    a->control = CONTROL_SCI_EN;
}

bool vacpi_irq(const struct vacpi *a)
{
    return a->status & a->enable & PM1_ENABLES;
}

u64 vacpi_deadline(const struct vacpi *a)
{
    if (!(a->enable & PM1_TIMER) || (a->status & PM1_TIMER))
        return VTIME_NEVER;
    return a->start + vtime_scale_up((a->overflow_seen + 1) * TIMER_HALF, a->hz, VACPI_TIMER_HZ);
}

void vacpi_advance(struct vacpi *a, u64 now)
{
    u64 overflows = pm_ticks(a, now) / TIMER_HALF;
    if (overflows > a->overflow_seen) {
        a->overflow_seen = overflows;
        a->status |= PM1_TIMER;
    }
}

void vacpi_press_power_button(struct vacpi *a)
{
    a->status |= PM1_POWER_BUTTON;
}

u32 vacpi_read(struct vacpi *a, u64 now, u16 port, u32 size)
{
    u32 event, offset = port & 3;
    vacpi_advance(a, now);
    if (port >= VACPI_PM_TIMER)
        return (u32)pm_ticks(a, now) >> 8 * offset;
    event = port >= VACPI_PM1_CONTROL ? a->control : a->status | (u32)a->enable << 16;
    (void)size;
    return event >> 8 * offset;
}

static void write_control(struct vacpi *a, const struct vplat_ops *ops, u16 value)
{
    a->control = (value & CONTROL_WRITABLE) | CONTROL_SCI_EN;
    if ((value & CONTROL_SLP_EN) && (value & CONTROL_SLP_TYPE) >> SLP_TYPE_SHIFT == VACPI_S5_TYPE)
        ops->end(ops->ctx, VPLAT_END_POWER_OFF, 0);
}

/* Byte writes go to their half; the guest's OS uses words. */
void vacpi_write(struct vacpi *a, const struct vplat_ops *ops, u64 now, u16 port, u32 size, u32 value)
{
    u32 shift = 8 * (port & 3);
    u32 mask = (size == 4 ? ~0u : (1u << 8 * size) - 1) << shift;
    u32 word = value << shift;
    vacpi_advance(a, now);
    if (port >= VACPI_PM_TIMER)
        return; /* read-only */
    if (port >= VACPI_PM1_CONTROL) {
        if (mask & 0xFFFF)
            write_control(a, ops, (u16)((a->control & ~mask) | (word & mask)));
        return;
    }
    a->status &= (u16) ~(word & mask & PM1_STATUS_CLEARS);
    u32 enable = ((u32)a->enable << 16 & ~mask) | (word & mask);
    a->enable = (u16)(enable >> 16) & PM1_ENABLES;
}
