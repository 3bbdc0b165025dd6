/*
 * torture64.c - a flat guest that changes 4-level page tables at random and checks every access against its
 * own walk of them: maps, unmaps, protections, large pages, aliases, whole tables moved, several address
 * spaces, tables turned into data and back, and every kind of instruction that can write an entry.
 *
 * Options: seed=N, steps=N (20,000), reserved=0: no reserved bits (QEMU's TCG tells them without PF_P).
 */
#include "tests/guests/ptwrite.h"
#include "vmm/demo/guest.h"

#define FRAMES       64
#define FRAME_BASE   0x1000000ull /* 16 MiB: data frames, each 4 KiB, tagged */
#define LARGE_BASE   0x1400000ull /* 20 MiB: four 2 MiB frames */
#define LARGE_FRAMES 4
#define SPACES       3
#define REGIONS      3  /* distinct upper-level entries */
#define SLOTS        24 /* pages in use in each region */
#define TAG_OFFSET   0
#define CODE_OFFSET  8
#define OPCODE_RET   0xC3
#define IDENTITY_END (16 * MIB)
#define IA32_EFER    0xC0000080u
#define RESERVED_BIT BIT(51) /* above any MAXPHYADDR of ours */

struct space {
    u64 *root;
    u64 *pd[REGIONS];
    u64 *pt[REGIONS];
};

static u64 table_pool[SPACES * (1 + 3 * REGIONS)][512] aligned_to(4096);
static u32 tables_used;
static struct space spaces[SPACES];
static u32 current;
static u64 random_state;
static bool write_protect = true;
static u64 reserved_bits = RESERVED_BIT;
static u64 table_frame; /* a data frame that is a table just now: it is read only */
static u64 accesses, faults, writes[PTWRITE_KINDS];

static u64 random_below(u64 n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % n;
}

/* Regions far apart; a page of region r, slot s. */
static u64 slot_va(u32 region, u32 slot)
{
    static const u64 bases[REGIONS] = {0x0000408000000000, 0x00007FFFC0000000, 0xFFFF800000000000};

    return bases[region] + (u64)slot * 21 % 512 * PAGE_SIZE; /* scattered over one table */
}

static u64 *new_table(void)
{
    return table_pool[tables_used++];
}

static u32 index_at(u64 va, u32 level)
{
    return va >> (12 + 9 * (level - 1)) & 511;
}

static void build_space(struct space *s)
{
    s->root = new_table();
    memcpy(s->root, (void *)paging_root(), PAGE_SIZE);
    for (u32 r = 0; r < REGIONS; r++) {
        u64 va = slot_va(r, 0), *pdpt = new_table();

        s->pd[r] = new_table();
        s->pt[r] = new_table();
        s->root[index_at(va, 4)] = (u64)pdpt | PTE_P | PTE_W | PTE_U;
        pdpt[index_at(va, 3)] = (u64)s->pd[r] | PTE_P | PTE_W | PTE_U;
        s->pd[r][index_at(va, 2)] = (u64)s->pt[r] | PTE_P | PTE_W;
    }
}

static void load_root(u32 space)
{
    current = space;
    __asm__ volatile("mov %0, %%cr3" : : "r"((u64)spaces[space].root) : "memory");
}

struct walk {
    u64 *entry; /* the last one looked at */
    u64 gpa;
    u64 error; /* of the #PF, without PF_W and PF_I */
    bool present, writable, executable;
};

/* The walk of SDM Vol 3A 4.5, for supervisor accesses. */
static struct walk walk(u64 va)
{
    struct walk w = {.writable = true, .executable = true};
    u64 *table = spaces[current].root;

    for (u32 level = 4; level >= 1; level--) {
        u64 e;

        w.entry = &table[index_at(va, level)];
        e = *w.entry;
        if (!(e & PTE_P))
            return w;
        if (e & RESERVED_BIT) {
            w.error = PF_P | PF_RSVD;
            return w;
        }
        w.writable = w.writable && (e & PTE_W);
        w.executable = w.executable && !(e & PTE_NX);
        if (level == 1 || (e & PTE_PS)) {
            u64 size = level == 1 ? PAGE_SIZE : GUEST_LARGE;

            w.present = true;
            w.error = PF_P;
            w.gpa = (e & PTE_ADDR_MASK & ~(size - 1)) | (va & (size - 1));
            return w;
        }
        table = (u64 *)(e & PTE_ADDR_MASK);
    }
    return w;
}

static no_return void fail(const char *what, u64 va, u64 got, u64 want)
{
    struct walk w = walk(va);

    say("torture64: FAIL %s at 0x%llx: 0x%llx, expected 0x%llx; entry 0x%llx at 0x%llx, space %u", what,
        (unsigned long long)va, (unsigned long long)got, (unsigned long long)want,
        (unsigned long long)*w.entry, (unsigned long long)w.entry, current);
    guest_exit(1);
}

static void check_fault(const char *what, struct fault f, bool expected, u64 va, u64 error)
{
    accesses++;
    faults += f.taken;
    if (f.taken != expected)
        fail(what, va, f.taken, expected);
    if (f.taken && f.vector != VECTOR_PF)
        fail("vector", va, f.vector, VECTOR_PF);
    if (f.taken && f.address != va)
        fail("CR2", va, f.address, va);
    if (f.taken && f.error != error)
        fail("error code", va, f.error, error);
}

/* What stands in a frame at the tag's place, without the paging under test: frames are identity-mapped too.
 */
static u64 tag_of(u64 gpa)
{
    return *(volatile u64 *)(gpa & ~PAGE_MASK);
}

/* One read, write or fetch of a page, as the tables say it must go. */
static void check_page(u64 va)
{
    struct walk w = walk(va);
    u64 value = 0, kind = random_below(8);

    if (w.present && (w.gpa & ~PAGE_MASK) == table_frame)
        kind = 0;
    if (kind < 4) {
        struct fault f = try_read(va, &value);

        check_fault("read", f, !w.present, va, w.error);
        if (!f.taken && value != tag_of(w.gpa))
            fail("value", va, value, tag_of(w.gpa));
    } else if (kind < 7) {
        bool may = w.present && (w.writable || !write_protect);
        struct fault f = try_write(va, w.present ? tag_of(w.gpa) + 0x100000000 : 0);

        check_fault("write", f, !may, va, w.error | PF_W);
        if (!f.taken && (*w.entry & (PTE_A | PTE_D)) != (PTE_A | PTE_D))
            fail("accessed and dirty bits", va, *w.entry, PTE_A | PTE_D);
    } else {
        struct fault f = try_exec(va + CODE_OFFSET);

        check_fault("fetch", f, !(w.present && w.executable), va + CODE_OFFSET, w.error | PF_I);
    }
    if (w.present && !(*w.entry & PTE_A) && kind < 4)
        fail("accessed bit", va, *w.entry, PTE_A);
}

static u64 random_entry(void)
{
    u64 e = (FRAME_BASE + random_below(FRAMES) * PAGE_SIZE) | PTE_P;

    if (random_below(4))
        e |= PTE_W;
    if (random_below(8) == 0)
        e |= PTE_NX;
    if (random_below(4) == 0)
        e |= PTE_A | PTE_D;
    if (random_below(32) == 0)
        e |= reserved_bits;
    return e;
}

static void set_entry(u64 *entry, u64 value)
{
    u32 kind = (u32)random_below(PTWRITE_KINDS);

    ptwrite(kind, entry, value);
    writes[kind]++;
    if (*(volatile u64 *)entry != value) {
        say("torture64: FAIL writing an entry by way %u: 0x%llx instead of 0x%llx", kind,
            (unsigned long long)*entry, (unsigned long long)value);
        guest_exit(1);
    }
}

/* Makes a change certain: one page, or everything by CR3 (there are no global pages here). */
static void flush(u64 va)
{
    if (random_below(2))
        page_flush(va);
    else
        load_root(current);
}

static void change_page(u32 region, u32 slot)
{
    u64 va = slot_va(region, slot), *entry = &spaces[current].pt[region][index_at(va, 1)], e = *entry;

    switch (random_below(6)) {
    case 0: set_entry(entry, 0); break;
    case 1: set_entry(entry, e ^ PTE_W); break;
    case 2: set_entry(entry, e & ~(PTE_A | PTE_D)); break;
    case 3:
        set_entry(entry, e & PTE_ADDR_MASK ? e ^ PTE_P : FRAME_BASE | PTE_P);
        break; /* frame 0 is no data frame */
    default: set_entry(entry, random_entry()); break;
    }
    flush(va);
    check_page(va);
}

/* The page directory's entry: to a large page, to the table of another region (an alias), or back. */
static void change_directory(u32 region)
{
    u64 va = slot_va(region, 0), *entry = &spaces[current].pd[region][index_at(va, 2)];

    switch (random_below(5)) {
    case 0:
        set_entry(entry, (LARGE_BASE + random_below(LARGE_FRAMES) * GUEST_LARGE) | PTE_P | PTE_W | PTE_PS);
        break;
    case 1:
        set_entry(entry, (LARGE_BASE + random_below(LARGE_FRAMES) * GUEST_LARGE) | PTE_P | PTE_PS | PTE_NX);
        break;
    case 2: set_entry(entry, (u64)spaces[current].pt[random_below(REGIONS)] | PTE_P | PTE_W); break;
    case 3: set_entry(entry, (u64)spaces[random_below(SPACES)].pt[region] | PTE_P); break;
    default: set_entry(entry, 0); break;
    }
    load_root(current);
    for (u32 i = 0; i < 4; i++)
        check_page(slot_va(region, (u32)random_below(SLOTS)));
    set_entry(entry, (u64)spaces[current].pt[region] | PTE_P | PTE_W);
    load_root(current);
}

/* A table moves: copied to a data frame, used from there, written there, and moved back; the frame is data
 * again. */
static void move_table(u32 region)
{
    u64 frame = FRAME_BASE + random_below(FRAMES) * PAGE_SIZE, va = slot_va(region, (u32)random_below(SLOTS));
    u64 *entry = &spaces[current].pd[region][index_at(va, 2)], *old = spaces[current].pt[region];
    static u64 saved[512];

    memcpy(saved, (void *)frame, PAGE_SIZE);
    memcpy((void *)frame, old, PAGE_SIZE);
    table_frame = frame;
    set_entry(entry, frame | PTE_P | PTE_W);
    load_root(current);
    check_page(va);
    set_entry((u64 *)frame + index_at(va, 1), random_entry());
    page_flush(va);
    check_page(va);
    set_entry(entry, (u64)old | PTE_P | PTE_W);
    load_root(current);
    memcpy((void *)frame, saved, PAGE_SIZE);
    table_frame = 0;
    check_page(va);
}

static void toggle_write_protect(void)
{
    u64 cr0;

    write_protect = !write_protect;
    __asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
    __asm__ volatile("mov %0, %%cr0" : : "r"(write_protect ? cr0 | CR0_WP : cr0 & ~CR0_WP));
}

static void step(void)
{
    u32 region = (u32)random_below(REGIONS), slot = (u32)random_below(SLOTS);

    switch (random_below(32)) {
    case 0: load_root((u32)random_below(SPACES)); break;
    case 1: change_directory(region); break;
    case 2: move_table(region); break;
    case 3: toggle_write_protect(); break;
    case 4: /* many entries at once, then one flush */
        for (u32 i = 0; i < SLOTS; i++)
            set_entry(&spaces[current].pt[region][index_at(slot_va(region, i), 1)], random_entry());
        load_root(current);
        for (u32 i = 0; i < SLOTS; i++)
            check_page(slot_va(region, i));
        break;
    case 5:
    case 6:
    case 7:
    case 8: check_page(slot_va(region, slot)); break;
    default: change_page(region, slot); break;
    }
}

static void set_up(void)
{
    paging_init(IDENTITY_END + 16 * MIB);
    msr_put(IA32_EFER, msr_get(IA32_EFER) | EFER_NXE);
    for (u64 at = FRAME_BASE; at < LARGE_BASE + LARGE_FRAMES * GUEST_LARGE; at += PAGE_SIZE) {
        *(u64 *)(at + TAG_OFFSET) = at >> 12;
        *(u64 *)(at + CODE_OFFSET) = OPCODE_RET;
    }
    for (u32 i = 0; i < SPACES; i++)
        build_space(&spaces[i]);
    load_root(0);
}

int guest_main(const char *cmdline, const char *image)
{
    u64 seed = option_number(cmdline, "seed", 1), steps = option_number(cmdline, "steps", 20000);

    if (!option_number(cmdline, "reserved", 1))
        reserved_bits = 0;
    random_state = seed * 0x9E3779B97F4A7C15ull + 1;
    (void)image;
    say("torture64: seed %llu, %llu steps", (unsigned long long)seed, (unsigned long long)steps);
    set_up();
    for (u64 i = 0; i < steps; i++)
        step();
    say("torture64: %llu accesses, %llu of them faults; entries written by mov %llu, two halves %llu, bytes "
        "%llu, xchg "
        "%llu, cmpxchg %llu, and/or %llu, add %llu, movnti %llu, rep movs %llu, bts/btr %llu",
        (unsigned long long)accesses, (unsigned long long)faults, (unsigned long long)writes[0],
        (unsigned long long)writes[1], (unsigned long long)writes[2], (unsigned long long)writes[3],
        (unsigned long long)writes[4], (unsigned long long)writes[5], (unsigned long long)writes[6],
        (unsigned long long)writes[7], (unsigned long long)writes[8], (unsigned long long)writes[9]);
    say("torture64: PASS");
    return 0;
}
