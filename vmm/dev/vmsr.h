/*
 * vmsr.h - model-specific registers of a virtual CPU other than those the VMCS holds: the table vmsr.def.
 * x2APIC registers, IA32_APIC_BASE and IA32_TSC_DEADLINE go on to the local APIC.
 *
 * Not here (the caller's, before it asks here): EFER, SYSENTER_*, STAR, LSTAR, CSTAR, FMASK, FS_BASE,
 * GS_BASE, KERNEL_GS_BASE, TSC_AUX.
 */
#pragma once
#include "arch/types.h"
#include "vmm/dev/vtime.h"

struct vplatform;

#define VMSR_MTRR_VARIABLE 8
#define VMSR_MTRR_FIXED    11

/* Per vCPU; owner only. Reset values are those of the SDM, except that memory is write-back by default. */
struct vmsr {
    u64 pat;
    u64 misc_enable;
    u64 tsc_adjust;
    u64 mtrr_def_type;
    u64 mtrr_fixed[VMSR_MTRR_FIXED];
    u64 mtrr_variable[2 * VMSR_MTRR_VARIABLE]; /* base, mask, base, mask ... */
};

rarely_run void vmsr_reset(struct vmsr *m);

/*
 * RDMSR and WRMSR of vCPU `vcpu`; false = #GP(0). An unknown register is counted and reported through
 * ops->unclaimed. Guest TSC = now + offset; a write that moves it calls ops->tsc_offset.
 */
rarely_run bool vmsr_read(struct vplatform *vp, u32 vcpu, u64 now, u32 msr, u64 *value) must_check;
bool vmsr_write(struct vplatform *vp, u32 vcpu, u64 now, u32 msr, u64 value) must_check;
