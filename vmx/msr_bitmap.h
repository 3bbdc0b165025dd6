/*
 * msr_bitmap.h - which RDMSR and WRMSR exit (SDM Vol. 3C 24.6.9). Pure.
 *
 * Only MSRs 0 - 0x1FFF and 0xC0000000 - 0xC0001FFF have bits; all others always exit. A CPU without MSR
 * bitmaps exits for all, so a bitmap is an optimisation only: the handlers have to know every MSR anyway.
 */
#pragma once
#include "arch/err.h"
#include "arch/types.h"

struct vmx_msr_bitmap {
    u8 read_low[1024], read_high[1024];
    u8 write_low[1024], write_high[1024];
} aligned_to(PAGE_SIZE);
_Static_assert(sizeof(struct vmx_msr_bitmap) == PAGE_SIZE, "one page (24.6.9)");

void vmx_msr_bitmap_exit_all(struct vmx_msr_bitmap *bitmap);
/* Lets pass what the hypervisor switches with the vCPU or the VMCS holds: FS/GS base, KERNEL_GS_BASE, STAR,
 * LSTAR, CSTAR, FMASK, SYSENTER_*. (TSC is read with RDTSC; its MSR exits.) */
void vmx_msr_bitmap_pass_switched(struct vmx_msr_bitmap *bitmap);
