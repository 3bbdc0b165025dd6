/*
 * smp64_faults.c - faults of the guest's own, on vCPUs that share their page tables: at entries that are not present,
 * over and over; and at entries that another vCPU makes present, after which there must be none.
 *
 *   vCPU 0, step n                             every other vCPU
 *   --------------                             ----------------
 *   waits until all have seen page n-1         reads `published`, then reads page n:
 *   and some of them read page n               a fault is right if it was n or less
 *   makes page n present                       until page n is there
 *   published = n + 1
 */
#include "tests/guests/smp64.h"

#define REGION_BASE 0x0000408000000000ull
#define ENTRIES     512u
#define PAGES       (ENTRIES - 1) /* the last one is there, so that the table is in use */
#define TABLES      8u
#define PAUSE_MAX   400

static u64 table[TABLES][ENTRIES] aligned_to(4096);
static u32 cpu_count;
static u64 rounds, steps;
static _Atomic u64 published, seen[CPUS_MAX], faults;

static u64 page_at(u64 region, u64 page)
{
    return REGION_BASE + region * GUEST_LARGE + page * PAGE_SIZE;
}

void faults_set_up(u32 cpus, u64 count, u64 handed_over)
{
    cpu_count = cpus;
    rounds = count;
    steps = handed_over < PAGES ? handed_over : PAGES;
    for (u32 i = 0; i < TABLES; i++) {
        table[i][PAGES] = FRAME_BASE | PTE_P | PTE_W;
        *page_entry(page_at(i, 0), 2) = (u64)table[i] | PTE_P | PTE_W;
    }
}

/* Pages that nobody makes present, in tables that every vCPU uses. */
static void fault_on(u32 cpu)
{
    u64 value, taken = 0;

    for (u32 i = 0; i < TABLES; i++)
        if (try_read(page_at(i, PAGES), &value).taken)
            smp_fail("a fault", cpu, page_at(i, PAGES), 0, 0);
    for (u64 round = 0; round < rounds; round++)
        for (u32 i = 0; i < PAGES; i++) {
            u64 at = page_at(1 + (cpu + round) % (TABLES - 1), i);
            struct fault f = try_read(at, &value);
            if (!f.taken || f.error || f.address != at)
                smp_fail("no fault of its own", cpu, at, f.error, 0);
            taken++;
        }
    atomic_fetch_add(&faults, taken);
}

static void hand_over(void)
{
    struct dice d = {1};

    for (u64 n = 0; n < steps; n++) {
        for (u32 cpu = 1; cpu < cpu_count; cpu++)
            while (atomic_load(&seen[cpu]) < n)
                relax();
        for (u64 pause = roll(&d, PAUSE_MAX); pause > 0; pause--)
            relax();
        atomic_store((_Atomic u64 *)&table[0][n], (FRAME_BASE + n % FRAMES * PAGE_SIZE) | PTE_P | PTE_W);
        atomic_store(&published, n + 1);
    }
}

static void take_over(u32 cpu)
{
    for (u64 n = 0; n < steps; n++) {
        u64 at = page_at(0, n), value = 0, known;
        struct fault f;

        do {
            known = atomic_load(&published);
            f = try_read(at, &value);
            if (f.taken && known > n)
                smp_fail("a fault at an entry that is present", cpu, at, f.error, known);
        } while (f.taken);
        if (value != FRAME_BASE + n % FRAMES * PAGE_SIZE)
            smp_fail("wrong page", cpu, at, value, n);
        atomic_store(&seen[cpu], n + 1);
    }
}

void faults_run(u32 cpu)
{
    fault_on(cpu);
    if (cpu == 0)
        hand_over();
    else
        take_over(cpu);
}

u64 faults_taken(void)
{
    return atomic_load(&faults);
}
