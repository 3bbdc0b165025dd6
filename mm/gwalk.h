/*
 * gwalk.h - the walk of a guest's own page tables, in every paging mode (SDM Vol 3A chapter 4; P64).
 *
 * Pure: reads guest memory through the p2m, touches nothing else. Guest tables are hostile and may change at
 * any time: each entry is read once, atomically, and only that value is used.
 *
 * A table that does not lie in RAM reads as "not present": the walk answers with an ordinary #PF(P=0).
 */
#pragma once
#include "arch/regs.h"
#include "arch/types.h"
#include "mm/p2m.h"

enum gwalk_mode {
    GWALK_UNPAGED, /* CR0.PG=0: linear = physical, 32 bits */
    GWALK_32BIT,   /* 4-byte entries, 2 levels, 4M pages with CR4.PSE */
    GWALK_PAE,     /* 8-byte entries, 2 levels under 4 PDPTEs held in registers */
    GWALK_LONG,    /* 8-byte entries, 4 levels */
};

/* The guest's paging registers, as the guest believes them to be. */
struct paging_state {
    u64 cr0, cr3, cr4, efer;
    u64 pdpte[4];  /* PAE only: as loaded by the last MOV CR3 (or CR0/CR4 write that loads them) */
    u8 maxphyaddr; /* the guest's CPUID.80000008H:EAX[7:0], 32..52 */
};

/* What is asked of a translation. The low bits are those of the #PF error code, so a hardware error code may
 * be passed after masking with GWALK_ERROR_ACCESS. */
#define GWALK_WRITE        0x002u
#define GWALK_USER         0x004u /* a user-mode access (CPL 3, and not an implicit supervisor access) */
#define GWALK_FETCH        0x010u
#define GWALK_ERROR_ACCESS (GWALK_WRITE | GWALK_USER | GWALK_FETCH)
#define GWALK_AC           0x100u /* RFLAGS.AC=1 and the access is explicit: SMAP does not apply */
#define GWALK_SET_AD       0x200u /* set accessed/dirty bits as the CPU would, if the access is permitted */

#define GWALK_RIGHT_W 0x1u
#define GWALK_RIGHT_U 0x2u
#define GWALK_RIGHT_X 0x4u

#define GWALK_LEVELS 4

struct gwalk {
    gpa_t gpa;  /* the byte's address; valid when !fault */
    bool fault; /* #PF with code error */
    u32 error;  /* exact #PF error code (SDM Vol 3A 4.7) */
    u8 mode;    /* enum gwalk_mode */
    u8 rights;  /* GWALK_RIGHT_*: AND over the levels, as the entries say (no CR0.WP, SMEP, SMAP in it) */
    u8 top;     /* level of the first table read: 4 long, 2 PAE and 32-bit, 0 unpaged */
    u8 level;   /* level of the leaf (1 = 4K, 2 = 2M/4M, 3 = 1G; 0 unpaged), or of the entry that faulted;
                   3 with mode PAE: the PDPTE was not present */
    u8 no_ad;   /* bit per level: the table is in read-only RAM, A/D in entry[] is pretended */
    u8 shift;   /* log2 of the page size: 12, 21, 22, 30 */
    /* [level]: address and value of each entry used, levels top .. level. After GWALK_SET_AD with A/D in it.
     */
    gpa_t entry_gpa[GWALK_LEVELS + 1];
    u64 entry[GWALK_LEVELS + 1];
};

enum gwalk_mode gwalk_mode_of(const struct paging_state *ps);

/* Bits of a present 8-byte entry that must be zero in every level and kind. */
static inline u64 gwalk_reserved_common(enum gwalk_mode mode, bool nxe, u8 maxphyaddr)
{
    u64 bits = (BIT(mode == GWALK_PAE ? 63 : 52) - 1) & ~(BIT(maxphyaddr) - 1);

    return nxe ? bits : bits | BIT(63);
}

/* The same at level (1..4) of its kind; large = it maps a page at level 2 or 3. */
u64 gwalk_reserved_bits(enum gwalk_mode mode, bool nxe, u8 maxphyaddr, u8 level, bool large);

/* Bits of a present 4-byte PDE with PS=1 under CR4.PSE=1 that must be zero (SDM Vol 3A table 4-4, PSE-36). */
u32 gwalk_reserved_bits_4m(u8 maxphyaddr);

/* The guest-physical base of a 4M page: bits 31:22 and, by PSE-36, bits 20:13 as address bits 39:32. */
gpa_t gwalk_4m_base(u32 pde);

/* The error code of a fault that is not a protection violation, or the common part of one. */
static inline u32 gwalk_access_bits(const struct paging_state *ps, u32 access)
{
    u32 error = access & (GWALK_WRITE | GWALK_USER);

    if ((access & GWALK_FETCH) && ((ps->cr4 & CR4_SMEP) || ((ps->cr4 & CR4_PAE) && (ps->efer & EFER_NXE))))
        error |= PF_I;
    return error;
}

/* Do these rights permit the access? SDM Vol 3A 4.6.1. */
static inline bool gwalk_permitted(const struct paging_state *ps, u32 access, u32 rights)
{
    if (access & GWALK_USER) {
        if (!(rights & GWALK_RIGHT_U))
            return false;
        if (access & GWALK_FETCH)
            return rights & GWALK_RIGHT_X;
        return !(access & GWALK_WRITE) || (rights & GWALK_RIGHT_W);
    }
    if (access & GWALK_FETCH)
        return (rights & GWALK_RIGHT_X) && !((rights & GWALK_RIGHT_U) && (ps->cr4 & CR4_SMEP));
    if ((rights & GWALK_RIGHT_U) && (ps->cr4 & CR4_SMAP) && !(access & GWALK_AC))
        return false;
    return !(access & GWALK_WRITE) || (rights & GWALK_RIGHT_W) || !(ps->cr0 & CR0_WP);
}

/*
 * Translates gva for an access of kind access (GWALK_*). Fills *out. Returns true when permitted. With
 * GWALK_SET_AD, sets A in every entry used and, for a write, D in the leaf, each by compare-and-exchange on
 * guest memory, restarting the walk when an entry changed meanwhile (bounded: after GWALK_RETRIES the walk
 * goes on with what it read, as a CPU that read early could). Tables in read-only RAM keep their A/D bits.
 */
bool gwalk(const struct p2m *p2m, const struct paging_state *ps, gva_t gva, u32 access, struct gwalk *out);

#define GWALK_RETRIES 16

/*
 * Loads the four PDPTEs at CR3 into ps->pdpte as MOV to CR3/CR0/CR4 does under PAE paging (SDM Vol 3A 4.4.1).
 * False: a present one has reserved bits set (or the table is not RAM): the instruction gets #GP(0), *ps
 * unchanged.
 */
bool must_check gwalk_load_pdptes(const struct p2m *p2m, struct paging_state *ps);
/* Does it, when MOV to CR0 or CR4 changes the registers so? */
bool gwalk_loads_pdptes(const struct paging_state *from, const struct paging_state *to);
