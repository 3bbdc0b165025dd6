/* tsc_math.c - the pure part of tsc.h. */
#include "arch/cpuid.h"
#include "arch/tsc.h"

#define MHZ      1000000ull
#define NS_PER_S 1000000000ull

u64 tsc_hz_from_cpuid(u32 max_leaf, const struct cpuid_regs *leaf15, const struct cpuid_regs *leaf16)
{
    /* SDM Vol 3B 18.7.3: TSC = crystal * EBX / EAX; the base frequency in MHz is next best */
    if (max_leaf >= CPUID_LEAF_TSC && leaf15->eax && leaf15->ebx && leaf15->ecx)
        return (u64)leaf15->ecx * leaf15->ebx / leaf15->eax;
    if (max_leaf >= CPUID_LEAF_FREQUENCY && (leaf16->eax & 0xFFFF))
        return (leaf16->eax & 0xFFFF) * MHZ;
    return 0;
}

u64 tsc_ticks_to_ns(u64 ticks, u64 per_second)
{
    return ticks / per_second * NS_PER_S + ticks % per_second * NS_PER_S / per_second;
}

u64 tsc_ns_to_ticks(u64 ns, u64 per_second)
{
    return ns / NS_PER_S * per_second + ns % NS_PER_S * per_second / NS_PER_S;
}
