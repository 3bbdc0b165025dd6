/* links: mm/shadow.c mm/shadow_pool.c mm/shadow_derive.c mm/shadow_fill.c mm/shadow_leaf.c mm/shadow_sync.c
 * mm/shadow_revoke.c mm/revoke.c mm/shadow_reach.c mm/shadow_patch.c mm/shadow_shared.c
 * mm/shadow_lookup.c mm/rmap.c mm/trace.c mm/gwalk.c mm/p2m.c mm/guest_mem.c mm/channel.c mm/matrix.c */
/*
 * test_shadow_lookup.c - what shadow_lookup() says is where the shadow leads, with four levels and with PAE
 * roots, and nothing else: not what was never touched, not what has been taken away. All of it on a CPU without
 * a spare physical-address bit, where an absent entry is 0, and on one with, where it is all ones: an address.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/regs.h"
#include "mm/shadow_lookup.h"
#include "tests/unit/shadow_host.h"

#define PAGES  4096u
#define FRAMES 96u
#define TABLE  (PTE_P | PTE_W | PTE_A)
#define PAGE   (PTE_P | PTE_W | PTE_A | PTE_D)

static u8 *ram;
static struct p2m p2m;
static struct trace_map trace_map;
static struct shadow_vm vm;
static struct shadow sh;
static struct host_shadow host;
static u8 host_maxphyaddr;

static u64 *table(u64 gfn)
{
    return (u64 *)(void *)(ram + gfn * PAGE_SIZE);
}

static void start(const struct paging_state *ps)
{
    static void *frames, *words, *masks;
    if (!frames) {
        ram = mmap(NULL, PAGES * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        frames = mmap(NULL, FRAMES * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        words = malloc(PAGES * sizeof(u64));
        masks = malloc(trace_map_size(PAGES));
    }
    p2m_init(&p2m, words, PAGES);
    assert_int_equal(p2m_map_ram(&p2m, 0, ptr_to_hpa(ram), PAGES), ERR_OK);
    trace_map_init(&trace_map, masks, PAGES);
    vm = (struct shadow_vm){.p2m = &p2m, .traces = &trace_map, .vcpus = 1};
    vm.matrix = host_matrix(1, MIB);
    struct shadow_config c = {
        .vm = &vm, .maxphyaddr = 46, .frame_count = FRAMES, .tuning = SHADOW_TUNING_DEFAULT};
    c.host_maxphyaddr = host_maxphyaddr;
    c.frames = ptr_to_hpa(frames);
    memset(frames, 0, FRAMES * PAGE_SIZE);
    c.hfn_base = (uintptr_t)ram >> PAGE_SHIFT;
    c.hfn_count = PAGES;
    assert_int_equal(host_shadow_init(&host, &sh, &c), ERR_OK);
    (void)shadow_set_paging(&sh, ps);
}

/* Before the first touch nothing is known; after it, the page; after INVLPG of what the guest has cut, nothing. */
static void check(u64 va, u64 *primary, u64 gfn)
{
    hpa_t at;
    u64 old = *primary;

    assert_false(shadow_lookup(&sh, GVA(va), &at));
    assert_int_equal(shadow_fault(&sh, GVA(va), 0, 0, false).verdict, SHADOW_RESUME);
    assert_true(shadow_lookup(&sh, GVA(va + 5), &at));
    assert_int_equal(at.v, (uintptr_t)ram + gfn * PAGE_SIZE + (va & PAGE_MASK) + 5);
    *primary = 0;
    (void)shadow_write_done(&sh, GPA((u64)((u8 *)primary - ram)), 8);
    (void)shadow_invlpg(&sh, GVA(va));
    assert_false(shadow_lookup(&sh, GVA(va), &at));
    *primary = old;
    (void)shadow_write_done(&sh, GPA((u64)((u8 *)primary - ram)), 8);
}

/* The way to va is derived; that to an address which leaves it at one of these levels is not. */
static void check_beside(u64 va, u32 first, u32 last)
{
    hpa_t at;

    assert_int_equal(shadow_fault(&sh, GVA(va), 0, 0, false).verdict, SHADOW_RESUME);
    for (u32 level = first; level <= last; level++) {
        assert_true(shadow_lookup(&sh, GVA(va), &at));
        assert_false(shadow_lookup(&sh, GVA(va ^ BIT(PAGE_SHIFT + 9 * (level - 1))), &at));
    }
}

static void four_levels_lead_where_the_shadow_does(void **state)
{
    (void)state;
    struct paging_state ps = {.cr0 = CR0_PE | CR0_PG | CR0_WP,
                              .cr4 = CR4_PAE,
                              .efer = EFER_LME | EFER_LMA | EFER_NXE,
                              .cr3 = 100 << 12,
                              .maxphyaddr = 46};
    start(&ps);
    table(100)[256] = 101 << 12 | TABLE;
    table(101)[3] = 102 << 12 | TABLE;
    table(102)[4] = 103 << 12 | TABLE;
    table(103)[5] = 1029 << 12 | PAGE;
    table(102)[6] = 4 << 21 | PAGE | PTE_PS; /* a large page of the guest is small ones in the shadow */
    u64 base = 0xffff800000000000 | 3ull << 30;
    check(base | 4 << 21 | 5 << 12 | 0x123, &table(103)[5], 1029);
    check(base | 6 << 21 | 7 << 12, &table(102)[6], (4 << 9) + 7);
    check_beside(base | 4 << 21 | 5 << 12, 1, 4);
}

static void pae_roots_lead_where_the_shadow_does(void **state)
{
    (void)state;
    struct paging_state ps = {
        .cr0 = CR0_PE | CR0_PG | CR0_WP, .cr4 = CR4_PAE, .cr3 = 300 << 12, .maxphyaddr = 46};
    start(&ps);
    memset(table(300), 0, PAGE_SIZE);
    table(300)[3] = 301 << 12 | PTE_P;
    table(301)[8] = 302 << 12 | TABLE;
    table(302)[9] = 1030 << 12 | PAGE;
    assert_true(gwalk_load_pdptes(&p2m, &ps));
    (void)shadow_set_paging(&sh, &ps);
    check(3u << 30 | 8 << 21 | 9 << 12 | 0x10, &table(302)[9], 1030);
    check_beside(3u << 30 | 8 << 21 | 9 << 12, 1, 3); /* the third: one of the four in the root */
}

static void a_guest_without_paging_is_mapped_too(void **state)
{
    (void)state;
    struct paging_state ps = {.cr0 = CR0_PE, .maxphyaddr = 46};
    hpa_t at;

    start(&ps);
    assert_false(shadow_lookup(&sh, GVA(0x5000), &at));
    assert_int_equal(shadow_fault(&sh, GVA(0x5000), 0, 0, false).verdict, SHADOW_RESUME);
    assert_true(shadow_lookup(&sh, GVA(0x5abc), &at));
    assert_int_equal(at.v, (uintptr_t)ram + 0x5abc);
    check_beside(0x5000, 2, 3); /* its neighbours are mapped with it */
}

static int absent_is_zero(void **state)
{
    (void)state;
    host_maxphyaddr = 52;
    return 0;
}

static int absent_is_all_ones(void **state)
{
    (void)state;
    host_maxphyaddr = 46;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(four_levels_lead_where_the_shadow_does),
        cmocka_unit_test(pae_roots_lead_where_the_shadow_does),
        cmocka_unit_test(a_guest_without_paging_is_mapped_too),
    };
    return cmocka_run_group_tests_name("shadow lookup, absent is 0", tests, absent_is_zero, NULL) +
           cmocka_run_group_tests_name("shadow lookup, absent is all ones", tests, absent_is_all_ones, NULL);
}
