/* apic.c - the local APIC by memory (xAPIC) or MSRs (x2APIC); one register number serves both. */
#include "arch/apic.h"
#include "arch/cpu.h"
#include "arch/log.h"
#include "arch/msr.h"
#include "arch/percpu.h"
#include "arch/tsc.h"

/* Register numbers: x2APIC MSR = 0x800 + n, xAPIC address = base + n * 16. SDM Vol 3A tables 10-1 and 10-6 */
#define REG_ID              0x02
#define REG_VERSION         0x03
#define REG_TPR             0x08
#define REG_EOI             0x0B
#define REG_SVR             0x0F
#define REG_ISR             0x10
#define REG_LVT_CMCI        0x2F
#define REG_ICR_LOW         0x30
#define REG_ICR_HIGH        0x31
#define REG_LVT_TIMER       0x32
#define REG_LVT_THERMAL     0x33
#define REG_LVT_PERFORMANCE 0x34
#define REG_LVT_LINT0       0x35
#define REG_LVT_LINT1       0x36
#define REG_LVT_ERROR       0x37
#define REG_TIMER_INITIAL   0x38
#define REG_TIMER_CURRENT   0x39
#define REG_TIMER_DIVIDE    0x3E

#define VECTOR_WORDS       8u
#define SVR_ENABLE         0x100u
#define LVT_MASKED         0x10000u
#define LVT_TSC_DEADLINE   0x40000u
#define DIVIDE_BY_1        0xBu
#define XAPIC_ID_SHIFT     24
#define VERSION_MAX_LVT(v) ((v) >> 16 & 0xFF)

/* Interrupt command register, SDM Vol 3A 10.6.1 */
#define ICR_NMI          0x400u
#define ICR_INIT         0x500u
#define ICR_STARTUP      0x600u
#define ICR_PENDING      0x1000u
#define ICR_ASSERT       0x4000u
#define ICR_ALL_BUT_SELF 0xC0000u
#define ICR_POLLS        1000000u

/* 82093AA datasheet 3.1, 3.2 */
#define IOAPIC_SELECT     0x00u
#define IOAPIC_WINDOW     0x10u
#define IOAPIC_VERSION    0x01u
#define IOAPIC_PIN        0x10u /* low half of the first redirection entry */
#define IOAPIC_LAST_SHIFT 16
#define IOAPIC_LAST_MASK  0xFFu
#define IOAPIC_MASKED     0x10000u

#define PIC1_DATA 0x21
#define PIC2_DATA 0xA1
#define PIC_ALL   0xFF

static u64 xapic_base;    /* of every CPU: found on the boot CPU; written once */
static u64 timer_hz;      /* count-down rate; 0: use the TSC deadline; written once */
static bool has_deadline; /* written once */

static u32 reg_read(u32 reg)
{
    if (this_cpu()->x2apic)
        return (u32)msr_read(MSR_X2APIC_FIRST + reg);
    return mmio_read32(xapic_base + reg * 16);
}

static void reg_write(u32 reg, u32 value)
{
    if (this_cpu()->x2apic)
        msr_write(MSR_X2APIC_FIRST + reg, value);
    else
        mmio_write32(xapic_base + reg * 16, value);
}

u64 apic_mmio_base(void)
{
    return msr_read(MSR_IA32_APIC_BASE) & APIC_BASE_EXTD ? 0
                                                         : msr_read(MSR_IA32_APIC_BASE) & APIC_BASE_ADDR_MASK;
}

/* All CPUs in one mode: the boot CPU's if that is x2APIC (EXTD can be set, not cleared, while EN stays). */
static void choose_mode(struct cpu *cpu)
{
    u64 base = msr_read(MSR_IA32_APIC_BASE);

    cpu->x2apic = base & APIC_BASE_EXTD;
    if (cpu->index == 0)
        xapic_base = base & APIC_BASE_ADDR_MASK;
    else if (!cpu->x2apic && cpu_by_index(0)->x2apic) {
        msr_write(MSR_IA32_APIC_BASE, base | APIC_BASE_EXTD);
        cpu->x2apic = true;
    }
}

/* Ends what the firmware left in service: it would hold back every vector of lower priority. */
static void finish_in_service(void)
{
    for (u32 word = 0; word < VECTOR_WORDS; word++)
        for (u32 bits = reg_read(REG_ISR + word); bits; bits &= bits - 1)
            reg_write(REG_EOI, 0);
}

void apic_init(struct cpu *cpu)
{
    choose_mode(cpu);
    u32 last = VERSION_MAX_LVT(reg_read(REG_VERSION));

    reg_write(REG_SVR, SVR_ENABLE | APIC_VECTOR_SPURIOUS);
    reg_write(REG_TPR, 0);
    finish_in_service();
    reg_write(REG_LVT_TIMER, LVT_MASKED);
    reg_write(REG_TIMER_INITIAL, 0);
    reg_write(REG_TIMER_DIVIDE, DIVIDE_BY_1);
    reg_write(REG_LVT_LINT0, LVT_MASKED);
    reg_write(REG_LVT_LINT1, LVT_MASKED);
    reg_write(REG_LVT_ERROR, LVT_MASKED | APIC_VECTOR_SPURIOUS);
    if (last >= 4) /* entries 0-3 are in every APIC of a 64-bit CPU; then performance, thermal, CMCI */
        reg_write(REG_LVT_PERFORMANCE, LVT_MASKED);
    if (last >= 5)
        reg_write(REG_LVT_THERMAL, LVT_MASKED);
    if (last >= 6)
        reg_write(REG_LVT_CMCI, LVT_MASKED);
    if (cpu->index == 0)
        has_deadline = cpu_has(CPUID_FEATURE_TSC_DEADLINE);
}

static void send(u32 id, u32 command)
{
    if (this_cpu()->x2apic) {
        cpu_order_before_wrmsr();
        msr_write(MSR_IA32_X2APIC_ICR, (u64)id << 32 | command);
        return;
    }
    for (u32 i = 0; i < ICR_POLLS && (reg_read(REG_ICR_LOW) & ICR_PENDING); i++)
        cpu_pause();
    reg_write(REG_ICR_HIGH, id << XAPIC_ID_SHIFT);
    reg_write(REG_ICR_LOW, command);
}

void apic_send_nmi(const struct cpu *to)
{
    send(to->apic_id, ICR_NMI | ICR_ASSERT);
}

void apic_send_init(u32 id)
{
    send(id, ICR_INIT | ICR_ASSERT);
}

void apic_send_startup(u32 id, u8 page)
{
    send(id, ICR_STARTUP | ICR_ASSERT | page);
}

void apic_broadcast_nmi(void)
{
    send(0, ICR_NMI | ICR_ASSERT | ICR_ALL_BUT_SELF);
}

void apic_eoi(void)
{
    reg_write(REG_EOI, 0);
}

void apic_set_timer_hz(u64 hz)
{
    timer_hz = hz;
}

/* (deadline - now) in timer ticks: at least 1, at most what the 32-bit counter holds (it then fires early).
 */
static u32 countdown(u64 deadline)
{
    u64 now = tsc_read(), left = deadline > now ? deadline - now : 0;

    left = MIN(left, 8 * tsc_hz()); /* keeps the product in 64 bits */
    return (u32)MIN(MAX(left * (timer_hz >> 8) / ((tsc_hz() >> 8) + !(tsc_hz() >> 8)), 1ull),
                    (u64)UINT32_MAX);
}

void apic_timer_arm(u64 tsc_deadline, u8 vector)
{
    if (!has_deadline) {
        reg_write(REG_LVT_TIMER, vector);
        reg_write(REG_TIMER_INITIAL, countdown(tsc_deadline));
        return;
    }
    reg_write(REG_LVT_TIMER, LVT_TSC_DEADLINE | vector);
    cpu_order_before_wrmsr(); /* the mode must be there first: SDM Vol 3A 10.5.4.1 */
    msr_write(MSR_IA32_TSC_DEADLINE, MAX(tsc_deadline, 1ull));
}

void apic_timer_stop(void)
{
    reg_write(REG_LVT_TIMER, LVT_MASKED);
    reg_write(REG_TIMER_INITIAL, 0);
}

void apic_timer_measure_start(void)
{
    reg_write(REG_LVT_TIMER, LVT_MASKED);
    reg_write(REG_TIMER_INITIAL, UINT32_MAX);
}

u32 apic_timer_measure_read(void)
{
    u32 current = reg_read(REG_TIMER_CURRENT);

    reg_write(REG_TIMER_INITIAL, 0);
    return UINT32_MAX - current;
}

void ioapic_mask_all(u64 base)
{
    mmio_write32(base + IOAPIC_SELECT, IOAPIC_VERSION);
    u32 last = mmio_read32(base + IOAPIC_WINDOW) >> IOAPIC_LAST_SHIFT & IOAPIC_LAST_MASK;

    for (u32 pin = 0; pin <= last; pin++) {
        mmio_write32(base + IOAPIC_SELECT, IOAPIC_PIN + 2 * pin);
        mmio_write32(base + IOAPIC_WINDOW, IOAPIC_MASKED);
    }
}

void pic_mask_all(void)
{
    port_write8(PIC1_DATA, PIC_ALL);
    port_write8(PIC2_DATA, PIC_ALL);
}
