/* links: mm/shadow.c mm/shadow_pool.c mm/shadow_derive.c mm/shadow_fill.c mm/shadow_leaf.c mm/shadow_sync.c
 * mm/shadow_revoke.c mm/revoke.c mm/shadow_reach.c mm/shadow_patch.c mm/shadow_shared.c mm/audit.c
 * mm/rmap.c mm/trace.c mm/gwalk.c mm/p2m.c mm/guest_mem.c mm/channel.c mm/matrix.c */
/*
 * test_shadow.c - single properties of the shadow MMU, one small guest each: what exits, what is flushed,
 * what is traced. The guest: 16 MiB of RAM; table frames 100.. (PML4 100, PDPT 101, PD 102, PT 103 for VA;
 * identity map at 0 by large pages 200, 201).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mm/shadow_quick.h"
#include "tests/unit/modelled_tlb.h"
#include "tests/unit/shadow_guest.h"

#define FRAMES 96u
#define VCPUS  3

static struct shadow sh[VCPUS];
static struct host_shadow host[VCPUS];
static struct paging_state ps;
static u8 host_maxphyaddr = 46;

/* A VM whose vCPUs have not paged yet. */
static void make(u32 vcpus, struct shadow_tuning tuning)
{
    static void *frames[VCPUS];

    guest_make(vcpus);
    guest_map_va();
    table(100)[0] = 200 << 12 | TABLE;
    table(200)[0] = 201 << 12 | TABLE;
    for (u64 i = 0; i < 8; i++)
        table(201)[i] = i << 21 | PAGE | PTE_PS;
    ps = four_levels;
    for (u32 i = 0; i < vcpus; i++) {
        if (!frames[i])
            frames[i] = host_pages(FRAMES);
        struct shadow_config c = guest_shadow_config(i, frames[i], FRAMES);
        c.tuning = tuning;
        c.host_maxphyaddr = host_maxphyaddr;
        assert_int_equal(host_shadow_init(&host[i], &sh[i], &c), ERR_OK);
    }
}

static void start(u32 vcpus, struct shadow_tuning tuning)
{
    make(vcpus, tuning);
    for (u32 i = 0; i < vcpus; i++)
        assert_int_equal(shadow_set_paging(&sh[i], &ps).width, FLUSH_CONTEXT);
}

static struct shadow_tuning tuned(void)
{
    struct shadow_tuning t = SHADOW_TUNING_DEFAULT;
    t.flood_writes = 0;
    t.prefill_used = 1;
    return t;
}

/* The shadow's leaf entry for a linear address, 0 if there is none. */
static u64 leaf(const struct shadow *s, u64 va)
{
    u64 at = s->root.v;
    for (int level = 4; level > 0; level--) {
        u64 e = ((u64 *)at)[va >> (12 + 9 * (level - 1)) & 511];
        if (!e || (e & BIT(51)))
            return 0;
        if (level == 1)
            return e;
        at = e & PTE_ADDR_MASK;
    }
    return 0;
}

static enum shadow_verdict touch(struct shadow *s, u64 va, u32 error)
{
    struct shadow_fault f = shadow_fault(s, GVA(va), error, 0, false);
    return f.verdict;
}

static u64 gfn_of(u64 entry)
{
    return ((entry & PTE_ADDR_MASK) - (uintptr_t)ram) >> 12;
}

/* The guest stores an entry; traced stores are emulated. Returns true if it exited. */
static bool store(struct shadow *s, u64 gfn, u64 index, u64 value)
{
    bool traced = trace_active(trace_of(&trace_map, gfn));

    guest_store(s, gfn, index, value, traced);
    return traced;
}

static void a_touch_fills_and_sets_accessed_and_dirty(void **state)
{
    (void)state;
    start(1, tuned());
    table(103)[3] = 1027 << 12 | PTE_P | PTE_W;
    assert_int_equal(touch(sh, VA + 0x3000, 0), SHADOW_RESUME);
    assert_int_equal(table(103)[3] & (PTE_A | PTE_D), PTE_A);
    assert_int_equal(gfn_of(leaf(sh, VA + 0x3000)), 1027);
    assert_false(leaf(sh, VA + 0x3000) & PTE_W); /* the first write must be seen */
    assert_int_equal(touch(sh, VA + 0x3000, PF_P | PF_W), SHADOW_RESUME);
    assert_int_equal(table(103)[3] & (PTE_A | PTE_D), PTE_A | PTE_D);
    assert_true(leaf(sh, VA + 0x3000) & PTE_W);
    clean(sh);
}

/* P60 */
static void tables_are_traced_and_writes_to_them_exit(void **state)
{
    struct shadow_fault f;
    (void)state;
    start(1, tuned());
    assert_int_equal(touch(sh, 103 << 12, PF_W),
                     SHADOW_RESUME); /* data so far: mapped writable by the identity map */
    assert_true(leaf(sh, 103 << 12) & PTE_W);
    f = shadow_fault(sh, GVA(VA), 0, 0, false); /* now 100-103 are tables */
    assert_int_equal(f.verdict, SHADOW_RESUME);
    assert_int_equal(f.flush.width, FLUSH_CONTEXT); /* the writable translation of 103 must be gone */
    assert_false(leaf(sh, 103 << 12) & PTE_W);
    f = shadow_fault(sh, GVA(103 << 12 | 8), PF_P | PF_W, 0, false);
    assert_int_equal(f.verdict, SHADOW_TRACED_WRITE);
    assert_int_equal(f.gpa.v, 103 << 12 | 8);
    assert_int_equal(touch(sh, 104 << 12, PF_W), SHADOW_RESUME); /* no table */
    clean(sh);
}

/* P49, P53 */
static void a_patch_waits_for_the_event_and_invlpg_flushes_one_address(void **state)
{
    struct flush f;
    (void)state;
    start(1, tuned());
    touch(sh, VA, 0);
    assert_true(store(sh, 103, 0, 2000 << 12 | PAGE));
    assert_int_equal(gfn_of(leaf(sh, VA)), 1024); /* stale, legally */
    f = shadow_invlpg(sh, GVA(VA));
    assert_int_equal(f.width, FLUSH_ADDRESS);
    assert_int_equal(f.gva.v, VA);
    assert_int_equal(gfn_of(leaf(sh, VA)), 2000); /* refilled, no fault needed */
    assert_int_equal(sh->stats.patches_applied, 1);
    clean(sh);
}

/* P50, P51, P52 */
static void a_patch_that_is_not_valid_any_more(void **state)
{
    (void)state;
    for (int policy = 0; policy < 2; policy++) {
        struct shadow_tuning t = tuned();
        t.stale = policy ? SHADOW_STALE_INVALIDATE : SHADOW_STALE_REDERIVE;
        start(1, t);
        touch(sh, VA, 0);
        store(sh, 103, 0, 2000 << 12 | PAGE);
        table(103)[0] = 2001 << 12 | PAGE; /* the primary changes behind the patch */
        shadow_invlpg(sh, GVA(VA));
        if (policy)
            assert_int_equal(leaf(sh, VA), 0);
        else
            assert_int_equal(gfn_of(leaf(sh, VA)), 2001);
        assert_int_equal(sh->stats.patches_invalidated, policy);
        assert_int_equal(sh->stats.patches_rederived, !policy);
        clean(sh);
    }
}

static void making_present_needs_no_event(void **state)
{
    (void)state;
    start(1, tuned());
    table(103)[5] = 0;
    touch(sh, VA, 0);
    assert_int_equal(touch(sh, VA + 0x5000, 0), SHADOW_GUEST_FAULT);
    store(sh, 103, 5, 3000 << 12 | PAGE);
    assert_int_equal(gfn_of(leaf(sh, VA + 0x5000)), 3000);
    assert_int_equal(sh->stats.prefills, 1);
    assert_int_equal(sh->stats.patches_posted, 0);
    clean(sh);
}

static void upper_level_changes_flush_the_context_at_invlpg(void **state)
{
    (void)state;
    start(1, tuned());
    touch(sh, VA, 0);
    store(sh, 102, 0, 0); /* unlinks the page table */
    assert_int_equal(shadow_invlpg(sh, GVA(VA + (1 << 30))).width, FLUSH_CONTEXT);
    assert_int_equal(leaf(sh, VA), 0);
    assert_int_equal(shadow_invlpg(sh, GVA(VA)).width, FLUSH_ADDRESS);
    clean(sh);
}

/* P54: MOV to CR3 */
static void warm_roots_are_switched_without_faults(void **state)
{
    struct paging_state other;
    u64 builds;
    (void)state;
    start(1, tuned());
    memcpy(table(110), table(100), PAGE_SIZE);
    table(110)[1] = 0;
    other = ps;
    other.cr3 = 110 << 12;
    touch(sh, VA, 0);
    assert_int_equal(shadow_set_paging(sh, &ps).width, FLUSH_NONE); /* same root, nothing narrowed since */
    assert_int_equal(shadow_set_cr3(sh, other.cr3).width, FLUSH_NONGLOBAL);
    assert_int_equal(leaf(sh, VA), 0);
    builds = sh->stats.root_builds;
    assert_int_equal(shadow_set_paging(sh, &ps).width, FLUSH_NONGLOBAL);
    assert_int_equal(shadow_set_cr3(sh, ps.cr3).width, FLUSH_NONE);
    assert_int_equal(gfn_of(leaf(sh, VA)), 1024);
    assert_int_equal(sh->stats.root_builds, builds);
    clean(sh);
}

static void a_burst_of_writes_loosens_a_table_and_calm_traces_it_again(void **state)
{
    struct shadow_tuning t = SHADOW_TUNING_DEFAULT;
    int exits = 0;
    (void)state;
    t.flood_writes = 3;
    t.calm_events = 2;
    t.prefill_used = 8;
    start(1, t);
    touch(sh, VA, 0);
    for (u64 i = 0; i < 512; i++)
        exits += store(sh, 103, i, (2048 + i) << 12 | PAGE);
    assert_int_equal(exits, 3);
    shadow_set_paging(sh, &ps);
    for (u64 i = 0; i < 512; i++)
        assert_int_equal(gfn_of(leaf(sh, VA + (i << 12))), 2048 + i); /* re-derived at the event, no fault */
    assert_int_equal(touch(sh, 103 << 12, PF_W), SHADOW_RESUME);
    assert_true(leaf(sh, 103 << 12) & PTE_W);
    for (int i = 0; i < 3; i++)
        shadow_set_paging(sh, &ps);
    assert_int_equal(sh->stats.retraced, 1);
    assert_true(trace_active(trace_of(&trace_map, 103)));
    assert_false(leaf(sh, 103 << 12) & PTE_W);
    clean(sh);
}

/* A second address space: root 110, 111, 112, 113 map VA. */
static void add_space(u64 root)
{
    table(root)[0] = table(100)[0];
    table(root)[1] = (root + 1) << 12 | TABLE;
    table(root + 1)[0] = (root + 2) << 12 | TABLE;
    table(root + 2)[0] = (root + 3) << 12 | TABLE;
    for (u64 i = 0; i < 512; i++)
        table(root + 3)[i] = (1536 + i) << 12 | PAGE;
}

/* VA's table has been written so often that it has no trace. */
static void loosen(u64 gfn)
{
    for (u64 i = 0; i < 8; i++)
        store(sh, gfn, i, table(gfn)[i]);
    assert_false(trace_active(trace_of(&trace_map, gfn)));
}

static void load(u64 root)
{
    bool all;

    if (!shadow_set_cr3_quick(sh, root << 12, &all))
        shadow_set_cr3(sh, root << 12);
}

static void a_load_of_cr3_reads_the_tables_of_its_space_alone(void **state)
{
    u64 syncs;
    (void)state;
    start(1, SHADOW_TUNING_DEFAULT);
    add_space(110);
    touch(sh, VA, 0);
    load(110);
    touch(sh, VA, 0);
    assert_int_equal(gfn_of(leaf(sh, VA)), 1536);
    load(100);
    loosen(103);
    syncs = sh->stats.loose_syncs;
    for (u64 i = 0; i < 10; i++) {
        load(110);
        assert_int_equal(sh->stats.loose_syncs, syncs + i);
        table(103)[0] = (2048 + i) << 12 | PAGE;
        load(100);
        assert_int_equal(gfn_of(leaf(sh, VA)), 2048 + i);
        clean(sh);
    }
    for (u64 i = 0; i < 200; i++) /* at leisure, all the same: it may be calm */
        load(110);
    assert_int_equal(sh->loose_count, 0);
    assert_true(trace_active(trace_of(&trace_map, 103)));
}

/* While one is loose all faults exit, so it is not passed by. */
static void a_loose_upper_table_is_read_in_every_space(void **state)
{
    (void)state;
    start(1, SHADOW_TUNING_DEFAULT);
    add_space(110);
    touch(sh, VA, 0);
    load(110);
    touch(sh, VA, 0);
    load(100);
    shadow_give_up(sh, GPA(102 << 12));
    assert_int_equal(sh->filter, SHADOW_FILTER_NONE);
    load(110);
    table(102)[0] = 113 << 12 | TABLE; /* unseen */
    for (u32 i = 0; i < 8; i++)
        load(110);
    assert_int_equal(sh->loose_upper, 0);
    assert_int_equal(sh->filter, SHADOW_FILTER_NOT_PRESENT);
    load(100);
    touch(sh, VA, 0);
    assert_int_equal(gfn_of(leaf(sh, VA)), 1536);
    clean(sh);
}

static void a_table_of_two_spaces_is_read_in_both(void **state)
{
    (void)state;
    for (u64 shared_level = 1; shared_level <= 3; shared_level++) { /* what they share: PT, PD or PDPT */
        start(1, SHADOW_TUNING_DEFAULT);
        add_space(110);
        touch(sh, VA, 0);
        loosen(103);
        table(113 - shared_level)[shared_level == 3] = (104 - shared_level) << 12 | TABLE;
        table(103)[0] = 2048 << 12 | PAGE;
        load(110);
        touch(sh, VA + 0x5000, 0);
        assert_int_equal(gfn_of(leaf(sh, VA)), 2048);
        for (u64 i = 0; i < 6; i++) {
            table(103)[0] = (2048 + i) << 12 | PAGE;
            load(i & 1 ? 110 : 100);
            assert_int_equal(gfn_of(leaf(sh, VA)), 2048 + i);
            clean(sh);
        }
    }
}

static void what_outlives_its_root_is_read_in_the_next(void **state)
{
    (void)state;
    start(1, SHADOW_TUNING_DEFAULT);
    add_space(110);
    touch(sh, VA, 0);
    loosen(103);
    load(110);
    touch(sh, 100 << 12, PF_W);
    shadow_rewrite(sh, GPA(100 << 12)); /* nothing leads to 101, 102, 103 now */
    table(100)[0] = table(110)[0];
    table(103)[0] = 2048 << 12 | PAGE;
    load(110);
    store(sh, 110, 1, 101 << 12 | TABLE);
    shadow_set_cr3(sh, 110 << 12);
    touch(sh, VA + 0x5000, 0);
    assert_int_equal(gfn_of(leaf(sh, VA)), 2048);
    for (u64 i = 0; i < 6; i++) {
        table(103)[0] = (2100 + i) << 12 | PAGE;
        load(110);
        assert_int_equal(gfn_of(leaf(sh, VA)), 2100 + i);
        clean(sh);
    }
}

static void the_names_of_roots_go_round(void **state)
{
    (void)state;
    start(1, SHADOW_TUNING_DEFAULT);
    add_space(110);
    for (u64 i = 0; i < 5000; i++) {
        u64 root = i % 2 ? 110 : 100;
        load(root);
        touch(sh, VA, 0);
        if (i % 3 == 0)
            loosen(root + 3);
        store(sh, root + 3, 0, (2048 + i % 512) << 12 | PAGE);
        load(root);
        assert_int_equal(gfn_of(leaf(sh, VA)), 2048 + i % 512);
        touch(sh, (210 - root) << 12, PF_W);
        if (trace_active(trace_of(&trace_map, 210 - root)))
            shadow_rewrite(sh, GPA((210 - root) << 12));
    }
    assert_in_range(sh->stats.root_builds, 4990, 5010);
    clean(sh);
}

static void a_new_root_has_what_the_old_one_has_in_common(void **state)
{
    (void)state;
    start(1, tuned());
    add_space(110);
    touch(sh, 50 << 12, 0);
    touch(sh, VA, 0);
    load(110);
    assert_int_equal(gfn_of(leaf(sh, 50 << 12)), 50);
    assert_int_equal(leaf(sh, VA), 0);
    clean(sh);
}

/* The number of a PAE root is none of a page. */
static void a_new_root_has_nothing_of_one_that_is_not_in_use(void **state)
{
    struct paging_state legacy = {.cr0 = CR0_PE | CR0_PG | CR0_WP, .cr4 = CR4_PSE, .maxphyaddr = 46};
    u32 root;
    (void)state;
    start(1, tuned());
    add_space(110);
    touch(sh, 50 << 12, 0);
    root = sh->root_page;
    for (u64 gfn = 300; sh->root_page != root || !sh->pae_root; gfn++) {
        assert_in_range(gfn, 300, 1000);
        legacy.cr3 = gfn << 12;
        shadow_set_paging(sh, &legacy);
    }
    ps.cr3 = 110 << 12;
    shadow_set_paging(sh, &ps);
    assert_int_equal(leaf(sh, 50 << 12), 0);
    clean(sh);
}

static void a_load_of_cr3_is_quick_where_nothing_is_to_be_done(void **state)
{
    bool all;
    (void)state;
    start(1, tuned());
    add_space(110);
    touch(sh, VA, 0);
    assert_false(shadow_set_cr3_quick(sh, 100 << 12, &all)); /* not known yet */
    load(100);
    load(110);
    assert_true(shadow_set_cr3_quick(sh, 100 << 12, &all) && all);
    assert_int_equal(gfn_of(leaf(sh, VA)), 1024);
    assert_true(shadow_set_cr3_quick(sh, 100 << 12, &all) && !all);
    store(sh, 103, 0, 2048 << 12 | PAGE);
    assert_false(shadow_set_cr3_quick(sh, 110 << 12, &all)); /* a patch is on its way */
    load(100);
    assert_int_equal(gfn_of(leaf(sh, VA)), 2048);
    touch(sh, 110 << 12, PF_W);
    shadow_rewrite(sh, GPA(110 << 12));
    assert_false(shadow_set_cr3_quick(sh, 110 << 12, &all)); /* its root is gone */
    load(110);
    ps.cr0 &= ~CR0_WP;
    shadow_set_paging(sh, &ps);
    assert_false(shadow_set_cr3_quick(sh, 110 << 12, &all)); /* that root is one of WP=1 */
}

static void giving_up_lets_the_write_through(void **state)
{
    struct shadow_fault f;
    (void)state;
    start(1, tuned());
    touch(sh, VA, 0);
    f = shadow_fault(sh, GVA(103 << 12), PF_W, 0, false);
    assert_int_equal(f.verdict, SHADOW_TRACED_WRITE);
    shadow_give_up(sh, f.gpa);
    assert_int_equal(touch(sh, 103 << 12, PF_W), SHADOW_RESUME);
    assert_true(leaf(sh, 103 << 12) & PTE_W);
    table(103)[0] = 2500 << 12 | PAGE; /* natively */
    shadow_invlpg(sh, GVA(VA));
    assert_int_equal(gfn_of(leaf(sh, VA)), 2500);
    clean(sh);
}

static void a_table_that_maps_itself_can_be_written(void **state)
{
    struct shadow_fault f;
    (void)state;
    start(1, tuned());
    table(103)[7] = 103 << 12 | PAGE;
    f = shadow_fault(sh, GVA(VA + 0x7000), PF_W, 0, false);
    assert_int_equal(f.verdict, SHADOW_TRACED_WRITE); /* it became a table in this very fault */
    shadow_give_up(sh, f.gpa);
    assert_int_equal(touch(sh, VA + 0x7000, PF_W), SHADOW_RESUME);
    assert_true(leaf(sh, VA + 0x7000) & PTE_W);
    clean(sh);
}

static void a_page_that_leaves_is_nowhere_mapped(void **state)
{
    (void)state;
    start(1, tuned());
    touch(sh, VA, PF_W);
    touch(sh, 1024 << 12, PF_W);
    assert_int_not_equal(leaf(sh, VA), 0);
    assert_int_not_equal(leaf(sh, 1024 << 12), 0);
    p2m_set(&p2m, 1024, HPA(0), P2M_EMPTY, false);
    assert_int_equal(shadow_drop_frame(sh, 1024, ptr_to_hpa(table(1024)), false).width, FLUSH_CONTEXT);
    assert_int_equal(leaf(sh, VA), 0);
    assert_int_equal(leaf(sh, 1024 << 12), 0);
    assert_int_equal(touch(sh, VA, 0), SHADOW_EMPTY_PAGE);
    p2m_set(&p2m, 1024, ptr_to_hpa(table(1024)), P2M_RAM_RO, true);
    assert_int_equal(touch(sh, VA, 0), SHADOW_RESUME);
    assert_false(leaf(sh, VA) & PTE_W);
    assert_int_equal(touch(sh, VA, PF_P | PF_W), SHADOW_RO_PAGE);
    assert_int_equal(touch(sh, (u64)(PAGES - 3) << 12, 0), SHADOW_MMIO);
    clean(sh);
}

/* P54: CR0.WP */
static void write_protection_off_and_on(void **state)
{
    struct paging_state off;
    struct shadow_fault f;
    (void)state;
    start(1, tuned());
    table(103)[0] = 1024 << 12 | PTE_P | PTE_U | PTE_A;
    table(100)[1] |= PTE_U;
    table(101)[0] |= PTE_U;
    table(102)[0] |= PTE_U;
    f = shadow_fault(sh, GVA(VA), PF_P | PF_W, 0, false);
    assert_int_equal(f.verdict, SHADOW_GUEST_FAULT);
    assert_int_equal(f.error, PF_P | PF_W);
    off = ps;
    off.cr0 &= ~CR0_WP;
    assert_int_equal(shadow_set_paging(sh, &off).width, FLUSH_CONTEXT);
    assert_int_equal(touch(sh, VA, PF_W), SHADOW_RESUME);
    assert_true(leaf(sh, VA) & PTE_W);
    assert_false(leaf(sh, VA) & PTE_U); /* the user must not get the write */
    assert_true(table(103)[0] & PTE_D);
    f = shadow_fault(sh, GVA(VA), PF_P | PF_U, 3, false);
    assert_int_equal(f.verdict, SHADOW_RESUME);
    assert_true((leaf(sh, VA) & (PTE_U | PTE_W)) == PTE_U);
    off.cr4 |= CR4_SMAP;
    shadow_set_paging(sh, &off);
    f = shadow_fault(sh, GVA(VA), PF_W, 0, true);
    assert_int_equal(f.verdict, SHADOW_TRACED_WRITE); /* emulated: a mapping would undo SMAP */
    f = shadow_fault(sh, GVA(VA), PF_W, 0, false);
    assert_int_equal(f.verdict, SHADOW_GUEST_FAULT);
    clean(sh);
}

static void no_paging_is_an_identity_map(void **state)
{
    struct paging_state off = {.cr0 = CR0_PE, .maxphyaddr = 46};
    u64 *root;
    (void)state;
    start(1, tuned());
    assert_int_equal(shadow_set_paging(sh, &off).width, FLUSH_CONTEXT);
    assert_true(sh->root.v < 4 * GIB);
    assert_int_equal(touch(sh, 0x12345, PF_W | PF_U), SHADOW_RESUME);
    root = (u64 *)sh->root.v;
    assert_int_equal(root[0] & 0x1e6, 0);
    assert_int_equal(touch(sh, 0xfee00000, 0), SHADOW_MMIO);
    clean(sh);
}

static u64 pae_leaf(const struct shadow *s, u32 va)
{
    u64 e = ((u64 *)s->root.v)[va >> 30];

    e = e ? ((u64 *)(e & PTE_ADDR_MASK))[va >> 21 & 511] : 0;
    return e ? ((u64 *)(e & PTE_ADDR_MASK))[va >> 12 & 511] : 0;
}

/* A guest that has never paged. */
static void no_paging_has_no_use_for_cr3(void **state)
{
    struct paging_state off = {.cr0 = CR0_PE, .maxphyaddr = 46};
    (void)state;
    make(1, tuned());
    for (u32 cr3 = 0; cr3 < 0x4000; cr3 += 0x1000) {
        off.cr3 = cr3;
        shadow_set_paging(sh, &off);
        for (u32 va = 0x8000; va < 0x12000; va += 0x1000) {
            assert_int_equal(touch(sh, va, PF_W | PF_U), SHADOW_RESUME);
            assert_int_equal(gfn_of(pae_leaf(sh, va)), va >> 12);
            assert_true(pae_leaf(sh, va) & PTE_U);
        }
        clean(sh);
    }
}

static void installing_a_trace_asks_only_who_can_write(void **state)
{
    (void)state;
    start(2, tuned());
    assert_int_equal(touch(&sh[1], 103 << 12, PF_W), SHADOW_RESUME); /* vCPU 1 can write frame 103 */
    kicked = 0;
    touch(&sh[0], VA, 0); /* vCPU 0 makes it a table */
    assert_int_equal(kicked, BIT(1));
    assert_true(leaf(&sh[1], 103 << 12) & PTE_W);
    table(103)[0] = 2222 << 12 | PAGE; /* vCPU 1 writes it, with no exit */
    shadow_invlpg(&sh[0], GVA(VA));
    assert_int_equal(gfn_of(leaf(&sh[0], VA)),
                     2222); /* and vCPU 0 sees it at its event: the table is loose */
    assert_int_equal(shadow_service_kicks(&sh[1]).width, FLUSH_CONTEXT);
    assert_false(leaf(&sh[1], 103 << 12) & PTE_W);
    kicked = 0;
    for (int i = 0; i < 3; i++)
        shadow_set_paging(&sh[0], &ps);
    assert_int_equal(kicked, 0);
    assert_int_equal(sh[0].loose_count, 0); /* traced now */
    assert_true(store(&sh[1], 103, 1, 2223 << 12 | PAGE));
    touch(&sh[0], VA + 0x1000, 0);
    assert_int_equal(gfn_of(leaf(&sh[0], VA + 0x1000)), 2223);
    clean(&sh[0]);
    clean(&sh[1]);
}

/* Other vCPUs' patches are applied at any exit, a link among them: what it leads to must not be what it was once. */
static void a_link_back_to_a_rewritten_table_shows_what_was_written(void **state)
{
    (void)state;
    for (u32 round = 0; round < 4; round++) {
        struct shadow *linker = &sh[1 + round / 2], *writer = &sh[2 - round / 2];
        struct shadow_tuning t = tuned();
        t.flood_writes = round & 1 ? 2 : 0;
        start(3, t);
        touch(&sh[0], VA + 0x3000, 0);
        table(104)[3] = 2500 << 12 | PAGE;
        store(&sh[0], 102, 0, 104 << 12 | TABLE);
        shadow_set_paging(&sh[0], &ps);
        touch(&sh[0], VA + 0x3000, 0);
        assert_int_equal(gfn_of(leaf(&sh[0], VA + 0x3000)), 2500);
        for (u64 i = 0; i < 4; i++)
            store(writer, 103, i, (2600 + i) << 12 | PAGE);
        store(linker, 102, 0, 103 << 12 | TABLE);
        touch(&sh[0], (u64)(PAGES - 3) << 12, 0); /* device memory: an exit, but no coherency event */
        assert_int_not_equal(gfn_of(leaf(&sh[0], VA + 0x3000)), 1027);
        touch(&sh[0], VA + 0x3000, 0);
        clean(&sh[0]);
    }
}

/* What the hardware finds for a linear address: the first entry that is not derived, or the leaf. */
static u64 found(const struct shadow *s, u64 va)
{
    u64 at = s->root.v;
    for (int level = 4;; level--) {
        u64 e = ((u64 *)at)[va >> (12 + 9 * (level - 1)) & 511];
        if (!e || (e & BIT(51)) || level == 1)
            return e;
        at = e & PTE_ADDR_MASK;
    }
}

static void the_guests_own_faults_need_no_exit(void **state)
{
    (void)state;
    start(1, tuned());
    assert_int_equal(sh->filter, SHADOW_FILTER_NOT_PRESENT);
    table(103)[7] = 0;
    assert_int_equal(found(sh, VA + (7 << 12)), ~0ull); /* nothing is known yet: exits */
    touch(sh, VA, 0);
    assert_int_equal(found(sh, VA + (7 << 12)), ~0ull);
    assert_int_equal(touch(sh, VA + (7 << 12), 0), SHADOW_GUEST_FAULT);
    assert_int_equal(found(sh, VA + (7 << 12)), 0); /* from now on the guest's, and its alone */
    assert_true(store(sh, 103, 7, 2300 << 12 | PAGE));
    assert_int_equal(gfn_of(found(sh, VA + (7 << 12))), 2300); /* there at once, with no event */
    assert_true(store(sh, 103, 7, 0));
    shadow_invlpg(sh, GVA(VA + (7 << 12)));
    assert_int_equal(found(sh, VA + (7 << 12)), 0);
    shadow_give_up(sh, GPA(103 << 12)); /* the guest may write it unseen */
    assert_int_equal(found(sh, VA + (7 << 12)), ~0ull);
    assert_int_equal(touch(sh, VA + (1ull << 30), 0), SHADOW_GUEST_FAULT); /* no entry in an upper table */
    assert_int_equal(found(sh, VA + (1ull << 30)), 0);
    shadow_give_up(sh, GPA(102 << 12)); /* ways may be old now, and such a fault drains nothing */
    assert_int_equal(sh->filter, SHADOW_FILTER_NONE);
    clean(sh);
}

static void a_table_paged_on_demand_is_traced_again(void **state)
{
    struct shadow_tuning t = SHADOW_TUNING_DEFAULT;
    u64 faults;
    (void)state;
    start(1, t);
    for (u64 i = 0; i < 512; i++)
        table(103)[i] = i ? 0 : 1024 << 12 | PAGE;
    touch(sh, VA, 0);
    shadow_give_up(sh, GPA(103 << 12));
    assert_false(trace_active(trace_of(&trace_map, 103)));
    for (u64 i = 1; i < 100; i++)
        if (found(sh, VA + (i << 12)) == ~0ull) /* else with no exit */
            assert_int_equal(touch(sh, VA + (i << 12), 0), SHADOW_GUEST_FAULT);
    assert_true(trace_active(trace_of(&trace_map, 103)));
    faults = sh->stats.guest_faults;
    assert_in_range(faults, 2, 12);
    clean(sh);
}

/* Between the announcement of a store and the store itself. */
static void another_vcpus_store_takes_a_fault_back_before_it_is_seen(void **state)
{
    u64 va = VA + (7 << 12);
    gpa_t at = GPA(103 << 12 | 7 << 3);
    (void)state;
    start(3, tuned());
    table(103)[7] = table(103)[8] = 0;
    touch(&sh[0], VA, 0);
    touch(&sh[1], VA, 0);
    assert_int_equal(touch(&sh[1], va, 0), SHADOW_GUEST_FAULT);
    assert_int_equal(sh[1].filter, SHADOW_FILTER_NOT_PRESENT);
    assert_int_equal(found(&sh[1], va), 0);
    shadow_write_begin(&sh[0], at, 8);
    assert_int_equal(found(&sh[1], va), ~0ull);
    assert_int_equal(found(&sh[1], va + PAGE_SIZE), 0);
    assert_int_equal(touch(&sh[1], va, 0),
                     SHADOW_GUEST_FAULT); /* still, but of this nobody can be sure now */
    assert_int_equal(found(&sh[1], va), 0);
    assert_int_equal(sh[1].filter, SHADOW_FILTER_NONE);
    table(103)[7] = 2300 << 12 | PAGE;
    (void)shadow_write_done(&sh[0], at, 8);
    assert_int_equal(sh[1].filter, SHADOW_FILTER_NONE); /* its patch is there */
    assert_int_equal(touch(&sh[1], va, 0), SHADOW_RESUME);
    assert_int_equal(gfn_of(found(&sh[1], va)), 2300);
    assert_int_equal(sh[1].filter, SHADOW_FILTER_NOT_PRESENT);
    (void)shadow_give_up(&sh[0], GPA(103 << 12)); /* from now on the guest may write it unseen */
    assert_int_equal(found(&sh[1], va + PAGE_SIZE), ~0ull);
    for (u32 i = 0; i < 2; i++)
        clean(&sh[i]);
}

/* The way to what is forwarded: the store changes a link of the other vCPU's, which its hardware may have cached. */
static void another_vcpus_store_cuts_the_way_to_a_fault(void **state)
{
    u64 va = VA + (7 << 12);
    gpa_t at = GPA(102 << 12);
    (void)state;
    start(2, tuned());
    table(103)[7] = 0;
    touch(&sh[0], VA, 0);
    touch(&sh[1], VA, 0);
    assert_int_equal(touch(&sh[1], va, 0), SHADOW_GUEST_FAULT);
    assert_int_equal(touch(&sh[1], va + PAGE_SIZE, 0), SHADOW_RESUME);
    assert_int_equal(found(&sh[1], va), 0);
    for (u64 i = 0; i < 512; i++)
        table(104)[i] = (2000 + i) << 12 | PAGE;
    shadow_write_begin(&sh[0], at, 8);
    assert_int_equal(leaf(&sh[1], va), 0);
    assert_true(found(&sh[1], va) & BIT(51)); /* it exits there, however often */
    assert_int_equal(touch(&sh[1], va + PAGE_SIZE, 0), SHADOW_RESUME);
    assert_int_equal(gfn_of(leaf(&sh[1], va + PAGE_SIZE)), 1032); /* nothing has changed yet */
    assert_int_equal(sh[1].filter, SHADOW_FILTER_NONE);
    table(102)[0] = 104 << 12 | TABLE;
    (void)shadow_write_done(&sh[0], at, 8);
    assert_int_equal(touch(&sh[1], va, 0), SHADOW_RESUME);
    assert_int_equal(gfn_of(leaf(&sh[1], va)), 2007);
    assert_int_equal(sh[1].filter, SHADOW_FILTER_NOT_PRESENT);
    assert_int_equal(shadow_set_paging(&sh[1], &ps).width, FLUSH_NONGLOBAL); /* the way was another */
    clean(&sh[1]);
}

/* A store that was announced while the table had no trace revoked nothing. */
static void a_table_traced_again_amid_a_store_proves_nothing(void **state)
{
    u64 va = VA + (7 << 12);
    gpa_t at = GPA(102 << 12);
    (void)state;
    start(2, tuned());
    table(103)[7] = 0;
    touch(&sh[1], VA, 0);
    assert_int_equal(touch(&sh[1], va, 0), SHADOW_GUEST_FAULT);
    (void)shadow_give_up(&sh[1], at);
    assert_int_equal(sh[1].filter, SHADOW_FILTER_NONE);
    shadow_write_begin(&sh[0], at, 8);
    for (u32 i = 0; i < 8; i++)
        shadow_set_paging(&sh[1], &ps);
    assert_int_equal(sh[1].loose_upper, 0);
    assert_int_equal(found(&sh[1], va), 0); /* it would be the guest's */
    assert_int_equal(sh[1].filter, SHADOW_FILTER_NONE);
    table(102)[0] = 104 << 12 | TABLE;
    (void)shadow_write_done(&sh[0], at, 8);
    assert_int_equal(touch(&sh[1], va, 0), SHADOW_GUEST_FAULT);
    assert_int_equal(sh[1].filter, SHADOW_FILTER_NOT_PRESENT);
    clean(&sh[1]);
}

static void a_store_that_is_called_off_stands_in_nobodys_way(void **state)
{
    u64 va = VA + (7 << 12);
    (void)state;
    start(2, tuned());
    table(103)[7] = 0;
    touch(&sh[0], VA, 0);
    touch(&sh[1], VA, 0);
    assert_int_equal(touch(&sh[0], 103 << 12, PF_W), SHADOW_TRACED_WRITE);
    assert_int_equal(touch(&sh[1], va, 0), SHADOW_GUEST_FAULT);
    assert_int_equal(sh[1].filter, SHADOW_FILTER_NONE);
    shadow_write_end(&sh[0]);
    assert_int_equal(touch(&sh[1], va + VA, 0), SHADOW_GUEST_FAULT);
    assert_int_equal(sh[1].filter, SHADOW_FILTER_NOT_PRESENT);
    assert_int_equal(vm.storing[0], 0);
    clean(&sh[1]);
}

/* In the middle of a call of vCPU 1's, vCPU 0 stores. */
static u64 store_meanwhile(void *context, u64 mask)
{
    (void)mask;
    store(context, 103, 7, 2300 << 12 | PAGE);
    return 0;
}

static void a_patch_that_came_during_the_call_proves_nothing(void **state)
{
    (void)state;
    start(2, tuned());
    table(102)[1] = 104 << 12 | TABLE;
    table(104)[0] = 2048 << 12 | PAGE;
    table(103)[7] = 0;
    touch(&sh[1], VA, 0);
    assert_int_equal(touch(&sh[1], VA + (7 << 12), 0), SHADOW_GUEST_FAULT);
    assert_int_equal(touch(&sh[0], 104 << 12, PF_W), SHADOW_RESUME); /* it has to be asked for a trace */
    assert_int_equal(sh[1].filter, SHADOW_FILTER_NOT_PRESENT);
    vm.kick = store_meanwhile;
    vm.kick_context = &sh[0];
    assert_int_equal(touch(&sh[1], VA + (1 << 21), 0), SHADOW_RESUME);
    assert_int_equal(sh[1].filter, SHADOW_FILTER_NONE);
    assert_int_equal(touch(&sh[1], VA + (7 << 12), 0), SHADOW_RESUME);
    assert_int_equal(sh[1].filter, SHADOW_FILTER_NOT_PRESENT);
    assert_int_equal(gfn_of(leaf(&sh[1], VA + (7 << 12))), 2300);
    clean(&sh[1]);
}

static void a_frame_that_another_vcpu_may_look_at_is_not_used_again(void **state)
{
    u32 waits;
    (void)state;
    start(2, tuned());
    table(103)[7] = 0;
    touch(&sh[1], VA, 0);
    assert_int_equal(touch(&sh[1], VA + (7 << 12), 0), SHADOW_GUEST_FAULT);
    shadow_write_begin(&sh[0], GPA(103 << 12), 8);
    (void)shadow_clear(&sh[1]);
    waits = sh[1].stale_count;
    assert_int_equal(waits, 1);
    (void)shadow_write_done(&sh[0], GPA(103 << 12), 8);
    (void)shadow_clear(&sh[1]);
    assert_int_equal(sh[1].stale_count, 0);
    assert_int_equal(sh[1].listed, 1); /* the root */
    clean(&sh[1]);
}

static void a_store_across_pages_takes_back_the_faults_of_both(void **state)
{
    const u64 second = VA + (1ull << 21);
    (void)state;
    start(2, tuned());
    table(102)[1] = 104 << 12 | TABLE;
    table(104)[1] = 2048 << 12 | PAGE;
    table(103)[511] = 0;
    touch(&sh[1], VA, 0);
    touch(&sh[1], second + PAGE_SIZE, 0);
    assert_int_equal(touch(&sh[1], second - PAGE_SIZE, 0), SHADOW_GUEST_FAULT);
    assert_int_equal(touch(&sh[1], second, 0), SHADOW_GUEST_FAULT);
    assert_int_equal(found(&sh[1], second - PAGE_SIZE) | found(&sh[1], second), 0);
    shadow_write_begin(&sh[0], GPA((104 << 12) - 4), 8);
    assert_int_equal(found(&sh[1], second - PAGE_SIZE), ~0ull);
    assert_int_equal(found(&sh[1], second), ~0ull);
    (void)shadow_write_done(&sh[0], GPA((104 << 12) - 4), 8);
    clean(&sh[1]);
}

/* The place of a table in the list of its vCPU's (mm/revoke.c). */
static u64 list_set(u64 gfn)
{
    return gfn * 0x9e3779b97f4a7c15ull >> 32 & sh->list.set_mask;
}

/* Page table i of VA's directory, with a fault of the guest's. */
static void demand(u64 i, u64 gfn)
{
    table(102)[i] = gfn << 12 | TABLE;
    table(gfn)[0] = 2048 << 12 | PAGE;
    touch(sh, VA + (i << 21), 0);
    touch(sh, VA + (i << 21 | 0x1000), 0);
}

/* Another way down, of upper tables 120 to 122. */
static void another_way(void)
{
    table(100)[2] = 120 << 12 | TABLE;
    table(120)[0] = 121 << 12 | TABLE;
    table(121)[0] = 122 << 12 | TABLE;
    table(122)[0] = 2048 << 12 | PAGE;
    assert_int_equal(touch(sh, 2 * VA, 0), SHADOW_RESUME);
}

/* There is room for so many in the list; an upper table beyond makes all faults exit while it is there, not for ever. */
static void an_upper_table_without_a_place_is_counted_once(void **state)
{
    u64 tables = 0;
    (void)state;
    start(2, tuned());
    for (u64 gfn = 300; tables < REVOKE_WAYS; gfn++)
        if (list_set(gfn) == list_set(121))
            demand(++tables, gfn);
    assert_int_equal(sh->filter, SHADOW_FILTER_NOT_PRESENT);
    another_way();
    assert_int_equal(sh->filter, SHADOW_FILTER_NONE);
    assert_int_equal(touch(sh, 2 * VA + 2 * MIB, 0),
                     SHADOW_GUEST_FAULT); /* its own, in the table that has no place */
    for (u64 gfn = 120; gfn <= 122; gfn++)
        shadow_drop_frame(sh, gfn, ptr_to_hpa(table(gfn)), false);
    assert_int_equal(sh->filter, SHADOW_FILTER_NOT_PRESENT);
    clean(sh);
}

/* The faults of a leaf table exit when it has no place, but those of all when an upper one has none. */
static void leaf_tables_leave_places_to_upper_ones(void **state)
{
    (void)state;
    start(2, tuned());
    for (u64 i = 1; i <= FRAMES / 2; i++)
        demand(i, 300 + i);
    assert_int_equal(found(sh, VA + (1 << 21 | 0x1000)), 0);
    assert_int_equal(found(sh, VA + ((u64)FRAMES / 2 << 21 | 0x1000)), ~0ull);
    another_way();
    assert_int_equal(sh->filter, SHADOW_FILTER_NOT_PRESENT);
    clean(sh);
}

/* A way that is remembered, to a link that was revoked for a store that did not come. */
/* The list is where a store looks: who has no page of a table any more is not in it, nor in the mask of its frame. */
static void a_page_that_is_gone_is_in_no_list_and_its_table_has_no_trace(void **state)
{
    (void)state;
    start(2, tuned());
    table(103)[7] = 0;
    touch(&sh[1], VA, 0);
    assert_int_equal(touch(&sh[1], VA + (7 << 12), 0), SHADOW_GUEST_FAULT);
    assert_int_equal(sh[1].listed, 4);
    for (u64 gfn = 100; gfn <= 103; gfn++)
        assert_true(trace_active(&trace_map.frame[gfn]));
    (void)shadow_clear(&sh[1]);
    assert_int_equal(sh[1].listed, 1); /* the root */
    u64 words = 0;
    for (u64 i = 0; i < (sh[1].list.set_mask + 1) * REVOKE_WAYS; i++)
        words += atomic_load_explicit(&sh[1].list.word[i], memory_order_relaxed) != 0;
    assert_int_equal(words, 1);
    for (u64 gfn = 101; gfn <= 103; gfn++)
        assert_false(trace_active(&trace_map.frame[gfn]));
}

static void a_link_revoked_for_nothing_is_made_again(void **state)
{
    (void)state;
    start(2, tuned());
    touch(&sh[1], VA, 0);
    touch(&sh[1], VA + PAGE_SIZE, 0);
    shadow_write_begin(&sh[0], GPA(102 << 12), 8);
    shadow_write_begin(&sh[0], GPA(300 << 12), 8);
    (void)shadow_write_done(&sh[0], GPA(300 << 12), 8);
    assert_int_equal(leaf(&sh[1], VA), 0);
    assert_int_equal(touch(&sh[1], VA, 0), SHADOW_RESUME);
    assert_int_equal(gfn_of(leaf(&sh[1], VA)), 1024);
    clean(&sh[1]);
}

static void some_faults_exit_all_the_same(void **state)
{
    (void)state;
    host_maxphyaddr = 52; /* no spare bit */
    start(1, tuned());
    host_maxphyaddr = 46;
    assert_int_equal(sh->filter, SHADOW_FILTER_NONE);
    assert_int_equal(found(sh, VA), 0);
    touch(sh, VA, 0);
    assert_int_equal(gfn_of(found(sh, VA)), 1024);
    start(1, tuned());
    ps.efer &= ~EFER_NXE; /* I/D is no bit of this guest's error codes */
    shadow_set_paging(sh, &ps);
    assert_int_equal(sh->filter, SHADOW_FILTER_DATA);
    ps.cr4 |= CR4_SMEP;
    shadow_set_paging(sh, &ps);
    assert_int_equal(sh->filter, SHADOW_FILTER_NOT_PRESENT);
    ps.cr0 &= ~CR0_PG; /* a PAE root has no absent entries */
    ps.efer &= ~EFER_LMA;
    shadow_set_paging(sh, &ps);
    assert_int_equal(sh->filter, SHADOW_FILTER_NONE);
}

static void a_page_that_is_rewritten_is_no_table(void **state)
{
    u64 made;
    (void)state;
    start(1, tuned());
    touch(sh, VA, 0);
    assert_int_equal(touch(sh, 103 << 12, PF_W), SHADOW_TRACED_WRITE);
    made = sh->stats.pages_killed;
    shadow_rewrite(sh, GPA(103 << 12));
    assert_int_equal(sh->stats.pages_killed, made + 1);
    assert_false(trace_active(trace_of(&trace_map, 103)));
    assert_int_equal(touch(sh, 103 << 12, PF_W), SHADOW_RESUME);
    assert_int_equal(found(sh, VA), ~0ull);
    clean(sh);
}

/* The root in use cannot be dropped, but nothing of it may stay that was there before. */
static void a_root_that_is_rewritten_is_read_again(void **state)
{
    (void)state;
    start(1, tuned());
    touch(sh, VA, 0);
    shadow_write_begin(sh, GPA(100 << 12), 256);
    table(100)[1] = 104 << 12 | TABLE;
    shadow_write_done(sh, GPA(100 << 12), 256);
    for (int i = 0; i < 10; i++) /* calm: it is traced again */
        shadow_set_paging(sh, &ps);
    assert_int_equal(leaf(sh, VA), 0);
    assert_int_equal(touch(sh, VA, 0), SHADOW_GUEST_FAULT);
    clean(sh);
}

/* P61 */
static void both_consumers_get_their_patch_and_the_uninterested_costs_nothing(void **state)
{
    (void)state;
    start(2, tuned());
    touch(&sh[0], VA, 0);
    touch(&sh[1], VA, 0);
    for (int i = 0; i < 12; i++) { /* let both trace it */
        shadow_service_kicks(&sh[0]);
        shadow_service_kicks(&sh[1]);
        shadow_set_paging(&sh[i & 1], &ps);
    }
    assert_int_equal(trace_interest(trace_of(&trace_map, 103)), 3);
    assert_true(store(&sh[0], 103, 0, 2300 << 12 | PAGE));
    assert_int_equal(sh[0].stats.patches_posted, 2);
    shadow_invlpg(&sh[1], GVA(VA));
    assert_int_equal(gfn_of(leaf(&sh[1], VA)), 2300);
    assert_int_equal(gfn_of(leaf(&sh[0], VA)), 1024); /* still legally old */
    shadow_invlpg(&sh[0], GVA(VA));
    assert_int_equal(gfn_of(leaf(&sh[0], VA)), 2300);
    clean(&sh[0]);
    clean(&sh[1]);
}

static void a_store_seen_before_its_patch_is_not_missed(void **state)
{
    (void)state;
    start(2, tuned());
    touch(&sh[1], VA, 0);
    shadow_write_begin(&sh[0], GPA(103 << 12), 8);
    table(103)[0] = 2400 << 12 | PAGE;
    shadow_invlpg(&sh[1], GVA(VA)); /* between the store and the post */
    assert_int_equal(gfn_of(leaf(&sh[1], VA)), 2400);
    shadow_write_done(&sh[0], GPA(103 << 12), 8);
    shadow_invlpg(&sh[1], GVA(VA));
    assert_int_equal(gfn_of(leaf(&sh[1], VA)), 2400);
    clean(&sh[1]);
}

/* P63 */
static void an_overflowing_channel_resynchronises(void **state)
{
    (void)state;
    start(2, tuned());
    touch(&sh[1], VA, 0);
    for (u64 i = 0; i < 512; i++)
        touch(&sh[1], VA + (i << 12), 0);
    for (u64 i = 0; i < 512; i++)
        store(&sh[0], 103, i, (2048 + i) << 12 | PAGE);
    assert_true(sh[0].stats.overflows > 0);
    shadow_set_paging(&sh[1], &ps);
    assert_int_equal(sh[1].stats.resyncs, 1);
    for (u64 i = 0; i < 512; i++) {
        u64 e = leaf(&sh[1], VA + (i << 12));
        assert_true(!e || gfn_of(e) == 2048 + i);
    }
    clean(&sh[1]);
}

static void a_tiny_pool_goes_round(void **state)
{
    (void)state;
    start(1, tuned());
    for (u64 i = 0; i < 8;
         i++) /* 1024 page tables at 256 .. 1279 under 8 directories: more than the pool has */
        table(101)[i] = (110 + i) << 12 | TABLE;
    for (u64 i = 0; i < 1024; i++) {
        table(110 + i / 128)[i % 128] = (256 + i) << 12 | TABLE;
        table(256 + i)[0] = (1500 + i) << 12 | PAGE;
    }
    for (int round = 0; round < 2; round++)
        for (u64 i = 0; i < 1024; i++) {
            u64 va = VA + ((i / 128) << 30 | (i % 128) << 21);
            assert_int_equal(touch(sh, va, 0), SHADOW_RESUME);
            assert_int_equal(gfn_of(leaf(sh, va)), 1500 + i);
        }
    assert_true(sh->stats.reclaims > 10);
    assert_true(shadow_stats_read(sh).pages_used <= FRAMES);
    clean(sh);
    assert_int_equal(shadow_clear(sh).width, FLUSH_CONTEXT);
    assert_int_equal(leaf(sh, VA), 0);
    assert_int_equal(touch(sh, VA, 0), SHADOW_RESUME);
    clean(sh);
}

static void bad_configurations_are_refused(void **state)
{
    struct shadow_config c = {0};
    struct shadow s;
    (void)state;
    assert_int_equal(shadow_init(&s, &c), ERR_INVALID);
    assert_true(shadow_frames_suggested(512 * MIB) * PAGE_SIZE < 512 * MIB / 100 + 2 * MIB);
}

static void flushes_merge_to_what_covers_both(void **state)
{
    struct flush a = {FLUSH_ADDRESS, GVA(0x1000)}, b = {FLUSH_ADDRESS, GVA(0x2000)},
                 g = {FLUSH_NONGLOBAL, GVA(0)};
    (void)state;
    assert_int_equal(flush_merge(a, FLUSH_NOTHING).width, FLUSH_ADDRESS);
    assert_int_equal(flush_merge(a, a).width, FLUSH_ADDRESS);
    assert_int_equal(flush_merge(a, b).width, FLUSH_CONTEXT);
    assert_int_equal(flush_merge(g, a).width, FLUSH_CONTEXT); /* a global translation of the address */
    assert_int_equal(flush_merge(FLUSH_NOTHING, g).width, FLUSH_NONGLOBAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_touch_fills_and_sets_accessed_and_dirty),
        cmocka_unit_test(tables_are_traced_and_writes_to_them_exit),
        cmocka_unit_test(a_patch_waits_for_the_event_and_invlpg_flushes_one_address),
        cmocka_unit_test(a_patch_that_is_not_valid_any_more),
        cmocka_unit_test(making_present_needs_no_event),
        cmocka_unit_test(upper_level_changes_flush_the_context_at_invlpg),
        cmocka_unit_test(warm_roots_are_switched_without_faults),
        cmocka_unit_test(a_burst_of_writes_loosens_a_table_and_calm_traces_it_again),
        cmocka_unit_test(a_load_of_cr3_reads_the_tables_of_its_space_alone),
        cmocka_unit_test(a_loose_upper_table_is_read_in_every_space),
        cmocka_unit_test(a_table_of_two_spaces_is_read_in_both),
        cmocka_unit_test(what_outlives_its_root_is_read_in_the_next),
        cmocka_unit_test(the_names_of_roots_go_round),
        cmocka_unit_test(a_new_root_has_what_the_old_one_has_in_common),
        cmocka_unit_test(a_new_root_has_nothing_of_one_that_is_not_in_use),
        cmocka_unit_test(a_load_of_cr3_is_quick_where_nothing_is_to_be_done),
        cmocka_unit_test(giving_up_lets_the_write_through),
        cmocka_unit_test(a_table_that_maps_itself_can_be_written),
        cmocka_unit_test(a_page_that_leaves_is_nowhere_mapped),
        cmocka_unit_test(write_protection_off_and_on),
        cmocka_unit_test(no_paging_is_an_identity_map),
        cmocka_unit_test(no_paging_has_no_use_for_cr3),
        cmocka_unit_test(installing_a_trace_asks_only_who_can_write),
        cmocka_unit_test(a_link_back_to_a_rewritten_table_shows_what_was_written),
        cmocka_unit_test(the_guests_own_faults_need_no_exit),
        cmocka_unit_test(a_table_paged_on_demand_is_traced_again),
        cmocka_unit_test(another_vcpus_store_takes_a_fault_back_before_it_is_seen),
        cmocka_unit_test(another_vcpus_store_cuts_the_way_to_a_fault),
        cmocka_unit_test(a_table_traced_again_amid_a_store_proves_nothing),
        cmocka_unit_test(a_store_that_is_called_off_stands_in_nobodys_way),
        cmocka_unit_test(a_patch_that_came_during_the_call_proves_nothing),
        cmocka_unit_test(a_frame_that_another_vcpu_may_look_at_is_not_used_again),
        cmocka_unit_test(an_upper_table_without_a_place_is_counted_once),
        cmocka_unit_test(leaf_tables_leave_places_to_upper_ones),
        cmocka_unit_test(a_store_across_pages_takes_back_the_faults_of_both),
        cmocka_unit_test(a_page_that_is_gone_is_in_no_list_and_its_table_has_no_trace),
        cmocka_unit_test(a_link_revoked_for_nothing_is_made_again),
        cmocka_unit_test(some_faults_exit_all_the_same),
        cmocka_unit_test(a_page_that_is_rewritten_is_no_table),
        cmocka_unit_test(a_root_that_is_rewritten_is_read_again),
        cmocka_unit_test(both_consumers_get_their_patch_and_the_uninterested_costs_nothing),
        cmocka_unit_test(a_store_seen_before_its_patch_is_not_missed),
        cmocka_unit_test(an_overflowing_channel_resynchronises),
        cmocka_unit_test(a_tiny_pool_goes_round),
        cmocka_unit_test(bad_configurations_are_refused),
        cmocka_unit_test(flushes_merge_to_what_covers_both),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
