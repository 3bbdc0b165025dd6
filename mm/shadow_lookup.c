/* shadow_lookup.c - see shadow_lookup.h. Leaves are 4 KiB pages always. */
#include "mm/shadow_lookup.h"

#include "mm/shadow_internal.h"

#define PAE_DIRECTORY_SHIFT 30

bool shadow_lookup(const struct shadow *sh, gva_t gva, hpa_t *out)
{
    u32 level = 4, no = sh->root_page;
    u64 entry;

    if (unlikely(sh->pae_root)) {
        entry = sh->low_frame[no * 4 + ((u32)gva.v >> PAE_DIRECTORY_SHIFT)];
        if (!(entry & PTE_P))
            return false;
        no = link_page(sh, entry);
        level = 2;
    }
    for (; level > 1; level--) {
        entry = entry_get(sh, no, slot_of(gva.v, level));
        if (unlikely(!(entry & PTE_P)))
            return false;
        no = link_page(sh, entry);
    }
    entry = entry_get(sh, no, slot_of(gva.v, 1));
    *out = HPA((entry & PTE_ADDR_MASK) | (gva.v & PAGE_MASK));
    return entry & PTE_P;
}
