/* shadow_lookup.c - see shadow_lookup.h. Leaves are 4 KiB pages always. */
#include "mm/shadow_lookup.h"

#include "mm/shadow_internal.h"

#define PAE_DIRECTORY_SHIFT 30

/* The derived entry of gva in the table that a link leads to. */
static inline u64 entry_below(u64 link, u64 gva, u32 level)
{
    const _Atomic u64 *table = hpa_to_ptr(HPA(link & PTE_ADDR_MASK));

    return entry_known(atomic_load_explicit(&table[slot_of(gva, level)], memory_order_relaxed));
}

/* From level 3 on, or from 2 under a PAE root. */
static inline bool look_on(u64 entry, bool pae, gva_t gva, hpa_t *out)
{
    if (!pae && likely(entry & PTE_P))
        entry = entry_below(entry, gva.v, 3);
    if (likely(entry & PTE_P))
        entry = entry_below(entry, gva.v, 2);
    if (likely(entry & PTE_P))
        entry = entry_below(entry, gva.v, 1);
    *out = HPA((entry & PTE_ADDR_MASK) | (gva.v & PAGE_MASK));
    return entry & PTE_P;
}

static bool lookup(const struct shadow *sh, gva_t gva, hpa_t *out)
{
    if (!sh->pae_root)
        return look_on(entry_below(sh->root.v, gva.v, 4), false, gva, out);
    return look_on(sh->low_frame[sh->root_page * 4 + ((u32)gva.v >> PAE_DIRECTORY_SHIFT)], true, gva, out);
}

static bool lookup_shared(const struct shadow *view, gva_t gva, hpa_t *out)
{
    struct spinlock *lock = &view->view_of->lock;
    bool found;

    spinlock_acquire(lock); /* the tables on the way must not become others */
    found = lookup(view, gva, out);
    spinlock_release(lock);
    return found;
}

bool shadow_lookup(const struct shadow *sh, gva_t gva, hpa_t *out)
{
    if (unlikely(sh->lookup_slow))
        return sh->view_of ? lookup_shared(sh, gva, out) : lookup(sh, gva, out);
    return look_on(entry_below(sh->root.v, gva.v, 4), false, gva, out);
}
