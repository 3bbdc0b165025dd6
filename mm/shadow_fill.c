/*
 * shadow_fill.c - the page-fault path: whose fault is it, and if ours, make the shadow right (design point
 * 6).
 *
 *   #PF exit -> drain -> guest walk --not permitted--> the guest's fault (and forget what we had for this
 * address)
 *                            |
 *                            +-> traced frame, not RAM, read-only ... -> verdict
 *                            +-> link tables from the root down, derive the leaf
 *                            +-> read the primaries again: changed meanwhile -> once more
 */
#include "mm/shadow_internal.h"

#define FILL_RETRIES  4
#define PAE_ROOT_BASE 3 /* the level of PDPTEs */

/* What the present fault needs to know everywhere. */
struct fill {
    struct gwalk walk;
    u64 gva;
    u32 access;
    bool wp0_write; /* a supervisor write that only CR0.WP=0 permits */
};

/* Points a link at the child with that key, making the child if need be. Returns its page number + 1; 0 = out
 * of frames. */
static u32 link_child(struct shadow *sh, u64 *pae, u32 no, u32 slot, u64 key, u64 rights)
{
    u64 old = pae ? *pae : entry_get(sh, no, slot);
    u32 child = 0;
    u64 new;

    if (old && sh->page[link_page(sh, old)].key == key)
        child = link_page(sh, old) + 1;
    if (!child)
        child = shadow_page_find(sh, key);
    if (!child)
        child = shadow_page_make(sh, key);
    if (unlikely(!child))
        return 0;
    new = page_hpa(sh, child - 1) | rights;
    if ((old & ~PTE_A) != new) {
        sh->page[child - 1].flags = (u8)((sh->page[child - 1].flags & ~PAGE_ORPHAN) | PAGE_REFERENCED);
        if (pae) {
            *pae = new;
            shadow_note_link(sh, child - 1);
        } else {
            shadow_entry_set(sh, no, slot, new);
        }
    }
    return child;
}

/* Leaves of a direct page around slot that are still empty. */
static void fill_neighbours(struct shadow *sh, u32 no, u32 slot)
{
    u32 count = sh->tuning.prefill;
    u32 first = slot & ~(count - 1);
    u64 base = key_gfn(sh->page[no].key);

    for (u32 i = first; i < first + count; i++) {
        u64 e;
        if (i == slot || entry_get(sh, no, i))
            continue;
        e = shadow_leaf(sh, base + i, PTE_P | PTE_W | PTE_U);
        if (e && shadow_entry_set(sh, no, i, e))
            sh->stats.fills_extra++;
    }
}

/* The last level. Returns the entry made. */
static u64 fill_leaf(struct shadow *sh, const struct fill *f, u32 no)
{
    u64 key = sh->page[no].key;
    u32 slot = slot_of(f->gva, 1);
    u64 entry;

    if (key_direct(key)) {
        entry = shadow_leaf(sh, key_gfn(key) + slot, PTE_P | PTE_W | PTE_U);
    } else {
        u64 primary = f->walk.entry[1];
        u64 rights = shadow_rights(key, primary, true, f->wp0_write) | (primary & PTE_G);
        entry = shadow_leaf(sh, (primary & PTE_ADDR_MASK) >> PAGE_SHIFT, rights);
        if (sh->page[no].snapshot)
            ((u64 *)(sh->frames + (u64)(sh->page[no].snapshot - 1) * PAGE_SIZE))[slot] = primary;
    }
    if (!shadow_entry_set(sh, no, slot, entry))
        return 0;
    if (key_direct(key) && sh->tuning.prefill > 1)
        fill_neighbours(sh, no, slot);
    sh->stats.fills++;
    return entry;
}

/* Links the tables from the root down and fills the leaf. Returns the leaf entry, 0 if there can be none now.
 */
static u64 fill_path(struct shadow *sh, const struct fill *f)
{
    const struct gwalk *w = &f->walk;
    u32 level = 4, child;
    u32 no = sh->root_page;

    if (sh->pae_root) {
        u32 index = (u32)f->gva >> 30;
        child = link_child(sh, &sh->low_frame[sh->root_page * 4 + index], 0, 0,
                           shadow_pae_child_key(sh, index), PTE_P);
        if (!child)
            return 0;
        no = child - 1;
        level = 2;
    }
    for (; level > 1; level--) {
        u64 key = sh->page[no].key;
        u32 slot = slot_of(f->gva, level);
        u64 primary = key_direct(key) ? 0 : w->entry[level];
        u64 rights = PTE_P | PTE_W | PTE_U;
        if (!key_direct(key)) {
            rights = shadow_rights(key, primary, level == w->level, level == w->level && f->wp0_write);
            if (sh->page[no].snapshot)
                ((u64 *)(sh->frames + (u64)(sh->page[no].snapshot - 1) * PAGE_SIZE))[slot] = primary;
        }
        child = link_child(sh, NULL, no, slot, shadow_child_key(key, slot, primary), rights);
        if (!child)
            return 0;
        no = child - 1;
    }
    return fill_leaf(sh, f, no);
}

/* Do the guest's entries still say what the walk saw? Read after all interest bits were set. */
static bool primaries_unchanged(const struct shadow *sh, const struct gwalk *w)
{
    for (u32 level = w->top; level >= w->level && level > 0; level--) {
        const void *at = guest_mem_pointer(sh->vm->p2m, w->entry_gpa[level], false);
        u64 now, pretended = w->no_ad & BIT(level) ? PTE_A | PTE_D : 0;
        if (!at)
            return false;
        now = w->mode == GWALK_32BIT ? atomic_load_explicit((const _Atomic u32 *)at, memory_order_seq_cst)
                                     : atomic_load_explicit((const _Atomic u64 *)at, memory_order_seq_cst);
        if ((now ^ w->entry[level]) & ~pretended)
            return false;
    }
    return true;
}

/* Derives the entry of gva in one page from what the walk saw; at the walk's last level or above it. */
static u64 refresh_entry(struct shadow *sh, const struct fill *f, u32 no, u32 level)
{
    u64 key = sh->page[no].key;
    u32 slot = slot_of(f->gva, level);
    u64 old = entry_get(sh, no, slot), new = old;

    if (!key_direct(key)) {
        new = level < f->walk.level ? 0 : shadow_derive(sh, key, slot, f->walk.entry[level]);
        if (level > 1 && new)
            new |= old &PTE_A;
        shadow_entry_set(sh, no, slot, new);
    }
    return new;
}

/*
 * The walk did not lead to an entry of ours. After a #PF the hardware has forgotten this address, and so must
 * the shadow: otherwise a stale entry could come back after the guest made a new translation, which needs no
 * INVLPG where none was present. discard: do not trust the walk either (the tables changed under it).
 */
static void refresh_path(struct shadow *sh, const struct fill *f, bool discard)
{
    u32 no = sh->root_page;
    u32 level = 4;
    u64 e;

    if (sh->pae_root) {
        u64 *pae = &sh->low_frame[sh->root_page * 4 + ((u32)f->gva >> 30)];
        if (f->walk.mode == GWALK_PAE && f->walk.level == PAE_ROOT_BASE)
            *pae = 0;
        if (!*pae)
            return;
        no = link_page(sh, *pae);
        level = 2;
    }
    for (;; level--) {
        if (discard && level <= f->walk.level) {
            shadow_entry_set(sh, no, slot_of(f->gva, level), 0);
            return;
        }
        e = refresh_entry(sh, f, no, level);
        if (!e || level == 1)
            return;
        no = link_page(sh, e);
    }
}

/* CR0.WP=0 and SMAP: the mapping trick would let later accesses with AC=0 through, so the store is emulated.
 */
static bool wp0_needs_emulation(const struct shadow *sh, const struct fill *f)
{
    return f->wp0_write && (sh->role & KEY_SMAP) && (f->walk.rights & GWALK_RIGHT_U) &&
           sh->wp0_forced_gfn != f->walk.gpa.v >> PAGE_SHIFT;
}

/* Verdicts that need no shadow entry; SHADOW_RESUME if none applies. */
static enum shadow_verdict classify(struct shadow *sh, const struct fill *f, u64 map)
{
    bool write = f->access & GWALK_WRITE;
    u64 gfn = f->walk.gpa.v >> PAGE_SHIFT;

    switch (p2m_entry_type(map)) {
    case P2M_NONE: return SHADOW_MMIO;
    case P2M_EMPTY: return SHADOW_EMPTY_PAGE;
    case P2M_RAM_RO: return write ? SHADOW_RO_PAGE : SHADOW_RESUME;
    default: break;
    }
    if (write && (trace_active(trace_of(sh->vm->traces, gfn)) || wp0_needs_emulation(sh, f)))
        return SHADOW_TRACED_WRITE;
    return SHADOW_RESUME;
}

static enum shadow_verdict fill(struct shadow *sh, struct fill *f)
{
    for (u32 tries = 0; tries < FILL_RETRIES; tries++) {
        u64 entry, map;
        enum shadow_verdict v;

        if (!gwalk(sh->vm->p2m, &sh->paging, GVA(f->gva), f->access | GWALK_SET_AD, &f->walk)) {
            refresh_path(sh, f, false);
            return SHADOW_GUEST_FAULT;
        }
        map = p2m_get(sh->vm->p2m, f->walk.gpa.v >> PAGE_SHIFT);
        f->wp0_write = (sh->role & KEY_WP0) && (f->access & (GWALK_WRITE | GWALK_USER)) == GWALK_WRITE &&
                       !(f->walk.rights & GWALK_RIGHT_W);
        v = classify(sh, f, map);
        if (v != SHADOW_RESUME) {
            if (v != SHADOW_TRACED_WRITE || sh->loose_count || sh->vm->vcpus > 1)
                refresh_path(sh, f, false);
            return v;
        }
        entry = fill_path(sh, f);
        if (likely(primaries_unchanged(sh, &f->walk))) {
            /* Linking may have traced this very frame (a table that maps itself). */
            if ((f->access & GWALK_WRITE) && !(entry & PTE_W))
                return classify(sh, f, map);
            return SHADOW_RESUME;
        }
        refresh_path(sh, f, true);
    }
    return SHADOW_RESUME;
}

struct shadow_fault shadow_fault(struct shadow *sh, gva_t gva, u32 error_code, u32 cpl, bool ac)
{
    struct shadow_fault out = {SHADOW_RESUME, 0, GPA(0), FLUSH_NOTHING};
    struct fill f;

    sh->stats.faults++;
    shadow_drain(sh);
    shadow_pool_ensure(sh);
    f.gva = gva.v;
    f.access = error_code & GWALK_ERROR_ACCESS;
    /* At CPL 3 a supervisor access is the CPU's own: implicit, so AC does not help it (SDM Vol 3A 4.6). */
    if (ac && cpl != 3)
        f.access |= GWALK_AC;
    out.verdict = fill(sh, &f);
    out.gpa = f.walk.gpa;
    switch (out.verdict) {
    case SHADOW_GUEST_FAULT:
        out.error = f.walk.error;
        sh->stats.guest_faults++;
        break;
    case SHADOW_EMPTY_PAGE: out.error = error_code & GWALK_ERROR_ACCESS; break;
    case SHADOW_RO_PAGE: out.error = (error_code & GWALK_ERROR_ACCESS) | (u32)PF_P; break;
    case SHADOW_MMIO: sh->stats.mmio++; break;
    case SHADOW_TRACED_WRITE:
        sh->stats.traced_writes++;
        shadow_write_begin(sh, out.gpa, 1);
        break;
    default: break;
    }
    shadow_settle(sh);
    out.flush = shadow_take_owed(sh);
    return out;
}
