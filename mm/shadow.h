/*
 * shadow.h - the shadow MMU of one vCPU: what vmm/ calls (P48-P54, P60-P64).
 *
 * Each vCPU has a struct shadow of its own; only the CPU that runs that vCPU, on its exit path, calls the
 * functions below with it (except where said otherwise). They never touch hardware: they edit shadow page
 * tables in memory and return what the hardware's TLB must forget.
 *
 *   guest MOV CR3/CR0/CR4/EFER ...      -> shadow_set_paging()    -> new root + flush      coherency
 *   guest INVLPG                        -> shadow_invlpg()        -> flush                 events
 *   #PF exit                            -> shadow_fault()         -> verdict + flush
 *   an emulated guest store             -> shadow_write_begin(), the store, shadow_write_done()
 *                                                                 -> patches to the consumers
 *   it cannot be emulated               -> shadow_give_up()       -> the page loses its trace; resume,
 *                                                                    it will not exit again
 *   a page leaves or turns read-only    -> shadow_drop_frame() on every vCPU
 *   kicked by another vCPU              -> shadow_service_kicks()
 *
 * Every returned flush must be executed before this vCPU is entered again, with the page-fault filter as
 * shadow.filter says.
 */
#pragma once
#include "arch/counter.h"
#include "arch/err.h"
#include "arch/spinlock.h"
#include "arch/types.h"
#include "mm/gwalk.h"
#include "mm/p2m.h"
#include "mm/revoke.h"
#include "mm/rmap.h"
#include "mm/trace.h"

struct matrix; /* mm/matrix.h */
struct self_channel;

/* What the TLB (and paging-structure caches) of this vCPU's VPID must forget. Widths are ordered: wider
 * covers. With shadow.ept_root it is the EPT's translations, by INVEPT, whatever the width. */
enum flush_width {
    FLUSH_NONE,      /* nothing */
    FLUSH_ADDRESS,   /* one linear address (INVVPID type 0) */
    FLUSH_NONGLOBAL, /* all but global translations (INVVPID type 3, or 1 where that is missing) */
    FLUSH_CONTEXT,   /* everything of this VPID (INVVPID type 1) */
};

struct flush {
    enum flush_width width;
    gva_t gva; /* FLUSH_ADDRESS */
};

#define FLUSH_NOTHING ((struct flush){FLUSH_NONE, {0}})
#define FLUSH_ALL     ((struct flush){FLUSH_CONTEXT, {0}})

/* Both together. Two different single addresses become FLUSH_CONTEXT. */
struct flush flush_merge(struct flush a, struct flush b);

/* What a consumer does with a patch whose primary changed again (P50, P51). */
enum shadow_stale_policy {
    SHADOW_STALE_REDERIVE,   /* derive again from the primary now */
    SHADOW_STALE_INVALIDATE, /* clear the derived entry; a later access faults and fills */
};

/* What happened so far. */
struct shadow_counters {
#define SHADOW_COUNTER(name) counter_t name;
#include "mm/shadow_counters.def"
#undef SHADOW_COUNTER
};
/* The values, as shadow_stats_read() found them. */
struct shadow_stats {
#define SHADOW_COUNTER(name) u64 name;
#include "mm/shadow_counters.def"
#undef SHADOW_COUNTER
};

/* Shared by all vCPUs of a VM; constant after creation but for what the pointers lead to. */
struct shadow_vm {
    struct p2m *p2m;
    struct trace_map *traces;
    struct matrix *matrix; /* patch channels of this VM */
    struct shadow *vcpu[TRACE_VCPUS_MAX];
    u32 vcpus;
    /* Makes the vCPUs in mask leave guest mode soon and call shadow_service_kicks(); does not wait. Returns those that are
     * known not to be in the guest now: they call it before they enter it. NULL if vcpus == 1. */
    u64 (*kick)(void *context, u64 mask);
    void *kick_context;
    /*
     * Byte v is 1 while vCPU v is between shadow_write_begin() and shadow_write_done(): its store may be visible
     * before its patch is. Writer: v, after its writing[] and before the store (seq_cst), 0 with release. Readers:
     * the others at their events, eight at once (seq_cst), before they read primaries: tests/model/model_trace.c.
     */
    union {
        aligned_to(64) _Atomic u8 storing[TRACE_VCPUS_MAX];
        _Atomic u64 storing_word[TRACE_VCPUS_MAX / 8];
    };
};

/* Tunables; SHADOW_TUNING_DEFAULT for the measured defaults. */
struct shadow_tuning {
    u16 prefill;      /* entries of a splintered large page filled at one fault: 1 .. 512, a power of two */
    u16 prefill_used; /* entries of a page table looked at around a fault; those with A=1 are filled: likewise
                       */
    u16 flood_writes; /* traced writes to one leaf table without an event between before it goes loose; 0 =
                         never */
    u8 demand_faults; /* so many of the guest's own faults in a loose table, and it is traced again; 0 = never */
    u8 calm_events; /* events without a change before a loose table is traced again; 0 = never */
    u16 loose_max;  /* loose tables held at once; beyond it the oldest is dropped */
    enum shadow_stale_policy stale;
};
#define SHADOW_TUNING_DEFAULT ((struct shadow_tuning){64, 8, 3, 4, 6, 64, SHADOW_STALE_REDERIVE})

struct shadow_config {
    struct shadow_vm *vm;
    u32 vcpu;           /* this vCPU's index in the VM */
    u8 maxphyaddr;      /* the guest's */
    u8 host_maxphyaddr; /* the CPU's, 52 if the guest's own page faults shall exit too */
    bool ept;           /* while the guest does not page its tables are an EPT, which the CPU then walks */
    struct shadow_shared
        *shared;             /* made before: this is a view of it, and only low_frame and metadata count */
    hpa_t frames;            /* contiguous zeroed page frames for shadow tables and the rmap */
    u32 frame_count;         /* at least SHADOW_FRAMES_MIN */
    hpa_t low_frame;         /* one zeroed frame below 4 GiB: PAE roots */
    void *metadata;          /* shadow_metadata_size() bytes, zeroed, 64-byte aligned */
    u64 hfn_base, hfn_count; /* range of host frames that can ever appear in the p2m */
    struct shadow_tuning tuning;
};

#define SHADOW_FRAMES_MIN 32

/* Suggested frame_count for a guest of that many bytes: ~1 % of it and a fixed minimum. */
u32 shadow_frames_suggested(u64 guest_bytes);
/* Needs vm-independent fields only: frame_count, hfn_count, shared. */
u64 shadow_metadata_size(const struct shadow_config *config);

/* Which page faults exit. The others are the guest's own, with the error code and CR2 that the CPU gives. */
enum shadow_filter {
    SHADOW_FILTER_NONE,        /* all exit */
    SHADOW_FILTER_NOT_PRESENT, /* those with P=1 in the error code */
    SHADOW_FILTER_DATA,        /* those with P=1 or I/D=1: the guest has neither NXE nor SMEP, so no I/D */
};

struct shadow_page;
struct shadow_pae_root;

#define SHADOW_FLOOD_SLOTS   32
#define SHADOW_KICK_SLOTS    16
#define SHADOW_LEAF_WAYS     16
#define SHADOW_ROOT_WAYS     8
#define SHADOW_WRITING_SLOTS 2

struct shadow {
    /* -- private to the CPU running this vCPU -- */
    struct paging_state paging; /* the guest's registers as last given to shadow_set_paging() */
    hpa_t root;    /* value for the hardware's CR3: 4-level root, or PAE root below 4 GiB; or the EPT's */
    u32 root_page; /* its shadow page number (4-level), or PAE root slot */
    u32 vcpu;
    u32 role; /* role bits common to all tables of the present paging state (shadow_internal.h) */
    u8 mode;  /* enum gwalk_mode */
    bool pae_root;
    bool ept_root;      /* the EPT translates, and an EPT violation is what a #PF is otherwise */
    bool lookup_slow;   /* PAE root, or shared tables: shadow_lookup.c */
    u8 filter;          /* enum shadow_filter: which #PF must exit now */
    u8 stale;           /* STALE_*: what was narrowed since the last flush (shadow_internal.h) */
    u64 wp0_forced_gfn; /* WP=0 and SMAP: this frame gets the writable-supervisor mapping (shadow_fill.c) */
    struct flush owed;  /* flush that internal steps of the current call made necessary at once */
    struct shadow_pae_root *pae; /* metadata of each root in low_frame */
    u64 *low_frame;
    u64 narrowed_seen, narrowed_upper_seen; /* of shared tables: what this view was told of */

    /* -- the tables; those that are shared are the VM's, and all above is only there while a view is in use -- */
    struct shadow_vm *vm;
    struct shadow_shared *view_of; /* no tables here, this is a view of shared ones: constant */
    struct shadow_shared *shared;  /* these are shared tables: constant */
    u32 consumer;     /* index of their interest bits, and of their column of the matrix: constant */
    u8 maxphyaddr;    /* constant */
    u8 absent;        /* each byte of an absent entry (shadow_internal.h): constant */
    bool can_forward; /* the CPU has a spare address bit: constant */
    bool unpaged_ept; /* shadow_config.ept: constant */
    u8 forward_flags; /* what a page must have for that: PAGE_LISTED if the VM has more vCPUs: constant */
    union {
        struct {
            bool relinked; /* a loose table may have become reachable again: read it before the guest runs */
            bool
                unproven; /* others may have missed what was forwarded or linked: look before the guest runs */
        };
        u16 unsettled; /* any of these */
    };
    u64 users;    /* the vCPUs that may use a mapping: bits of the writable masks: constant */
    u64 reserved; /* bits of an 8-byte guest entry at or above its MAXPHYADDR: constant */

    struct { /* roots by the values of CR3 that led to them, in the present role and mode: shadow_quick.h */
        u64 cr3[SHADOW_ROOT_WAYS]; /* ~0: none */
        u64 root[SHADOW_ROOT_WAYS];
        u32 page[SHADOW_ROOT_WAYS];
    } recent;
    const struct self_channel *self; /* this vCPU's own channel: constant */
    u32 root_way[SHADOW_ROOT_WAYS];  /* page numbers of roots used lately, by the table's gfn: guesses */

    u8 *frames;
    u64 frames_hpa;
    u32 frame_count;
    u32 free_frame, free_count; /* list through the free frames' metadata: number + 1 */
    bool rmap_refused;          /* it has asked for one it could not have */
    u32 rmap_frames;            /* frames the rmap has taken */
    u32 root_serial;            /* of the root named last: shadow_internal.h */
    u32 stale_count;            /* pages killed whose frames may still be linked to */
    u32 listed;                 /* frames that are listed for others, or that others may have found there */
    u32 unlisted;               /* live upper tables that had no place in the list */
    u32 clock_hand;             /* reclaim goes on here */
    u32 *hash;                  /* heads: page number + 1 */
    u32 hash_shift;
    struct shadow_page *page; /* metadata of each frame */
    struct shadow_leaf_way {  /* the way down to a leaf table, by region of 2 MiB: shadow_leaf.c */
        u64 tag;              /* the region and the root's page number */
        _Atomic u64 *table;   /* the guest's; NULL: the region lies in a large page */
        u32 page;             /* made from it */
        u32 rights;           /* GWALK_RIGHT_* that the upper levels give */
    } leaf_way[SHADOW_LEAF_WAYS];
    bool leaf_known;         /* some of them are in use */
    u32 prefilled;           /* the last entry filled after the present write: rmap location + 1 */
    u32 streak, streak_page; /* the guest's own faults in one loose table, with nothing else between */
    u32 loose_head, loose_tail, loose_count, loose_upper; /* page number + 1 */
    struct rmap rmap;
    struct shadow_flood {
        u64 gfn, event;
        u32 count;
        u32 filled; /* rmap location + 1 of the entry that was filled after the last write; 0 = none */
    } flood[SHADOW_FLOOD_SLOTS];
    struct shadow_tuning tuning;
    struct shadow_counters stats;

    /* -- shared: requests of other vCPUs to write-protect a frame. gfn + 1; 0 = free. Writers: any vCPU (CAS
     * from 0, release). Reader: this one (exchange, acquire). A full array sets kick_all. -- */
    _Atomic u64 kick_gfn[SHADOW_KICK_SLOTS];
    _Atomic bool kick_all;
    /* -- shared: the tables this vCPU is storing to while its byte in vm->storing[] is set, gfn + 1; 0 = none.
     * Writer: this vCPU (release, and published by that byte). Readers: the others (acquire: who reads the next store's
     * finds this one's patch). -- */
    _Atomic u64 writing[SHADOW_WRITING_SLOTS];
    /* -- shared: where the others find entries that they have to revoke before a store. -- */
    struct revoke_list list;
};

/*
 * One set of tables for all vCPUs of a VM, each of which has a struct shadow that is a view of it (shadow_shared.c). The
 * calls below are the same, and take the lock.
 */
struct shadow_shared {
    struct spinlock lock; /* what is below, and the views of vCPUs that are not in a call */
    struct shadow tables;
    u64 must_flush; /* vCPUs that must flush before they enter the guest again */
    u64 awaited;    /* of those, they were in it when the quarantine began */
    u64 narrowed,
        narrowed_upper; /* calls so far that narrowed entries; likewise entries that lead to tables */
    u32 cut_count;      /* frames in quarantine */
    u32 spare_count;
    u32 spare[TRACE_VCPUS_MAX]; /* frames for roots when none is free */
};

/* Checks the configuration and makes empty tables for the views that shadow_init() then makes. vcpu and low_frame do not
 * count; at least SHADOW_FRAMES_MIN frames for each vCPU of the VM, which has two or more. */
enum err must_check shadow_shared_init(struct shadow_shared *s, const struct shadow_config *config);

/* Checks the configuration and makes an empty shadow for a guest with paging off. Registers itself in
 * vm->vcpu[]. */
enum err must_check shadow_init(struct shadow *sh, const struct shadow_config *config);

/*
 * The guest loaded CR3, or changed CR0, CR4, EFER or its PDPTEs: ps is the complete new state (under PAE
 * paging with pdpte[] loaded by gwalk_load_pdptes()). A coherency event. Afterwards sh->root is what hardware
 * CR3 must hold; hardware paging is 4-level if gwalk_mode_of(ps) == GWALK_LONG, else PAE (then the VMCS PDPTE
 * fields are not used without EPT: the CPU reads them from sh->root at each entry). With sh->ept_root it is the
 * PML4 of the EPT instead. Also the call for INVPCID of all kinds and for task switches, with unchanged registers.
 */
struct flush shadow_set_paging(struct shadow *sh, const struct paging_state *ps);
/* The same for MOV CR3 in IA-32e mode (shadow.mode is GWALK_LONG), which changes nothing else. */
struct flush shadow_set_cr3(struct shadow *sh, u64 cr3);

/* INVLPG of a linear address (already canonical/segment checked). A coherency event. */
struct flush shadow_invlpg(struct shadow *sh, gva_t gva);

enum shadow_verdict {
    SHADOW_RESUME,       /* the shadow was filled or was about to be right: run the instruction again */
    SHADOW_GUEST_FAULT,  /* inject #PF with error, CR2 = gva */
    SHADOW_TRACED_WRITE, /* emulate the store (to gpa); then shadow_write_done(), or shadow_give_up() if it
                            cannot be */
    SHADOW_MMIO,         /* emulate the access: gpa is not RAM */
    SHADOW_EMPTY_PAGE,   /* the page at gpa is away; error is the #PF code to inject if that is the policy */
    SHADOW_RO_PAGE,      /* a permitted guest write to a page the VM may only read; error likewise */
};

struct shadow_fault {
    enum shadow_verdict verdict;
    u32 error; /* GUEST_FAULT, EMPTY_PAGE, RO_PAGE */
    gpa_t gpa; /* all but GUEST_FAULT */
    struct flush flush;
};

/*
 * #PF exit at gva with the hardware's error code; with sh->ept_root an EPT violation at that guest-physical address,
 * which is the linear one, and PF_W if it was a write. ac: RFLAGS.AC is set. cpl: at 3 an error code with U=0 is an
 * access by the CPU itself (descriptor tables, event delivery), to which SMAP always applies.
 */
struct shadow_fault shadow_fault(struct shadow *sh, gva_t gva, u32 error_code, u32 cpl, bool ac);

/*
 * An emulated store of length bytes (at most one page crossing) to gpa follows. Needed before every store to
 * guest memory on behalf of this vCPU that may hit a page table; shadow_write_done() ends it.
 * SHADOW_TRACED_WRITE has done it already for one byte at its gpa. If the store does not happen after all,
 * shadow_write_end() says so, or the next begin or done: until then other vCPUs read that table again at each event.
 */
void shadow_write_begin(struct shadow *sh, gpa_t gpa, u32 length);
void shadow_write_end(struct shadow *sh);

/*
 * length bytes at gpa were just written on behalf of this vCPU (emulation, or the VMM itself), any value.
 * Posts one patch per entry touched to each interested consumer, the own channel included, and pre-fills the
 * own shadow where entries became present. Cheap when the page is not traced. May cross pages.
 */
struct flush shadow_write_done(struct shadow *sh, gpa_t gpa, u32 length);

/*
 * The store to gpa that shadow_fault() reported cannot be emulated. The page loses its trace for all vCPUs;
 * after SHADOW_RESUME the instruction runs natively.
 */
struct flush shadow_give_up(struct shadow *sh, gpa_t gpa);

/*
 * The store to gpa that shadow_fault() reported is the beginning of a write of at least so many bytes: the page
 * will hardly go on as the table it was. What was derived from it is dropped, with its trace; the instruction
 * runs natively.
 */
#define SHADOW_REWRITE_BYTES 128u
struct flush shadow_rewrite(struct shadow *sh, gpa_t gpa);

/*
 * gfn no longer names frame, or only for reading (its p2m entry was changed before; call it for each gfn that
 * changed). Removes every mapping of the frame that was made by guest page tables or through gfn, and
 * everything derived from gfn as a page table. read_only: writable mappings are made read-only instead of
 * removed.
 */
struct flush shadow_drop_frame(struct shadow *sh, u64 gfn, hpa_t frame, bool read_only);

/* Serves other vCPUs' requests for write protection. Call after an exit caused by shadow_vm.kick (or at every
 * exit: it is one load when there is none). */
struct flush shadow_service_kicks(struct shadow *sh);

/* Drops everything (VM reset, tests). */
struct flush shadow_clear(struct shadow *sh);

/* The counters now; on any CPU. Of shared tables, vCPU 0's view has all. */
struct shadow_stats shadow_stats_read(const struct shadow *sh);
