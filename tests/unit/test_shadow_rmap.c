/* links: mm/shadow.c mm/shadow_pool.c mm/shadow_derive.c mm/shadow_fill.c mm/shadow_leaf.c mm/shadow_sync.c
 * mm/shadow_revoke.c mm/revoke.c mm/shadow_reach.c mm/shadow_patch.c mm/shadow_shared.c mm/audit.c
 * mm/rmap.c mm/trace.c mm/gwalk.c mm/p2m.c mm/guest_mem.c mm/channel.c mm/matrix.c */
/*
 * test_shadow_rmap.c - a small VM gets pages from all over the machine (donated by others): the rmap's share
 * of the pool runs out, and every page can still be mapped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/regs.h"
#include "tests/unit/shadow_host.h"

#define WINDOW      256u
#define RAM_PAGES   2048u
#define GFNS        (RAM_PAGES + WINDOW)
#define FAR_APART   (4 * MIB) /* one rmap chunk each */
#define FAR_BASE    GIB
#define HOST_FRAMES (1ull << 19)
#define MAX_FAULTS  100u

static u64 words[GFNS];
static struct trace traces[GFNS];
static struct p2m p2m;
static struct trace_map trace_map;
static struct shadow_vm vm;
static struct shadow sh;
static struct host_shadow host;

/* Four tables at gfns 1..4; the last maps the window at linear address 0. */
static void make_guest(void)
{
    u64 *t = aligned_alloc(PAGE_SIZE, 4 * PAGE_SIZE);

    memset(t, 0, 4 * PAGE_SIZE);
    p2m_init(&p2m, words, GFNS);
    trace_map_init(&trace_map, traces, GFNS);
    for (u64 i = 0; i < 4; i++)
        p2m_set(&p2m, 1 + i, ptr_to_hpa((u8 *)t + i * PAGE_SIZE), P2M_RAM_RW, false);
    for (u64 i = 0; i < WINDOW; i++)
        p2m_set(&p2m, RAM_PAGES + i, HPA(FAR_BASE + i * FAR_APART), P2M_RAM_RW, false);
    for (u64 level = 0; level < 3; level++)
        t[level * 512] = (level + 2) << PAGE_SHIFT | PTE_P | PTE_W | PTE_U;
    for (u64 i = 0; i < WINDOW; i++)
        t[3 * 512 + i] = (RAM_PAGES + i) << PAGE_SHIFT | PTE_P | PTE_W | PTE_U;
}

/* As the CPU would: is there a way from the root to the page? */
static bool mapped(u64 gva)
{
    u64 entry = sh.root.v;

    for (int level = 4; level >= 1; level--) {
        const u64 *table = hpa_to_ptr(HPA(entry & PTE_ADDR_MASK));
        entry = table[gva >> (PAGE_SHIFT + 9 * (level - 1)) & 511];
        if (!(entry & PTE_P))
            return false;
    }
    return true;
}

static void pages_from_everywhere_can_be_mapped(void **state)
{
    struct shadow_config c = {.vm = &vm,
                              .maxphyaddr = 39,
                              .hfn_base = 0,
                              .hfn_count = HOST_FRAMES,
                              .frame_count = shadow_frames_suggested(RAM_PAGES * PAGE_SIZE),
                              .tuning = SHADOW_TUNING_DEFAULT};
    struct paging_state ps = {.cr0 = CR0_PE | CR0_PG | CR0_WP,
                              .cr3 = PAGE_SIZE,
                              .cr4 = CR4_PAE,
                              .efer = EFER_LME | EFER_LMA | EFER_NXE,
                              .maxphyaddr = 39};

    (void)state;
    make_guest();
    vm = (struct shadow_vm){.p2m = &p2m, .traces = &trace_map, .vcpus = 1};
    vm.matrix = host_matrix(1, MIB);
    void *frames = aligned_alloc(PAGE_SIZE, (u64)c.frame_count * PAGE_SIZE);
    memset(frames, 0, (u64)c.frame_count * PAGE_SIZE);
    c.frames = ptr_to_hpa(frames);
    assert_int_equal(host_shadow_init(&host, &sh, &c), ERR_OK);
    (void)shadow_set_paging(&sh, &ps);
    for (u64 round = 0; round < 3; round++)
        for (u64 i = 0; i < WINDOW; i++) {
            u32 faults = 0;
            while (!mapped(i * PAGE_SIZE)) {
                assert_int_equal(shadow_fault(&sh, GVA(i * PAGE_SIZE), PF_W, 0, false).verdict,
                                 SHADOW_RESUME);
                assert_true(++faults < MAX_FAULTS);
            }
        }
    assert_true(sh.rmap_frames <= sh.frame_count / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(pages_from_everywhere_can_be_mapped)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
