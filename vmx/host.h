/*
 * host.h - the host-state area: what a CPU goes back to at a VM exit (SDM Vol. 3C 24.5).
 */
#pragma once
#include "arch/types.h"
#include "vmx/vmcs.h"

/* Differs between CPUs, is the same for all VMCSs on one. */
struct vmx_host {
    u64 cr0, cr3, cr4, efer, pat;
    u64 fs_base, gs_base, tr_base, gdtr_base, idtr_base;
    u64 sysenter_esp, sysenter_eip;
    u32 sysenter_cs;
    u16 selector[VMX_SEG_COUNT]; /* [VMX_SEG_LDTR] unused */
};

/* Reads the registers of this CPU. Selectors are stored with RPL and TI cleared, as the entry checks want. */
void vmx_host_capture(struct vmx_host *host);
/* Writes them into the current VMCS; HOST_RIP is vmx_enter()'s, HOST_RSP is written by it as needed. */
void vmx_host_write(const struct vmx_host *host);
