/* cpuid.c - features of the CPU that executes it, by the table cpuid.def. */
#include "arch/cpuid.h"
#include "arch/cpu.h"
#include "arch/string.h"

#define MAXPHYADDR_DEFAULT 36u /* SDM Vol 3A 4.1.4: without leaf 0x80000008, with PAE */

static const struct cpuid_location locations[CPUID_FEATURE_COUNT] = {
#define X(name, leaf, sub, reg, bit) [CPUID_FEATURE_##name] = {(leaf), (sub), CPUID_##reg, (bit)},
#include "arch/cpuid.def"
#undef X
};

struct cpuid_location cpuid_locate(enum cpuid_feature f)
{
    return locations[f];
}

static bool leaf_exists(u32 leaf)
{
    return leaf <= cpuid_read(leaf & CPUID_LEAF_EXT_MAX, 0).eax;
}

bool cpu_has(enum cpuid_feature f)
{
    struct cpuid_location l = locations[f];

    if (!leaf_exists(l.leaf))
        return false;
    struct cpuid_regs r = cpuid_read(l.leaf, l.subleaf);
    return cpuid_pick(&r, (enum cpuid_reg)l.reg) >> l.bit & 1;
}

u32 cpu_maxphyaddr(void)
{
    if (!leaf_exists(CPUID_LEAF_ADDRESS))
        return MAXPHYADDR_DEFAULT;
    u32 bits = cpuid_read(CPUID_LEAF_ADDRESS, 0).eax & 0xFF;
    return MAX(bits, MAXPHYADDR_DEFAULT);
}
