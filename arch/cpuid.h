/*
 * cpuid.h - CPUID feature bits by name, and tests on values already read (pure). Reading: cpu.h's
 * cpuid_read(), or cpu_has() below for the CPU that executes it.
 */
#pragma once
#include "arch/types.h"

struct cpuid_regs {
    u32 eax, ebx, ecx, edx;
};

enum cpuid_reg { CPUID_EAX, CPUID_EBX, CPUID_ECX, CPUID_EDX };

/* CPUID_<name> is a mask in its register: CPUID_VMX == 1u << 5 in leaf 1 ECX. */
enum cpuid_mask {
#define X(name, leaf, sub, reg, bit) CPUID_##name = (int)(1u << (bit)),
#include "arch/cpuid.def"
#undef X
};

/* CPUID_FEATURE_<name>: which feature, independent of where its bit is. */
enum cpuid_feature {
#define X(name, leaf, sub, reg, bit) CPUID_FEATURE_##name,
#include "arch/cpuid.def"
#undef X
    CPUID_FEATURE_COUNT
};

struct cpuid_location {
    u32 leaf;
    u8 subleaf;
    u8 reg; /* enum cpuid_reg */
    u8 bit;
};

/* Leaves that are named elsewhere */
#define CPUID_LEAF_MAX         0x0u
#define CPUID_LEAF_FEATURES    0x1u
#define CPUID_LEAF_EXTENDED    0x7u
#define CPUID_LEAF_TOPOLOGY    0xBu
#define CPUID_LEAF_XSAVE       0xDu
#define CPUID_LEAF_TSC         0x15u
#define CPUID_LEAF_FREQUENCY   0x16u
#define CPUID_LEAF_HYPERVISOR  0x40000000u
#define CPUID_LEAF_EXT_MAX     0x80000000u
#define CPUID_LEAF_EXT_FEATURE 0x80000001u
#define CPUID_LEAF_POWER       0x80000007u
#define CPUID_LEAF_ADDRESS     0x80000008u

static inline u32 cpuid_pick(const struct cpuid_regs *r, enum cpuid_reg reg)
{
    return reg == CPUID_EAX ? r->eax : reg == CPUID_EBX ? r->ebx : reg == CPUID_ECX ? r->ecx : r->edx;
}

/* Where a feature's bit is; f < CPUID_FEATURE_COUNT. */
struct cpuid_location cpuid_locate(enum cpuid_feature f);

/* Does the CPU that executes this have it? False when its leaf does not exist. */
bool cpu_has(enum cpuid_feature f);

/* Physical address bits of this CPU (leaf 0x80000008), at least 36. */
u32 cpu_maxphyaddr(void);
