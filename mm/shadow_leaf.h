/*
 * shadow_leaf.h - the short way for the usual leaf: an entry of a level-1 table under 4-level paging with
 * CR0.WP=1 ("plain"), that maps the VM's own RAM. Filling, INVLPG and reading loose tables again spend most
 * of their time here. Only shadow*.c include it.
 */
#pragma once
#include "mm/shadow_internal.h"

#define KEY_PLAIN_MASK  (KEY_LEVEL_MASK | KEY_MODE_MASK | KEY_WP0)
#define KEY_PLAIN_VALUE ((u64)GWALK_LONG << KEY_MODE_SHIFT | 1)

static inline bool key_plain(u64 key)
{
    return (key & KEY_PLAIN_MASK) == KEY_PLAIN_VALUE;
}

#define KEY_NXE_BIT       7
#define PTE_NX_BIT        63
#define LEAF_REGION_SHIFT 21
#define LEAF_NO_TAG       (~0ull)

static inline u64 leaf_tag(const struct shadow *sh, u64 gva)
{
    return (gva & ~(BIT(LEAF_REGION_SHIFT) - 1)) | sh->root_page;
}
_Static_assert(RMAP_PAGES_MAX <= BIT(LEAF_REGION_SHIFT), "a page number fits below the address of a region");
_Static_assert(KEY_NXE == BIT(KEY_NXE_BIT) && PTE_NX == BIT(PTE_NX_BIT), "one is shifted to the other");

struct shadow_leaf_way *leaf_find_slow(struct shadow *sh, u64 gva);
/* The plain leaf table of gva in the present address space; NULL if it is not linked, or something on the way is
 * not usual. After a drain. */
static inline struct shadow_leaf_way *leaf_find(struct shadow *sh, u64 gva)
{
    struct shadow_leaf_way *way = &sh->leaf_way[gva >> LEAF_REGION_SHIFT & (SHADOW_LEAF_WAYS - 1)];

    return likely(way->tag == leaf_tag(sh, gva)) ? way : leaf_find_slow(sh, gva);
}

/* A page fault, if it needs nothing but the leaf entry; false: shadow_fill.c must see to it. */
bool shadow_leaf_fault(struct shadow *sh, u64 gva, u32 access, struct shadow_fault *out);
/* Reads the entry of gva again if its table is loose; false: shadow_sync.c must see to it. */
bool shadow_leaf_sync(struct shadow *sh, u64 gva);

/* Derives again what has changed in a plain table since the snapshot was taken. Returns how many entries. */
u32 shadow_leaf_follow(struct shadow *sh, u32 no, const _Atomic u64 *primaries, u64 *snapshot);

/* Bits that a plain primary must not have: NX without EFER.NXE is one. */
static inline u64 leaf_reserved(const struct shadow *sh, u64 key)
{
    return sh->reserved | (~key & KEY_NXE) << (PTE_NX_BIT - KEY_NXE_BIT);
}

/* As shadow_derive() for an entry of a plain page. */
static inline u64 leaf_derive(struct shadow *sh, u64 key, u64 primary)
{
    u64 rights = primary & (PTE_P | PTE_U | PTE_NX | PTE_G | (primary & PTE_D ? PTE_W : 0));
    u64 gfn = (primary & PTE_ADDR_MASK) >> PAGE_SHIFT, map;

    if ((primary & (PTE_P | PTE_A)) != (PTE_P | PTE_A) || unlikely(primary & leaf_reserved(sh, key)))
        return 0;
    map = p2m_get(sh->vm->p2m, gfn);
    if (unlikely(p2m_entry_type(map) != P2M_RAM_RW))
        return shadow_leaf(sh, gfn, rights);
    if ((rights & PTE_W) && !trace_allow_writable(&sh->vm->traces->frame[gfn], sh->users))
        rights &= ~PTE_W;
    return (map & P2M_FRAME_MASK) | rights | PTE_A | PTE_D;
}

/* As shadow_entry_set() for an entry of a plain page that is not forwarded. raw: what it is now. */
static __attribute__((always_inline)) inline bool leaf_set(struct shadow *sh, u32 no, u32 slot, u64 raw,
                                                           u64 entry)
{
    struct shadow_page *p = &sh->page[no];
    u64 old = entry_known(raw);
    rmap_location at = RMAP_LOCATION(no, slot);

    if (old) {
        if (entry_narrows(old, entry))
            sh->stale |= STALE_LEAF;
        if ((old ^ entry) & PTE_ADDR_MASK)
            rmap_remove(&sh->rmap, (old & PTE_ADDR_MASK) >> PAGE_SHIFT, at);
        else
            goto store;
        p->live--;
    }
    if (entry) {
        if (unlikely(!rmap_add(&sh->rmap, (entry & PTE_ADDR_MASK) >> PAGE_SHIFT, at)))
            entry = 0;
        else
            p->live++;
    }
store:
    atomic_store_explicit(&page_entries(sh, no)[slot], entry ? entry : entry_absent(sh, 0),
                          memory_order_release);
    return entry != 0;
}

/* As shadow_rederive() for an entry of a plain page; its snapshot is the caller's. Returns the entry. */
static inline u64 leaf_rederive(struct shadow *sh, u32 no, u32 slot, u64 primary)
{
    u64 raw = entry_raw(sh, no, slot), new;

    if (unlikely(!(primary & PTE_P))) {
        if (page_forwards(sh, &sh->page[no]))
            shadow_entry_forward(sh, no, slot);
        else if (entry_known(raw))
            leaf_set(sh, no, slot, raw, 0);
        return 0;
    }
    new = leaf_derive(sh, sh->page[no].key, primary);
    if (unlikely(raw == ENTRY_FORWARDED))
        return shadow_entry_set(sh, no, slot, new) ? new : 0;
    if (new == entry_known(raw))
        return new;
    return leaf_set(sh, no, slot, raw, new) ? new : 0;
}
