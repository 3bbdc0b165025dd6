/*
 * bits.h - bits of the VMX capability MSRs and of VMCS fields that belong to no other header.
 */
#pragma once
#include "arch/types.h"

/* IA32_VMX_BASIC, SDM Vol. 3D A.1 */
#define VMX_BASIC_REVISION_MASK 0x7FFFFFFFull
#define VMX_BASIC_SIZE_SHIFT    32
#define VMX_BASIC_SIZE_MASK     0x1FFFull
#define VMX_BASIC_ADDRESS_32BIT BIT(48)
#define VMX_BASIC_TYPE_SHIFT    50
#define VMX_BASIC_TYPE_MASK     0xFull
#define VMX_BASIC_TRUE_CONTROLS BIT(55)

/* IA32_VMX_MISC, A.6 */
#define VMX_MISC_TIMER_SHIFT_MASK  0x1Full
#define VMX_MISC_STORES_LMA        BIT(5)
#define VMX_MISC_ACTIVITY_HLT      BIT(6)
#define VMX_MISC_ACTIVITY_SHUTDOWN BIT(7)
#define VMX_MISC_ACTIVITY_SIPI     BIT(8)
#define VMX_MISC_CR3_TARGETS_SHIFT 16
#define VMX_MISC_CR3_TARGETS_MASK  0x1FFull
#define VMX_MISC_INJECT_LENGTH_0   BIT(30)

/* IA32_VMX_EPT_VPID_CAP, A.10 */
#define VMX_EPT_CAP_EXECUTE_ONLY   BIT(0)
#define VMX_EPT_CAP_WALK_4         BIT(6)
#define VMX_EPT_CAP_WALK_5         BIT(7)
#define VMX_EPT_CAP_UC             BIT(8)
#define VMX_EPT_CAP_WB             BIT(14)
#define VMX_EPT_CAP_2M             BIT(16)
#define VMX_EPT_CAP_1G             BIT(17)
#define VMX_EPT_CAP_INVEPT         BIT(20)
#define VMX_EPT_CAP_AD             BIT(21)
#define VMX_EPT_CAP_INVEPT_CONTEXT BIT(25)
#define VMX_EPT_CAP_INVEPT_ALL     BIT(26)
#define VMX_VPID_CAP_INVVPID       BIT(32)
#define VMX_VPID_CAP_ADDRESS       BIT(40)
#define VMX_VPID_CAP_CONTEXT       BIT(41)
#define VMX_VPID_CAP_ALL           BIT(42)
#define VMX_VPID_CAP_KEEP_GLOBAL   BIT(43)

/* EPT pointer, Vol. 3C 24.6.11 */
#define EPTP_TYPE_MASK    7ull
#define EPTP_TYPE_UC      0ull
#define EPTP_TYPE_WB      6ull
#define EPTP_WALK_SHIFT   3
#define EPTP_WALK_MASK    7ull
#define EPTP_WALK_4       3ull /* levels - 1 */
#define EPTP_WALK_5       4ull
#define EPTP_AD           BIT(6)
#define EPTP_RESERVED_LOW 0xF80ull

/* PDPTE of PAE paging, Vol. 3A table 4-8 */
#define PDPTE_PAE_RESERVED 0x1E6ull

/* Guest activity state, 24.4.2 */
#define VMX_ACTIVITY_ACTIVE   0u
#define VMX_ACTIVITY_HLT      1u
#define VMX_ACTIVITY_SHUTDOWN 2u
#define VMX_ACTIVITY_SIPI     3u

/* Pending debug exceptions, table 24-4 */
#define VMX_PENDING_DEBUG_ENABLED BIT(12) /* an enabled breakpoint was met */
#define VMX_PENDING_DEBUG_BS      BIT(14) /* single step */
#define VMX_PENDING_DEBUG_RTM     BIT(16)
#define VMX_PENDING_DEBUG_VALID \
    (0xFull | VMX_PENDING_DEBUG_ENABLED | VMX_PENDING_DEBUG_BS | VMX_PENDING_DEBUG_RTM)

/* IA32_DEBUGCTL, Vol. 4 */
#define DEBUGCTL_BTF   BIT(1)
#define DEBUGCTL_VALID 0xFFC3ull

#define VMCS_LINK_NONE     (~0ull)
#define VMX_VPID_NONE      0u
#define SELECTOR_RPL       3u
#define SELECTOR_TI        4u
#define SELECTOR_RPL_TI    (SELECTOR_RPL | SELECTOR_TI)
#define RFLAGS_RESERVED    0xFFFFFFFFFFC08028ull /* bits 63:22, 15, 5, 3; SDM Vol. 1 3.4.3 */
#define EFER_RESERVED      (~(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE))
#define DR7_HIGH           0xFFFFFFFF00000000ull
#define PAT_ENTRY_RESERVED 0xF8u
