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

bool shadow_lookup(const struct shadow *sh, gva_t gva, hpa_t *out)
{
    u64 entry = sh->root.v | PTE_P;

    if (likely(!sh->pae_root)) {
        entry = entry_below(entry, gva.v, 4);
        if (likely(entry & PTE_P))
            entry = entry_below(entry, gva.v, 3);
    } else {
        entry = sh->low_frame[sh->root_page * 4 + ((u32)gva.v >> PAE_DIRECTORY_SHIFT)];
    }
    if (likely(entry & PTE_P))
        entry = entry_below(entry, gva.v, 2);
    if (likely(entry & PTE_P))
        entry = entry_below(entry, gva.v, 1);
    *out = HPA((entry & PTE_ADDR_MASK) | (gva.v & PAGE_MASK));
    return entry & PTE_P;
}
