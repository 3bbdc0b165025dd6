/*
 * shadow_leaf.c - the short way through a page fault and INVLPG: the tables above the leaf are traced and linked
 * already, so nothing but the leaf entry has to be looked at.
 *
 * After a drain the links of traced tables say what the guest's tables say (shadow_patch.c), rights included. So
 * the way down is remembered for a few regions of 2 MiB, until any link changes (leaf_forget). Whatever is
 * not as usual here is left to shadow_fill.c.
 */
#include "mm/shadow_leaf.h"

#define FORWARD_BLOCK   64u /* entries looked at around the first fault of a table */
#define COMPARE_AT_ONCE 8u
#define STREAK          4u /* faults of one table with nothing in between: it is worth a trace */

/* Walks the shadow down to the leaf table of gva and remembers the way. */
struct shadow_leaf_way *leaf_find_slow(struct shadow *sh, u64 gva)
{
    struct shadow_leaf_way *way = &sh->leaf_way[gva >> LEAF_REGION_SHIFT & (SHADOW_LEAF_WAYS - 1)];
    u64 all = ~0ull, any = 0;
    struct shadow_table table = {NULL, 0};
    u32 no = sh->root_page;

    if (sh->loose_upper || sh->mode != GWALK_LONG || (sh->role & KEY_WP0))
        return NULL;
    for (u32 level = 4; level > 1; level--) {
        u64 e = entry_get(sh, no, slot_of(gva, level));
        if (!e)
            return NULL;
        all &= e;
        any |= e;
        no = link_page(sh, e);
    }
    if (key_plain(sh->page[no].key)) {
        table = shadow_table(sh, sh->page[no].key);
        if (!table.at || table.pretend)
            return NULL;
    } else if (!key_direct(sh->page[no].key) || !sh->page[no].key) {
        return NULL;
    }
    way->tag = leaf_tag(sh, gva);
    way->table = (_Atomic u64 *)table.at;
    way->page = no;
    way->rights = (u8)((all & (PTE_W | PTE_U)) >> 1 | (any & PTE_NX ? 0 : GWALK_RIGHT_X));
    sh->leaf_known = true;
    return way;
}

void shadow_leaf_forget(struct shadow *sh)
{
#pragma GCC unroll 16
    for (u32 i = 0; i < SHADOW_LEAF_WAYS; i++)
        sh->leaf_way[i].tag = LEAF_NO_TAG;
    sh->leaf_known = false;
}

/* A loose table's entry is made to agree with the primary: hardware has forgotten the address, too. */
static void refresh(struct shadow *sh, u32 no, u32 slot, u64 primary)
{
    if (sh->page[no].flags & PAGE_LOOSE) {
        shadow_note_primary(sh, no, slot, primary);
        leaf_rederive(sh, no, slot, primary);
    }
}

void shadow_forward_around(struct shadow *sh, u32 no, u32 slot)
{
    struct shadow_page *p = &sh->page[no];
    u32 count = p->forwarded ? ENTRIES : FORWARD_BLOCK;
    u32 first = slot & ~(count - 1);
    struct shadow_table table = shadow_table(sh, p->key);

    if (sh->forward_flags && key_level(p->key) == 1) /* an upper one was when it was made, or had no place */
        shadow_list_page(sh, no);
    if (!table.at || !page_forwards(sh, p))
        return;
    for (u32 i = first; i < first + count; i++)
        if (entry_raw(sh, no, i) == ENTRY_ABSENT && !(shadow_primary_in(table, p->key, i) & PTE_P))
            shadow_entry_forward(sh, no, i);
}

/* A fault with P=0 in a table without a trace: would tracing it, and so sparing the exit, pay? */
static bool worth_tracing(struct shadow *sh, u32 no)
{
    struct shadow_page *p = &sh->page[no];

    if (!sh->tuning.demand_faults)
        return false;
    p->faults++;
    sh->streak = sh->streak_page == no + 1 ? sh->streak + 1 : 1;
    sh->streak_page = no + 1;
    return sh->streak >= STREAK || p->faults >= (u32)sh->tuning.demand_faults << p->patience;
}

/* Then tracing it would disturb them. */
static bool others_write(const struct shadow *sh, u64 gfn)
{
    return atomic_load_explicit(&sh->vm->traces->frame[gfn].writable, memory_order_relaxed) & ~sh->users;
}

/* The guest's entry is not present. */
static void own_fault(struct shadow *sh, u32 no, u32 slot, u64 primary)
{
    refresh(sh, no, slot, primary);
    if (!sh->can_forward)
        return;
    if ((sh->page[no].flags & PAGE_LOOSE) && worth_tracing(sh, no) &&
        !others_write(sh, key_gfn(sh->page[no].key)))
        shadow_retrace(sh, key_gfn(sh->page[no].key));
    shadow_forward_around(sh, no, slot);
}

/* Entries around slot that the guest has used before (A=1), but this shadow has not. */
static void fill_used_around(struct shadow *sh, const struct shadow_leaf_way *way, u32 slot)
{
    u32 count = sh->tuning.prefill_used, filled = 0;
    u32 first = slot & ~(count - 1);

    for (u32 i = first; i < first + count; i++) {
        u64 primary = atomic_load_explicit(&way->table[i], memory_order_seq_cst);
        if ((primary & (PTE_P | PTE_A)) != (PTE_P | PTE_A) || entry_get(sh, way->page, i))
            continue;
        shadow_note_primary(sh, way->page, i, primary);
        filled += leaf_rederive(sh, way->page, i, primary) != 0;
    }
    counter_add(&sh->stats.fills_extra, filled);
}

/* Is a neighbour there that the guest has used? */
static inline bool neighbour_used(const struct shadow *sh, const struct shadow_leaf_way *way, u32 slot)
{
    u64 primary = atomic_load_explicit(&way->table[slot ^ 1], memory_order_relaxed);

    return (primary & (PTE_P | PTE_A)) == (PTE_P | PTE_A) && !entry_get(sh, way->page, slot ^ 1);
}

/* In a large page of the guest's: its rights are those of the links. */
static bool direct_fault(struct shadow *sh, const struct shadow_leaf_way *way, u64 gva, u32 access,
                         struct shadow_fault *out)
{
    u32 slot = slot_of(gva, 1);
    u64 gfn = key_gfn(sh->page[way->page].key) + slot;

    if (!gwalk_permitted(&sh->paging, access, way->rights) ||
        p2m_entry_type(p2m_get(sh->vm->p2m, gfn)) != P2M_RAM_RW)
        return false;
    if ((access & GWALK_WRITE) && trace_active(&sh->vm->traces->frame[gfn])) {
        out->verdict = SHADOW_TRACED_WRITE;
        out->gpa = GPA(gfn << PAGE_SHIFT | (gva & PAGE_MASK));
        return true;
    }
    counter_one(&sh->stats.fills);
    return shadow_fill_direct(sh, way->page, slot) & (access & GWALK_WRITE ? PTE_W : PTE_P);
}

bool shadow_leaf_fault(struct shadow *sh, u64 gva, u32 access, struct shadow_fault *out)
{
    struct shadow_leaf_way *way = leaf_find(sh, gva);
    u32 slot = slot_of(gva, 1), no;
    u64 primary, need, map, gfn, entry;

    if (!way)
        return false;
    if (!way->table)
        return direct_fault(sh, way, gva, access, out);
    no = way->page;
    primary = atomic_load_explicit(&way->table[slot], memory_order_seq_cst);
    if (!(primary & PTE_P)) {
        out->verdict = SHADOW_GUEST_FAULT;
        out->error = gwalk_access_bits(&sh->paging, access);
        own_fault(sh, no, slot, primary);
        return true;
    }
    if (unlikely(primary & leaf_reserved(sh, sh->role)))
        return false;
    if (!gwalk_permitted(&sh->paging, access,
                         way->rights &
                             ((primary & (PTE_W | PTE_U)) >> 1 | (primary & PTE_NX ? 0 : GWALK_RIGHT_X)))) {
        out->verdict = SHADOW_GUEST_FAULT;
        out->error = gwalk_access_bits(&sh->paging, access) | (u32)PF_P;
        refresh(sh, no, slot, primary);
        return true;
    }
    gfn = (primary & PTE_ADDR_MASK) >> PAGE_SHIFT;
    map = p2m_get(sh->vm->p2m, gfn);
    need = PTE_A | (access & GWALK_WRITE ? PTE_D : 0);
    if (unlikely(p2m_entry_type(map) != P2M_RAM_RW)) {
        if (p2m_entry_type(map) != P2M_NONE || (primary & need) != need)
            return false;
        out->verdict = SHADOW_MMIO;
        out->gpa = GPA(gfn << PAGE_SHIFT | (gva & PAGE_MASK));
        refresh(sh, no, slot, primary);
        return true;
    }
    if ((primary & need) != need) {
        u64 expected = primary;
        if (!atomic_compare_exchange_strong(&way->table[slot], &expected, primary | need))
            return false;
        primary |= need;
    }
    if ((access & GWALK_WRITE) && trace_active(&sh->vm->traces->frame[gfn])) {
        out->verdict = SHADOW_TRACED_WRITE;
        out->gpa = GPA(gfn << PAGE_SHIFT | (gva & PAGE_MASK));
        refresh(sh, no, slot, primary);
        return true;
    }
    shadow_note_primary(sh, no, slot, primary);
    entry = leaf_rederive(sh, no, slot, primary);
    if (unlikely(!entry || ((access & GWALK_WRITE) && !(entry & PTE_W))))
        return false;
    counter_one(&sh->stats.fills);
    sh->streak_page = 0;
    if (neighbour_used(sh, way, slot) && sh->tuning.prefill_used > 1)
        fill_used_around(sh, way, slot);
    return true;
}

bool shadow_leaf_sync(struct shadow *sh, u64 gva)
{
    struct shadow_leaf_way *way = leaf_find(sh, gva);
    u32 slot = slot_of(gva, 1);
    const struct shadow_page *p;
    u64 primary;

    sh->streak_page = 0;
    if (!way)
        return false;
    p = &sh->page[way->page];
    if (!way->table || !(p->flags & PAGE_LOOSE))
        return true;
    primary = atomic_load_explicit(&way->table[slot], memory_order_seq_cst);
    if (likely(p->snapshot && !(p->flags & PAGE_FRESH))) {
        u64 *seen = &shadow_snapshot(sh, p)[slot];
        if (*seen == primary)
            return true;
        *seen = primary;
    }
    leaf_rederive(sh, way->page, slot, primary);
    return true;
}

/* Relaxed is enough: the event's own handshakes came before, and a difference is read again. */
static inline u64 difference(const _Atomic u64 *primary, const u64 *snapshot, u32 i)
{
    return atomic_load_explicit(&primary[i], memory_order_relaxed) ^ snapshot[i];
}

static inline bool differs(const _Atomic u64 *p, const u64 *s)
{
    return difference(p, s, 0) | difference(p, s, 1) | difference(p, s, 2) | difference(p, s, 3) |
           difference(p, s, 4) | difference(p, s, 5) | difference(p, s, 6) | difference(p, s, 7);
}

/* What shadow_leaf_follow() uses for each entry of one page. */
struct follow {
    _Atomic u64 *entry;
    const _Atomic u64 *map; /* the p2m's */
    const struct trace *trace;
    u64 gfns, users, reserved;
    rmap_location first;
};

/*
 * The usual change: one page of the VM's own RAM in place of another, or other rights, and one mapping of each frame.
 * False: nothing was done, leaf_rederive() must see to it.
 */
static inline bool follow_usual(struct shadow *sh, const struct follow *f, u32 slot, u64 primary)
{
    u64 old = atomic_load_explicit(&f->entry[slot], memory_order_relaxed), new, map;
    u64 gfn = (primary & PTE_ADDR_MASK) >> PAGE_SHIFT;
    u64 rights = primary & (PTE_P | PTE_U | PTE_NX | PTE_G | (primary & PTE_D ? PTE_W : 0));

    if (unlikely((primary & (PTE_P | PTE_A | f->reserved)) != (PTE_P | PTE_A) || gfn >= f->gfns ||
                 old == ENTRY_ABSENT || !old))
        return false;
    map = atomic_load_explicit(&f->map[gfn], memory_order_acquire);
    if (unlikely(p2m_entry_type(map) != P2M_RAM_RW))
        return false;
    if ((rights & PTE_W) &&
        unlikely((~atomic_load_explicit(&f->trace[gfn].writable, memory_order_relaxed) & f->users) ||
                 atomic_load_explicit(&f->trace[gfn].interest, memory_order_seq_cst)))
        return false;
    new = (map & P2M_FRAME_MASK) | rights | PTE_A | PTE_D;
    if ((old ^ new) & PTE_ADDR_MASK) {
        u32 *from = rmap_record(&sh->rmap, (old & PTE_ADDR_MASK) >> PAGE_SHIFT);
        u32 *to = rmap_record(&sh->rmap, (map & P2M_FRAME_MASK) >> PAGE_SHIFT);
        if (unlikely(!from || *from != f->first + slot + 1 || !to || *to))
            return false;
        *from = 0;
        *to = f->first + slot + 1;
    }
    sh->stale |= (u8)(entry_narrows(old, new) * STALE_LEAF); /* no branch: 512 of these in a row */
    atomic_store_explicit(&f->entry[slot], new, memory_order_release);
    return true;
}

u32 shadow_leaf_follow(struct shadow *sh, u32 no, const _Atomic u64 *primaries, u64 *snapshot)
{
    const struct follow f = {.entry = page_entries(sh, no),
                             .map = sh->vm->p2m->entry,
                             .trace = sh->vm->traces->frame,
                             .gfns = sh->vm->p2m->count,
                             .users = sh->users,
                             .reserved = leaf_reserved(sh, sh->page[no].key),
                             .first = RMAP_LOCATION(no, 0)};
    u32 changed = 0;

    for (u32 slot = 0; slot < ENTRIES; slot += COMPARE_AT_ONCE) {
        if (likely(!differs(primaries + slot, snapshot + slot)))
            continue;
        for (u32 i = slot; i < slot + COMPARE_AT_ONCE; i++) {
            u64 primary = atomic_load_explicit(&primaries[i], memory_order_relaxed);
            if (primary == snapshot[i])
                continue;
            snapshot[i] = primary;
            if (unlikely(!follow_usual(sh, &f, i, primary)))
                leaf_rederive(sh, no, i, primary);
            changed++;
        }
    }
    return changed;
}
