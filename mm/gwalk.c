/*
 * gwalk.c - the guest page-table walk, SDM Vol 3A chapter 4.
 *
 *   linear address, 4-level:   47      39 38      30 29      21 20      12 11      0
 *                             +----------+----------+----------+----------+---------+
 *                             | PML4 (4) | PDPT (3) |  PD (2)  |  PT (1)  | offset  |
 *   PAE:                                   31:30 PDPTE register, then levels 2 and 1 as above
 *   32-bit:                                31:22 PD (2), 21:12 PT (1), 4-byte entries
 */
#include "mm/gwalk.h"
#include "arch/regs.h"

#define ENTRY_BITS      9
#define ENTRY_BITS_32   10
#define SHIFT_4M        22
#define SHIFT_1G        30
#define LARGE_2M_MASK   0x1fe000ull   /* 20:13 reserved in a 2M entry */
#define LARGE_1G_MASK   0x3fffe000ull /* 29:13 reserved in a 1G entry */
#define PDPTE_RESERVED  0x1e6ull      /* 2:1 and 8:5 of a PAE PDPTE */
#define PSE36_BITS      0x1fe000u     /* 20:13 of a 4M PDE: address bits 39:32 */
#define PSE36_SHIFT     (32 - 13)
#define PSE36_TOP       40
#define SHIFT_OF(level) ((u8)(PAGE_SHIFT + ENTRY_BITS * ((level)-1)))

enum gwalk_mode gwalk_mode_of(const struct paging_state *ps)
{
    if (!(ps->cr0 & CR0_PG))
        return GWALK_UNPAGED;
    if (ps->efer & EFER_LMA)
        return GWALK_LONG;
    return ps->cr4 & CR4_PAE ? GWALK_PAE : GWALK_32BIT;
}

u64 gwalk_reserved_bits(enum gwalk_mode mode, bool nxe, u8 maxphyaddr, u8 level, bool large)
{
    u64 bits = gwalk_reserved_common(mode, nxe, maxphyaddr);

    if (level == 4)
        bits |= PTE_PS;
    else if (large && level == 3)
        bits |= LARGE_1G_MASK;
    else if (large && level == 2)
        bits |= LARGE_2M_MASK;
    return bits;
}

u32 gwalk_reserved_bits_4m(u8 maxphyaddr)
{
    u32 top = MIN(maxphyaddr, PSE36_TOP);

    return ((1u << SHIFT_4M) - 1) & ~((1u << (top - PSE36_SHIFT)) - 1);
}

gpa_t gwalk_4m_base(u32 pde)
{
    return GPA((pde & ~((1ull << SHIFT_4M) - 1)) | (u64)(pde & PSE36_BITS) << PSE36_SHIFT);
}

static bool fault(const struct paging_state *ps, u32 access, u32 why, struct gwalk *out)
{
    out->fault = true;
    out->error = gwalk_access_bits(ps, access) | why;
    return false;
}

/* Sets bits in one entry unless it has them. False: the entry is not what the walk read any more. */
static bool set_bits(const struct p2m *p2m, struct gwalk *out, u8 level, u64 bits)
{
    u64 seen = out->entry[level], expected = seen;
    u32 size = out->mode == GWALK_32BIT ? sizeof(u32) : sizeof(u64);

    if ((seen & bits) == bits)
        return true;
    out->entry[level] |= bits;
    if (guest_mem_cmpxchg(p2m, out->entry_gpa[level], size, &expected, seen | bits) == ERR_OK)
        return expected == seen;
    out->no_ad |= (u8)BIT(level); /* read-only, as a table in ROM would be: counts as set */
    return true;
}

/* SDM Vol 3A 4.8. */
static bool set_accessed_dirty(const struct p2m *p2m, struct gwalk *out, u32 access)
{
    u64 all = PTE_A | PTE_D;

    for (u8 level = out->top; level >= out->level; level--)
        all &= out->entry[level] | PTE_D;
    if (likely(all & PTE_A) && (!(access & GWALK_WRITE) || (out->entry[out->level] & PTE_D)))
        return true;
    for (u8 level = out->top; level >= out->level; level--)
        if (!set_bits(p2m, out, level, PTE_A | (level == out->level && (access & GWALK_WRITE) ? PTE_D : 0)))
            return false;
    return true;
}

/* Where the entry is; NULL if the table is not in RAM. */
static inline const void *entry_place(const struct p2m *p2m, u64 at)
{
    u64 map = p2m_get(p2m, at >> PAGE_SHIFT);

    return likely(p2m_entry_is_ram(map)) ? (u8 *)hpa_to_ptr(p2m_entry_hpa(map)) + (at & PAGE_MASK) : NULL;
}

/* The levels of PAE and 4-level paging from table downwards. */
static inline bool walk_8(const struct p2m *p2m, const struct paging_state *ps, u64 gva, u32 access,
                          u64 table, struct gwalk *out)
{
    u64 reserved = gwalk_reserved_common(out->mode, ps->efer & EFER_NXE, ps->maxphyaddr);
    u64 all = ~0ull, any = 0, offset_mask, e;
    u8 level = out->top;
    u32 shift = SHIFT_OF(level);

    for (;;) {
        u64 gpa = table | (gva >> shift & (BIT(ENTRY_BITS) - 1)) * sizeof(u64);
        const _Atomic u64 *at = entry_place(p2m, gpa);
        e = likely(at != NULL) ? atomic_load_explicit(at, memory_order_seq_cst) : 0;
        out->entry_gpa[level].v = gpa;
        out->entry[level] = e;
        if (unlikely(!(e & PTE_P) || (e & reserved)))
            goto bad;
        all &= e;
        any |= e;
        if (level == 1)
            break;
        if (unlikely(e & PTE_PS)) {
            if (level == 4 || (e & gwalk_reserved_bits(out->mode, true, ps->maxphyaddr, level, true)))
                goto bad;
            break;
        }
        table = e & PTE_ADDR_MASK;
        level--;
        shift -= ENTRY_BITS;
    }
    offset_mask = BIT(shift) - 1;
    out->level = level;
    out->shift = (u8)shift;
    out->rights = (u8)((all & (PTE_W | PTE_U)) >> 1 | (any & PTE_NX ? 0 : GWALK_RIGHT_X));
    out->gpa.v = (e & PTE_ADDR_MASK & ~offset_mask) | (gva & offset_mask);
    return true;
bad:
    out->level = level;
    return fault(ps, access, e & PTE_P ? PF_P | PF_RSVD : 0, out);
}

static u32 rights_of_4(u32 e)
{
    return (e & PTE_W ? GWALK_RIGHT_W : 0) | (e & PTE_U ? GWALK_RIGHT_U : 0) | GWALK_RIGHT_X;
}

static u32 load_4(const struct p2m *p2m, u64 gpa, u8 level, struct gwalk *out)
{
    const _Atomic u32 *at = entry_place(p2m, gpa);

    out->entry_gpa[level] = GPA(gpa);
    out->level = level;
    return at ? atomic_load_explicit(at, memory_order_seq_cst) : 0;
}

static bool walk_4(const struct p2m *p2m, const struct paging_state *ps, u64 gva, u32 access,
                   struct gwalk *out)
{
    u64 mask = BIT(ENTRY_BITS_32) - 1;
    u64 index = gva >> SHIFT_4M & mask;
    u32 pde, pte;

    pde = load_4(p2m, ((u32)ps->cr3 & PTE_ADDR_MASK) | index * sizeof(u32), 2, out);
    out->entry[2] = pde;
    if (!(pde & PTE_P))
        return fault(ps, access, 0, out);
    out->rights = (u8)rights_of_4(pde);
    if ((pde & PTE_PS) && (ps->cr4 & CR4_PSE)) {
        if (pde & gwalk_reserved_bits_4m(ps->maxphyaddr))
            return fault(ps, access, PF_P | PF_RSVD, out);
        out->shift = SHIFT_4M;
        out->gpa = GPA(gwalk_4m_base(pde).v | (gva & ((1u << SHIFT_4M) - 1)));
        return true;
    }
    index = gva >> PAGE_SHIFT & mask;
    pte = load_4(p2m, (pde & PTE_ADDR_MASK) | index * sizeof(u32), 1, out);
    out->entry[1] = pte;
    if (!(pte & PTE_P))
        return fault(ps, access, 0, out);
    out->rights &= (u8)rights_of_4(pte);
    out->shift = PAGE_SHIFT;
    out->gpa = GPA((pte & PTE_ADDR_MASK) | (gva & PAGE_MASK));
    return true;
}

static inline bool walk(const struct p2m *p2m, const struct paging_state *ps, u64 gva, u32 access,
                        struct gwalk *out)
{
    u64 pdpte;

    if (likely(out->mode == GWALK_LONG)) {
        out->top = 4;
        return walk_8(p2m, ps, gva, access, ps->cr3 & CR3_ADDR_MASK, out);
    }
    out->top = 2;
    if (out->mode == GWALK_32BIT)
        return walk_4(p2m, ps, (u32)gva, access, out);
    pdpte = ps->pdpte[gva >> SHIFT_1G & 3];
    if (!(pdpte & PTE_P)) {
        out->level = 3;
        return fault(ps, access, 0, out);
    }
    return walk_8(p2m, ps, (u32)gva, access, pdpte & PTE_ADDR_MASK, out);
}

bool gwalk(const struct p2m *p2m, const struct paging_state *ps, gva_t gva, u32 access, struct gwalk *out)
{
    out->mode = (u8)gwalk_mode_of(ps);
    out->no_ad = 0;
    out->fault = false;
    out->error = 0;
    if (unlikely(out->mode == GWALK_UNPAGED)) {
        out->gpa = GPA((u32)gva.v);
        out->rights = GWALK_RIGHT_W | GWALK_RIGHT_U | GWALK_RIGHT_X;
        out->top = out->level = 0;
        out->shift = PAGE_SHIFT;
        return true;
    }
    for (u32 tries = 0;; tries++) {
        if (!walk(p2m, ps, gva.v, access, out))
            return false;
        if (unlikely(!gwalk_permitted(ps, access, out->rights)))
            return fault(ps, access, PF_P, out);
        if (!(access & GWALK_SET_AD) || set_accessed_dirty(p2m, out, access) || tries == GWALK_RETRIES)
            return true;
    }
}

bool gwalk_load_pdptes(const struct p2m *p2m, struct paging_state *ps)
{
    u64 reserved = PDPTE_RESERVED | ~(BIT(ps->maxphyaddr) - 1);
    const _Atomic u64 *at = guest_mem_pointer(p2m, GPA(ps->cr3 & CR3_PAE_MASK), false);
    u64 pdpte[ARRAY_SIZE(ps->pdpte)];

    if (!at)
        return false;
    for (u32 i = 0; i < ARRAY_SIZE(pdpte); i++) {
        pdpte[i] = atomic_load_explicit(&at[i], memory_order_relaxed);
        if ((pdpte[i] & PTE_P) && (pdpte[i] & reserved))
            return false;
    }
    for (u32 i = 0; i < ARRAY_SIZE(pdpte); i++)
        ps->pdpte[i] = pdpte[i];
    return true;
}

bool gwalk_loads_pdptes(const struct paging_state *from, const struct paging_state *to)
{
    return gwalk_mode_of(to) == GWALK_PAE &&
           (((from->cr0 ^ to->cr0) & (CR0_CD | CR0_NW | CR0_PG)) ||
            ((from->cr4 ^ to->cr4) & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP)));
}
