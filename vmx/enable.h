/*
 * enable.h - taking one CPU into VMX operation.
 */
#pragma once
#include "arch/err.h"
#include "arch/types.h"
#include "vmx/caps.h"
#include "vmx/host.h"
#include "vmx/tlb.h"

/* What to do about IA32_FEATURE_CONTROL (SDM Vol. 3C 23.7). Pure. */
enum vmx_feature_action {
    VMX_FEATURE_READY,     /* locked with VMX on: nothing to do */
    VMX_FEATURE_WRITE,     /* not locked: write *value (VMX outside SMX on, lock) */
    VMX_FEATURE_LOCKED_OFF /* the firmware has switched VMX off for good */
};
enum vmx_feature_action vmx_feature_control_decide(u64 feature_control, u64 *value);

/* CR0/CR4 as VMX operation wants them (23.8): fixed bits added and removed. Pure. True if the result is
 * possible for a 64-bit hypervisor that pages (it is on every known CPU). */
bool must_check vmx_fixed_apply(const struct vmx_caps *caps, u64 *cr0, u64 *cr4);

struct vmx_vcpu;

/* One CPU in VMX operation. Private to its CPU. */
struct vmx_cpu {
    struct vmx_caps caps;
    struct vmx_host host;     /* goes into the host-state area of each VMCS that runs here */
    struct vmx_tlb_ops tlb;   /* filled by vmx_cpu_enable() for VPID if the CPU has it, and EPT likewise */
    u8 physical_bits;         /* MAXPHYADDR */
    bool vpid;                /* VPIDs are usable here: tagged and flushable */
    bool on;                  /* in VMX operation */
    hpa_t vmxon_region;       /* one page */
    struct vmx_vcpu *current; /* whose VMCS is current and whose registers are live; NULL: none */
};

/* CPUID says VMX is there: false means "this CPU has no VT-x"; nothing else here may be called then. */
bool vmx_cpu_present(void);
/*
 * VMXON on this CPU. `vmxon_region` is a zeroed page that stays ours (below 4 GiB on CPUs whose
 * caps.address_32bit says so; simply always take it from there). Reads the capabilities, handles
 * IA32_FEATURE_CONTROL, sets the fixed CR0/CR4 bits and CR4.VMXE, checks that the control words for shadow
 * guests can be had, executes VMXON, INVVPIDs everything, and captures the host state (so GDT, TSS, IDT, GS
 * and CR3 have to be final).
 * UNSUPPORTED, DENIED (locked off) or STATE: each reason has been given to `line` as one plain line.
 */
enum err must_check vmx_cpu_enable(struct vmx_cpu *cpu, hpa_t vmxon_region, vmx_line_fn line, void *ctx);
