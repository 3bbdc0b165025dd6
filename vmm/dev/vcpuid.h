/*
 * vcpuid.h - what CPUID says to a guest: vcpuid.def's masks over the host's answers, computed once per VM,
 * and a look-up that is a handful of instructions. SDM Vol 2A, CPUID.
 */
#pragma once
#include "arch/cpuid.h"
#include "arch/err.h"
#include "arch/types.h"
#include "vmm/dev/vtime.h"

#define VCPUID_BASIC_LEAVES 0x17 /* 0..0x16 */
#define VCPUID_EXT_LEAVES   9    /* 0x80000000..0x80000008 */
#define VCPUID_HV_LEAVES    3    /* 0x40000000..0x40000002 */
#define VCPUID_SUBLEAVES    10   /* rows of all leaves with subleaves: 4 (5), 0xB (2), 0xD (3) */

/* Features that need the VMM's help, or that it may want to hide or show. */
struct vcpuid_config {
    void (*host)(void *ctx, u32 leaf, u32 subleaf, struct cpuid_regs *out);
    void *host_ctx;
    u64 tsc_hz;
    u64 crystal_hz;        /* vplat.crystal_hz: ticks of the LAPIC timer */
    u64 xcr0;              /* components a guest may enable; 0: no XSAVE, no AVX */
    u64 arch_capabilities; /* 0: hidden; else what IA32_ARCH_CAPABILITIES reads as */
    u32 vcpus;
    u32 maxphyaddr;         /* at most; the host's may be lower */
    u32 abi_version, vm_id; /* leaf 0x40000001: eax, ebx */
    bool invariant_tsc, pages_1g, rdtscp, rdrand;
};

enum vcpuid_dynamic {
    VCPUID_STATIC,
    VCPUID_DYN_FEATURES, /* leaf 1: APIC id, APIC and OSXSAVE bits */
    VCPUID_DYN_SUBLEAVES,
};

struct vcpuid_entry {
    struct cpuid_regs regs;
    u8 dynamic;    /* enum vcpuid_dynamic */
    u8 sub_first;  /* VCPUID_DYN_SUBLEAVES: rows sub_first.. of vcpuid.sub */
    u8 sub_count;  /* subleaves beyond are 0 (0xB: ecx and edx still answer) */
    u8 leaf_class; /* leaf number, for 7, 0xB and 0xD */
};

struct vcpuid {
    struct vcpuid_entry basic[VCPUID_BASIC_LEAVES];
    struct vcpuid_entry hv[VCPUID_HV_LEAVES];
    struct vcpuid_entry ext[VCPUID_EXT_LEAVES];
    struct cpuid_regs sub[VCPUID_SUBLEAVES];
    u32 xsave_area_avx; /* bytes of the XSAVE area with AVX enabled */
    u32 maxphyaddr;     /* as the guest is told */
    u64 xcr0;           /* as the guest may set it */
    u64 cr4;            /* bits that the guest may set: those of features that it sees */
    u64 arch_capabilities;
};

/* The vCPU's state that CPUID depends on. */
struct vcpuid_state {
    u64 cr4, xcr0, apic_base;
    u32 apic_id;
};

rarely_run enum err vcpuid_init(struct vcpuid *t, const struct vcpuid_config *config) must_check;
/* What leaf is answered from; with `dynamic` VCPUID_STATIC, its regs are the answer. */
static inline const struct vcpuid_entry *vcpuid_entry(const struct vcpuid *t, u32 leaf)
{
    if (likely(leaf < VCPUID_BASIC_LEAVES))
        return &t->basic[leaf];
    if (leaf - CPUID_LEAF_EXT_MAX < VCPUID_EXT_LEAVES)
        return &t->ext[leaf - CPUID_LEAF_EXT_MAX];
    if (leaf - CPUID_LEAF_HYPERVISOR < VCPUID_HV_LEAVES)
        return &t->hv[leaf - CPUID_LEAF_HYPERVISOR];
    return &t->basic[VCPUID_BASIC_LEAVES - 1]; /* any leaf that is not there */
}
void vcpuid_query(const struct vcpuid *t, const struct vcpuid_state *s, u32 leaf, u32 subleaf,
                  struct cpuid_regs *out);

/* Does the guest see these bits? e.g. vcpuid_has(t, 7, CPUID_EBX, CPUID_SMEP) */
bool vcpuid_has(const struct vcpuid *t, u32 leaf, enum cpuid_reg reg, u32 mask);
