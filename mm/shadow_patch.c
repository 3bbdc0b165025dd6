/*
 * shadow_patch.c - producer and consumer of patches (P48-P52, P60, P61, P63).
 *
 * Producer: after an emulated store to a traced table, one patch {table, index, derived value, primary seen}
 * to each vCPU with interest. Consumer: at its events, compares the primary seen with the primary now (and
 * the p2m, which may have changed too), and applies the derived value, derives again, or invalidates.
 *
 * The derived value is what a level-1 entry means in the producer's paging mode, which its spare bits 11:9
 * name. Links lead to the consumer's own pages, so they are always derived by the consumer.
 */
#include "mm/shadow_shared.h"

#define INDEX_TABLE    0xffffu /* not an entry: "this table is not traced any more" */
#define INDEX_SIZE4    0x8000u /* index counts 4-byte entries, else 8-byte entries */
#define TAG_SHIFT      9
#define TAG_MASK       (7ull << TAG_SHIFT)
#define UPPER_PATIENCE 8  /* upper tables stand so many times the writes of leaf tables */
#define FLOOD_WINDOW   16 /* events after which writes to a table are not one burst any more */

static u64 tag_of(u64 role)
{
    return ((role & KEY_MODE_MASK) >> KEY_MODE_SHIFT | (role & KEY_NXE ? 4u : 0u)) << TAG_SHIFT;
}

/* Key of a level-1 page in the producer's own mode, to derive by. */
static u64 producer_key(const struct shadow *sh, u64 gfn)
{
    return key_make(gfn, sh->role & (KEY_MODE_MASK | KEY_NXE), 1, 0);
}

static u64 derived_value(const struct shadow *sh, u64 gfn, u64 primary)
{
    u64 key = producer_key(sh, gfn);
    u64 map;

    if (!shadow_primary_usable(sh, key, primary))
        return tag_of(key);
    map = p2m_get(sh->vm->p2m, (primary & PTE_ADDR_MASK) >> PAGE_SHIFT);
    if (!p2m_entry_is_ram(map))
        return tag_of(key);
    return (map & P2M_FRAME_MASK) | shadow_rights(key, primary, true, false) | (primary & PTE_G) |
           tag_of(key);
}

static void post(struct shadow *sh, u32 consumer, const struct patch *p)
{
    switch (matrix_post(sh->vm->matrix, sh->vcpu, consumer, p)) {
    case CHANNEL_ABSORBED: counter_one(&sh->stats.patches_skipped); break;
    case CHANNEL_OVERFLOW: counter_one(&sh->stats.overflows); break;
    default: counter_one(&sh->stats.patches_posted);
    }
}

static void post_table(struct shadow *sh, u32 consumer, u64 gfn)
{
    post(sh, consumer, &(struct patch){.frame = gfn, .index = INDEX_TABLE});
}

/* The slots of a page made from the bytes [offset, offset + size) of its table: first and count; 0 = none. */
static u32 slots_of(u64 key, u32 offset, u32 size, u32 *first)
{
    u32 entry = offset / 4, per_page = key_level(key) == 1 ? ENTRIES : ENTRIES / 2;

    if (key_mode(key) != GWALK_32BIT) {
        *first = offset / 8;
        return (offset + size - 1) / 8 - *first + 1;
    }
    /* An 8-byte piece covers two entries, which are in the same quadrant: both counts are even. */
    if (entry / per_page != key_quadrant(key))
        return 0;
    *first = entry % per_page;
    if (per_page == ENTRIES)
        return size / 4;
    *first *= 2;
    return size / 4 * 2;
}

/* -- consumer -- */

static void consume_entry(struct shadow *sh, u32 no, u32 slot, const struct patch *p, u32 size)
{
    u64 key = sh->page[no].key;
    u64 now = shadow_primary(sh, key, slot), entry = 0;
    bool same_size = (size == 4) == (key_mode(key) == GWALK_32BIT);

    if (now != p->primary || !same_size) {
        if (sh->tuning.stale == SHADOW_STALE_INVALIDATE) {
            counter_one(&sh->stats.patches_invalidated);
            shadow_entry_set(sh, no, slot, 0);
            return;
        }
        counter_one(&sh->stats.patches_rederived);
        shadow_rederive(sh, no, slot, now);
        return;
    }
    counter_one(&sh->stats.patches_applied);
    if (key_level(key) > 1 || (key & KEY_WP0) || !(now & PTE_P) || (p->derived & TAG_MASK) != tag_of(key)) {
        shadow_rederive(sh, no, slot, now);
        return;
    }
    if (p->derived & PTE_P)
        entry = shadow_leaf(sh, (now & PTE_ADDR_MASK) >> PAGE_SHIFT,
                            p->derived & (PTE_P | PTE_W | PTE_U | PTE_NX | PTE_G));
    shadow_note_primary(sh, no, slot, now);
    shadow_entry_set(sh, no, slot, entry);
}

static void consume(void *context, const struct patch *p)
{
    struct shadow *sh = context;
    u32 size = p->index & INDEX_SIZE4 ? 4 : 8;
    u32 offset = (p->index & ~INDEX_SIZE4) * size;
    bool used = false;

    if (p->index == INDEX_TABLE) {
        shadow_loosen_table(sh, p->frame);
        sh->relinked = true; /* a patch drained before this one may have linked it */
        return;
    }
    FOR_PAGES_OF(sh, p->frame, no)
    {
        u32 first = 0, count = slots_of(sh->page[no].key, offset, size, &first);
        for (u32 slot = first; slot < first + count; slot++)
            consume_entry(sh, no, slot, p, size);
        used = used || count;
    }
    if (!used)
        counter_one(&sh->stats.patches_unused);
}

void shadow_resync(struct shadow *sh)
{
    counter_one(&sh->stats.resyncs);
    for (u32 no = 0; no < sh->frame_count; no++) {
        struct shadow_page *p = &sh->page[no];
        if (p->state != PAGE_LIVE || key_direct(p->key))
            continue;
        if (shadow_is_root(sh, no)) {
            shadow_page_clear(sh, no);
            shadow_loosen(sh, no, 0); /* "not traced any more" may be among what was lost */
        } else {
            shadow_page_kill(sh, no);
        }
    }
}

void shadow_page_rederive(struct shadow *sh, u32 no)
{
    for (u32 slot = 0; slot < ENTRIES && (sh->page[no].live || sh->page[no].forwarded); slot++)
        if (entry_raw(sh, no, slot) != entry_absent(sh, sh->page[no].key))
            shadow_rederive(sh, no, slot, shadow_primary(sh, sh->page[no].key, slot));
}

static void rederive_table(struct shadow *sh, u64 gfn)
{
    FOR_PAGES_OF(sh, gfn, no)
    {
        shadow_page_rederive(sh, no);
    }
}

/* Tables that others are in the middle of writing: the store may be done, its patch not yet posted. */
static rarely_run void read_tables_being_written(struct shadow *sh)
{
    u64 gfn[ANNOUNCED_MAX];
    u32 count = shadow_announced(sh, gfn);

    while (count)
        rederive_table(sh, gfn[--count]);
}

void shadow_drain_now(struct shadow *sh)
{
    if (unlikely(revoke_list_cut(&sh->list)))
        leaf_forget(sh);
    u64 storing = 0;
    for (u32 first = 0; first < sh->vm->vcpus && sh->vm->vcpus > 1; first += 8)
        storing |= shadow_others_storing(sh, first);
    if (unlikely(storing))
        read_tables_being_written(sh);
    if (matrix_pending(sh->vm->matrix, sh->consumer) &&
        matrix_drain(sh->vm->matrix, sh->consumer, consume, sh))
        shadow_resync(sh);
}

/* -- producer -- */

/* The hardware will set A in it again when it is used. */
static void prefilled(struct shadow *sh, u32 no, u32 slot)
{
    counter_one(&sh->stats.prefills);
    if (key_level(sh->page[no].key) > 1)
        return;
    atomic_store_explicit(&page_entries(sh, no)[slot], entry_raw(sh, no, slot) & ~PTE_A,
                          memory_order_relaxed);
    sh->prefilled = RMAP_LOCATION(no, slot) + 1;
}

/*
 * Updates the own shadow where that needs no flush (an entry becomes present) and tells whether anything is left
 * for the own event. Links are followed at once where faults may be forwarded: such a fault drains nothing, and
 * the next try must not take an old way again. (What the TLB holds of it is flushed at the event.)
 */
static bool prefill_own(struct shadow *sh, u64 gfn, u32 offset, u32 size)
{
    bool left = false;

    FOR_PAGES_OF(sh, gfn, no)
    {
        u64 key = sh->page[no].key;
        u32 first = 0, count = slots_of(key, offset, size, &first);
        if (sh->page[no].flags & PAGE_LOOSE)
            continue;
        for (u32 slot = first; slot < first + count; slot++) {
            if (entry_get(sh, no, slot) && !(sh->can_forward && key_level(key) > 1))
                left = true;
            else if (shadow_rederive(sh, no, slot, shadow_primary(sh, key, slot)))
                prefilled(sh, no, slot);
        }
    }
    return left;
}

/* Everybody stops relying on the trace of gfn. discard: the page is probably no table any more. */
static void end_trace(struct shadow *sh, u64 gfn, bool discard)
{
    if (sh->vm->vcpus > 1) /* while it is announced: a store afterwards may go unseen */
        shadow_revoke(sh, gfn, 0, ENTRIES - 1);
    u64 told = trace_give_up(trace_of(sh->vm->traces, gfn)) & ~BIT(sh->consumer);

    if (sh->vm->vcpus == 1)
        shadow_drain(
            sh); /* so that all that is derived is so from the primaries as they are: shadow_loosen() */
    for (; told; told &= told - 1)
        post_table(sh, (u32)__builtin_ctzll(told), gfn);
    FOR_PAGES_OF(sh, gfn, no)
    {
        if (sh->page[no].patience < PATIENCE_MAX)
            sh->page[no].patience++;
        if (!shadow_is_root(sh, no) && (discard || (sh->page[no].flags & PAGE_ORPHAN))) {
            shadow_page_kill(sh, no);
            continue;
        }
        if (discard) /* the store may be done, and no entry has been followed */
            shadow_page_clear(sh, no);
        shadow_loosen(sh, no, 0);
    }
    counter_one(&sh->stats.traces_given_up);
}

/* Has the hardware used an entry that was pre-filled after a write? Then the guest maps pages on demand, and that
 * write has spared an exit: it does not count. */
static bool prefill_used(const struct shadow *sh, rmap_location at)
{
    return entry_get(sh, RMAP_LOCATION_PAGE(at), RMAP_LOCATION_SLOT(at)) & PTE_A;
}

/* Counts a write to a traced table; true when the burst has become too long. */
static bool flooded(struct shadow *sh, u64 gfn)
{
    struct shadow_flood *f = &sh->flood[gfn % SHADOW_FLOOD_SLOTS];
    u32 limit = sh->tuning.flood_writes;
    u64 now = counter_get(&sh->stats.events);

    if (!limit)
        return false;
    FOR_PAGES_OF(sh, gfn, no)
    {
        if (sh->page[no].flags & PAGE_ORPHAN)
            return true;
        if (key_level(sh->page[no].key) > 1)
            limit = sh->tuning.flood_writes * UPPER_PATIENCE;
    }
    if (f->gfn != gfn || now - f->event > FLOOD_WINDOW)
        f->count = 0;
    else if (f->count && f->filled && prefill_used(sh, f->filled - 1))
        f->count--;
    f->gfn = gfn;
    f->event = now;
    f->filled = 0;
    return ++f->count >= limit;
}

static void wrote_entry(struct shadow *sh, u64 gfn, u32 offset, u32 size, u64 interest)
{
    const u8 *at = guest_mem_pointer(sh->vm->p2m, GPA(gfn << PAGE_SHIFT | offset), false);
    struct patch p = {.frame = gfn, .index = (u16)(offset / size | (size == 4 ? INDEX_SIZE4 : 0))};

    if (!at)
        return;
    if ((interest & BIT(sh->consumer)) && !prefill_own(sh, gfn, offset, size))
        interest &= ~BIT(sh->consumer);
    if (!interest)
        return;
    p.primary = size == 4 ? atomic_load_explicit((const _Atomic u32 *)at, memory_order_seq_cst)
                          : atomic_load_explicit((const _Atomic u64 *)at, memory_order_seq_cst);
    p.derived = derived_value(sh, gfn, p.primary);
    for (; interest; interest &= interest - 1)
        post(sh, (u32)__builtin_ctzll(interest), &p);
}

static void wrote(struct shadow *sh, u64 gfn, u32 offset, u32 length)
{
    struct trace *t = trace_of(sh->vm->traces, gfn);
    u64 interest = t ? trace_interest(t) : 0;
    u32 size = sh->mode == GWALK_32BIT ? 4 : 8;
    u32 end = offset + length;
    bool flood;

    if (!interest)
        return;
    if (length >= SHADOW_REWRITE_BYTES) {
        end_trace(sh, gfn, true);
        return;
    }
    flood = flooded(sh, gfn);
    sh->prefilled = 0;
    for (offset = ALIGN_DOWN(offset, size); offset < end; offset += size)
        wrote_entry(sh, gfn, offset, size, flood ? interest & BIT(sh->consumer) : interest);
    sh->flood[gfn % SHADOW_FLOOD_SLOTS].filled = sh->prefilled;
    if (flood)
        end_trace(sh, gfn, false);
}

static rarely_run void revoke_bytes(struct shadow *sh, u64 gpa, u32 length)
{
    u64 first = gpa >> PAGE_SHIFT, last = (gpa + length - 1) >> PAGE_SHIFT;
    u32 slot = (gpa & PAGE_MASK) / sizeof(u64), end = ((gpa + length - 1) & PAGE_MASK) / sizeof(u64);

    shadow_revoke(sh, first, slot, last == first ? end : ENTRIES - 1);
    if (last != first)
        shadow_revoke(sh, last, 0, end);
}

void shadow_write_begin(struct shadow *sh, gpa_t gpa, u32 length)
{
    u64 first = gpa.v >> PAGE_SHIFT, last = (gpa.v + length - 1) >> PAGE_SHIFT;

    if (sh->vm->vcpus == 1)
        return;
    atomic_store_explicit(&sh->writing[0], first + 1, memory_order_release);
    atomic_store_explicit(&sh->writing[1], last == first ? 0 : last + 1, memory_order_release);
    atomic_store_explicit(&sh->vm->storing[sh->vcpu], 1, memory_order_seq_cst);
    if (unlikely(last != first || shadow_others_interested(sh, first)))
        revoke_bytes(sh, gpa.v, length);
}

void shadow_write_end(struct shadow *sh)
{
    atomic_store_explicit(&sh->vm->storing[sh->vcpu], 0, memory_order_release);
}

struct flush shadow_write_done(struct shadow *sh, gpa_t gpa, u32 length)
{
    if (shadow_is_view(sh))
        return shadow_shared_write_done(sh, gpa, length);
    while (length) {
        u32 offset = (u32)(gpa.v & PAGE_MASK);
        u32 piece = (u32)MIN(length, PAGE_SIZE - offset);
        wrote(sh, gpa.v >> PAGE_SHIFT, offset, piece);
        gpa.v += piece;
        length -= piece;
    }
    if (sh->vm->vcpus > 1)
        shadow_write_end(sh);
    shadow_settle(sh);
    return shadow_take_owed(sh);
}

struct flush shadow_give_up(struct shadow *sh, gpa_t gpa)
{
    u64 gfn = gpa.v >> PAGE_SHIFT;
    struct trace *t = trace_of(sh->vm->traces, gfn);

    if (shadow_is_view(sh))
        return shadow_shared_give_up(sh, gpa);
    shadow_write_begin(sh, gpa, 1);
    if (t && trace_active(t))
        end_trace(sh, gfn, false);
    else
        sh->wp0_forced_gfn = gfn;
    if (sh->vm->vcpus > 1)
        shadow_write_end(sh);
    shadow_settle(sh);
    return shadow_take_owed(sh);
}

struct flush shadow_rewrite(struct shadow *sh, gpa_t gpa)
{
    if (shadow_is_view(sh))
        return shadow_shared_rewrite(sh, gpa);
    shadow_write_begin(sh, gpa, 1);
    end_trace(sh, gpa.v >> PAGE_SHIFT, true);
    if (sh->vm->vcpus > 1)
        shadow_write_end(sh);
    shadow_settle(sh);
    return shadow_take_owed(sh);
}
