/*
 * smp64_coherent.c - one vCPU changes the page tables, all the others go on using them.
 *
 *   writer of round r                          every other vCPU, all the time
 *   -----------------                          ------------------------------
 *   waits until all have acknowledged r-1      reads and writes pages; what it gets must be
 *   says what it will change (begun = r)         - what the tables say, if it has acknowledged r or the
 *   changes the entries                            page is not part of r
 *   done = r                                     - that or what they said before r, until then
 *   flushes, acknowledges                      sees done = r: flushes, acknowledges
 *
 * An entry that was not present is in nobody's TLB, so after `done` it must be seen without any flush.
 */
#include "tests/guests/ptwrite.h"
#include "tests/guests/smp64.h"

#define PAGES        16 /* of each region */
#define REGIONS      2  /* 0: its page table's entries change; 1: the directory's entry changes */
#define TABLES       4  /* of region 0, to move between */
#define WRITE_OFFSET 8
#define LARGE_PTE    (PTE_P | PTE_W | PTE_PS)
#define COUNT_OF(a)  (sizeof(a) / sizeof((a)[0]))

/* What one page is: no frame, or which and how. */
struct page {
    u64 frame; /* 0: not present */
    bool writable;
};
struct change {
    u32 region;
    u32 pages; /* bit per page */
    struct page before[PAGES];
};
enum directory_choice { CHOICE_TABLE_A, CHOICE_TABLE_B, CHOICE_LARGE, CHOICE_LARGE_RO, CHOICE_NONE, CHOICES };

static struct page now[REGIONS][PAGES];
static struct change change; /* of round `begun`; written while nobody is in between */
static _Atomic u64 opening, begun, done,
    acknowledged[CPUS_MAX]; /* opening: before `change` and `now` change */
static u64 rounds, seed_base;
static u32 cpu_count;
static u64 table[TABLES + 2][512] aligned_to(4096); /* region 0's, then A and B of region 1 */
static u32 table_in_use;
static u64 root_b[512] aligned_to(4096);
static struct page choice_page[CHOICES][PAGES];
static _Atomic u64 checks, faults;

static u64 page_va(u32 region, u32 page)
{
    static const u64 bases[REGIONS] = {0x0000408000000000, 0xFFFF800000000000};

    return bases[region] + (u64)page * 29 % 512 * PAGE_SIZE;
}

static u32 index_of(u64 va)
{
    return va >> PAGE_SHIFT & 511;
}

static u64 entry_of(struct page p)
{
    return p.frame ? p.frame | PTE_P | (p.writable ? PTE_W : 0) : 0;
}

static struct page random_page(struct dice *d)
{
    struct page p = {FRAME_BASE + roll(d, FRAMES) * PAGE_SIZE, roll(d, 3) != 0};

    if (roll(d, 4) == 0)
        p.frame = 0;
    return p;
}

/* Other vCPUs' walks set accessed and dirty bits meanwhile: only ways to write that do not read before. */
static void write_entry(struct dice *d, u64 *entry, u64 value)
{
    static const u32 kinds[] = {PTWRITE_MOV, PTWRITE_XCHG, PTWRITE_MOVNTI, PTWRITE_REP_MOVS};

    ptwrite(kinds[roll(d, COUNT_OF(kinds))], entry, value);
}

static void fill_choices(struct dice *d)
{
    for (u32 i = 0; i < PAGES; i++) {
        u64 in_large = (page_va(1, i) & (GUEST_LARGE - 1));

        for (u32 t = 0; t < 2; t++) {
            choice_page[CHOICE_TABLE_A + t][i] = random_page(d);
            table[TABLES + t][index_of(page_va(1, i))] = entry_of(choice_page[CHOICE_TABLE_A + t][i]);
        }
        choice_page[CHOICE_LARGE][i] = (struct page){LARGE_BASE + in_large, true};
        choice_page[CHOICE_LARGE_RO][i] = (struct page){LARGE_BASE + GUEST_LARGE + in_large, false};
    }
}

static u64 choice_entry(u32 choice)
{
    switch (choice) {
    case CHOICE_LARGE: return LARGE_BASE | LARGE_PTE;
    case CHOICE_LARGE_RO: return (LARGE_BASE + GUEST_LARGE) | PTE_P | PTE_PS;
    case CHOICE_NONE: return 0;
    default: return (u64)table[TABLES + choice] | PTE_P | PTE_W;
    }
}

void coherent_set_up(u32 cpus, u64 seed, u64 count)
{
    struct dice d = {seed * 0x9E3779B97F4A7C15ull + 1};

    cpu_count = cpus;
    seed_base = seed;
    rounds = count;
    fill_choices(&d);
    for (u32 i = 0; i < PAGES; i++) {
        now[0][i] = random_page(&d);
        table[0][index_of(page_va(0, i))] = entry_of(now[0][i]);
        now[1][i] = choice_page[CHOICE_TABLE_A][i];
    }
    *page_entry(page_va(0, 0), 2) = (u64)table[0] | PTE_P | PTE_W;
    *page_entry(page_va(1, 0), 2) = choice_entry(CHOICE_TABLE_A);
    memcpy(root_b, (void *)paging_root(), PAGE_SIZE);
}

/* ---- the writer ---- */

static void begin(u64 round, u32 region, u32 pages, const struct page to[PAGES])
{
    atomic_store(&opening, round);
    change.region = region;
    change.pages = pages;
    for (u32 i = 0; i < PAGES; i++) {
        change.before[i] = now[region][i];
        if (pages >> i & 1)
            now[region][i] = to[i];
    }
    atomic_store(&begun, round);
}

static void change_entries(u64 round, struct dice *d, u32 count)
{
    struct page to[PAGES];
    u32 pages = 0;

    for (u32 n = 0; n < count; n++) {
        u32 i = (u32)roll(d, PAGES);

        pages |= 1u << i;
        to[i] = random_page(d);
    }
    begin(round, 0, pages, to);
    for (u32 i = 0; i < PAGES; i++)
        if (pages >> i & 1)
            write_entry(d, &table[table_in_use][index_of(page_va(0, i))], entry_of(to[i]));
}

static void change_directory(u64 round, struct dice *d)
{
    u32 choice = (u32)roll(d, CHOICES);

    begin(round, 1, (1u << PAGES) - 1, choice_page[choice]);
    write_entry(d, page_entry(page_va(1, 0), 2), choice_entry(choice));
}

/* The same mappings from another table; the old one becomes data. */
static void move_table(u64 round, struct dice *d)
{
    u32 old = table_in_use;
    u64 blank[4] = {0x5A5A5A5A5A5A5A5A, ~0ull, 0, round};

    table_in_use = (old + 1 + (u32)roll(d, TABLES - 1)) % TABLES;
    memset(table[table_in_use], 0, PAGE_SIZE);
    for (u32 i = 0; i < PAGES; i++)
        table[table_in_use][index_of(page_va(0, i))] = entry_of(now[0][i]);
    begin(round, 0, (1u << PAGES) - 1, now[0]);
    write_entry(d, page_entry(page_va(0, 0), 2), (u64)table[table_in_use] | PTE_P | PTE_W);
    /* The one before the old one: nobody can have cached it any more. */
    for (u32 t = 0; t < TABLES; t++)
        if (t != old && t != table_in_use)
            for (u32 i = 0; i < 512; i += COUNT_OF(blank))
                memcpy(&table[t][i], blank, sizeof(blank));
}

static void write_round(u64 round, struct dice *d)
{
    switch (roll(d, 8)) {
    case 0: change_directory(round, d); break;
    case 1: move_table(round, d); break;
    case 2: change_entries(round, d, PAGES); break;
    default: change_entries(round, d, 1); break;
    }
    atomic_store(&done, round);
}

static bool all_acknowledged(u64 round)
{
    for (u32 i = 0; i < cpu_count; i++)
        if (atomic_load(&acknowledged[i]) < round)
            return false;
    return true;
}

static u32 writer_of(u64 round)
{
    return (u32)((round * 0x9E3779B97F4A7C15ull >> 40) % cpu_count);
}

/* ---- the users ---- */

/* One access: what came of it. */
struct access {
    u64 va, value;
    bool write;
    struct fault fault;
};

static bool agrees(struct page p, const struct access *a)
{
    u64 error = (p.frame ? PF_P : 0) | (a->write ? PF_W : 0);

    if (!p.frame || (a->write && !p.writable))
        return a->fault.vector == VECTOR_PF && a->fault.error == error && a->fault.address == a->va;
    return !a->fault.taken && (a->write || a->value == p.frame);
}

/* One access. exact: the present round is done, and the TLB cannot hold what the page was before. */
static void use(u32 cpu, struct dice *d, u32 region, u32 i, bool exact)
{
    u64 round = atomic_load(&begun);
    bool changing = change.region == region && (change.pages >> i & 1);
    struct page is = now[region][i], was = changing ? change.before[i] : is;
    struct access a = {.va = page_va(region, i), .write = roll(d, 3) == 0};

    if (a.write)
        a.va += WRITE_OFFSET;           /* beside the tag */
    if (atomic_load(&opening) != round) /* what was just read is not certain */
        return;
    a.fault = a.write ? try_write(a.va, round) : try_read(a.va, &a.value);
    if (atomic_load(&opening) != round) /* another round has begun meanwhile */
        return;
    atomic_fetch_add_explicit(&checks, 1, memory_order_relaxed);
    if (a.fault.taken)
        atomic_fetch_add_explicit(&faults, 1, memory_order_relaxed);
    if (agrees(is, &a))
        return;
    if (!exact && atomic_load(&acknowledged[cpu]) < round && agrees(was, &a))
        return;
    smp_fail(a.write ? "write" : "read", cpu, a.va,
             a.fault.taken ? a.fault.error << 8 | a.fault.vector : a.value, is.frame | is.writable);
}

/* The round's pages that were not present before: no flush is needed to see them. */
static void use_new_ones(u32 cpu, struct dice *d)
{
    if (change.region == 1)
        return; /* a directory's entry that is not present may stand in no cache either, but its pages did */
    for (u32 i = 0; i < PAGES; i++)
        if ((change.pages >> i & 1) && !change.before[i].frame)
            use(cpu, d, 0, i, true);
}

static void flush_and_acknowledge(u32 cpu, struct dice *d, u64 round)
{
    if (roll(d, 3) == 0) {
        load_cr3(roll(d, 2) ? (u64)root_b : paging_root());
    } else {
        for (u32 i = 0; i < PAGES; i++)
            if (change.pages >> i & 1)
                page_flush(page_va(change.region, i));
    }
    atomic_store(&acknowledged[cpu], round);
}

static void show_end(u32 cpu)
{
    if (cpu == 0)
        say("smp64: %llu accesses while others changed the tables, %llu of them faults",
            (unsigned long long)atomic_load(&checks), (unsigned long long)atomic_load(&faults));
}

void coherent_run(u32 cpu)
{
    struct dice d = {(seed_base + 1) * 0xD1B54A32D192ED03ull + cpu + 1};

    for (;;) {
        u64 mine = atomic_load(&acknowledged[cpu]);

        if (mine == rounds)
            break;
        if (atomic_load(&done) > mine) {
            use_new_ones(cpu, &d);
            flush_and_acknowledge(cpu, &d, mine + 1);
            if (change.region == 0)
                use(cpu, &d, 0, (u32)roll(&d, PAGES), false);
        } else if (writer_of(mine + 1) == cpu && all_acknowledged(mine)) {
            write_round(mine + 1, &d);
        }
        use(cpu, &d, (u32)roll(&d, REGIONS), (u32)roll(&d, PAGES), false);
        if (roll(&d, 64) == 0)
            load_cr3(roll(&d, 2) ? (u64)root_b : paging_root());
    }
    show_end(cpu);
}
