/* shadow.c - set-up, the current root, and the guest's coherency events. */
#include "arch/string.h"
#include "mm/shadow_shared.h"

#define FRAMES_FIXED    256u        /* 1 MiB however small the guest */
#define GUEST_PER_FRAME (400 * KIB) /* ~1 % of guest memory */
#define PAE_ROOT_SETS   (PAE_ROOT_SLOTS / PAE_ROOT_WAYS)
#define FOUR_GIB_FRAME  (4 * GIB - PAGE_SIZE)
#define LEVEL2_GFNS     (1u << (2 * ENTRY_BITS))
#define MAXPHYADDR_MAX  52

struct flush flush_merge(struct flush a, struct flush b)
{
    if (a.width == FLUSH_ADDRESS && b.width == FLUSH_ADDRESS &&
        a.gva.v >> PAGE_SHIFT != b.gva.v >> PAGE_SHIFT)
        return FLUSH_ALL;
    if ((a.width == FLUSH_ADDRESS && b.width == FLUSH_NONGLOBAL) ||
        (a.width == FLUSH_NONGLOBAL && b.width == FLUSH_ADDRESS))
        return FLUSH_ALL; /* a global translation of the address would stay */
    return a.width >= b.width ? a : b;
}

struct flush shadow_take_owed(struct shadow *sh)
{
    struct flush f = sh->owed;

    sh->owed = FLUSH_NOTHING;
    if (f.width == FLUSH_CONTEXT)
        shadow_flushed(sh);
    return f;
}

u32 shadow_frames_suggested(u64 guest_bytes)
{
    return FRAMES_FIXED + (u32)(guest_bytes / GUEST_PER_FRAME);
}

static u32 hash_bits_for(u32 frames)
{
    u32 bits = 6;

    while ((1u << bits) < frames)
        bits++;
    return bits;
}

static u64 hash_size(u32 frames)
{
    return sizeof(u32) << hash_bits_for(frames);
}

u64 shadow_metadata_size(const struct shadow_config *c)
{
    if (c->shared)
        return PAE_ROOT_SLOTS * sizeof(struct shadow_pae_root);
    return revoke_list_size(c->frame_count) + c->frame_count * sizeof(struct shadow_page) +
           PAE_ROOT_SLOTS * sizeof(struct shadow_pae_root) + hash_size(c->frame_count) +
           rmap_metadata_size(c->hfn_count);
}

/* A frame for the rmap, which may have at most half of them. */
static u32 frame_for_rmap(void *context)
{
    struct shadow *sh = context;
    u32 no = sh->rmap_frames < sh->frame_count / 2 ? shadow_frame_take(sh) : RMAP_NO_FRAME;

    if (no == RMAP_NO_FRAME) {
        /* Only starting over gives its frames back; those of tables may be in quarantine. */
        sh->rmap_refused = !sh->shared || sh->rmap_frames >= sh->frame_count / 2;
        return no;
    }
    sh->rmap_frames++;
    memset(sh->frames + (u64)no * PAGE_SIZE, 0, PAGE_SIZE);
    return no;
}

static bool block_valid(u32 entries)
{
    return entries && entries <= ENTRIES && !(entries & (entries - 1));
}

static bool config_valid(const struct shadow_config *c)
{
    const struct shadow_vm *vm = c->vm;

    return vm && vm->p2m && vm->traces && vm->matrix && vm->vcpus <= TRACE_VCPUS_MAX && c->vcpu < vm->vcpus &&
           vm->traces->count >= vm->p2m->count && c->frame_count >= SHADOW_FRAMES_MIN &&
           c->frame_count < RMAP_PAGES_MAX && c->hfn_base + c->hfn_count <= ENTRY_REVOKED >> PAGE_SHIFT &&
           !(c->frames.v & PAGE_MASK) && c->frames.v && c->metadata && c->maxphyaddr >= 32 &&
           c->maxphyaddr <= MAXPHYADDR_MAX && block_valid(c->tuning.prefill) &&
           block_valid(c->tuning.prefill_used);
}

static bool low_frame_valid(hpa_t at)
{
    return !(at.v & PAGE_MASK) && at.v && at.v <= FOUR_GIB_FRAME;
}

/* Every frame but those of LIVE pages becomes free, and those that other vCPUs may be looking at. */
static void free_all_frames(struct shadow *sh)
{
    sh->free_frame = sh->free_count = 0;
    sh->rmap_frames = 0;
    if (sh->shared)
        shadow_shared_free_all(sh);
    else
        shadow_frames_free(sh, true);
}

enum err shadow_make_tables(struct shadow *sh, const struct shadow_config *c)
{
    u8 *m = c->metadata;

    if (!config_valid(c))
        return ERR_INVALID;
    sh->vm = c->vm;
    sh->vcpu = sh->consumer = c->vcpu;
    sh->users = BIT(c->vcpu);
    sh->maxphyaddr = c->maxphyaddr;
    sh->unpaged_ept = c->ept;
    sh->absent = c->host_maxphyaddr && c->host_maxphyaddr < MAXPHYADDR_MAX ? (u8)ENTRY_ABSENT : 0;
    sh->reserved = gwalk_reserved_common(GWALK_LONG, true, c->maxphyaddr);
    sh->can_forward = sh->absent && !sh->shared;
    sh->forward_flags = sh->can_forward && c->vm->vcpus > 1 ? PAGE_LISTED : 0;
    sh->tuning = c->tuning;
    sh->frames = hpa_to_ptr(c->frames);
    sh->frames_hpa = c->frames.v;
    sh->frame_count = c->frame_count;
    if (sh->forward_flags)
        revoke_list_init(&sh->list, m, c->frame_count);
    m += revoke_list_size(c->frame_count);
    sh->page = (struct shadow_page *)m;
    m += c->frame_count * sizeof(struct shadow_page);
    sh->pae = (struct shadow_pae_root *)m;
    m += PAE_ROOT_SLOTS * sizeof(struct shadow_pae_root);
    sh->hash = (u32 *)m;
    sh->hash_shift = 64 - hash_bits_for(c->frame_count);
    m += hash_size(c->frame_count);
    memset(c->metadata, 0, (size_t)(m - (u8 *)c->metadata));
    rmap_init(&sh->rmap, c->hfn_base, c->hfn_count, m, sh->frames, frame_for_rmap, sh);
    free_all_frames(sh);
    shadow_leaf_forget(sh);
    shadow_recent_forget(sh);
    sh->wp0_forced_gfn = ~0ull;
    sh->paging.maxphyaddr = c->maxphyaddr;
    sh->mode = GWALK_UNPAGED;
    sh->self = c->vm->matrix->consumer[c->vcpu].self;
    return ERR_OK;
}

enum err shadow_init(struct shadow *sh, const struct shadow_config *c)
{
    if (!low_frame_valid(c->low_frame) || c->vcpu >= c->vm->vcpus)
        return ERR_INVALID;
    if (c->shared) {
        shadow_shared_make_view(sh, c);
    } else {
        memset(sh, 0, sizeof *sh);
        enum err e = shadow_make_tables(sh, c);
        if (e != ERR_OK)
            return e;
        sh->low_frame = hpa_to_ptr(c->low_frame);
        memset(sh->low_frame, 0, PAGE_SIZE);
    }
    c->vm->vcpu[c->vcpu] = sh;
    (void)shadow_set_paging(sh, &(struct paging_state){.cr0 = CR0_PE, .maxphyaddr = c->maxphyaddr});
    return ERR_OK;
}

static u32 role_of(const struct paging_state *ps)
{
    enum gwalk_mode mode = gwalk_mode_of(ps);
    u32 role = (u32)mode << KEY_MODE_SHIFT;

    if (mode == GWALK_UNPAGED)
        return role;
    if (mode == GWALK_32BIT)
        role |= ps->cr4 & CR4_PSE ? KEY_PSE : 0;
    else
        role |= ps->efer & EFER_NXE ? KEY_NXE : 0;
    if (!(ps->cr0 & CR0_WP))
        role |= KEY_WP0 | KEY_INHERIT_W | KEY_INHERIT_U | (ps->cr4 & CR4_SMEP ? KEY_SMEP : 0) |
                (ps->cr4 & CR4_SMAP ? KEY_SMAP : 0);
    return role;
}

u64 shadow_pae_child_key(const struct shadow *sh, u32 index)
{
    switch (sh->mode) {
    case GWALK_32BIT: return key_make((u32)sh->paging.cr3 >> PAGE_SHIFT, sh->role, 2, index);
    case GWALK_PAE: return key_make((sh->paging.pdpte[index] & PTE_ADDR_MASK) >> PAGE_SHIFT, sh->role, 2, 0);
    default: return key_make_direct((u64)index * LEVEL2_GFNS, 2);
    }
}

static bool pae_root_matches(const struct shadow_pae_root *r, u64 key, const u64 pdpte[4])
{
    return r->key == key && r->pdpte[0] == pdpte[0] && r->pdpte[1] == pdpte[1] && r->pdpte[2] == pdpte[2] &&
           r->pdpte[3] == pdpte[3];
}

/* The cached PAE root for this state, or an emptied slot. */
static u32 pae_root_choose(struct shadow *sh)
{
    static const u64 none[4];
    const u64 *pdpte = sh->mode == GWALK_PAE ? sh->paging.pdpte : none;
    u64 gfn = sh->mode == GWALK_32BIT ? (u32)sh->paging.cr3 >> PAGE_SHIFT : 0;
    u64 key = key_make(gfn, sh->role, PAE_ROOT_WAYS - 1, 0);
    u64 mix = (gfn ^ pdpte[0] >> PAGE_SHIFT ^ pdpte[3] >> (PAGE_SHIFT + 1)) * HASH_FACTOR;
    u32 first = (u32)(mix >> 32) % PAE_ROOT_SETS * PAE_ROOT_WAYS;
    u32 slot;

    for (u32 way = 0; way < PAE_ROOT_WAYS; way++)
        if (pae_root_matches(&sh->pae[first + way], key, pdpte))
            return first + way;
    slot = first + (u32)(counter_get(&sh->stats.root_builds) % PAE_ROOT_WAYS);
    counter_one(&sh->stats.root_builds);
    sh->pae[slot].key = key;
    memcpy(sh->pae[slot].pdpte, pdpte, sizeof sh->pae[slot].pdpte);
    memset(&sh->low_frame[slot * 4], 0, 4 * sizeof(u64));
    sh->stale |= STALE_TLB; /* the slot may be the root in use: the same CR3 for another address space */
    return slot;
}

/*
 * What an address space has in common with the one that it was made in, it will need at once: the code that loads CR3
 * is there. So the new root gets the links that the old one has.
 */
static void link_as_before(struct shadow *sh, u32 no, u32 before)
{
    u64 key = sh->page[no].key;
    struct shadow_table table = shadow_table(sh, key);
    u32 left = sh->page[before].live;

    for (u32 slot = 0; table.at && left && slot < ENTRIES; slot++) {
        if (!entry_was(entry_raw(sh, before, slot)))
            continue;
        left--;
        shadow_rederive(sh, no, slot, shadow_primary_in(table, key, slot));
    }
}

/* shadow_pool_ensure() was called: there are frames. */
static rarely_run u32 root_make(struct shadow *sh, u64 key)
{
    u32 no;

    if (sh->shared && !sh->free_count)
        shadow_shared_spare_root(sh);
    no = shadow_page_make(sh, key);
    counter_one(&sh->stats.root_builds);
    shadow_reach_name(sh, no - 1);
    if (!key_direct(key) && sh->root.v == page_hpa(sh, sh->root_page)) /* what is left is no PAE root */
        link_as_before(sh, no - 1, sh->root_page);
    return no;
}

static inline u64 long_root_key(const struct shadow *sh)
{
    return key_make((sh->paging.cr3 & CR3_ADDR_MASK) >> PAGE_SHIFT, sh->role, 4, 0);
}

static inline void choose_long_root(struct shadow *sh, u64 key)
{
    u32 *way = &sh->root_way[key_gfn(key) & (SHADOW_ROOT_WAYS - 1)];

    if (unlikely(sh->page[*way].key != key)) {
        u32 no = shadow_page_find(sh, key);
        *way = (no ? no : root_make(sh, key)) - 1;
    }
    sh->page[*way].flags |= PAGE_REFERENCED;
    sh->root_page = *way;
    sh->root = HPA(page_hpa(sh, *way));
}

static void choose_root(struct shadow *sh)
{
    sh->ept_root = sh->unpaged_ept && sh->mode == GWALK_UNPAGED;
    sh->pae_root = sh->mode != GWALK_LONG && !sh->ept_root;
    sh->lookup_slow = sh->pae_root || sh->shared;
    if (!sh->pae_root) {
        choose_long_root(sh, sh->ept_root ? key_make_direct(0, 4) | KEY_EPT : long_root_key(sh));
        return;
    }
    sh->root_page = pae_root_choose(sh);
    sh->root = ptr_to_hpa(&sh->low_frame[sh->root_page * 4]);
}

/*
 * A PAE root cannot say "absent", an EPT has no guest's faults. A forwarded entry may be unreachable under a table that
 * is not traced, under one that other vCPUs do not find, and before it is known that they see what they have to.
 */
void shadow_choose_filter(struct shadow *sh)
{
    if (!sh->can_forward || sh->mode != GWALK_LONG || sh->loose_upper || sh->unlisted || sh->unproven)
        sh->filter = SHADOW_FILTER_NONE;
    else if ((sh->paging.efer & EFER_NXE) || (sh->paging.cr4 & CR4_SMEP))
        sh->filter = SHADOW_FILTER_NOT_PRESENT;
    else
        sh->filter = SHADOW_FILTER_DATA;
}

/* Changes of these flush everything, global translations too (SDM Vol 3A 4.10.4.1). */
static bool controls_changed(const struct paging_state *a, const struct paging_state *b)
{
    return ((a->cr0 ^ b->cr0) & (CR0_PG | CR0_WP)) || ((a->efer ^ b->efer) & (EFER_NXE | EFER_LMA)) ||
           ((a->cr4 ^ b->cr4) & (CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP | CR4_SMAP | CR4_PCIDE));
}

/* The tables as fresh as an event wants them; width: what to flush in any case but that of the same root again. */
static inline struct flush finish_event(struct shadow *sh, u64 old_root, enum flush_width width)
{
    struct flush f = {width, {0}};

    if (unlikely(sh->loose_count))
        shadow_sync_all(sh);
    shadow_settle(sh);
    if (width == FLUSH_NONGLOBAL && sh->root.v == old_root && !(sh->stale & STALE_TLB))
        f.width = FLUSH_NONE;
    if (unlikely(sh->owed.width != FLUSH_NONE))
        f = flush_merge(f, shadow_take_owed(sh));
    shadow_flushed(sh);
    return f;
}

struct flush shadow_set_paging(struct shadow *sh, const struct paging_state *ps)
{
    u64 old_root = sh->root.v;
    enum flush_width width = FLUSH_NONGLOBAL;

    if (shadow_is_view(sh))
        return shadow_shared_set_paging(sh, ps);
    shadow_drain(sh);
    counter_one(&sh->stats.events);
    if (unlikely(controls_changed(&sh->paging, ps))) {
        width = FLUSH_CONTEXT;
        sh->role = role_of(ps);
        sh->mode = (u8)gwalk_mode_of(ps);
        sh->wp0_forced_gfn = ~0ull;
        leaf_forget(sh);
        shadow_recent_forget(sh);
    }
    sh->paging = *ps;
    sh->paging.maxphyaddr = sh->maxphyaddr;
    shadow_pool_ensure(sh);
    choose_root(sh);
    shadow_choose_filter(sh);
    return finish_event(sh, old_root, width);
}

struct flush shadow_set_cr3(struct shadow *sh, u64 cr3)
{
    u64 old_root = sh->root.v;

    if (shadow_is_view(sh))
        return shadow_shared_set_cr3(sh, cr3);
    shadow_drain(sh);
    counter_one(&sh->stats.events);
    shadow_pool_ensure(sh);
    sh->paging.cr3 = cr3;
    choose_long_root(sh, long_root_key(sh));
    if (sh->vm->vcpus == 1) {
        u32 way = cr3 >> PAGE_SHIFT & (SHADOW_ROOT_WAYS - 1);
        sh->recent.cr3[way] = cr3;
        sh->recent.root[way] = sh->root.v;
        sh->recent.page[way] = sh->root_page;
    }
    return finish_event(sh, old_root, FLUSH_NONGLOBAL);
}

struct flush shadow_invlpg(struct shadow *sh, gva_t gva)
{
    struct flush f = {FLUSH_ADDRESS, gva};

    if (shadow_is_view(sh))
        return shadow_shared_invlpg(sh, gva);
    shadow_drain(sh);
    if (sh->loose_count)
        shadow_sync_address(sh, gva);
    shadow_settle(sh);
    /* INVLPG also forgets every cached upper-level entry, of any address (SDM Vol 3A 4.10.4.1). */
    if (unlikely(sh->stale & STALE_UPPER))
        shadow_owe(sh, FLUSH_ALL);
    return flush_merge(f, shadow_take_owed(sh));
}

/* Empties everything; the current root stays where it is. */
struct flush shadow_clear(struct shadow *sh)
{
    if (shadow_is_view(sh))
        return shadow_shared_clear(sh);
    for (u32 no = 0; no < sh->frame_count; no++) {
        struct shadow_page *p = &sh->page[no];
        if (p->state != PAGE_LIVE)
            continue;
        if (shadow_is_root(sh, no)) {
            shadow_page_clear(sh, no);
            p->snapshot = 0; /* its frame goes with all the others */
        } else {
            shadow_page_kill(sh, no);
        }
    }
    if (sh->shared) {
        shadow_shared_cut_roots(sh, true);
        shadow_shared_quarantine(sh);
    } else {
        shadow_cut_pae_roots(sh, sh->low_frame, true);
    }
    shadow_leaf_forget(sh);
    sh->relinked = false;
    sh->rmap_refused = false;
    free_all_frames(sh);
    rmap_init(&sh->rmap, sh->rmap.hfn_base, sh->rmap.hfn_count, sh->rmap.directory, sh->frames,
              frame_for_rmap, sh);
    for (u32 no = 0; no < sh->frame_count;
         no++) /* the request to end a root's trace may be among what was lost */
        if (sh->page[no].state == PAGE_LIVE && !key_direct(sh->page[no].key))
            shadow_loosen(sh, no, 0);
    sh->owed = FLUSH_NOTHING;
    shadow_flushed(sh);
    return FLUSH_ALL;
}

static void drop_entry(struct shadow *sh, u32 no, u32 slot, u64 frame, bool read_only)
{
    u64 e = entry_get(sh, no, slot);

    if (e && (e & PTE_ADDR_MASK) == frame)
        shadow_entry_set(sh, no, slot, read_only ? e & ~PTE_W : 0);
}

struct flush shadow_drop_frame(struct shadow *sh, u64 gfn, hpa_t frame, bool read_only)
{
    rmap_location at[RMAP_NODE_SLOTS];
    int count;

    if (shadow_is_view(sh))
        return shadow_shared_drop_frame(sh, gfn, frame, read_only);
    counter_one(&sh->stats.frames_dropped);
    shadow_drain(sh);
    FOR_DIRECT_PAGES(sh, gfn, no)
    {
        drop_entry(sh, no, gfn & (ENTRIES - 1), frame.v, read_only);
    }
    count = rmap_find(&sh->rmap, frame.v >> PAGE_SHIFT, at);
    for (int i = 0; i < count; i++)
        drop_entry(sh, RMAP_LOCATION_PAGE(at[i]), RMAP_LOCATION_SLOT(at[i]), frame.v, read_only);
    if (count < 0) {
        for (u32 no = 0; no < sh->frame_count; no++)
            if (sh->page[no].state == PAGE_LIVE && key_level(sh->page[no].key) == 1 && sh->page[no].live)
                for (u32 slot = 0; slot < ENTRIES; slot++)
                    drop_entry(sh, no, slot, frame.v, read_only);
        if (!read_only)
            rmap_forget(&sh->rmap, frame.v >> PAGE_SHIFT);
    }
    FOR_PAGES_OF(sh, gfn, no)
    {
        if (shadow_is_root(sh, no)) {
            shadow_page_clear(sh, no);
            shadow_loosen(sh, no, 0); /* until it is known what is there now */
        } else {
            shadow_page_kill(sh, no);
        }
    }
    shadow_settle(sh);
    shadow_owe(sh, FLUSH_ALL);
    return shadow_take_owed(sh);
}

struct flush shadow_service_kicks(struct shadow *sh)
{
    struct flush all = FLUSH_NOTHING;

    if (shadow_is_view(sh))
        return shadow_shared_service_kicks(sh);
    for (u32 i = 0; i < SHADOW_KICK_SLOTS; i++) {
        u64 gfn = atomic_load_explicit(&sh->kick_gfn[i], memory_order_relaxed);
        if (!gfn)
            continue;
        gfn = atomic_exchange_explicit(&sh->kick_gfn[i], 0, memory_order_acquire) - 1;
        shadow_protect(sh, gfn, p2m_entry_hpa(p2m_get(sh->vm->p2m, gfn)));
        counter_one(&sh->stats.kicks_served);
    }
    if (unlikely(atomic_load_explicit(&sh->kick_all, memory_order_relaxed)) &&
        atomic_exchange_explicit(&sh->kick_all, false, memory_order_acquire)) {
        all = shadow_clear(sh);
        for (u64 gfn = 0; gfn < sh->vm->traces->count; gfn++)
            trace_clear_writable(&sh->vm->traces->frame[gfn], sh->vcpu);
        counter_one(&sh->stats.kicks_served);
    }
    return flush_merge(all, shadow_take_owed(sh));
}

struct shadow_stats shadow_stats_read(const struct shadow *sh)
{
    if (sh->view_of) {
        if (sh->vcpu)
            return (struct shadow_stats){0};
        sh = &sh->view_of->tables;
    }
    return (struct shadow_stats){
#define SHADOW_COUNTER(name) .name = counter_get(&sh->stats.name),
#include "mm/shadow_counters.def"
#undef SHADOW_COUNTER
    };
}
