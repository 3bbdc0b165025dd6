/* ept.c - see ept.h. */
#include "mm/ept.h"

#define ENTRIES 512u
#define LINK    (EPT_READ | EPT_WRITE | EPT_EXECUTE)
#define LEVEL   9u  /* bits of an address that one table translates */
#define GFN_MAX 36u /* bits: four levels */

#define FRAME_MASK_2M (ENTRIES * PAGE_SIZE - PAGE_SIZE) /* bits 20:12, reserved in an entry of 2 MiB */

struct sizes {
    u64 pdpts, pds, pts;
};

static struct sizes sizes_of(u64 gfns)
{
    struct sizes s;

    s.pts = ALIGN_UP(gfns, ENTRIES) >> LEVEL;
    s.pds = ALIGN_UP(s.pts, ENTRIES) >> LEVEL;
    s.pdpts = ALIGN_UP(s.pds, ENTRIES) >> LEVEL;
    return s;
}

u64 ept_size(u64 gfns)
{
    struct sizes s = sizes_of(gfns);

    return (1 + s.pdpts + s.pds + s.pts) * PAGE_SIZE;
}

static void set(_Atomic u64 *entry, u64 value)
{
    atomic_store_explicit(entry, value, memory_order_release);
}

static u64 link_to(const void *table)
{
    return ptr_to_hpa(table).v | LINK;
}

/* The entry of one page. */
static u64 page_entry(u64 p2m)
{
    u64 frame = p2m_entry_hpa(p2m).v | EPT_WB | EPT_IPAT | EPT_READ | EPT_EXECUTE;

    switch (p2m_entry_type(p2m)) {
    case P2M_RAM_RW: return frame | EPT_WRITE;
    case P2M_RAM_RO: return frame;
    case P2M_NONE:
    case P2M_EMPTY: break;
    }
    return 0;
}

static _Atomic u64 *table_of(const struct ept *ept, u64 region)
{
    return ept->pt + region * ENTRIES;
}

/* All pages of a region of 2 MiB into its table. */
static void fill(struct ept *ept, u64 region)
{
    for (u32 i = 0; i < ENTRIES; i++)
        set(&table_of(ept, region)[i], page_entry(p2m_get(ept->p2m, region * ENTRIES + i)));
    set(&ept->pd[region], link_to(table_of(ept, region)));
}

/* Are they one frame of 2 MiB, or is there nothing at all? */
static bool uniform(const struct ept *ept, u64 region, u64 first)
{
    if (first && (ept->large == EPT_LARGE_NONE || (first & FRAME_MASK_2M)))
        return false;
    for (u32 i = 1; i < ENTRIES; i++)
        if (page_entry(p2m_get(ept->p2m, region * ENTRIES + i)) != (first ? first + i * PAGE_SIZE : 0))
            return false;
    return true;
}

enum err ept_init(struct ept *ept, const struct p2m *p2m, void *tables, enum ept_large large)
{
    struct sizes s = sizes_of(p2m->count);
    _Atomic u64 *pml4 = tables, *pdpt = pml4 + ENTRIES;

    if (!p2m->count || (p2m->count - 1) >> GFN_MAX)
        return ERR_RANGE;
    *ept = (struct ept){.p2m = p2m, .root = ptr_to_hpa(tables), .large = large};
    ept->pd = pdpt + s.pdpts * ENTRIES;
    ept->pt = ept->pd + s.pds * ENTRIES;
    for (u64 i = 0; i < s.pdpts; i++)
        set(&pml4[i], link_to(pdpt + i * ENTRIES));
    for (u64 i = 0; i < s.pds; i++)
        set(&pdpt[i], link_to(ept->pd + i * ENTRIES));
    for (u64 region = 0; region < s.pts; region++) {
        u64 first = page_entry(p2m_get(p2m, region * ENTRIES));
        if (!uniform(ept, region, first))
            fill(ept, region);
        else if (first)
            set(&ept->pd[region], (first | EPT_LARGE) & ~(large == EPT_LARGE_DATA ? EPT_EXECUTE : 0));
    }
    return ERR_OK;
}

void ept_update(struct ept *ept, u64 gfn)
{
    u64 region = gfn / ENTRIES;

    if (gfn >= ept->p2m->count)
        return;
    spinlock_acquire(&ept->lock);
    /* The p2m is read under the lock: of two changes of one page the later one stays. */
    if (atomic_load_explicit(&ept->pd[region], memory_order_relaxed) == link_to(table_of(ept, region)))
        set(&table_of(ept, region)[gfn % ENTRIES], page_entry(p2m_get(ept->p2m, gfn)));
    else
        fill(ept, region);
    spinlock_release(&ept->lock);
}
