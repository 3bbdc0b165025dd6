/*
 * l1tf.h - "L1 terminal fault": on many CPUs a load through a page-table entry that is not present reads, ahead of the
 * fault, what the L1 data cache holds at the entry's physical address. Of a guest that pages by EPT that is an address of
 * its own choice, taken for the host's; so nothing of others may be in that cache while it runs. Pure.
 */
#pragma once
#include "arch/msr.h"
#include "arch/types.h"

enum l1tf {
    L1TF_IMMUNE, /* nothing is to be done */
    L1TF_FLUSH,  /* the cache is to be flushed at each entry, by IA32_FLUSH_CMD */
    L1TF_OPEN,   /* it should be, but the CPU cannot */
};

/*
 * What IA32_ARCH_CAPABILITIES (0 where CPUID has none: such CPUs are old) and CPUID.7.0:EDX.L1D_FLUSH say. RDCL_NO: the
 * CPU does not do that. SKIP_L1DFL_VMENTRY: whoever runs this hypervisor as a guest flushes. SDM Vol 4.
 */
static inline enum l1tf l1tf_of(u64 arch_capabilities, bool has_flush)
{
    if (arch_capabilities & (ARCH_CAPABILITIES_RDCL_NO | ARCH_CAPABILITIES_SKIP_L1DFL_VMENTRY))
        return L1TF_IMMUNE;
    return has_flush ? L1TF_FLUSH : L1TF_OPEN;
}

/* One entry of a VM-entry MSR-load area (SDM Vol 3C 24.8.2): what WRMSR is to do as the last step of an entry (26.4), when
 * the hypervisor touches no memory any more. */
struct vmx_msr_load {
    u32 msr, reserved;
    u64 value;
} aligned_to(16);
_Static_assert(sizeof(struct vmx_msr_load) == 16 && offsetof(struct vmx_msr_load, value) == 8, "24.8.2");
static const struct vmx_msr_load vmx_flush_l1d = {MSR_IA32_FLUSH_CMD, 0, FLUSH_CMD_L1D};
