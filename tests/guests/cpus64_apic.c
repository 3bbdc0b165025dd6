/* cpus64_apic.c - the local APIC, as xAPIC page or as x2APIC MSRs where CPUID offers them. */
#include "tests/guests/cpus64.h"

#define MSR_APIC_BASE 0x1Bu
#define BASE_X2       BIT(10)
#define MSR_X2_FIRST  0x800u
#define XAPIC_PAGE    0xFEE00000ull
#define CPUID_X2APIC  BIT(21)
#define REG_ID        0x20u
#define REG_LDR       0xD0u
#define REG_DFR       0xE0u
#define REG_SVR       0xF0u
#define REG_ICR       0x300u
#define REG_ICR_HIGH  0x310u
#define SVR_ENABLE    0x14Fu /* spurious vector 79 */

static void put(u32 reg, u32 value)
{
    if (lapic_x2apic)
        msr_put(MSR_X2_FIRST + reg / 16, value);
    else
        *(volatile u32 *)(XAPIC_PAGE + reg) = value;
}

void apic_enable(void)
{
    u32 a = 1, b, c = 0, d;

    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    lapic_x2apic = c & CPUID_X2APIC;
    if (lapic_x2apic) {
        msr_put(MSR_APIC_BASE, msr_get(MSR_APIC_BASE) | BASE_X2);
    } else {
        put(REG_DFR, ~0u);
        put(REG_LDR, 1u << (24 + apic_id()));
    }
    put(REG_SVR, SVR_ENABLE);
}

u32 apic_id(void)
{
    return lapic_x2apic ? (u32)msr_get(MSR_X2_FIRST + REG_ID / 16)
                        : *(volatile u32 *)(XAPIC_PAGE + REG_ID) >> 24;
}

u32 apic_logical(u32 n)
{
    return (1u << n) - 1; /* cluster 0 of the x2APIC, flat model of the xAPIC */
}

void apic_send(u32 dest, u32 low)
{
    if (lapic_x2apic) {
        msr_put(MSR_X2_FIRST + REG_ICR / 16, (u64)dest << 32 | low);
    } else {
        put(REG_ICR_HIGH, dest << 24);
        put(REG_ICR, low);
    }
}
