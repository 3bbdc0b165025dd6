/* platform.c - what holds the devices of a VM together: interrupt lines, deadlines, MMIO, reset. */
#include "vmm/dev/platform.h"
#include "arch/string.h"

#define IRQ_PIT            0
#define IRQ_UART           4
#define IRQ_RTC            8
#define IOAPIC_PIN_PIT     2 /* ISA IRQ 0, as the MADT says */
#define CRYSTAL_HZ         24000000ull
#define CRYSTAL_HZ_LEAST   10000000ull
#define KHZ                1000ull
#define SPURIOUS_NONE      (-1)
#define MAXPHYADDR_DEFAULT 36

/*
 * The LAPIC timer runs at tsc_hz / tick with a whole number `tick`, so that one division converts exactly,
 * and CPUID leaf 0x15 tells the guest tick:1. Software knows the crystal in kHz only: of the ticks that give
 * 10 to 24 MHz, the one with the least remainder is taken.
 */
static u32 choose_tick(u64 hz)
{
    u64 first = (hz + CRYSTAL_HZ - 1) / CRYSTAL_HZ, last = hz / CRYSTAL_HZ_LEAST;
    u64 best = MAX(first, 1), least = ~0ull;
    for (u64 tick = best; tick <= last; tick++) {
        u64 remainder = hz % (tick * KHZ);
        if (remainder < least) {
            least = remainder;
            best = tick;
        }
    }
    return (u32)best;
}

enum err vplat_init(struct vplatform *vp, const struct vplat_config *config, struct vplat_cpu *cpu)
{
    if (config->vcpus == 0 || config->vcpus > VPLAT_MAX_VCPUS || config->tsc_hz < VTIME_HZ_MIN)
        return ERR_RANGE;
    memset(vp, 0, sizeof *vp);
    vp->config = *config;
    vp->cpu = cpu;
    vp->hz = MIN(config->tsc_hz, VTIME_HZ_MAX);
    vp->tick = choose_tick(vp->hz);
    vp->crystal_hz = vp->hz / vp->tick;
    vp->cpuid.maxphyaddr = MAXPHYADDR_DEFAULT; /* until vcpuid_init() */
    atomic_store_explicit(&vp->deadline, VTIME_NEVER, memory_order_relaxed);
    vioapic_reset(&vp->ioapic);
    vpic_reset(&vp->pic);
    if (vp->config.testdev)
        vpic_test_platform(&vp->pic);
    vpit_reset(&vp->pit, vp->hz, config->now);
    vrtc_reset(&vp->rtc, vp->hz, config->now, config->time_seconds, config->memory);
    vuart_reset(&vp->uart, vp->hz);
    vacpi_reset(&vp->acpi, vp->hz, config->now);
    for (u32 i = 0; i < config->vcpus; i++) {
        vlapic_init(&cpu[i].lapic, vp, i, i == 0);
        vmsr_reset(&cpu[i].msr);
    }
    vlapic_firmware_handover(&cpu[0].lapic);
    return ERR_OK;
}

void vplat_vcpu_init(struct vplatform *vp, u32 vcpu)
{
    vlapic_reset(&vp->cpu[vcpu].lapic); /* MSRs keep their values over INIT, SDM Vol 3A table 9-1 */
}

void vplat_report_unclaimed(struct vplatform *vp, enum vplat_unclaimed kind, u64 where, u64 value)
{
    u64 before = atomic_fetch_add_explicit(&vp->unclaimed[kind], 1, memory_order_relaxed);
    if (before < VPLAT_UNCLAIMED_REPORTS)
        vp->config.ops.unclaimed(vp->config.ops.ctx, kind, where, value);
}

/* ------------------------------------------------------------------ interrupt lines (lock held) */

/* INTR of the 8259 pair goes to LINT0 of vCPU 0. */
static void update_extint(struct vplatform *vp)
{
    bool was = atomic_load_explicit(&vp->extint, memory_order_relaxed), is = vp->pic.output;
    struct vlapic *bsp = &vp->cpu[0].lapic;
    if (was == is)
        return;
    atomic_store_explicit(&vp->extint, is, memory_order_release);
    if (!is)
        return;
    if (vlapic_takes_extint(bsp))
        vp->config.ops.deliver(vp->config.ops.ctx, 0, VPLAT_DELIVER_EXTINT, 0);
    else
        vlapic_lint_edge(bsp, 0);
}

void vplat_set_line(struct vplatform *vp, u32 irq, bool level)
{
    u32 pin = irq == IRQ_PIT ? IOAPIC_PIN_PIT : irq;
    if (irq == IOAPIC_PIN_PIT || irq >= VIOAPIC_PINS)
        return; /* the cascade, not a line */
    if (irq < VPIC_IRQS) {
        vpic_set_irq(&vp->pic, irq, level);
        update_extint(vp);
    }
    vioapic_set_pin(vp, pin, level);
}

/* Gives a device's line on if it has changed. */
static void follow_line(struct vplatform *vp, u32 irq, bool level)
{
    u32 bit = 1u << irq;
    if (!(vp->irq_lines & bit) == !level)
        return;
    vp->irq_lines ^= bit;
    vplat_set_line(vp, irq, level);
}

static void set_deadline(struct vplatform *vp, u64 now)
{
    u64 next = vpit_deadline(&vp->pit);
    /* A guest cannot make us come back more often than this. */
    u64 soonest = vp->advanced + vp->hz / VPLAT_DEADLINES_PER_SECOND;
    u64 old = atomic_load_explicit(&vp->deadline, memory_order_relaxed);

    next = MIN(next, vrtc_deadline(&vp->rtc, now));
    next = MIN(next, vuart_deadline(&vp->uart, now));
    next = MIN(next, vacpi_deadline(&vp->acpi));
    next = MAX(next, soonest);
    if (next == old)
        return;
    atomic_store_explicit(&vp->deadline, next, memory_order_release);
    if (next < old)
        vp->config.ops.deliver(vp->config.ops.ctx, 0, VPLAT_DELIVER_TIMER, 0);
}

void vplat_update(struct vplatform *vp, u64 now)
{
    if (vpit_take_edge(&vp->pit, now)) {
        vplat_set_line(vp, IRQ_PIT, false);
        vplat_set_line(vp, IRQ_PIT, true);
    }
    follow_line(vp, IRQ_UART, vuart_irq(&vp->uart));
    follow_line(vp, IRQ_RTC, vrtc_irq(&vp->rtc));
    follow_line(vp, VACPI_SCI_IRQ, vacpi_irq(&vp->acpi));
    update_extint(vp);
    set_deadline(vp, now);
}

/* ------------------------------------------------------------------ from outside */

void vplat_eoi_broadcast(struct vplatform *vp, u64 now, u8 vector)
{
    (void)now;
    spinlock_acquire(&vp->lock);
    vioapic_eoi(vp, vector);
    spinlock_release(&vp->lock);
}

void vplat_retry_levels(struct vplatform *vp)
{
    spinlock_acquire(&vp->lock);
    vioapic_retry(vp);
    spinlock_release(&vp->lock);
}

void vplat_advance_devices(struct vplatform *vp, u64 now)
{
    spinlock_acquire(&vp->lock);
    vrtc_advance(&vp->rtc, now);
    vuart_advance(&vp->uart, &vp->config.ops, now);
    vacpi_advance(&vp->acpi, now);
    vp->advanced = now;
    vplat_update(vp, now);
    spinlock_release(&vp->lock);
}

bool vplat_uart_receive(struct vplatform *vp, u64 now, u8 byte)
{
    spinlock_acquire(&vp->lock);
    bool taken = vuart_receive(&vp->uart, now, byte);
    vplat_update(vp, now);
    spinlock_release(&vp->lock);
    return taken;
}

void vplat_press_power_button(struct vplatform *vp, u64 now)
{
    spinlock_acquire(&vp->lock);
    vacpi_press_power_button(&vp->acpi);
    vplat_update(vp, now);
    spinlock_release(&vp->lock);
}

/* ------------------------------------------------------------------ interrupts to the CPU */

bool vplat_irq_pending_slow(struct vplatform *vp, u32 vcpu)
{
    struct vlapic *l = &vp->cpu[vcpu].lapic;
    if (vcpu == 0 && atomic_load_explicit(&vp->extint, memory_order_acquire) && vlapic_takes_extint(l))
        return true;
    return vlapic_pending_vector(l) >= 0;
}

int vplat_irq_accept(struct vplatform *vp, u32 vcpu)
{
    struct vlapic *l = &vp->cpu[vcpu].lapic;
    if (vcpu == 0 && atomic_load_explicit(&vp->extint, memory_order_acquire) && vlapic_takes_extint(l)) {
        spinlock_acquire(&vp->lock);
        int vector = vp->pic.output ? vpic_acknowledge(&vp->pic) : SPURIOUS_NONE;
        update_extint(vp);
        spinlock_release(&vp->lock);
        if (vector >= 0)
            return vector;
    }
    int vector = vlapic_pending_vector(l);
    if (vector >= 0)
        vlapic_accept(l, (u8)vector);
    return vector;
}

/* ------------------------------------------------------------------ MMIO */

static bool in_range(u64 address, u64 base, u64 size)
{
    return address - base < size;
}

static u64 value_mask(u32 size)
{
    return size >= 8 ? ~0ull : BIT(8 * size) - 1;
}

static void ioapic_access(struct vplatform *vp, u64 now, u32 offset, u32 size, bool write, u64 *value)
{
    spinlock_acquire(&vp->lock);
    if (!write)
        *value = (u64)vioapic_read(&vp->ioapic, offset & ~3u) >> 8 * (offset & 3) & value_mask(size);
    else if ((offset & 3) == 0) /* narrow stores write the register's low part, as the chip's bus does */
        vioapic_write(vp, offset, (u32)(*value & value_mask(MIN(size, 4u))));
    vplat_update(vp, now);
    spinlock_release(&vp->lock);
}

static bool testdev_access(struct vplatform *vp, u64 gpa, u32 size, bool write, u64 *value)
{
    u64 offset = gpa - VPLAT_TESTDEV_RAM_BASE;
    if (!vp->config.testdev || !vp->config.testdev_ram || offset + size > VPLAT_TESTDEV_RAM_SIZE)
        return false;
    if (write) {
        memcpy(vp->config.testdev_ram + offset, value, size);
    } else {
        *value = 0;
        memcpy(value, vp->config.testdev_ram + offset, size);
    }
    return true;
}

bool vplat_mmio(struct vplatform *vp, u32 vcpu, u64 now, gpa_t gpa, u32 size, bool write, u64 *value)
{
    struct vlapic *l = &vp->cpu[vcpu].lapic;
    u64 base = vlapic_base(l) & ~(VLAPIC_PAGE_SIZE - 1);

    if (in_range(gpa.v, base, VLAPIC_PAGE_SIZE)) {
        u32 offset = (u32)(gpa.v - base);
        if (write ? vlapic_mmio_write(l, now, offset, size, *value)
                  : vlapic_mmio_read(l, now, offset, size, value))
            return true;
    } else if (in_range(gpa.v, VIOAPIC_BASE, VIOAPIC_SIZE)) {
        ioapic_access(vp, now, (u32)(gpa.v - VIOAPIC_BASE), size, write, value);
        return true;
    } else if (in_range(gpa.v, VPLAT_TESTDEV_RAM_BASE, VPLAT_TESTDEV_RAM_SIZE) &&
               testdev_access(vp, gpa.v, size, write, value)) {
        return true;
    }
    vplat_report_unclaimed(vp, write ? VPLAT_UNCLAIMED_MMIO_WRITE : VPLAT_UNCLAIMED_MMIO_READ, gpa.v, *value);
    if (!write)
        *value = value_mask(size);
    return false;
}
