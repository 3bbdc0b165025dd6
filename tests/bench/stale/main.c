/*
 * main.c - a patch whose primary has changed again (P50, P51): derive it again, or invalidate? In instructions, exact,
 * and in exits; modelled cost = instructions + 1,500 for each exit. The guest writes an entry twice between events,
 * so that the second patch is absorbed and the first one is stale at INVLPG; then it uses the page, or not.
 */
#define _GNU_SOURCE
#include "tests/bench/steps.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "arch/regs.h"
#include "tests/unit/shadow_host.h"

#define PAGES     2048u
#define FRAMES    96u
#define VA        (1ull << 39) /* PML4 slot 1 */
#define TABLE     (PTE_P | PTE_W | PTE_A)
#define PAGE      (PTE_P | PTE_W | PTE_A | PTE_D)
#define ROOT      100u
#define LEAF      103u
#define SLOT      1u
#define EXIT_COST 1500u

enum then { USED, NOT_USED, UNMAPPED, THENS };

struct scene {
    enum shadow_stale_policy policy;
    enum then then;
    bool counted; /* false: nothing between the marks */
};

static u8 *ram;
static struct p2m p2m;
static struct trace_map trace_map;
static struct shadow_vm vm;
static struct shadow sh;
static struct host_shadow host;

static u64 *table(u64 gfn)
{
    return (u64 *)(void *)(ram + gfn * PAGE_SIZE);
}

static void require(bool condition)
{
    if (condition)
        return;
    fprintf(stderr, "stale: the guest is not as it should be\n");
    abort();
}

static u8 *pages(u64 count)
{
    return mmap(NULL, count * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void set_up(enum shadow_stale_policy policy)
{
    struct paging_state ps = {.cr0 = CR0_PE | CR0_PG | CR0_WP,
                              .cr4 = CR4_PAE,
                              .efer = EFER_LME | EFER_LMA | EFER_NXE,
                              .cr3 = ROOT << PAGE_SHIFT,
                              .maxphyaddr = 46};
    struct shadow_config c = {.vm = &vm,
                              .maxphyaddr = 46,
                              .frames = ptr_to_hpa(pages(FRAMES)),
                              .frame_count = FRAMES,
                              .hfn_count = PAGES,
                              .tuning = SHADOW_TUNING_DEFAULT};

    ram = pages(PAGES);
    p2m_init(&p2m, calloc(PAGES, sizeof(u64)), PAGES);
    require(p2m_map_ram(&p2m, 0, ptr_to_hpa(ram), PAGES) == ERR_OK);
    trace_map_init(&trace_map, malloc(trace_map_size(PAGES)), PAGES);
    vm = (struct shadow_vm){.p2m = &p2m, .traces = &trace_map, .vcpus = 1, .matrix = host_matrix(1, MIB)};
    table(ROOT)[1] = (ROOT + 1) << PAGE_SHIFT | TABLE;
    table(ROOT + 1)[0] = (ROOT + 2) << PAGE_SHIFT | TABLE;
    table(ROOT + 2)[0] = LEAF << PAGE_SHIFT | TABLE;
    for (u64 i = 0; i < 512; i++)
        table(LEAF)[i] = (1024 + i) << PAGE_SHIFT | PAGE;
    c.hfn_base = (uintptr_t)ram >> PAGE_SHIFT;
    c.tuning.flood_writes = 0;
    c.tuning.stale = policy;
    require(host_shadow_init(&host, &sh, &c) == ERR_OK);
    (void)shadow_set_paging(&sh, &ps);
}

static void use_page(void)
{
    (void)shadow_fault(&sh, GVA(VA + SLOT * PAGE_SIZE), 0, 0, false);
}

static void store(u64 value)
{
    gpa_t at = GPA(LEAF << PAGE_SHIFT | SLOT * sizeof(u64));

    shadow_write_begin(&sh, at, sizeof(u64));
    atomic_store((_Atomic u64 *)(void *)&table(LEAF)[SLOT], value);
    (void)shadow_write_done(&sh, at, sizeof(u64));
}

static __attribute__((noinline)) void event(const struct scene *s)
{
    if (!s->counted)
        return;
    (void)shadow_invlpg(&sh, GVA(VA + SLOT * PAGE_SIZE));
    if (s->then == USED && s->policy == SHADOW_STALE_INVALIDATE)
        use_page();
}

static void write_twice(const struct scene *s, u64 gfn)
{
    store((gfn + 1) << PAGE_SHIFT | PAGE);
    store(s->then == UNMAPPED ? 0 : gfn << PAGE_SHIFT | PAGE);
}

static void child(const void *arg)
{
    const struct scene *s = arg;
    struct scene warm = *s;

    set_up(s->policy);
    use_page();
    warm.counted = true;
    write_twice(&warm, 1900);
    event(&warm);
    store(1950 << PAGE_SHIFT | PAGE);
    use_page();
    write_twice(s, 1800);
    require(sh.stats.patches_skipped == 2);
    STEPS_MARK();
    event(s);
    STEPS_MARK();
}

int main(void)
{
    static const char *const text[THENS] = {[USED] = "the page is used again",
                                            [NOT_USED] = "it is not",
                                            [UNMAPPED] = "its entry is not present now"};

    printf("%-32s%28s%28s\n%-32s%14s%14s%14s%14s\n", "INVLPG that takes a stale patch;", "derived again",
           "invalidated", "", "instructions", "cost", "instructions", "cost");
    for (enum then then = USED; then < THENS; then++) {
        printf("%-32s", text[then]);
        for (u32 policy = 0; policy < 2; policy++) {
            struct scene s = {policy ? SHADOW_STALE_INVALIDATE : SHADOW_STALE_REDERIVE, then, true};
            struct scene nothing = {s.policy, then, false};
            unsigned long long n = steps_of(child, &s) - steps_of(child, &nothing);
            bool exits = then == USED && s.policy == SHADOW_STALE_INVALIDATE;
            printf("%14llu%14llu", n, n + (exits ? EXIT_COST : 0));
        }
        printf("\n");
    }
    return 0;
}
