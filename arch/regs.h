/*
 * regs.h - bits of the architectural registers and of in-memory structures that hardware reads.
 * Names are the Intel SDM's. MSR numbers and bits: arch/msr.h. CPUID: arch/cpuid.h.
 */
#pragma once
#include "arch/types.h"

/* CR0, SDM Vol 3A 2.5 */
#define CR0_PE BIT(0)
#define CR0_MP BIT(1)
#define CR0_EM BIT(2)
#define CR0_TS BIT(3)
#define CR0_ET BIT(4)
#define CR0_NE BIT(5)
#define CR0_WP BIT(16)
#define CR0_AM BIT(18)
#define CR0_NW BIT(29)
#define CR0_CD BIT(30)
#define CR0_PG BIT(31)

/* CR3 without PCID */
#define CR3_PWT       BIT(3)
#define CR3_PCD       BIT(4)
#define CR3_PAE_MASK  0xFFFFFFE0ull         /* PAE: the four PDPTEs, 32-byte aligned */
#define CR3_ADDR_MASK 0x000FFFFFFFFFF000ull /* 32-bit (low half) and 4-level */

/* CR4, SDM Vol 3A 2.5 */
#define CR4_VME        BIT(0)
#define CR4_PVI        BIT(1)
#define CR4_TSD        BIT(2)
#define CR4_DE         BIT(3)
#define CR4_PSE        BIT(4)
#define CR4_PAE        BIT(5)
#define CR4_MCE        BIT(6)
#define CR4_PGE        BIT(7)
#define CR4_PCE        BIT(8)
#define CR4_OSFXSR     BIT(9)
#define CR4_OSXMMEXCPT BIT(10)
#define CR4_UMIP       BIT(11)
#define CR4_LA57       BIT(12)
#define CR4_VMXE       BIT(13)
#define CR4_SMXE       BIT(14)
#define CR4_FSGSBASE   BIT(16)
#define CR4_PCIDE      BIT(17)
#define CR4_OSXSAVE    BIT(18)
#define CR4_KL         BIT(19)
#define CR4_SMEP       BIT(20)
#define CR4_SMAP       BIT(21)
#define CR4_PKE        BIT(22)
#define CR4_CET        BIT(23)
#define CR4_PKS        BIT(24)

/* XCR0, SDM Vol 1 13.3 */
#define XCR0_X87       BIT(0)
#define XCR0_SSE       BIT(1)
#define XCR0_AVX       BIT(2)
#define XCR0_BNDREGS   BIT(3)
#define XCR0_BNDCSR    BIT(4)
#define XCR0_OPMASK    BIT(5)
#define XCR0_ZMM_HI256 BIT(6)
#define XCR0_HI16_ZMM  BIT(7)
#define XCR0_PKRU      BIT(9)

/* IA32_EFER, SDM Vol 3A 2.2.1 */
#define EFER_SCE BIT(0)
#define EFER_LME BIT(8)
#define EFER_LMA BIT(10)
#define EFER_NXE BIT(11)

/* RFLAGS, SDM Vol 1 3.4.3 */
#define RFLAGS_CF        BIT(0)
#define RFLAGS_FIXED1    BIT(1)
#define RFLAGS_PF        BIT(2)
#define RFLAGS_AF        BIT(4)
#define RFLAGS_ZF        BIT(6)
#define RFLAGS_SF        BIT(7)
#define RFLAGS_TF        BIT(8)
#define RFLAGS_IF        BIT(9)
#define RFLAGS_DF        BIT(10)
#define RFLAGS_OF        BIT(11)
#define RFLAGS_IOPL_MASK (3ull << 12)
#define RFLAGS_NT        BIT(14)
#define RFLAGS_RF        BIT(16)
#define RFLAGS_VM        BIT(17)
#define RFLAGS_AC        BIT(18)
#define RFLAGS_VIF       BIT(19)
#define RFLAGS_VIP       BIT(20)
#define RFLAGS_ID        BIT(21)

/* Exception vectors, SDM Vol 3A 6.3.1 */
enum vector {
    VECTOR_DE = 0,
    VECTOR_DB = 1,
    VECTOR_NMI = 2,
    VECTOR_BP = 3,
    VECTOR_OF = 4,
    VECTOR_BR = 5,
    VECTOR_UD = 6,
    VECTOR_NM = 7,
    VECTOR_DF = 8,
    VECTOR_TS = 10,
    VECTOR_NP = 11,
    VECTOR_SS = 12,
    VECTOR_GP = 13,
    VECTOR_PF = 14,
    VECTOR_MF = 16,
    VECTOR_AC = 17,
    VECTOR_MC = 18,
    VECTOR_XM = 19,
    VECTOR_VE = 20,
    VECTOR_CP = 21,
    VECTOR_EXCEPTIONS = 32, /* first vector that is not an exception */
};

/* Page-fault error code, SDM Vol 3A 4.7 */
#define PF_P    BIT(0)
#define PF_W    BIT(1)
#define PF_U    BIT(2)
#define PF_RSVD BIT(3)
#define PF_I    BIT(4)
#define PF_PK   BIT(5)
#define PF_SS   BIT(6)

/* Paging-structure entries of PAE and 4-level paging, SDM Vol 3A 4.4 and 4.5; 32-bit entries share the low
 * bits */
#define PTE_P         BIT(0)
#define PTE_W         BIT(1)
#define PTE_U         BIT(2)
#define PTE_PWT       BIT(3)
#define PTE_PCD       BIT(4)
#define PTE_A         BIT(5)
#define PTE_D         BIT(6)
#define PTE_PS        BIT(7) /* in a PDE or PDPTE: maps a page */
#define PTE_PAT_4K    BIT(7) /* in a PTE */
#define PTE_G         BIT(8)
#define PTE_PAT_LARGE BIT(12) /* in an entry with PTE_PS */
#define PTE_NX        BIT(63)
#define PTE_ADDR_MASK 0x000FFFFFFFFFF000ull

/* Bits of DR6 and DR7 that are fixed, SDM Vol 3B 17.2 */
#define DR6_INIT 0xFFFF0FF0ull
#define DR7_INIT 0x400ull

#define DR6_BREAKPOINTS 0xFull
#define DR6_CAUSES      0x600Full /* BS, BD, B3..B0: also the exit qualification of #DB, SDM Vol 3C table 27-1 */
#define DR6_BS          BIT(14)
#define DR6_BD          BIT(13)
#define DR6_WRITABLE    0xE00Full
#define DR7_GD          BIT(13)
#define DR7_WRITABLE    0xFFFF23FFull

/* Reset value of IA32_PAT, SDM Vol 3A 11.12.4: WB WT UC- UC, twice */
#define PAT_RESET 0x0007040600070406ull

/* A 48-bit linear address in its canonical form, SDM Vol 1 3.3.7.1. */
static inline bool linear_is_canonical(u64 address)
{
    return (u64)((s64)(address << 16) >> 16) == address;
}
