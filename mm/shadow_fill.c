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
#include "mm/shadow_leaf.h"
#include "mm/shadow_shared.h"

#define FILL_RETRIES  4
#define PAE_ROOT_BASE 3 /* the level of PDPTEs */

/* What the present fault needs to know everywhere. */
struct fill {
    struct gwalk walk;
    u64 gva;
    u32 access;
    bool wp0_write; /* a supervisor write that only CR0.WP=0 permits */
};

/* What the link at one level of the walk must be: the child's key and the rights. */
struct link {
    u64 key, rights;
};

static inline struct link link_wanted(const struct shadow *sh, const struct fill *f, u32 no, u32 level)
{
    u64 key = sh->page[no].key;
    u64 primary = f->walk.entry[level];
    u32 slot = slot_of(f->gva, level);
    bool final = level == f->walk.level;

    /* The common case: an 8-byte entry that leads to a table, CR0.WP=1. */
    if (likely(!final && !(key & KEY_WP0) && key_mode(key) > GWALK_32BIT))
        return (struct link){(primary & PTE_ADDR_MASK) << (KEY_GFN_SHIFT - PAGE_SHIFT) |
                                 ((key & KEY_ROLE_MASK) | (level - 1)),
                             primary & (PTE_P | PTE_W | PTE_U | PTE_NX)};
    if (key_direct(key))
        return (struct link){shadow_child_key(key, slot, 0), PTE_P | PTE_W | PTE_U};
    return (struct link){shadow_child_key(key, slot, primary),
                         shadow_rights(key, primary, final, final && f->wp0_write)};
}

/* Is the link as wanted already? */
static inline bool link_good(const struct shadow *sh, u64 entry, struct link wanted)
{
    return entry && sh->page[link_page(sh, entry)].key == wanted.key &&
           !((entry ^ wanted.rights) & (PTE_W | PTE_U | PTE_NX));
}

/* Points a link at the child with that key, making the child if need be. Returns its page number + 1; 0 = out
 * of frames. */
static u32 link_child(struct shadow *sh, u64 *pae, u32 no, u32 slot, struct link wanted)
{
    u64 old = pae ? *pae : entry_get(sh, no, slot);
    u32 child = 0;
    u64 new;

    if (old && sh->page[link_page(sh, old)].key == wanted.key)
        child = link_page(sh, old) + 1;
    if (!child)
        child = shadow_page_find(sh, wanted.key);
    if (!child)
        child = shadow_page_make(sh, wanted.key);
    if (unlikely(!child))
        return 0;
    new = page_hpa(sh, child - 1) | wanted.rights;
    if ((old & ~PTE_A) != new) {
        sh->page[child - 1].flags = (u8)((sh->page[child - 1].flags & ~PAGE_ORPHAN) | PAGE_REFERENCED);
        if (pae) {
            *pae = new;
            shadow_note_link(sh, child - 1, REACH_ANY);
        } else {
            shadow_entry_set(sh, no, slot, new);
        }
    }
    return child;
}

/* Leaves of a direct page around slot that are still empty. */
static void fill_neighbours(struct shadow *sh, u32 no, u32 slot, u64 kind)
{
    u32 count = sh->tuning.prefill;
    u32 first = slot & ~(count - 1);
    u64 base = key_gfn(sh->page[no].key);
    u32 filled = 0;

    for (u32 i = first; i < first + count; i++) {
        u64 e;
        if (i == slot || entry_get(sh, no, i))
            continue;
        e = shadow_leaf(sh, base + i, PTE_P | PTE_W | PTE_U);
        filled += e && shadow_entry_set(sh, no, i, e | kind);
    }
    counter_add(&sh->stats.fills_extra, filled);
}

/* Entries of a page table around slot that the guest has used before (A=1), but this shadow has not. */
static void fill_used_neighbours(struct shadow *sh, u32 no, u32 slot)
{
    u64 key = sh->page[no].key;
    u32 count = sh->tuning.prefill_used;
    u32 first = slot & ~(count - 1);
    struct shadow_table table = shadow_table(sh, key);

    for (u32 i = first; table.at && i < first + count; i++) {
        u64 primary;
        if (entry_get(sh, no, i))
            continue;
        primary = shadow_primary_in(table, key, i);
        if ((primary & (PTE_P | PTE_A)) != (PTE_P | PTE_A))
            continue;
        if (shadow_rederive(sh, no, i, primary))
            counter_one(&sh->stats.fills_extra);
    }
}

u64 shadow_fill_direct(struct shadow *sh, u32 no, u32 slot)
{
    bool known = entry_get(sh, no, slot) != 0;
    u64 entry = shadow_leaf(sh, key_gfn(sh->page[no].key) + slot, PTE_P | PTE_W | PTE_U);
    u64 kind = key_ept(sh->page[no].key) ? EPT_WB | EPT_IPAT : 0;

    entry |= entry ? kind : 0;
    if (!shadow_entry_set(sh, no, slot, entry))
        return 0;
    if (sh->tuning.prefill > 1 && !known)
        fill_neighbours(sh, no, slot, kind);
    return entry;
}

/* The last level. Returns the entry made. */
static u64 fill_leaf(struct shadow *sh, const struct fill *f, u32 no)
{
    u64 key = sh->page[no].key;
    u32 slot = slot_of(f->gva, 1);
    u64 primary = f->walk.entry[1], entry;

    counter_one(&sh->stats.fills);
    if (key_direct(key))
        return shadow_fill_direct(sh, no, slot);
    entry = shadow_leaf(sh, (primary & PTE_ADDR_MASK) >> PAGE_SHIFT,
                        shadow_rights(key, primary, true, f->wp0_write) | (primary & PTE_G));
    shadow_note_primary(sh, no, slot, primary);
    if (!shadow_entry_set(sh, no, slot, entry))
        return 0;
    if (sh->tuning.prefill_used > 1)
        fill_used_neighbours(sh, no, slot);
    return entry;
}

/* Links the tables from the root down to the leaf. Returns that table's page number + 1, 0 if there can be none now. */
static u32 link_path(struct shadow *sh, const struct fill *f)
{
    u32 level = 4, child;
    u32 no = sh->root_page;

    if (sh->pae_root) {
        u32 index = (u32)f->gva >> 30;
        child = link_child(sh, &sh->low_frame[sh->root_page * 4 + index], 0, 0,
                           (struct link){shadow_pae_child_key(sh, index), PTE_P});
        if (!child)
            return 0;
        no = child - 1;
        level = 2;
    }
    for (; level > 1; level--) {
        u32 slot = slot_of(f->gva, level);
        u64 entry = entry_get(sh, no, slot);
        struct link wanted = link_wanted(sh, f, no, level);
        if (likely(link_good(sh, entry, wanted))) {
            no = link_page(sh, entry);
            continue;
        }
        if (!key_direct(sh->page[no].key))
            shadow_note_primary(sh, no, slot, f->walk.entry[level]);
        child = link_child(sh, NULL, no, slot, wanted);
        if (!child)
            return 0;
        no = child - 1;
    }
    return no + 1;
}

/* Links the tables and fills the leaf. Returns the leaf entry, 0 if there can be none now. A page of a device has none,
 * but with its tables linked the next access goes the short way (shadow_leaf.c). */
static u64 fill_path(struct shadow *sh, const struct fill *f, enum shadow_verdict v)
{
    u32 no = link_path(sh, f);

    return no && v == SHADOW_RESUME ? fill_leaf(sh, f, no - 1) : 0;
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
    u64 old = entry_get(sh, no, slot);

    if (!old || key_direct(key))
        return old;
    if (level > f->walk.level && (f->walk.entry[level] & PTE_A) &&
        link_good(sh, old, link_wanted(sh, f, no, level)))
        return old;
    return shadow_rederive(sh, no, slot, f->walk.entry[level]);
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
        if (!e && level == f->walk.level && !(f->walk.entry[level] & PTE_P))
            shadow_forward_around(sh, no, slot_of(f->gva, level));
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
        u64 entry, map, made;
        enum shadow_verdict v;

        if (!gwalk(sh->vm->p2m, &sh->paging, GVA(f->gva), f->access | GWALK_SET_AD, &f->walk)) {
            refresh_path(sh, f, false);
            return SHADOW_GUEST_FAULT;
        }
        map = p2m_get(sh->vm->p2m, f->walk.gpa.v >> PAGE_SHIFT);
        f->wp0_write = (sh->role & KEY_WP0) && (f->access & (GWALK_WRITE | GWALK_USER)) == GWALK_WRITE &&
                       !(f->walk.rights & GWALK_RIGHT_W);
        v = classify(sh, f, map);
        if (v != SHADOW_RESUME && !(v == SHADOW_MMIO && f->walk.level == 1 && sh->mode == GWALK_LONG)) {
            if (v != SHADOW_TRACED_WRITE || sh->loose_count || sh->vm->vcpus > 1)
                refresh_path(sh, f, false);
            return v;
        }
        made = counter_get(&sh->stats.pages_made);
        entry = fill_path(sh, f, v);
        /* Changes after the walk are posted to us, except those of tables that were not traced then. */
        if (likely(made == counter_get(&sh->stats.pages_made)) || primaries_unchanged(sh, &f->walk)) {
            if (v == SHADOW_MMIO) {
                refresh_path(sh, f, false);
                return v;
            }
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

    if (shadow_is_view(sh))
        return shadow_shared_fault(sh, gva, error_code, cpl, ac);
    shadow_drain(sh);
    shadow_pool_ensure(sh);
    f.gva = gva.v;
    f.access = error_code & GWALK_ERROR_ACCESS;
    /* At CPL 3 a supervisor access is the CPU's own: implicit, so AC does not help it (SDM Vol 3A 4.6). */
    if (ac && cpl != 3)
        f.access |= GWALK_AC;
    if (unlikely(!shadow_leaf_fault(sh, f.gva, f.access, &out))) {
        out.verdict = fill(sh, &f);
        out.gpa = f.walk.gpa;
        out.error = f.walk.error;
    }
    switch (out.verdict) {
    case SHADOW_GUEST_FAULT: counter_one(&sh->stats.guest_faults); break;
    case SHADOW_EMPTY_PAGE: out.error = error_code & GWALK_ERROR_ACCESS; break;
    case SHADOW_RO_PAGE: out.error = (error_code & GWALK_ERROR_ACCESS) | (u32)PF_P; break;
    case SHADOW_MMIO: counter_one(&sh->stats.mmio); break;
    case SHADOW_TRACED_WRITE:
        counter_one(&sh->stats.traced_writes);
        shadow_write_begin(sh->vm->vcpu[sh->vcpu], out.gpa, 1); /* the others read the view's */
        break;
    default: break;
    }
    shadow_settle(sh);
    out.flush = shadow_take_owed(sh);
    return out;
}
