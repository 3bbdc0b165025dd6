/*
 * fpu.h - x87, SSE and AVX state of vCPUs. It stays in the CPU while a vCPU is current (the hypervisor uses
 * none of it) and is swapped when another vCPU becomes current.
 */
#pragma once
#include "arch/types.h"

#define FPU_AREA_BYTES PAGE_SIZE

/* State components that the machine has and guests may use; 0: no XSAVE, FXSAVE is used. */
u64 fpu_components(void);
/* Each CPU once: finds the components out (the boot CPU first) and enables them. */
void fpu_enable(void);
/* Power-on state (SDM Vol 1 13.6 and 10.5): area is FPU_AREA_BYTES long, zeroed, page-aligned. */
void fpu_area_init(void *area);
/* Swaps: from may be NULL. to_xcr0 is XCR0 of the vCPU that `to` belongs to. */
void fpu_switch(void *from, const void *to, u64 to_xcr0);
