/* shadow_pool.c - shadow pages: making, finding, changing, killing and reclaiming them. */
#include "arch/string.h"
#include "mm/shadow_shared.h"

#define RECLAIM_SHARE 8 /* a batch is at least one part in so many of the pool */

u32 shadow_frame_take(struct shadow *sh)
{
    u32 no = sh->free_frame;

    if (!no)
        return RMAP_NO_FRAME;
    sh->free_frame = sh->page[no - 1].hash_next;
    sh->page[no - 1].hash_next = 0;
    sh->page[no - 1].state = PAGE_TAKEN;
    sh->free_count--;
    counter_set(&sh->stats.pages_used, sh->frame_count - sh->free_count);
    return no - 1;
}

void shadow_frame_give(struct shadow *sh, u32 frame)
{
    struct shadow_page *p = &sh->page[frame];

    sh->listed -= (p->flags & PAGE_LISTED) != 0;
    memset(p, 0, sizeof *p);
    p->hash_next = sh->free_frame;
    sh->free_frame = frame + 1;
    sh->free_count++;
    counter_set(&sh->stats.pages_used, sh->frame_count - sh->free_count);
}

u32 shadow_page_find(const struct shadow *sh, u64 key)
{
    u32 no = sh->hash[hash_of(sh, key_gfn(key))];

    while (no && sh->page[no - 1].key != key)
        no = sh->page[no - 1].hash_next;
    return no;
}

u32 shadow_page_make(struct shadow *sh, u64 key)
{
    u32 *head = &sh->hash[hash_of(sh, key_gfn(key))];
    u32 no = shadow_frame_take(sh);
    struct shadow_page *p;

    if (no == RMAP_NO_FRAME)
        return 0;
    memset(sh->frames + (u64)no * PAGE_SIZE, (u8)entry_absent(sh, key), PAGE_SIZE);
    p = &sh->page[no];
    p->key = key;
    p->state = PAGE_LIVE;
    p->flags = PAGE_REFERENCED;
    p->hash_next = *head;
    *head = no + 1;
    counter_one(&sh->stats.pages_made);
    if (key_level(key) > 1)
        shadow_list_page(sh, no);
    if (!key_direct(key))
        shadow_table_trace(sh, no);
    return no + 1;
}

bool shadow_entry_set(struct shadow *sh, u32 no, u32 slot, u64 entry)
{
    _Atomic u64 *at = &page_entries(sh, no)[slot];
    u64 raw = atomic_load_explicit(at, memory_order_relaxed), old = entry_was(raw);
    struct shadow_page *p = &sh->page[no];
    bool leaf = key_level(p->key) == 1;
    bool mapped = leaf && !key_direct(p->key); /* in the rmap: direct pages are found by gfn */
    bool moved = (old ^ entry) & PTE_ADDR_MASK;

    if (unlikely(p->forwarded && raw == ENTRY_FORWARDED))
        p->forwarded--;
    else if (old == entry && likely(!old || old == raw))
        return true;
    if (old) {
        if (entry_narrows(old, entry))
            sh->stale |= leaf ? STALE_LEAF : STALE_LINK;
        if (!leaf)
            leaf_forget(sh);
        if (mapped && moved)
            rmap_remove(&sh->rmap, old >> PAGE_SHIFT & (PTE_ADDR_MASK >> PAGE_SHIFT),
                        RMAP_LOCATION(no, slot));
    }
    if (mapped && entry && (moved || !old) &&
        !rmap_add(&sh->rmap, (entry & PTE_ADDR_MASK) >> PAGE_SHIFT, RMAP_LOCATION(no, slot)))
        entry = 0;
    if (!leaf && entry) {
        note_unproven(sh);
        if (moved || !old || old != raw) { /* a revoked link is none, as INVLPG sees it */
            if (unlikely(sh->shared != NULL))
                shadow_shared_before_link(sh, link_page(sh, entry));
            shadow_note_link(sh, link_page(sh, entry), p->reach);
        }
    }
    p->live = (u16)(p->live + (entry != 0) - (old != 0));
    atomic_store_explicit(at, entry ? entry : entry_absent(sh, p->key), memory_order_release);
    return entry != 0;
}

void shadow_entry_forward(struct shadow *sh, u32 no, u32 slot)
{
    struct shadow_page *p = &sh->page[no];

    if (p->forwarded && entry_raw(sh, no, slot) == ENTRY_FORWARDED)
        return;
    shadow_entry_set(sh, no, slot, 0);
    atomic_store_explicit(&page_entries(sh, no)[slot], ENTRY_FORWARDED, memory_order_release);
    p->forwarded += p->forwarded < ENTRIES; /* those that were revoked are still counted */
    note_unproven(sh);
}

void shadow_page_withdraw(struct shadow *sh, u32 no)
{
    for (u32 slot = 0; slot < ENTRIES && sh->page[no].forwarded; slot++)
        if (entry_raw(sh, no, slot) == ENTRY_FORWARDED)
            shadow_entry_set(sh, no, slot, 0);
    sh->page[no].forwarded = 0;
}

void shadow_page_clear(struct shadow *sh, u32 no)
{
    shadow_page_withdraw(sh, no);
    for (u32 slot = 0; slot < ENTRIES && sh->page[no].live; slot++)
        if (entry_was(entry_raw(sh, no, slot)))
            shadow_entry_set(sh, no, slot, 0);
}

static void unhash(struct shadow *sh, u32 no)
{
    u32 *link = &sh->hash[hash_of(sh, key_gfn(sh->page[no].key))];

    while (*link != no + 1)
        link = &sh->page[*link - 1].hash_next;
    *link = sh->page[no].hash_next;
}

/* Ends this vCPU's interest in the table unless another page is made from it. */
static void end_interest(struct shadow *sh, u64 gfn)
{
    struct trace *t = trace_of(sh->vm->traces, gfn);

    if (shadow_has_page_of(sh, gfn))
        return;
    if (t && (trace_interest(t) & BIT(sh->consumer)))
        trace_remove(t, sh->consumer);
}

void shadow_page_kill(struct shadow *sh, u32 no)
{
    struct shadow_page *p = &sh->page[no];
    u64 key = p->key;

    leaf_forget(sh);
    if (key_level(key) == 4)
        shadow_recent_forget(sh);
    shadow_page_clear(sh, no);
    if (p->flags & PAGE_LOOSE)
        shadow_unloosen(sh, no);
    unhash(sh, no);
    shadow_unlist_page(sh, no);
    p->key = 0;
    p->hash_next = 0;
    p->flags &= PAGE_LISTED;
    p->reach = REACH_NONE;
    p->state = PAGE_STALE;
    sh->stale_count++;
    counter_one(&sh->stats.pages_killed);
    if (!key_direct(key))
        end_interest(sh, key_gfn(key));
    if (unlikely(sh->shared) && key_level(key) == 4) {
        sh->stale_count--;
        shadow_shared_give_root(sh, no);
    }
}

/* Marks what the hardware walked through since the last time, by the accessed bits of the links, and the roots. */
static void note_references(struct shadow *sh)
{
    for (u32 way = 0; way < SHADOW_ROOT_WAYS; way++)
        if (sh->recent.cr3[way] != ~0ull)
            sh->page[sh->recent.page[way]].flags |= PAGE_REFERENCED;
    shadow_recent_forget(sh);
    for (u32 no = 0; no < sh->frame_count; no++) {
        struct shadow_page *p = &sh->page[no];
        if (p->state != PAGE_LIVE || key_level(p->key) == 1 || !p->live)
            continue;
        for (u32 slot = 0; slot < ENTRIES; slot++) {
            u64 e = entry_get(sh, no, slot);
            if (!(e & PTE_A))
                continue;
            sh->page[link_page(sh, e)].flags |= PAGE_REFERENCED;
            revoke_clear_bits(&page_entries(sh, no)[slot], PTE_A);
        }
    }
}

/* Second chance: the hand passes over pages that were used since it came by last. */
static void kill_victims(struct shadow *sh, u32 wanted)
{
    for (u32 steps = 0; steps < 2 * sh->frame_count && sh->stale_count < wanted; steps++) {
        u32 no = sh->clock_hand;
        struct shadow_page *p = &sh->page[no];
        sh->clock_hand = no + 1 < sh->frame_count ? no + 1 : 0;
        if (p->state != PAGE_LIVE || shadow_is_root(sh, no))
            continue;
        if (p->flags & PAGE_REFERENCED) {
            p->flags &= (u8)~PAGE_REFERENCED;
            continue;
        }
        shadow_page_kill(sh, no);
        counter_one(&sh->stats.pages_reclaimed);
    }
}

void shadow_cut_pae_roots(const struct shadow *sh, u64 *low_frame, bool all)
{
    for (u32 i = 0; i < PAE_ROOT_SLOTS * 4; i++)
        if (low_frame[i] && (all || sh->page[link_page(sh, low_frame[i])].state == PAGE_STALE))
            low_frame[i] = 0;
}

/* Cuts every link to a STALE page; then nothing but the hardware's caches leads there, and those are flushed.
 */
static void free_stale(struct shadow *sh)
{
    for (u32 no = 0; no < sh->frame_count; no++) {
        struct shadow_page *p = &sh->page[no];
        if (p->state != PAGE_LIVE || key_level(p->key) == 1)
            continue;
        for (u32 slot = 0; slot < ENTRIES && p->live; slot++) {
            u64 e = entry_was(entry_raw(sh, no, slot));
            if (e && sh->page[link_page(sh, e)].state == PAGE_STALE)
                shadow_entry_set(sh, no, slot, 0);
        }
    }
    shadow_owe(sh, FLUSH_ALL);
    if (sh->shared) {
        shadow_shared_cut_roots(sh, false);
        shadow_shared_quarantine(sh);
        return;
    }
    shadow_cut_pae_roots(sh, sh->low_frame, false);
    shadow_frames_free(sh, false);
}

void shadow_pool_refill(struct shadow *sh)
{
    u32 batch = MAX(sh->frame_count / RECLAIM_SHARE, FRAMES_RESERVE);

    if (sh->shared && sh->shared->awaited)
        return; /* a batch is in quarantine */
    counter_one(&sh->stats.reclaims);
    if (sh->stale_count < batch) {
        note_references(sh);
        kill_victims(sh, batch);
    }
    free_stale(sh);
    /* Snapshots came back with the pages; what is missing now is with the rmap, which only starting over
     * frees. */
    if (sh->free_count + (sh->shared ? sh->shared->cut_count : 0) < FRAMES_RESERVE || sh->rmap_refused)
        shadow_owe(sh, shadow_clear(sh));
}
