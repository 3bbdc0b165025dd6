/*
 * smp64_hostile.c - every vCPU writes garbage into the page tables that all of them walk: cycles, tables that
 * map themselves, reserved bits, addresses where nothing is, entries of the wrong level. Anything may fault
 * and anything may be read; only the hypervisor and the other VMs must not notice. The code and its stack are
 * mapped by other tables, which are not touched.
 */
#include "tests/guests/ptwrite.h"
#include "tests/guests/smp64.h"

#define TABLES    24
#define ATTACKED  0x0000010000000000ull /* one entry of the root: 512 GiB */
#define BEYOND    0x4000000000ull       /* no memory there */
#define ADDRESSES 0x0000007FFFFFF000ull
#define PROGRESS  64
#define RESERVED  (BIT(51) | BIT(7))

static u64 tables[TABLES][512] aligned_to(4096);
static u64 seed_base, steps;

static u64 some_table(struct dice *d)
{
    return (u64)tables[roll(d, TABLES)];
}

static u64 garbage(struct dice *d)
{
    u64 flags = roll(d, 0x1000) | PTE_P, e;

    switch (roll(d, 8)) {
    case 0: return roll(d, ~0ull);
    case 1: return 0;
    case 2: e = BEYOND + roll(d, ADDRESSES); break;
    case 3: e = FRAME_BASE + roll(d, FRAMES) * PAGE_SIZE; break;
    case 4: e = LARGE_BASE + roll(d, LARGES) * GUEST_LARGE; break;
    default: e = some_table(d); break;
    }
    if (roll(d, 8) == 0)
        e |= RESERVED;
    if (roll(d, 8) == 0)
        e |= PTE_NX;
    return (e & ~(u64)PAGE_MASK) | (roll(d, 4) ? PTE_P | PTE_W | PTE_U | (flags & (PTE_A | PTE_D)) : flags);
}

static u64 somewhere(struct dice *d)
{
    /* few distinct upper indexes, so that addresses meet */
    return ATTACKED + (roll(d, 4) << 30) + (roll(d, 4) << 21) + (roll(d, 16) << 12) + roll(d, 512) * 8;
}

void hostile_set_up(u64 seed, u64 count)
{
    struct dice d = {seed * 0x9E3779B97F4A7C15ull + 1};

    seed_base = seed;
    steps = count;
    for (u32 t = 0; t < TABLES; t++)
        for (u32 i = 0; i < 512; i++)
            tables[t][i] = some_table(&d) | PTE_P | PTE_W | PTE_U;
    *page_entry(ATTACKED, 4) = (u64)tables[0] | PTE_P | PTE_W | PTE_U;
}

static void attack(struct dice *d)
{
    u64 *entry = &tables[roll(d, TABLES)][roll(d, 8) ? roll(d, 16) : roll(d, 512)], value;

    switch (roll(d, 8)) {
    case 0:
    case 1:
    case 2: ptwrite((u32)roll(d, PTWRITE_KINDS), entry, garbage(d)); break;
    case 3: page_flush(somewhere(d)); break;
    case 4: load_cr3(paging_root()); break;
    case 5: try_write(somewhere(d), garbage(d)); break; /* may hit a table */
    default: try_read(somewhere(d), &value); break;
    }
}

void hostile_run(u32 cpu)
{
    struct dice d = {(seed_base + 1) * 0xD1B54A32D192ED03ull + cpu + 1};

    for (u64 i = 0; i < steps * PROGRESS; i++)
        attack(&d);
}
