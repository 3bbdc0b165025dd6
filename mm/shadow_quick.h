/*
 * shadow_quick.h - MOV CR3 as it usually is: back to an address space that was left a moment ago, by the only vCPU of its
 * VM, with nothing to read again. vmm/ tries it first.
 */
#pragma once
#include "mm/matrix.h"
#include "mm/shadow.h"

/*
 * As shadow_set_cr3(). False: nothing was done, that function must see to it. *flush: all but global translations must
 * be forgotten.
 */
static inline bool shadow_set_cr3_quick(struct shadow *sh, u64 cr3, bool *flush)
{
    u32 way = cr3 >> PAGE_SHIFT & (SHADOW_ROOT_WAYS - 1);

    if (unlikely(sh->recent.cr3[way] != cr3 || sh->loose_count || channel_self_ready(sh->self)))
        return false;
    counter_one(&sh->stats.events);
    *flush = sh->root.v != sh->recent.root[way] || sh->stale;
    sh->stale = 0;
    sh->paging.cr3 = cr3;
    sh->root_page = sh->recent.page[way];
    sh->root = HPA(sh->recent.root[way]);
    return true;
}
