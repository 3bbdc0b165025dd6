/* links: mm/shadow.c mm/shadow_pool.c mm/shadow_derive.c mm/shadow_fill.c mm/shadow_leaf.c mm/shadow_sync.c
 * mm/shadow_revoke.c mm/revoke.c mm/shadow_reach.c mm/shadow_patch.c mm/shadow_shared.c mm/audit.c
 * mm/audit_changes.c mm/rmap.c mm/trace.c mm/gwalk.c mm/p2m.c mm/guest_mem.c mm/channel.c mm/matrix.c */
/*
 * test_audit.c - the audit after each exit: it finds each kind of difference at the exit that makes it, says nothing
 * about what the architecture allows, drains nothing, and looks at little. The guest's table in frame 4 maps itself at
 * SELF.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "mm/audit.h"
#include "mm/shadow_internal.h"
#include "tests/unit/stats_world.h"

#define SELF (WORLD_VA + (5ull << PAGE_SHIFT))

static struct audit_history history[WORLD_VCPUS];
static struct audit_report report;
static struct shadow *const sh = &world_vcpu[0].shadow, *const other = &world_vcpu[1].shadow;

static gva_t page_at(u64 i)
{
    return GVA(WORLD_VA + (i << PAGE_SHIFT));
}

/* After an exit at that address. */
static enum audit_kind after(struct shadow *s, gva_t at)
{
    struct flush flush;
    bool clean = shadow_audit_changes(s, &history[s->vcpu], &at, &report, &flush);

    assert_true(clean == (report.kind == AUDIT_CLEAN));
    return report.kind;
}

static enum shadow_verdict touch(struct shadow *s, gva_t at, u32 error)
{
    struct shadow_fault f = shadow_fault(s, at, error, 0, false);

    return f.verdict;
}

static void begin(void)
{
    world_start();
    memset(history, 0, sizeof(history));
    *world_entry(4, 5) = 4ull << PAGE_SHIFT | WORLD_PAGE;
    for (u32 i = 0; i < 16; i++) {
        touch(sh, page_at(i), PF_W);
        assert_int_equal(after(sh, page_at(i)), AUDIT_CLEAN);
    }
}

static u64 new_value(u64 frame)
{
    return frame << PAGE_SHIFT | WORLD_PAGE;
}

/* The guest stores an entry of its table, through SELF. Told: the hypervisor carries it out as it should. */
static void store(struct shadow *s, u64 index, u64 value, bool told)
{
    gpa_t at = GPA(4ull << PAGE_SHIFT | index << 3);

    if (told)
        shadow_write_begin(s, at, 8);
    *world_entry(4, index) = value;
    if (told)
        (void)shadow_write_done(s, at, 8);
}

static u32 leaf_page(const struct shadow *s)
{
    u32 no = s->root_page;

    for (u32 level = 4; level > 1; level--)
        no = link_page(s, entry_get(s, no, slot_of(WORLD_VA, level)));
    return no;
}

static void what_has_changed_alone_is_looked_at(void **state)
{
    u64 pages;

    (void)state;
    begin();
    pages = history[0].pages;
    assert_int_equal(after(sh, GVA(1ull << 40)), AUDIT_CLEAN); /* the root */
    assert_int_equal(history[0].pages, pages + 1);
    assert_int_equal(after(sh, page_at(3)), AUDIT_CLEAN); /* and three below it */
    assert_int_equal(history[0].pages, pages + 5);
}

static void a_wrong_entry_is_found_at_its_exit(void **state)
{
    u32 no;
    u64 e;

    (void)state;
    begin();
    no = leaf_page(sh);
    e = entry_get(sh, no, 3);
    atomic_store(&page_entries(sh, no)[3], e + PAGE_SIZE);
    assert_int_equal(after(sh, GVA(1ull << 40)), AUDIT_CLEAN);
    assert_int_equal(after(sh, page_at(7)), AUDIT_RMAP);
    assert_int_equal(report.slot, 3);
    assert_int_equal(report.gva.v, page_at(3).v);
    atomic_store(&page_entries(sh, no)[3], e);
    assert_int_equal(after(sh, page_at(7)), AUDIT_CLEAN);
    *world_entry(4, 3) &= ~PTE_W;
    assert_int_equal(after(sh, page_at(3)), AUDIT_TOO_PERMISSIVE);
    *world_entry(4, 3) = 0;
    assert_int_equal(after(sh, page_at(3)), AUDIT_NOT_IN_PRIMARY);
    *world_entry(4, 3) = new_value(700);
    assert_int_equal(after(sh, page_at(3)), AUDIT_WRONG_FRAME);
}

/* A traced write whose patch gets lost: found at the exit of the write, by the address it went to. */
static void a_patch_that_was_not_posted(void **state)
{
    (void)state;
    begin();
    assert_int_equal(touch(sh, GVA(SELF + 8 * 9), PF_P | PF_W), SHADOW_TRACED_WRITE);
    store(sh, 9, new_value(600), false);
    (void)shadow_write_done(sh, GPA(0), 8); /* another place */
    assert_int_equal(after(sh, GVA(SELF + 8 * 9)), AUDIT_WRONG_FRAME);
    assert_int_equal(report.slot, 9);
}

static void a_patch_on_its_way_is_no_difference(void **state)
{
    u64 drained;

    (void)state;
    begin();
    assert_int_equal(touch(sh, GVA(SELF + 8 * 9), PF_P | PF_W), SHADOW_TRACED_WRITE);
    store(sh, 9, new_value(600), true);
    drained = counter_get(&sh->stats.patches_applied);
    assert_int_equal(after(sh, GVA(SELF + 8 * 9)), AUDIT_CLEAN);
    assert_int_equal(history[0].postponed, 1);
    assert_true(counter_get(&sh->stats.patches_applied) == drained);
    (void)shadow_invlpg(sh, page_at(9));
    assert_int_equal(after(sh, page_at(9)), AUDIT_CLEAN);
    assert_int_equal(history[0].postponed, 1);
    assert_true(counter_get(&sh->stats.patches_applied) == drained + 1);
}

/* The same from another vCPU: its patch, or its store before it has posted one. */
static void what_another_vcpu_writes(void **state)
{
    (void)state;
    begin();
    touch(other, page_at(0), PF_W);
    store(other, 3, new_value(601), true);
    assert_int_equal(after(sh, page_at(3)), AUDIT_CLEAN);
    shadow_write_begin(other, GPA(4ull << PAGE_SHIFT | 4 << 3), 8);
    *world_entry(4, 4) = new_value(602);
    (void)shadow_invlpg(sh, page_at(3));
    assert_int_equal(after(sh, page_at(4)), AUDIT_CLEAN);
    (void)shadow_write_done(other, GPA(4ull << PAGE_SHIFT | 4 << 3), 8);
    assert_int_equal(after(sh, page_at(4)), AUDIT_CLEAN);
    (void)shadow_invlpg(sh, page_at(4));
    assert_int_equal(after(sh, page_at(4)), AUDIT_CLEAN);
}

static void a_table_that_is_writable(void **state)
{
    u32 no;

    (void)state;
    begin();
    no = leaf_page(sh);
    atomic_fetch_or(&page_entries(sh, no)[5], PTE_W);
    assert_int_equal(after(sh, GVA(1ull << 40)), AUDIT_CLEAN); /* the page was not touched */
    sh->page[no].flags &= (u8)~PAGE_AUDITED;
    assert_int_equal(after(sh, GVA(1ull << 40)), AUDIT_TRACED_WRITABLE);
    assert_int_equal(report.slot, 5);
}

static void a_frame_that_was_dropped_puts_all_in_doubt(void **state)
{
    u64 map, pages;

    (void)state;
    begin();
    map = p2m_get(&world_vm.p2m, 515);
    p2m_set(&world_vm.p2m, 515, HPA(0), P2M_EMPTY, false);
    pages = history[0].pages;
    (void)shadow_drop_frame(sh, 600, ptr_to_hpa(world_ram + 600 * PAGE_SIZE), false); /* the wrong one */
    assert_int_equal(after(sh, GVA(1ull << 40)), AUDIT_WRONG_FRAME);
    (void)shadow_drop_frame(sh, 515, p2m_entry_hpa(map), false);
    assert_int_equal(after(sh, GVA(1ull << 40)), AUDIT_CLEAN);
    assert_true(history[0].pages >= pages + 4);
}

/* A fault of the guest's own is forwarded: then its entry must not become present unseen. */
static void a_fault_that_is_not_the_guests_own(void **state)
{
    (void)state;
    world_vcpus = 1;
    world_start();
    memset(history, 0, sizeof(history));
    *world_entry(4, 9) = 0;
    touch(sh, page_at(8), PF_W);
    assert_int_equal(touch(sh, page_at(9), 0), SHADOW_GUEST_FAULT);
    assert_true(sh->page[leaf_page(sh)].forwarded > 0);
    assert_int_equal(after(sh, page_at(9)), AUDIT_CLEAN);
    *world_entry(4, 9) = new_value(600); /* as if its trace had failed */
    assert_int_equal(after(sh, page_at(9)), AUDIT_FORWARDED);
    assert_int_equal(report.slot, 9);
    world_vcpus = WORLD_VCPUS;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_has_changed_alone_is_looked_at),
        cmocka_unit_test(a_wrong_entry_is_found_at_its_exit),
        cmocka_unit_test(a_patch_that_was_not_posted),
        cmocka_unit_test(a_patch_on_its_way_is_no_difference),
        cmocka_unit_test(what_another_vcpu_writes),
        cmocka_unit_test(a_table_that_is_writable),
        cmocka_unit_test(a_frame_that_was_dropped_puts_all_in_doubt),
        cmocka_unit_test(a_fault_that_is_not_the_guests_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
