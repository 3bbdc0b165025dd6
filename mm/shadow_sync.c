/*
 * shadow_sync.c - traces of this vCPU's tables, and the tables that have none ("loose").
 *
 * A loose table is written by the guest at full speed. Each of this vCPU's coherency events re-reads it, if it may be in
 * use in the address space that the event leads to (shadow_reach.c): a snapshot of the primaries tells which entries
 * changed, and those are derived again. After some events without a change the table is traced again. Loose are: tables
 * whose writes flooded or could not be emulated, tables in memory that others can write, and tables that another vCPU
 * had mapped writable when the trace was asked for (until it has dropped that mapping; nobody waits for it).
 */
#include "arch/string.h"
#include "mm/shadow_leaf.h"
#include "mm/shadow_shared.h"

#define PROMOTIONS_PER_EVENT 8
#define RELINK_PASSES        4
#define SNAPSHOT_RESERVE     (2 * FRAMES_RESERVE)
#define PASSED_BY_MAX        16 /* events; then a table out of reach is read too: it may have calmed down */

static void list_remove(struct shadow *sh, u32 no)
{
    struct shadow_page *p = &sh->page[no];

    *(p->loose_prev ? &sh->page[p->loose_prev - 1].loose_next : &sh->loose_head) = p->loose_next;
    *(p->loose_next ? &sh->page[p->loose_next - 1].loose_prev : &sh->loose_tail) = p->loose_prev;
    p->loose_prev = p->loose_next = 0;
    counter_set(&sh->stats.pages_loose, --sh->loose_count);
    sh->loose_upper -= key_level(p->key) > 1;
}

static void list_add(struct shadow *sh, u32 no)
{
    struct shadow_page *p = &sh->page[no];

    p->loose_prev = 0;
    p->loose_next = sh->loose_head;
    *(p->loose_next ? &sh->page[p->loose_next - 1].loose_prev : &sh->loose_tail) = no + 1;
    sh->loose_head = no + 1;
    counter_set(&sh->stats.pages_loose, ++sh->loose_count);
    if (key_level(p->key) > 1) {
        sh->loose_upper++;
        leaf_forget(sh);
    }
}

void shadow_unloosen(struct shadow *sh, u32 no)
{
    struct shadow_page *p = &sh->page[no];

    list_remove(sh, no);
    note_unproven(sh); /* its links have been nobody's to revoke */
    shadow_choose_filter(sh);
    p->flags &= (u8) ~(PAGE_LOOSE | PAGE_FRESH);
    p->calm = 0;
    p->faults = 0;
    if (p->snapshot)
        shadow_frame_give(sh, p->snapshot - 1);
    p->snapshot = 0;
}

/* The only vCPU has drained: what is derived is so from the primaries as they are now. */
static void take_snapshot(struct shadow *sh, struct shadow_page *p)
{
    struct shadow_table table = shadow_table(sh, p->key);

    if (!table.at || table.pretend || key_mode(p->key) == GWALK_32BIT)
        return;
    memcpy(shadow_snapshot(sh, p), table.at, PAGE_SIZE);
    p->flags &= (u8)~PAGE_FRESH;
}

void shadow_loosen(struct shadow *sh, u32 no, u8 calm)
{
    struct shadow_page *p = &sh->page[no];

    p->calm = calm;
    if (p->flags & PAGE_LOOSE)
        return;
    shadow_page_withdraw(sh, no);
    p->flags |= PAGE_LOOSE | PAGE_FRESH;
    list_add(sh, no);
    shadow_choose_filter(sh);
    if (sh->free_count > SNAPSHOT_RESERVE) {
        u32 frame = shadow_frame_take(sh);
        p->snapshot = frame == RMAP_NO_FRAME ? 0 : frame + 1;
    }
    if (sh->vm->vcpus == 1 && p->snapshot)
        take_snapshot(sh, p);
}

void shadow_loosen_table(struct shadow *sh, u64 gfn)
{
    FOR_PAGES_OF(sh, gfn, no)
    {
        shadow_loosen(sh, no, 0);
    }
}

static void make_read_only(struct shadow *sh, u32 no, u32 slot, u64 frame)
{
    u64 e = entry_get(sh, no, slot);

    if ((e & PTE_W) && (e & PTE_ADDR_MASK) == frame)
        shadow_entry_set(sh, no, slot, e & ~PTE_W);
}

/* Takes this vCPU's writable mappings of a frame away. */
void shadow_protect(struct shadow *sh, u64 gfn, hpa_t frame)
{
    rmap_location at[RMAP_NODE_SLOTS];
    int count = rmap_find(&sh->rmap, frame.v >> PAGE_SHIFT, at);

    counter_one(&sh->stats.protects);
    FOR_DIRECT_PAGES(sh, gfn, no)
    {
        make_read_only(sh, no, gfn & (ENTRIES - 1), frame.v);
    }
    for (int i = 0; i < count; i++)
        make_read_only(sh, RMAP_LOCATION_PAGE(at[i]), RMAP_LOCATION_SLOT(at[i]), frame.v);
    if (count < 0) {
        counter_one(&sh->stats.protect_scans);
        for (u32 no = 0; no < sh->frame_count; no++)
            if (sh->page[no].state == PAGE_LIVE && key_level(sh->page[no].key) == 1 && sh->page[no].live)
                for (u32 slot = 0; slot < ENTRIES; slot++)
                    make_read_only(sh, no, slot, frame.v);
    }
    trace_clear_writable(trace_of(sh->vm->traces, gfn), sh->vcpu);
    /* The TLB may hold a writable translation even if no entry did any more. */
    shadow_owe(sh, FLUSH_ALL);
}

/* Asks another vCPU to protect gfn when it next leaves the guest. */
void shadow_request_protection(struct shadow *sh, u32 vcpu, u64 gfn)
{
    struct shadow *other = sh->vm->vcpu[vcpu];

    for (u32 i = 0; other && i < SHADOW_KICK_SLOTS; i++) {
        u64 expected = 0;
        if (atomic_compare_exchange_strong_explicit(&other->kick_gfn[i], &expected, gfn + 1,
                                                    memory_order_release, memory_order_relaxed) ||
            expected == gfn + 1)
            return;
    }
    if (other)
        atomic_store_explicit(&other->kick_all, true, memory_order_release);
}

/* Sets interest and sees to it that nobody writes the frame silently. False: not yet, or never. */
static bool install(struct shadow *sh, u64 gfn)
{
    struct trace *t = trace_of(sh->vm->traces, gfn);
    u64 map = p2m_get(sh->vm->p2m, gfn);
    u64 own = BIT(sh->vcpu), writable;

    if (!t || !p2m_entry_exclusive(map))
        return false;
    writable = trace_install(t, sh->consumer);
    if (writable & own)
        shadow_protect(sh, gfn, p2m_entry_hpa(map));
    counter_one(&sh->stats.traces_installed);
    writable &= ~own;
    if (likely(!writable))
        return true;
    if (sh->shared)
        return shadow_shared_install(sh, gfn, writable);
    for (u32 vcpu = 0; vcpu < sh->vm->vcpus; vcpu++)
        if (writable & BIT(vcpu))
            shadow_request_protection(sh, vcpu, gfn);
    counter_one(&sh->stats.kicks_sent);
    if (sh->vm->kick)
        sh->vm->kick(sh->vm->kick_context, writable);
    return false;
}

void shadow_table_trace(struct shadow *sh, u32 no)
{
    u64 gfn = key_gfn(sh->page[no].key);
    u8 calm = sh->tuning.calm_events;

    FOR_PAGES_OF(sh, gfn, sibling)
    {
        if (sh->page[sibling].flags & PAGE_LOOSE) {
            shadow_loosen(sh, no, sh->page[sibling].calm);
            return;
        }
    }
    if (!install(sh, gfn))
        shadow_loosen(sh, no, calm ? (u8)(calm - 1) : 0);
}

u64 shadow_rederive(struct shadow *sh, u32 no, u32 slot, u64 primary)
{
    u64 key = sh->page[no].key;
    u64 old, new;

    shadow_note_primary(sh, no, slot, primary);
    if (likely(key_plain(key)))
        return leaf_rederive(sh, no, slot, primary);
    old = entry_was(entry_raw(sh, no, slot));
    new = shadow_derive(sh, key, slot, primary);
    if (key_level(key) > 1) {
        if (new)
            new |= old &PTE_A;
        else if (old && !(primary & PTE_P))
            sh->page[link_page(sh, old)].flags |= PAGE_ORPHAN;
    }
    if (!(primary & PTE_P) && page_forwards(sh, &sh->page[no])) {
        shadow_entry_forward(sh, no, slot);
        return 0;
    }
    return shadow_entry_set(sh, no, slot, new) ? new : 0;
}

/* Looks at one entry of a loose table; true if it had changed. */
static inline bool sync_entry(struct shadow *sh, u32 no, u32 slot, u64 primary)
{
    const struct shadow_page *p = &sh->page[no];
    const u64 *snapshot = shadow_snapshot(sh, p);
    u64 old;

    if (snapshot && snapshot[slot] == primary && !(p->flags & PAGE_FRESH))
        return false;
    old = entry_was(entry_raw(sh, no, slot));
    return ((old ^ shadow_rederive(sh, no, slot, primary)) & ~PTE_A) || snapshot;
}

/* The first reading: any entry may have changed, and the snapshot describes all from now on. */
static u32 sync_fresh(struct shadow *sh, u32 no, struct shadow_table table)
{
    struct shadow_page *p = &sh->page[no];
    u32 changed = 0;

    for (u32 slot = 0; slot < ENTRIES; slot++) {
        u64 old = entry_was(entry_raw(sh, no, slot)), primary = shadow_primary_in(table, p->key, slot);
        if (old || (primary & PTE_P))
            changed += ((old ^ shadow_rederive(sh, no, slot, primary)) & ~PTE_A) != 0;
        else
            shadow_note_primary(sh, no, slot, primary);
    }
    p->flags &= (u8)~PAGE_FRESH;
    return changed;
}

/* Brings a loose page up to date; true if anything had changed. */
static bool sync_page(struct shadow *sh, u32 no)
{
    struct shadow_page *p = &sh->page[no];
    struct shadow_table table = shadow_table(sh, p->key);
    u64 *snapshot = shadow_snapshot(sh, p);
    u32 changed = 0;

    counter_one(&sh->stats.loose_syncs);
    if (!table.at) {
        shadow_page_clear(sh, no);
        return false;
    }
    if (!snapshot) { /* only what is present can be stale */
        for (u32 slot = 0; slot < ENTRIES && p->live; slot++)
            if (entry_was(entry_raw(sh, no, slot)))
                changed += sync_entry(sh, no, slot, shadow_primary_in(table, p->key, slot));
        return changed != 0;
    }
    if (unlikely(p->flags & PAGE_FRESH)) {
        changed = sync_fresh(sh, no, table);
    } else if (likely(key_plain(p->key) && !table.pretend)) {
        changed = shadow_leaf_follow(sh, no, table.at, snapshot);
    } else {
        for (u32 slot = 0; slot < ENTRIES; slot++)
            changed += sync_entry(sh, no, slot, shadow_primary_in(table, p->key, slot));
    }
    counter_add(&sh->stats.loose_changed, changed);
    return changed != 0;
}

/* Upper tables are few, and as long as one is loose, much goes the long way: they are read whatever the root. */
static inline bool in_use(const struct shadow *sh, u32 no)
{
    return shadow_in_reach(sh, no) || key_level(sh->page[no].key) > 1;
}

void shadow_sync_relinked(struct shadow *sh)
{
    /* Each pass may link more, but only where the guest changes its tables meanwhile. */
    for (u32 pass = 0; sh->relinked; pass++) {
        sh->relinked = false;
        if (unlikely(pass == RELINK_PASSES)) {
            shadow_resync(sh);
            continue;
        }
        if (sh->vm->vcpus > 1)
            shadow_drain_now(sh);
        for (u32 no = sh->loose_head; no; no = sh->page[no - 1].loose_next)
            if (in_use(sh, no - 1))
                sync_page(sh, no - 1);
    }
}

/* The table has been calm: trace it again. Its entries are read once more after interest was set. */
void shadow_retrace(struct shadow *sh, u64 gfn)
{
    bool traced = install(sh, gfn);

    FOR_PAGES_OF(sh, gfn, no)
    {
        if (!(sh->page[no].flags & PAGE_LOOSE))
            continue;
        sh->page[no].calm =
            traced ? 0 : (u8)(sh->tuning.calm_events - 1); /* others are asked again at the next event */
        if (traced) {
            sync_page(sh, no);
            shadow_unloosen(sh, no);
            counter_one(&sh->stats.retraced);
        }
    }
}

static bool promote_one(struct shadow *sh)
{
    for (u32 no = sh->loose_head; no; no = sh->page[no - 1].loose_next)
        if (sh->page[no - 1].calm >= sh->tuning.calm_events) {
            if (sh->page[no - 1].patience)
                sh->page[no - 1].patience--;
            shadow_retrace(sh, key_gfn(sh->page[no - 1].key));
            return true;
        }
    return false;
}

/* One event of a loose table: up to date again, and how long it has been calm. */
static void sync_counted(struct shadow *sh, u32 no)
{
    struct shadow_page *p = &sh->page[no];
    bool known = !(p->flags & PAGE_FRESH); /* its first reading tells nothing about changes */

    p->passed_by = 0;
    if (sync_page(sh, no) && known)
        p->calm = 0;
    else if (p->calm < sh->tuning.calm_events)
        p->calm++;
}

/* A few tables that have been calm for long enough. */
static void promote_calm(struct shadow *sh)
{
    for (u32 i = 0; sh->tuning.calm_events && i < PROMOTIONS_PER_EVENT && promote_one(sh); i++)
        ;
}

/*
 * INVLPG: the leaf entry of the address, and every loose upper-level table as a whole, because INVLPG also
 * forgets all cached upper-level entries, of any address (SDM Vol 3A 4.10.4.1).
 */
void shadow_sync_address(struct shadow *sh, gva_t gva)
{
    u32 no = sh->root_page;
    u32 level = 4;

    if (likely(shadow_leaf_sync(sh, gva.v)))
        return;
    if (unlikely(sh->loose_upper)) {
        for (u32 i = sh->loose_head; i; i = sh->page[i - 1].loose_next)
            if (key_level(sh->page[i - 1].key) > 1)
                sync_counted(sh, i - 1);
        promote_calm(sh);
    }
    if (sh->pae_root) {
        u64 e = sh->low_frame[sh->root_page * 4 + ((u32)gva.v >> 30)];
        if (!e)
            return;
        no = link_page(sh, e);
        level = 2;
    }
    for (; level > 1; level--) {
        u64 e = entry_get(sh, no, slot_of(gva.v, level));
        if (!e)
            return;
        no = link_page(sh, e);
    }
    if (sh->page[no].flags & PAGE_LOOSE)
        sync_entry(sh, no, slot_of(gva.v, 1), shadow_primary(sh, sh->page[no].key, slot_of(gva.v, 1)));
}

static void drop_oldest(struct shadow *sh)
{
    u32 no = sh->loose_tail - 1;

    if (shadow_is_root(sh, no)) { /* cannot be killed: to the head of the queue */
        list_remove(sh, no);
        list_add(sh, no);
    } else {
        shadow_page_kill(sh, no);
    }
}

void shadow_sync_all(struct shadow *sh)
{
    bool calm = false;

    while (sh->loose_count > MAX(sh->tuning.loose_max, 1))
        drop_oldest(sh);
    for (u32 no = sh->loose_head; no; no = sh->page[no - 1].loose_next) {
        struct shadow_page *p = &sh->page[no - 1];
        if (!in_use(sh, no - 1) && ++p->passed_by < PASSED_BY_MAX)
            continue;
        sync_counted(sh, no - 1);
        calm |= p->calm >= sh->tuning.calm_events;
    }
    if (unlikely(calm))
        promote_calm(sh);
}
