/* links: mm/shadow.c mm/shadow_pool.c mm/shadow_derive.c mm/shadow_fill.c mm/shadow_leaf.c mm/shadow_sync.c
 * mm/shadow_revoke.c mm/revoke.c mm/shadow_reach.c mm/shadow_patch.c mm/shadow_shared.c mm/audit.c
 * mm/rmap.c mm/trace.c mm/gwalk.c mm/p2m.c mm/guest_mem.c mm/channel.c mm/matrix.c */
/*
 * test_shadow_shared.c - single properties of tables that all vCPUs of a VM share (shadow = shared). The guest: 16 MiB
 * of RAM; an identity map by large pages in 4-level tables 100 .. 102.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mm/shadow_shared.h"
#include "tests/unit/shadow_guest.h"

#define VCPUS  2u
#define FRAMES (VCPUS * SHADOW_FRAMES_MIN)

static struct shadow_shared shared;
static struct shadow view[VCPUS];
static struct host_shadow host[VCPUS], tables;

/* A VM whose vCPUs have not paged yet. */
static void make_for(u32 vcpu)
{
    static void *frames;

    if (!frames)
        frames = host_pages(FRAMES);
    guest_make(VCPUS);
    table(100)[0] = 101 << 12 | TABLE;
    table(101)[0] = 102 << 12 | TABLE;
    for (u64 i = 0; i < 8; i++)
        table(102)[i] = i << 21 | PAGE | PTE_PS;
    struct shadow_config c = guest_shadow_config(vcpu, frames, FRAMES);
    assert_int_equal(host_shared_init(&tables, &shared, &c), ERR_OK);
    for (c.vcpu = 0; c.vcpu < VCPUS; c.vcpu++)
        assert_int_equal(host_shadow_init(&host[c.vcpu], &view[c.vcpu], &c), ERR_OK);
}

static void make(void)
{
    make_for(0);
}

static enum shadow_verdict touch(struct shadow *sh, u64 va)
{
    return shadow_fault(sh, GVA(va), 0, 0, false).verdict;
}

/* A root's number among the pages and one among the PAE roots may be the same; a way down belongs to one of them. */
static void a_way_down_is_not_taken_by_a_vcpu_in_another_mode(void **state)
{
    struct paging_state legacy = {.cr0 = CR0_PE | CR0_PG | CR0_WP, .cr4 = CR4_PSE, .maxphyaddr = 46};
    u64 gfn = 300;
    (void)state;
    make();
    (void)shadow_set_paging(&view[0], &four_levels);
    do { /* nothing is mapped there */
        legacy.cr3 = gfn++ << 12;
        (void)shadow_set_paging(&view[1], &legacy);
    } while (view[1].root_page != view[0].root_page && gfn < 1000);
    assert_int_equal(view[1].root_page, view[0].root_page);
    assert_int_equal(touch(&view[0], 0x200000), SHADOW_RESUME);
    assert_int_equal(touch(&view[0], 0x201000), SHADOW_RESUME);
    assert_int_equal(touch(&view[1], 0x202000), SHADOW_GUEST_FAULT);
}

/* Another vCPU may be on its way through frames that nothing leads to any more: until it has flushed they are not free. */
static u32 page_of(const struct shadow *sh, u64 gfn)
{
    for (u32 no = 0; no < sh->frame_count; no++)
        if (sh->page[no].state == PAGE_LIVE && key_gfn(sh->page[no].key) == gfn &&
            !key_direct(sh->page[no].key))
            return no;
    fail();
    return 0;
}

static void store_entry(struct shadow *sh, u64 gfn, u64 index, u64 value)
{
    shadow_write_begin(sh, GPA(gfn << 12 | index << 3), sizeof(u64));
    table(gfn)[index] = value;
    shadow_write_done(sh, GPA(gfn << 12 | index << 3), sizeof(u64));
}

/* Other vCPUs can walk through a link as soon as it is made. */
static void check_link(bool traced)
{
    u64 va = (2 * MIB) + 5 * PAGE_SIZE, page = (u64)(uintptr_t)ram + 200 * PAGE_SIZE;
    struct shadow *sh;
    u32 directory, leaf;

    make();
    table(102)[1] = 103 << 12 | TABLE;
    table(103)[5] = 200 << 12 | PAGE;
    shadow_set_paging(&view[0], &four_levels);
    assert_int_equal(touch(&view[0], va), SHADOW_RESUME);
    if (!traced)
        shadow_give_up(&view[0], GPA(103 << 12)); /* the guest may write it unseen */
    store_entry(&view[0], 102, 1, 0);
    shadow_invlpg(&view[0], GVA(va));
    table(103)[5] = 201 << 12 | PAGE; /* if it is traced: a patch is on its way */
    table(102)[1] = 103 << 12 | TABLE;
    sh = shadow_shared_enter(&view[0]);
    directory = page_of(sh, 102);
    leaf = page_of(sh, 103);
    assert_int_equal((sh->page[leaf].flags & PAGE_LOOSE) == 0, traced);
    assert_int_equal(entry_get(sh, leaf, 5) & PTE_ADDR_MASK, page);
    shadow_rederive(sh, directory, 1, table(102)[1]);
    assert_int_not_equal(entry_get(sh, directory, 1), 0);
    assert_int_not_equal(entry_get(sh, leaf, 5) & PTE_ADDR_MASK, page);
    shadow_settle(sh);
    shadow_shared_leave(&view[0], sh);
}

static void a_link_leads_to_nothing_old(void **state)
{
    (void)state;
    check_link(false);
    check_link(true);
}

/* The write of a table is announced where it is found, and the others read the table again until it is done. */
static void a_traced_write_is_announced_by_its_vcpu(void **state)
{
    struct shadow_fault f;
    u64 va = 2 * MIB + 5 * PAGE_SIZE, page = (u64)(uintptr_t)ram + 201 * PAGE_SIZE;

    (void)state;
    make();
    table(102)[1] = 103 << 12 | TABLE;
    table(103)[5] = 200 << 12 | PAGE;
    for (u32 i = 0; i < VCPUS; i++) {
        shadow_set_paging(&view[i], &four_levels);
        assert_int_equal(touch(&view[i], va), SHADOW_RESUME);
    }
    f = shadow_fault(&view[0], GVA(103 << 12 | 5 << 3), PF_W, 0, false);
    assert_int_equal(f.verdict, SHADOW_TRACED_WRITE);
    table(103)[5] = 201 << 12 | PAGE;
    shadow_invlpg(&view[1], GVA(va));
    assert_int_equal(entry_get(&shared.tables, page_of(&shared.tables, 103), 5) & PTE_ADDR_MASK, page);
    shadow_write_done(&view[0], f.gpa, sizeof(u64));
    assert_int_equal(vm.storing[0], 0);
}

/* Whichever vCPU their configuration names. */
static void the_tables_are_consumer_0(void **state)
{
    (void)state;
    for (u32 vcpu = 0; vcpu <= VCPUS; vcpu++) {
        make_for(vcpu);
        shadow_set_paging(&view[1], &four_levels);
        assert_int_equal(touch(&view[1], 0x200000), SHADOW_RESUME);
        assert_int_equal(trace_interest(trace_of(&trace_map, 101)), BIT(0));
        store_entry(&view[1], 102, 1, 3 << 21 | PAGE | PTE_PS);
        assert_true(matrix_pending(vm.matrix, 0));
        shadow_invlpg(&view[1], GVA(0x200000));
        assert_false(matrix_pending(vm.matrix, 0));
    }
}

static void frames_are_free_when_every_vcpu_has_flushed(void **state)
{
    (void)state;
    make();
    for (u32 i = 0; i < VCPUS; i++) {
        (void)shadow_set_paging(&view[i], &four_levels);
        assert_int_equal(touch(&view[i], 0x200000), SHADOW_RESUME);
    }
    assert_int_equal(shadow_clear(&view[0]).width, FLUSH_CONTEXT);
    u32 cut = shared.cut_count, free_frames = shared.tables.free_count;
    assert_true(cut >= 3); /* the tables below the root */
    assert_int_equal(shadow_service_kicks(&view[0]).width, FLUSH_NONE);
    assert_int_equal(shared.cut_count, cut);
    assert_int_equal(shadow_service_kicks(&view[1]).width, FLUSH_CONTEXT);
    assert_int_equal(shared.cut_count, 0);
    assert_int_equal(shared.tables.free_count, free_frames + cut);
    assert_int_equal(shadow_service_kicks(&view[1]).width, FLUSH_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_way_down_is_not_taken_by_a_vcpu_in_another_mode),
        cmocka_unit_test(a_link_leads_to_nothing_old),
        cmocka_unit_test(a_traced_write_is_announced_by_its_vcpu),
        cmocka_unit_test(the_tables_are_consumer_0),
        cmocka_unit_test(frames_are_free_when_every_vcpu_has_flushed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
