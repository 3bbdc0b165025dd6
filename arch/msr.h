/*
 * msr.h - MSR numbers (MSR_IA32_EFER ...), their names, and the bits of those that no other header describes.
 * EFER bits: arch/regs.h. Access: arch/cpu.h.
 */
#pragma once
#include "arch/types.h"

enum msr {
#define X(name, number, gate) MSR_##name = number,
#include "arch/msr.def"
#undef X
};

#define MSR_X2APIC_FIRST 0x800u
#define MSR_X2APIC_LAST  0x8FFu

/* IA32_APIC_BASE, SDM Vol 3A 10.4.4 and 10.12.1 */
#define APIC_BASE_BSP       BIT(8)
#define APIC_BASE_EXTD      BIT(10)
#define APIC_BASE_EN        BIT(11)
#define APIC_BASE_ADDR_MASK 0x000FFFFFFFFFF000ull

/* IA32_FEATURE_CONTROL, SDM Vol 3C 23.7 */
#define FEATURE_CONTROL_LOCK           BIT(0)
#define FEATURE_CONTROL_VMX_IN_SMX     BIT(1)
#define FEATURE_CONTROL_VMX_OUT_OF_SMX BIT(2)

/* IA32_ARCH_CAPABILITIES, SDM Vol 4: no L1TF; no need to flush the L1 data cache at VM entries (vmx/l1tf.h); a change of a
 * page's size makes no machine check in instruction fetches */
#define ARCH_CAPABILITIES_RDCL_NO            BIT(0)
#define ARCH_CAPABILITIES_SKIP_L1DFL_VMENTRY BIT(3)
#define ARCH_CAPABILITIES_PSCHANGE_MC_NO     BIT(6)

/* IA32_FLUSH_CMD, SDM Vol 4 */
#define FLUSH_CMD_L1D BIT(0)

/* IA32_MISC_ENABLE, SDM Vol 4 */
#define MISC_ENABLE_FAST_STRINGS BIT(0)

/* IA32_MTRRCAP and IA32_MTRR_DEF_TYPE, SDM Vol 3A 11.11 */
#define MTRRCAP_VCNT_MASK    0xFFull
#define MTRRCAP_FIX          BIT(8)
#define MTRR_DEF_TYPE_FIX_EN BIT(10)
#define MTRR_DEF_TYPE_EN     BIT(11)
