/*
 * shadow_internal.h - what the shadow*.c files share; nobody else includes it.
 *
 * A shadow page is one pool frame of 512 entries, made from (guest table, role) = its key:
 *
 *   63                                24 23 14  13  12  11   10   9   8   7  6:5  4:3  2:0
 *  +------------------------------------+-----+---+---+----+----+---+---+---+----+----+-----+
 *  | gfn of the table (direct: of page) | EPT |inU|inW|SMAP|SMEP|WP0|PSE|NXE|quad|mode|level|
 *  +------------------------------------+-----+---+---+----+----+---+---+---+----+----+-----+
 *
 * Rights are mirrored level by level, so a table does not depend on what its parents allow. The exception is
 * CR0.WP=0, where links are always writable and the inherited W and U are part of the role (inW, inU).
 * "Direct" pages (mode = GWALK_UNPAGED) splinter large guest pages and serve a guest without paging: entry i
 * maps gfn + i; they depend on the p2m only and are shared between all roles. Those with KEY_EPT are another kind: the
 * EPT of a guest that does not page, up to its PML4. Their entries have the rights where others have them, 0 is absent.
 *
 * An entry that is not derived has one of two values:
 *   absent     nothing is known: an access must exit. All ones, present with reserved bits, so that the error
 *              code has P=1; 0 on a CPU without a spare physical-address bit (then every #PF exits)
 *   forwarded  0: the guest's own entry has P=0, and nobody can change that unseen. With shadow.filter the
 *              CPU gives the fault to the guest itself
 * Links and forwarded entries of a listed page (mm/revoke.h) may be revoked by other vCPUs at any time: forwarded
 * entries turn absent (so `forwarded` may count too many), links keep their value beside ENTRY_REVOKED.
 *
 * Life of a page: FREE -> LIVE (in the hash) -> STALE (out of the hash, all entries absent; parents may still
 * point to it and then lead nowhere; the fill notices by the key) -> FREE, in batches, after one scan has cut
 * those links.
 */
#pragma once
#include "arch/regs.h"
#include "mm/ept.h"
#include "mm/matrix.h"
#include "mm/shadow.h"

#define HASH_FACTOR 0x9e3779b97f4a7c15ull /* 2^64 / golden ratio */
#define ENTRIES     512u
#define ENTRY_BITS  9

#define KEY_GFN_SHIFT      24
#define KEY_LEVEL_MASK     0x7u
#define KEY_MODE_SHIFT     3
#define KEY_MODE_MASK      (0x3u << KEY_MODE_SHIFT)
#define KEY_QUADRANT_SHIFT 5
#define KEY_QUADRANT_MASK  (0x3u << KEY_QUADRANT_SHIFT)
#define KEY_NXE            0x080u
#define KEY_PSE            0x100u
#define KEY_WP0            0x200u
#define KEY_SMEP           0x400u  /* only with WP0 */
#define KEY_SMAP           0x800u  /* only with WP0 */
#define KEY_INHERIT_W      0x1000u /* only with WP0 */
#define KEY_INHERIT_U      0x2000u /* only with WP0 */
#define KEY_EPT            0x4000u /* only of direct pages */
#define KEY_ROLE_MASK \
    (KEY_MODE_MASK | KEY_NXE | KEY_PSE | KEY_WP0 | KEY_SMEP | KEY_SMAP | KEY_INHERIT_W | KEY_INHERIT_U)

enum shadow_page_state {
    PAGE_FREE,
    PAGE_LIVE,
    PAGE_STALE,
    PAGE_CUT,   /* was STALE; another vCPU may still have links to it in its TLB (shadow_shared.c) */
    PAGE_TAKEN, /* by the rmap, as a snapshot, or spare */
};

#define PAGE_LOOSE      0x1u  /* not (certainly) traced: re-read at every event */
#define PAGE_FRESH      0x2u  /* loose, and the snapshot does not describe the entries yet */
#define PAGE_REFERENCED 0x4u  /* used since reclaim last looked */
#define PAGE_ORPHAN     0x8u  /* its link was cut because the guest cut it: probably no table any more */
#define PAGE_LISTED     0x10u /* in the list, or (STALE) was: others may revoke its entries (mm/revoke.h) */
#define PAGE_AUDITED    0x80u /* not loose, and nothing is known to have changed since audit.c found it right */

struct shadow_page {
    u64 key;       /* 0 unless LIVE */
    u32 hash_next; /* page number + 1; free list link while FREE */
    u32 loose_prev, loose_next;
    union {
        u32 snapshot; /* frame number + 1: the primaries as last seen; 0 = none: all present entries are derived
                         again at events */
        u32 table;    /* STALE and PAGE_LISTED: low bits of the gfn it was made from */
    };
    u16 live;      /* derived entries */
    u16 forwarded; /* forwarded entries */
    u8 calm;       /* events without a change while loose */
    u8 patience;   /* how often it has flooded, up to PATIENCE_MAX: so much longer until it is traced again */
    u8 state, flags;
    u16 faults;   /* the guest's own with P=0, while loose */
    u8 passed_by; /* events since it was read last, while loose and out of the root's reach */
    u8 unused;
    u32 reach; /* which roots may lead here: REACH_NONE, one root's name, REACH_ANY */
};
_Static_assert(sizeof(struct shadow_page) == 40, "one of these per pool frame");

#define PATIENCE_MAX 6

/*
 * A root's name: its page number, and in the upper bits a number that tells it from roots that were in this page before.
 * What a link leads to has the name of what it leads from, or REACH_ANY when it is in reach of two roots that are both
 * in use; then so has all below. So a page in reach of a root has that root's name or REACH_ANY; the converse need
 * not be true.
 */
#define REACH_NONE       0u
#define REACH_ANY        (~0u)
#define REACH_PAGE_BITS  21
#define REACH_SERIAL_MAX ((1u << (32 - REACH_PAGE_BITS)) - 2)
_Static_assert(RMAP_PAGES_MAX <= 1u << REACH_PAGE_BITS, "a page number fits into a name");

#define PAE_ROOT_SLOTS (PAGE_SIZE / (4 * sizeof(u64)))
#define PAE_ROOT_WAYS  4

struct shadow_pae_root {
    u64 key; /* key of the guest's CR3 table; PAE: role only, then pdpte[] decides; 0 = unused */
    u64 pdpte[4];
};

/* Frames that must be free before a fill, so that nothing in it can run out: 4 tables, rmap chunks and a
 * node. */
#define FRAMES_RESERVE 12

static inline u32 key_level(u64 key)
{
    return key & KEY_LEVEL_MASK;
}
static inline enum gwalk_mode key_mode(u64 key)
{
    return (enum gwalk_mode)((key & KEY_MODE_MASK) >> KEY_MODE_SHIFT);
}
static inline u32 key_quadrant(u64 key)
{
    return (key & KEY_QUADRANT_MASK) >> KEY_QUADRANT_SHIFT;
}
static inline u64 key_gfn(u64 key)
{
    return key >> KEY_GFN_SHIFT;
}
static inline bool key_direct(u64 key)
{
    return key_mode(key) == GWALK_UNPAGED;
}
static inline u64 key_make(u64 gfn, u32 role, u32 level, u32 quadrant)
{
    return gfn << KEY_GFN_SHIFT | role | quadrant << KEY_QUADRANT_SHIFT | level;
}
static inline u64 key_make_direct(u64 gfn, u32 level)
{
    return gfn << KEY_GFN_SHIFT | level;
}

static inline bool key_ept(u64 key)
{
    return key & KEY_EPT;
}
_Static_assert(PTE_P == EPT_READ && PTE_W == EPT_WRITE && PTE_U == EPT_EXECUTE,
               "links of both kinds are the same");
_Static_assert(!((PTE_A | PTE_D) & ~(EPT_WB | EPT_IPAT)), "what a leaf has beside, an EPT's has too");

static inline _Atomic u64 *page_entries(const struct shadow *sh, u32 no)
{
    return (_Atomic u64 *)(sh->frames + (u64)no * PAGE_SIZE);
}
/* The entry as the hardware sees it. */
static inline u64 entry_raw(const struct shadow *sh, u32 no, u32 slot)
{
    return atomic_load_explicit(&page_entries(sh, no)[slot], memory_order_relaxed);
}
/* The derived entry in raw; 0 if it is absent or revoked (though present, for the hardware to fault at) or forwarded. */
static inline u64 entry_known(u64 raw)
{
    return raw & ENTRY_REVOKED ? 0 : raw;
}
/* The same, and of a revoked link what it was: that still counts in `live`, and the TLB may hold it. */
static inline u64 entry_was(u64 raw)
{
    return raw == ENTRY_ABSENT ? 0 : raw & ~ENTRY_REVOKED;
}
static inline u64 entry_get(const struct shadow *sh, u32 no, u32 slot)
{
    return entry_known(entry_raw(sh, no, slot));
}
/* What an entry that is not derived holds in a page with that key. */
static inline u64 entry_absent(const struct shadow *sh, u64 key)
{
    return sh->absent && likely(!key_ept(key)) ? ENTRY_ABSENT : 0;
}
/* Did a translation through old allow something that one through new does not? (U=1 takes from the
 * supervisor, by SMEP and SMAP, what it gives to the user.) */
static inline bool entry_narrows(u64 old, u64 new)
{
    return ((old ^ new) & (PTE_ADDR_MASK | PTE_U)) || (old & ~new &(PTE_P | PTE_W)) || (new & ~old &PTE_NX);
}
/* The shadow page a link leads to. */
static inline u32 link_page(const struct shadow *sh, u64 entry)
{
    return (u32)(((entry & PTE_ADDR_MASK) - sh->frames_hpa) >> PAGE_SHIFT);
}
static inline u64 page_hpa(const struct shadow *sh, u32 no)
{
    return sh->frames_hpa + (u64)no * PAGE_SIZE;
}
static inline u32 slot_of(u64 gva, u32 level)
{
    return gva >> (PAGE_SHIFT + ENTRY_BITS * (level - 1)) & (ENTRIES - 1);
}
static inline u32 hash_of(const struct shadow *sh, u64 gfn)
{
    return (u32)((gfn * HASH_FACTOR) >> sh->hash_shift);
}
/* shadow.stale. */
#define STALE_TLB        0x1u /* some present entry was narrowed since the last context flush */
#define STALE_UPPER      0x2u /* the same for an entry that leads to a table */
#define STALE_TELL       0x4u /* shared tables: the other vCPUs do not know yet */
#define STALE_TELL_UPPER 0x8u
#define STALE_LEAF       (STALE_TLB | STALE_TELL)
#define STALE_LINK       (STALE_LEAF | STALE_UPPER | STALE_TELL_UPPER)
static inline void shadow_flushed(struct shadow *sh)
{
    sh->stale &= STALE_TELL | STALE_TELL_UPPER;
}
/* Is this one vCPU's view of shared tables? */
static inline bool shadow_is_view(const struct shadow *sh)
{
    return sh->vm->vcpus > 1 && unlikely(sh->view_of != NULL);
}
/* Loops over every LIVE page made from gfn, in any role (other gfns share chains). no: u32 variable. */
#define FOR_PAGES_OF(sh, table, no)                                                      \
    for (u32 no##_next = (sh)->hash[hash_of(sh, table)], no;                             \
         no##_next && (no = no##_next - 1, no##_next = (sh)->page[no].hash_next, true);) \
        if (key_gfn((sh)->page[no].key) == (table) && !key_direct((sh)->page[no].key))

/* Loops over the direct pages that map gfn: such mappings are not in the rmap. no: u32 variable. */
#define FOR_DIRECT_PAGES(sh, gfn, no)                                                    \
    for (u32 no##_next = (sh)->hash[hash_of(sh, (gfn) & ~(u64)(ENTRIES - 1))], no;       \
         no##_next && (no = no##_next - 1, no##_next = (sh)->page[no].hash_next, true);) \
        if (((sh)->page[no].key & ~(u64)KEY_EPT) == key_make_direct((gfn) & ~(u64)(ENTRIES - 1), 1))

/* Is there a LIVE page made from gfn? */
static inline bool shadow_has_page_of(const struct shadow *sh, u64 gfn)
{
    FOR_PAGES_OF(sh, gfn, no)
    {
        return true;
    }
    return false;
}

static inline bool key_forwards(u64 key)
{
    return (key & (KEY_MODE_MASK | KEY_WP0)) == (u64)GWALK_LONG << KEY_MODE_SHIFT;
}
/*
 * Can entries of this page be forwarded? The table must be traced, and other vCPUs must be able to revoke them:
 * another's store that makes an entry present is visible before its patch is, and needs no event by the
 * architecture (nothing caches an entry that is not present, SDM Vol 3A 4.10.4.3).
 */
static inline bool page_forwards(const struct shadow *sh, const struct shadow_page *p)
{
    return sh->can_forward && (p->flags & (PAGE_LOOSE | PAGE_LISTED)) == sh->forward_flags &&
           key_forwards(p->key);
}
/* An entry was forwarded, or a link made, in some page. */
static inline void note_unproven(struct shadow *sh)
{
    sh->unproven |= sh->forward_flags != 0;
}

bool shadow_shared_is_root(const struct shadow *sh, u32 no); /* of another vCPU */
/* A 4-level root in use: never killed or moved. PAE roots are no pool pages. */
static inline bool shadow_is_root(const struct shadow *sh, u32 no)
{
    return (!sh->pae_root && sh->root_page == no) || (unlikely(sh->shared) && shadow_shared_is_root(sh, no));
}

/*
 * A loose page remembers which primary each entry was made from. Every change of an entry but to zero comes
 * with this: an entry newer than its snapshot would be taken for current when the guest changes the primary
 * back.
 */
static inline void shadow_note_primary(struct shadow *sh, u32 no, u32 slot, u64 primary)
{
    u32 frame = sh->page[no].snapshot;

    if (unlikely(frame))
        ((u64 *)(sh->frames + (u64)(frame - 1) * PAGE_SIZE))[slot] = primary;
}

static inline u64 *shadow_snapshot(const struct shadow *sh, const struct shadow_page *p)
{
    return p->snapshot ? (u64 *)(sh->frames + (u64)(p->snapshot - 1) * PAGE_SIZE) : NULL;
}

/* No value of CR3 is known to lead to a root: other roles, or a root is gone. */
static inline void shadow_recent_forget(struct shadow *sh)
{
    for (u32 way = 0; way < SHADOW_ROOT_WAYS; way++)
        sh->recent.cr3[way] = ~0ull;
}

/* shadow_leaf.c: the short way. A link has changed, a page is gone, or an upper table has lost its trace. */
void shadow_leaf_forget(struct shadow *sh);
static inline void leaf_forget(struct shadow *sh)
{
    if (sh->leaf_known)
        shadow_leaf_forget(sh);
}
/* The guest's own fault at slot: forwards those of this and other entries of the page, if that can be. */
void shadow_forward_around(struct shadow *sh, u32 no, u32 slot);

/* shadow_pool.c: pages, their entries, reclaim. */
u32 shadow_frame_take(struct shadow *sh); /* a frame of any contents, or RMAP_NO_FRAME */
void shadow_frame_give(struct shadow *sh, u32 frame);
u32 shadow_page_find(const struct shadow *sh, u64 key); /* page number + 1, or 0 */
u32 shadow_page_make(struct shadow *sh, u64 key);       /* page number + 1, 0 = no frame */
void shadow_page_clear(struct shadow *sh, u32 no);      /* all entries to absent */
void shadow_page_kill(struct shadow *sh, u32 no);
void shadow_pool_refill(struct shadow *sh);
/* Links to STALE pages out of a view's PAE roots; all: every link. */
void shadow_cut_pae_roots(const struct shadow *sh, u64 *low_frame, bool all);
/* There are FRAMES_RESERVE free frames after it; of shared tables, they may be in quarantine. */
static inline void shadow_pool_ensure(struct shadow *sh)
{
    if (unlikely(sh->free_count < FRAMES_RESERVE || sh->rmap_refused))
        shadow_pool_refill(sh);
}
/* The one place that changes a shadow entry (with leaf_set(), its short way, in shadow_leaf.h). entry: 0 =
 * absent. Returns false if it had to leave the entry absent. */
bool shadow_entry_set(struct shadow *sh, u32 no, u32 slot, u64 entry);
/* Forwards the faults of an entry; only where page_forwards() and the primary has P=0. */
void shadow_entry_forward(struct shadow *sh, u32 no, u32 slot);
void shadow_page_withdraw(struct shadow *sh, u32 no); /* no entry is forwarded any more */
static inline void shadow_owe(struct shadow *sh, struct flush f)
{
    sh->owed = flush_merge(sh->owed, f);
}

/* shadow_derive.c: what a primary means. */
/* A guest table in RAM. A and D cannot be set in read-only RAM (as in ROM): they count as set there. */
struct shadow_table {
    const void *at; /* NULL if not in RAM */
    u64 pretend;
};
struct shadow_table shadow_table(const struct shadow *sh, u64 key);
u64 shadow_primary_in(struct shadow_table table, u64 key, u32 slot);
u64 shadow_primary(const struct shadow *sh, u64 key, u32 slot); /* the guest's entry now; 0 if not in RAM */
/* 0 = must not be present. Not for direct pages. Never makes a child: 0 if it would be needed. */
u64 shadow_derive(struct shadow *sh, u64 key, u32 slot, u64 primary);
bool shadow_primary_usable(const struct shadow *sh, u64 key, u64 primary); /* present, A=1, not reserved */
bool shadow_primary_large(u64 key, u64 primary);
u64 shadow_rights(u64 key, u64 primary, bool final, bool wp0_write);
u64 shadow_child_key(u64 key, u32 slot, u64 primary);
u64 shadow_leaf(struct shadow *sh, u64 gfn, u64 rights); /* 0 if not RAM; W only if allowed */

/* shadow_reach.c: from which roots a loose table may be in use. */
void shadow_reach_name(struct shadow *sh, u32 no);           /* a new root */
void shadow_reach_join(struct shadow *sh, u32 no, u32 from); /* page no is in reach of those, too */
/* May page no be in use in the present address space? */
static inline bool shadow_in_reach(const struct shadow *sh, u32 no)
{
    u32 reach = sh->page[no].reach;

    return reach == REACH_ANY || sh->pae_root || reach == sh->page[sh->root_page].reach;
}

/* shadow_fill.c */
u64 shadow_fill_direct(struct shadow *sh, u32 no, u32 slot); /* of a direct page; the entry, or 0 */

/* shadow_sync.c: loose tables, traces of own tables. */
void shadow_table_trace(struct shadow *sh, u32 no); /* a new page: trace its table or make it loose */
void shadow_loosen(struct shadow *sh, u32 no, u8 calm);
void shadow_unloosen(struct shadow *sh, u32 no);
void shadow_loosen_table(struct shadow *sh, u64 gfn);
void shadow_retrace(struct shadow *sh, u64 gfn); /* a loose table is traced again, if that can be now */
/* Derives one entry of a page from its primary, whatever was there. Returns the entry. */
u64 shadow_rederive(struct shadow *sh, u32 no, u32 slot, u64 primary);
void shadow_sync_address(struct shadow *sh, gva_t gva);
void shadow_sync_all(struct shadow *sh);
void shadow_sync_relinked(struct shadow *sh);
void shadow_prove(struct shadow *sh); /* shadow_revoke.c: do the others see all that unproven stands for? */
/*
 * A new link leads to page no, which has been reachable before. Its entries may be behind: INVLPG refreshes loose tables
 * along the path of its address only, and there was no path; and of a traced table's patches some may have come only
 * after the channels were looked at, yet before the link's primary was read. So before the guest runs, the channels
 * are drained once more and every loose table in reach is read in full (shadow_settle). reach: of what the link is in.
 */
static inline void shadow_note_link(struct shadow *sh, u32 no, u32 reach)
{
    const struct shadow_page *p = &sh->page[no];

    if (p->reach != reach)
        shadow_reach_join(sh, no, reach);
    if (unlikely(p->live))
        sh->relinked |= sh->vm->vcpus > 1 ||
                        (key_level(p->key) == 1 ? (p->flags & PAGE_LOOSE) != 0 : sh->loose_count != 0);
}
/* Ends every call that may have changed entries. */
static inline void shadow_settle(struct shadow *sh)
{
    if (unlikely(sh->unsettled)) {
        shadow_sync_relinked(sh);
        if (sh->unproven)
            shadow_prove(sh);
    }
}
void shadow_protect(struct shadow *sh, u64 gfn, hpa_t frame);
void shadow_request_protection(struct shadow *sh, u32 vcpu, u64 gfn);

/* shadow_revoke.c: own faults with no exit while there are other vCPUs (mm/revoke.h). */
/* Others can revoke its entries from now on, if there is room. */
void shadow_list_page(struct shadow *sh, u32 no);
void shadow_unlist_page(struct shadow *sh, u32 no); /* it is about to be STALE */
/* Frees STALE frames and those that free_all says, but what others may be about to look at. */
void shadow_frames_free(struct shadow *sh, bool free_all);
/* The other vCPUs that derived entries from a table. */
static inline u64 shadow_others_interested(const struct shadow *sh, u64 gfn)
{
    const struct trace *t = trace_of(sh->vm->traces, gfn);

    return t ? trace_interest(t) & ~BIT(sh->consumer) : 0;
}
/* Entries first .. last of a table, in all other vCPUs' shadows, before a store of this vCPU that it has announced. */
void shadow_revoke(struct shadow *sh, u64 gfn, u32 first, u32 last);

/* shadow_patch.c: the channels. */
/* Which of the vCPUs first .. first + 7 are in the middle of a store: a byte each. */
static inline u64 shadow_others_storing(const struct shadow *sh, u32 first)
{
    u64 bytes = atomic_load_explicit(&sh->vm->storing_word[first / 8], memory_order_seq_cst);

    return sh->vcpu - first < 8 ? bytes & ~(0xffull << (sh->vcpu - first) * 8) : bytes;
}
/* The tables to which others are storing now: their gfns (shadow_revoke.c). Returns how many. */
#define ANNOUNCED_MAX (TRACE_VCPUS_MAX * SHADOW_WRITING_SLOTS)
u32 shadow_announced(const struct shadow *sh, u64 gfn[ANNOUNCED_MAX]);
void shadow_drain_now(struct shadow *sh);
/* Derives every entry of a page again that is present (or was until it was revoked) or forwarded. */
void shadow_page_rederive(struct shadow *sh, u32 no);
void shadow_resync(struct shadow *sh); /* nothing derived from guest tables is trusted any more */
static inline void shadow_drain(struct shadow *sh)
{
    if (sh->vm->vcpus > 1 || unlikely(channel_self_ready(sh->self)))
        shadow_drain_now(sh);
}

/* shadow.c */
enum err shadow_make_tables(struct shadow *sh, const struct shadow_config *c);
void shadow_choose_filter(struct shadow *sh); /* after a change of the root's kind or of loose_upper */
u64 shadow_pae_child_key(const struct shadow *sh, u32 index);
struct flush shadow_take_owed(struct shadow *sh);
