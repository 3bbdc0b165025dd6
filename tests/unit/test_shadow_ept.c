/* links: mm/shadow.c mm/shadow_pool.c mm/shadow_derive.c mm/shadow_fill.c mm/shadow_leaf.c mm/shadow_sync.c
 * mm/shadow_revoke.c mm/revoke.c mm/shadow_reach.c mm/shadow_patch.c mm/shadow_shared.c mm/shadow_lookup.c mm/audit.c
 * mm/rmap.c mm/trace.c mm/gwalk.c mm/p2m.c mm/guest_mem.c mm/channel.c mm/matrix.c */
/*
 * test_shadow_ept.c - a guest that does not page, on the EPT of its shadow: what the CPU finds there (read by SDM Vol 3C
 * 28.2.2 alone), and that it is part of the shadow: traces, pages that leave, paging on and off.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mm/shadow_lookup.h"
#include "tests/unit/modelled_tlb.h"
#include "tests/unit/shadow_guest.h"

#define FRAMES 96u
#define VCPUS  2

static struct shadow sh[VCPUS];
static struct host_shadow host[VCPUS];
static const struct paging_state off = {.cr0 = CR0_PE, .maxphyaddr = 46};

/* Two vCPUs that do not page. */
static void start(void)
{
    static u8 *frames;

    if (!frames)
        frames = host_pages(VCPUS * FRAMES);
    guest_make(VCPUS);
    guest_map_va();
    for (u32 i = 0; i < VCPUS; i++) {
        struct shadow_config c = guest_shadow_config(i, frames + i * FRAMES * PAGE_SIZE, FRAMES);
        c.ept = true;
        assert_int_equal(host_shadow_init(&host[i], &sh[i], &c), ERR_OK);
    }
}

/* The entry that maps gfn, 0 if there is none; links are links, and nothing that is not present has any bit. */
static u64 entry(const struct shadow *s, u64 gfn)
{
    u64 at = s->root.v;

    assert_true(s->ept_root);
    for (u32 level = 4;; level--) {
        for (u32 i = 0; i < 512; i++)
            assert_true(!((u64 *)at)[i] || (((u64 *)at)[i] & 5) == 5);
        u64 e = ((u64 *)at)[gfn >> 9 * (level - 1) & 511];
        if (!e || level == 1)
            return e;
        assert_int_equal(e & 0xfff0000000000fffull, EPT_READ | EPT_WRITE | EPT_EXECUTE);
        at = e & PTE_ADDR_MASK;
    }
}

static struct shadow_fault touch(struct shadow *s, u64 gfn, bool write)
{
    return shadow_fault(s, GVA(gfn << 12), write ? PF_W : 0, 0, false);
}

static u64 frame_of(u64 gfn)
{
    return ptr_to_hpa(ram + gfn * PAGE_SIZE).v;
}

/* The guest stores an entry under vCPU s: true if that exits. */
static bool store(struct shadow *s, u64 gfn, u64 index, u64 value)
{
    bool exits = touch(s, gfn, true).verdict == SHADOW_TRACED_WRITE;

    guest_store(s, gfn, index, value, exits);
    return exits;
}

static u64 mapped(struct shadow *s, u64 va)
{
    hpa_t at;

    return shadow_lookup(s, GVA(va), &at) ? (at.v - (uintptr_t)ram) >> 12 : 0;
}

static void a_violation_fills_what_the_p2m_says(void **state)
{
    (void)state;
    start();
    p2m_set(&p2m, 7, HPA(frame_of(7)), P2M_RAM_RO, true);
    p2m_set(&p2m, 8, HPA(0), P2M_EMPTY, false);
    assert_int_equal(sh->filter, SHADOW_FILTER_NONE);
    assert_int_equal(entry(sh, 5), 0);
    assert_int_equal(touch(sh, 5, true).verdict, SHADOW_RESUME);
    assert_int_equal(entry(sh, 5), frame_of(5) | 0x77); /* R W X, WB, IPAT */
    assert_int_equal(entry(sh, 6), frame_of(6) | 0x77); /* beside it */
    assert_int_equal(entry(sh, 7), frame_of(7) | 0x75);
    assert_int_equal(entry(sh, 8), 0);
    assert_int_equal(entry(sh, 64), 0);
    assert_int_equal(touch(sh, 3000, false).verdict, SHADOW_RESUME);
    assert_int_equal(entry(sh, 3000), frame_of(3000) | 0x77);
    assert_int_equal(touch(sh, 7, true).verdict, SHADOW_RO_PAGE);
    assert_int_equal(touch(sh, 8, false).verdict, SHADOW_EMPTY_PAGE);
    assert_int_equal(touch(sh, PAGES - 1, false).verdict, SHADOW_MMIO);
    assert_int_equal(mapped(sh, 3000 << 12), 3000);
    clean(sh);
}

/* The point of it: what others derive from is traced here as anywhere, so they need not know who pages. */
static void stores_to_the_tables_of_others_exit(void **state)
{
    (void)state;
    start();
    shadow_set_paging(&sh[1], &four_levels);
    assert_int_equal(shadow_fault(&sh[1], GVA(VA), 0, 0, false).verdict, SHADOW_RESUME);
    assert_int_equal(touch(sh, 103, false).verdict, SHADOW_RESUME);
    assert_int_equal(entry(sh, 103), frame_of(103) | 0x75);
    assert_int_equal(entry(sh, 104), frame_of(104) | 0x77);
    assert_true(store(sh, 103, 0, 2000 << 12 | PAGE));
    shadow_invlpg(&sh[1], GVA(VA));
    assert_int_equal(mapped(&sh[1], VA), 2000);
    assert_int_equal(sh[1].stats.resyncs, 0);
    clean(sh);
    clean(&sh[1]);
}

/* A trace that comes later is waited for: the table is loose until this vCPU has let go. */
static void a_new_trace_takes_the_right_to_write_away(void **state)
{
    (void)state;
    start();
    assert_int_equal(touch(sh, 103, true).verdict, SHADOW_RESUME);
    shadow_set_paging(&sh[1], &four_levels);
    shadow_fault(&sh[1], GVA(VA), 0, 0, false);
    assert_int_equal(kicked, 1);
    table(103)[0] = 2000 << 12 | PAGE; /* past the trace, which has not come into force */
    shadow_invlpg(&sh[1], GVA(VA));
    assert_int_equal(mapped(&sh[1], VA), 2000);
    assert_int_equal(shadow_service_kicks(sh).width, FLUSH_CONTEXT);
    assert_int_equal(entry(sh, 103), frame_of(103) | 0x75);
    for (u32 i = 0; i < 10; i++)
        shadow_set_paging(&sh[1], &four_levels);
    assert_true(store(sh, 103, 0, 2001 << 12 | PAGE));
    shadow_invlpg(&sh[1], GVA(VA));
    assert_int_equal(mapped(&sh[1], VA), 2001);
    clean(sh);
    clean(&sh[1]);
}

static void a_page_that_leaves_is_gone_from_it(void **state)
{
    (void)state;
    start();
    touch(sh, 5, true);
    p2m_set(&p2m, 5, HPA(frame_of(5)), P2M_RAM_RO, true);
    assert_int_equal(shadow_drop_frame(sh, 5, HPA(frame_of(5)), true).width, FLUSH_CONTEXT);
    assert_int_equal(entry(sh, 5), frame_of(5) | 0x75);
    p2m_set(&p2m, 5, HPA(0), P2M_EMPTY, false);
    assert_int_equal(shadow_drop_frame(sh, 5, HPA(frame_of(5)), false).width, FLUSH_CONTEXT);
    assert_int_equal(entry(sh, 5), 0);
    assert_int_equal(entry(sh, 6), frame_of(6) | 0x77);
    /* and while it is not in use */
    shadow_set_paging(sh, &four_levels);
    p2m_set(&p2m, 6, HPA(0), P2M_EMPTY, false);
    shadow_drop_frame(sh, 6, HPA(frame_of(6)), false);
    assert_int_equal(shadow_set_paging(sh, &off).width, FLUSH_CONTEXT);
    assert_int_equal(entry(sh, 6), 0);
    clean(sh);
}

/* Both stay over the other; what is written between is not missed, and each switch flushes. */
static void paging_on_and_off(void **state)
{
    (void)state;
    start();
    touch(sh, 5, true);
    u64 root = sh->root.v;
    assert_int_equal(shadow_set_paging(sh, &four_levels).width, FLUSH_CONTEXT);
    assert_false(sh->ept_root);
    shadow_fault(sh, GVA(VA), 0, 0, false);
    assert_int_equal(mapped(sh, VA), 1024);
    assert_int_equal(shadow_set_paging(sh, &off).width, FLUSH_CONTEXT);
    assert_int_equal(sh->root.v, root);
    assert_int_equal(entry(sh, 5), frame_of(5) | 0x77);
    assert_int_equal(sh->filter, SHADOW_FILTER_NONE);
    assert_true(store(sh, 103, 0, 2000 << 12 | PAGE));
    assert_int_equal(shadow_set_paging(sh, &four_levels).width, FLUSH_CONTEXT);
    assert_int_equal(mapped(sh, VA), 2000);
    clean(sh);
}

static void a_clear_leaves_an_empty_root(void **state)
{
    (void)state;
    start();
    touch(sh, 5, true);
    u64 root = sh->root.v;
    assert_int_equal(shadow_clear(sh).width, FLUSH_CONTEXT);
    assert_int_equal(sh->root.v, root);
    assert_int_equal(entry(sh, 5), 0);
    assert_int_equal(sh->loose_count, 0);
    assert_int_equal(touch(sh, 5, true).verdict, SHADOW_RESUME);
    assert_int_equal(entry(sh, 5), frame_of(5) | 0x77);
    clean(sh);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_violation_fills_what_the_p2m_says),
        cmocka_unit_test(stores_to_the_tables_of_others_exit),
        cmocka_unit_test(a_new_trace_takes_the_right_to_write_away),
        cmocka_unit_test(a_page_that_leaves_is_gone_from_it),
        cmocka_unit_test(paging_on_and_off),
        cmocka_unit_test(a_clear_leaves_an_empty_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
