/*
 * mb32.c - a 32-bit multiboot guest: prints what the loader gave it, then runs the same checks with no
 * paging, with 32-bit paging, PAE paging and 32-bit paging with 4 MiB pages, back and forth (SDM Vol 3A 4.1
 * to 4.4, 4.6, 4.7).
 */
#include "tests/guests/mb32.h"

#define MAGIC       0x2BADB002u
#define FRAME_BASE  0x400000u /* tagged 4 KiB frames */
#define FRAMES      256u
#define WINDOW      0x40000000u /* where pages are mapped for the checks: one page table */
#define SLOTS       64u
#define LARGE_FRAME 0x800000u /* 4 MiB, tagged at each 4 KiB */
#define IDENTITY    16u       /* MiB */
#define OPCODE_RET  0xC3u
#define MSR_EFER    0xC0000080u
#define CPUID_NX    BIT(20)
#define ROUNDS      3
#define STEPS       400

/* One paging mode: how its entries are reached. Values are 64 bits wide; 32-bit paging uses the low half. */
struct mode {
    const char *name;
    bool paging, wide, large;
    u32 cr4;
};

static const struct mode modes[] = {
    {"no paging", false, false, false, 0},
    {"32-bit paging", true, false, false, 0},
    {"PAE paging", true, true, false, (u32)CR4_PAE},
    {"PAE paging, 2 MiB pages", true, true, true, (u32)CR4_PAE},
    {"32-bit paging, 4 MiB pages", true, false, true, (u32)CR4_PSE},
};

static u32 directory[1024] aligned_to(4096), tables[IDENTITY / 4][1024] aligned_to(4096);
static u32 window_table[1024] aligned_to(4096);
static u64 pdpt[4] aligned_to(32), pds[4][512] aligned_to(4096),
    pae_tables[IDENTITY / 2][512] aligned_to(4096);
static u64 pae_window[512] aligned_to(4096);
static u32 random_state = 12345, checks;
static bool has_nx, has_pdptes;

static u32 random_below(u32 n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state % n;
}

static void expect(const char *what, u32 got, u32 want)
{
    checks++;
    if (got != want)
        fail(what, got, want);
}

static u32 frame_tag(u32 gpa)
{
    return gpa >> 12 | 0x5A000000;
}

static void tag_frames(void)
{
    for (u32 gpa = FRAME_BASE; gpa < LARGE_FRAME + 4 * MIB; gpa += PAGE_SIZE) {
        ((u32 *)gpa)[0] = frame_tag(gpa);
        ((u32 *)gpa)[1] = OPCODE_RET;
    }
}

static void print_boot_information(u32 magic, const u32 *info)
{
    const u32 *modules = (const u32 *)info[6];

    expect("eax", magic, MAGIC);
    say("mb32: command line '%s'", (info[0] & 4) ? (const char *)info[4] : "");
    say("mb32: memory: %u KiB low, %u KiB from 1 MiB", info[1], info[2]);
    for (u32 i = 0; i < info[5]; i++) {
        const u32 *m = &modules[i * 4];
        u32 sum = 0;

        for (const u8 *p = (const u8 *)m[0]; p < (const u8 *)m[1]; p++)
            sum += *p;
        say("mb32: module '%s' of %u bytes, sum %u", (const char *)m[2], m[1] - m[0], sum);
    }
    if (info[0] & 64) {
        for (u32 at = info[12]; at < info[12] + info[11]; at += *(const u32 *)at + 4) {
            const u32 *e = (const u32 *)at;

            say("mb32: map 0x%x + 0x%x type %u", e[1], e[3], e[5]);
        }
    }
}

/* Identity tables for the first IDENTITY MiB, once with small and once with large pages. */
static void build_narrow(bool large)
{
    for (u32 i = 0; i < IDENTITY / 4; i++) {
        for (u32 k = 0; k < 1024; k++)
            tables[i][k] = (i * 1024 + k) << 12 | (u32)(PTE_P | PTE_W);
        directory[i] =
            large ? i << 22 | (u32)(PTE_P | PTE_W | PTE_PS) : (u32)tables[i] | (u32)(PTE_P | PTE_W);
    }
    directory[WINDOW >> 22] = (u32)window_table | (u32)(PTE_P | PTE_W);
}

static void build_wide(bool large)
{
    for (u32 i = 0; i < 4; i++)
        pdpt[i] = (u32)pds[i] | PTE_P;
    for (u32 i = 0; i < IDENTITY / 2; i++) {
        for (u32 k = 0; k < 512; k++)
            pae_tables[i][k] = (i * 512 + k) << 12 | PTE_P | PTE_W;
        pds[0][i] = large ? i << 21 | PTE_P | PTE_W | PTE_PS : (u32)pae_tables[i] | PTE_P | PTE_W;
    }
    pds[WINDOW >> 30][WINDOW >> 21 & 511] = (u32)pae_window | PTE_P | PTE_W;
}

static void set_entry(const struct mode *m, u32 slot, u64 value)
{
    if (m->wide)
        *(volatile u64 *)&pae_window[slot] = value;
    else
        *(volatile u32 *)&window_table[slot] = (u32)value;
}

static u64 get_entry(const struct mode *m, u32 slot)
{
    return m->wide ? pae_window[slot] : window_table[slot];
}

static void enter(const struct mode *m)
{
    set_cr0(get_cr0() & ~(u32)CR0_PG);
    set_cr4((get_cr4() & ~(u32)(CR4_PAE | CR4_PSE | CR4_PGE)) | m->cr4);
    if (!m->paging)
        return;
    if (m->wide)
        build_wide(m->large);
    else
        build_narrow(m->large);
    set_cr3(m->wide ? (u32)pdpt : (u32)directory);
    set_cr0(get_cr0() | (u32)(CR0_PG | CR0_WP));
}

static void check_fault(struct fault f, u32 address, u32 error)
{
    expect("a fault", f.taken, 1);
    expect("vector", f.vector, VECTOR_PF);
    expect("CR2", f.address, address);
    expect("error code", f.error, error);
    expect("RF, as of a fault (SDM Vol 3B 17.3.1.1)", f.eflags & (u32)RFLAGS_RF, RFLAGS_RF);
}

/* The fixed cases, one by one. */
static void check_cases(const struct mode *m)
{
    u32 va = WINDOW + 3 * PAGE_SIZE, a = FRAME_BASE, b = FRAME_BASE + PAGE_SIZE;

    set_entry(m, 3, 0);
    flush(va);
    check_fault(try_read(va + 4), va + 4, 0);
    check_fault(try_write(va + 8, 1), va + 8, PF_W);
    set_entry(m, 3, a | PTE_P | PTE_W);
    expect("first read", try_read(va).value, frame_tag(a));
    expect("accessed, not dirty", (u32)get_entry(m, 3) & (u32)(PTE_A | PTE_D), PTE_A);
    expect("a write", try_write(va, frame_tag(a)).taken, 0);
    expect("dirty", (u32)get_entry(m, 3) & (u32)(PTE_A | PTE_D), PTE_A | PTE_D);
    set_entry(m, 3, b | PTE_P | PTE_W);
    flush(va);
    expect("remapped", try_read(va).value, frame_tag(b));
    set_entry(m, 3, b | PTE_P);
    flush(va);
    check_fault(try_write(va, 1), va, PF_P | PF_W);
    set_cr0(get_cr0() & ~(u32)CR0_WP);
    expect("a write with WP = 0", try_write(va, frame_tag(b)).taken, 0);
    set_cr0(get_cr0() | (u32)CR0_WP);
    check_fault(try_write(va, 1), va, PF_P | PF_W);
    expect("an alias", ((u32 *)b)[0], frame_tag(b));
    expect("a call", try_exec(va + 4).taken, 0);
    if (m->wide && has_nx) {
        set_entry(m, 3, b | PTE_P | PTE_NX);
        flush(va);
        check_fault(try_exec(va + 4), va + 4, PF_P | PF_I);
        expect("reading it", try_read(va).value, frame_tag(b));
    }
}

/* The window as one large page, then as a table again. */
static void check_large(const struct mode *m)
{
    u32 step = m->wide ? 2 * MIB : 4 * MIB;

    if (m->wide)
        pds[WINDOW >> 30][WINDOW >> 21 & 511] = LARGE_FRAME | PTE_P | PTE_W | PTE_PS;
    else
        directory[WINDOW >> 22] = LARGE_FRAME | (u32)(PTE_P | PTE_W | PTE_PS);
    set_cr3(get_cr3());
    for (u32 at = 0; at < step; at += step / 16)
        expect("a large page", try_read(WINDOW + at).value, frame_tag(LARGE_FRAME + at));
    expect("writing it", try_write(WINDOW + step - 4, 77).taken, 0);
    expect("written", *(u32 *)(LARGE_FRAME + step - 4), 77);
    if (m->wide)
        build_wide(m->large);
    else
        build_narrow(m->large);
    set_cr3(get_cr3());
}

static void check_refused(struct fault f)
{
    expect("a fault", f.taken, 1);
    expect("vector", f.vector, VECTOR_GP);
    expect("error code", f.error, 0);
}

/* PDPTEs are in registers. MOV to CR3 loads them, and so does MOV to CR0 or CR4 if it changes one of certain bits; a
 * task switch if it changes CR3 (SDM Vol 3A 4.4.1). */
static void check_pdptes(const struct mode *m)
{
    u32 va = WINDOW + 7 * PAGE_SIZE, cr0 = get_cr0(), cr4 = get_cr4();
    u64 *entry = &pdpt[WINDOW >> 30], good = *entry;

    set_entry(m, 7, FRAME_BASE | PTE_P | PTE_W);
    flush(va);
    *(volatile u64 *)entry = 0;
    flush(va);
    if (try_read(va).taken) { /* as on an AMD CPU that pages by NPT, or in QEMU */
        *entry = good;
        set_cr3(get_cr3());
        return;
    }
    set_cr0(cr0 & ~(u32)CR0_WP);
    expect("PDPTEs without WP", try_read(va).value, frame_tag(FRAME_BASE));
    set_cr0(cr0);
    expect("PDPTEs after a task switch", read_by_task_call(va), frame_tag(FRAME_BASE));
    set_cr4(cr4 ^ (u32)CR4_PGE);
    check_fault(try_read(va), va, 0);
    *(volatile u64 *)entry = good;
    check_fault(try_read(va), va, 0);
    set_cr0(cr0 | (u32)CR0_CD);
    expect("PDPTEs by CD", try_read(va).value, frame_tag(FRAME_BASE));
    *(volatile u64 *)entry = good | BIT(1); /* reserved */
    check_refused(try_set_cr0(cr0));
    check_refused(try_set_cr4(cr4));
    check_refused(try_set_cr3((u32)pdpt | (u32)PTE_PCD));
    expect("CR0", get_cr0(), cr0 | (u32)CR0_CD);
    expect("CR3", get_cr3(), (u32)pdpt);
    expect("CR4", get_cr4(), cr4 ^ (u32)CR4_PGE);
    expect("PDPTEs as before", try_read(va).value, frame_tag(FRAME_BASE));
    *(volatile u64 *)entry = good;
    set_cr0(cr0);
    set_cr4(cr4);
    has_pdptes = true;
}

static void check_random(const struct mode *m)
{
    for (u32 i = 0; i < STEPS; i++) {
        u32 slot = random_below(SLOTS), va = WINDOW + slot * (u32)PAGE_SIZE;
        u32 gpa = FRAME_BASE + random_below(FRAMES) * (u32)PAGE_SIZE;
        u64 e = random_below(5) ? gpa | PTE_P | (random_below(3) ? PTE_W : 0) : 0;

        set_entry(m, slot, e);
        flush(va);
        if (!(e & PTE_P)) {
            check_fault(try_read(va), va, 0);
        } else {
            expect("a mapped page", try_read(va).value, frame_tag(gpa));
            if (e & PTE_W)
                expect("a write", try_write(va, frame_tag(gpa)).taken, 0);
            else
                check_fault(try_write(va, 1), va, PF_P | PF_W);
        }
    }
}

/* A task switch loads CR3: what was changed in memory counts after it, with no other flush (SDM Vol 3A 7.3, 4.10.4.1).
 */
static void check_tasks(const struct mode *m)
{
    u32 va = WINDOW + 5 * PAGE_SIZE;

    for (u32 i = 0; i < 8; i++) {
        u32 gpa = FRAME_BASE + random_below(FRAMES) * (u32)PAGE_SIZE;

        set_entry(m, 5, gpa | PTE_P);
        expect("read by another task", i & 1 ? read_by_task_call(va) : read_by_task_gate(va), frame_tag(gpa));
        expect("read after it", try_read(va).value, frame_tag(gpa));
    }
    struct fault f = try_int1();
    expect("INT1", f.taken, 1);
    expect("its return address", f.address, f.value);
}

/* Each element is within the segment's limit, and where its address register says, that wraps. */
static void check_strings(void)
{
    volatile u8 *memory = (u8 *)(get_cr0() & 0); /* not an address that is known to be NULL */
    u32 end[2], beyond = *(u32 *)0x10000;

    struct fault f = try_insb(FRAME_BASE / PAGE_SIZE, FRAME_BASE - 8, 16, false, end);
    expect("INS to the limit", f.taken, 1);
    expect("its vector", f.vector, VECTOR_GP);
    expect("EDI", end[0], FRAME_BASE);
    expect("ECX", end[1], 8);
    expect("the last byte", memory[FRAME_BASE - 1], 0x5A);
    expect("beyond it", *(u32 *)FRAME_BASE, frame_tag(FRAME_BASE));
    memory[3] = 0;
    f = try_insb(FRAME_BASE / PAGE_SIZE, 0xABC0FFFC, 0x10008, true, end);
    expect("INS round 64 KiB", f.taken, 0);
    expect("DI", end[0], 0xABC00004);
    expect("CX", end[1], 0x10000);
    expect("the first byte", memory[3], 0x5A);
    expect("64 KiB", *(u32 *)0x10000, beyond);
}

static void check_mode(const struct mode *m)
{
    enter(m);
    check_strings();
    if (!m->paging) {
        expect("memory without paging", try_read(FRAME_BASE).value, frame_tag(FRAME_BASE));
        expect("a write", try_write(FRAME_BASE, frame_tag(FRAME_BASE)).taken, 0);
        return;
    }
    for (u32 i = 0; i < SLOTS; i++)
        set_entry(m, i, 0);
    set_cr3(get_cr3());
    check_cases(m);
    if (m->large)
        check_large(m);
    if (m->wide)
        check_pdptes(m);
    check_random(m);
    check_tasks(m);
}

static void enable_nx(void)
{
    u32 a = 0x80000001, b, c, d, low, high;

    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "=c"(c), "=d"(d));
    has_nx = (d & CPUID_NX) != 0;
    if (!has_nx)
        return;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(MSR_EFER));
    __asm__ volatile("wrmsr" : : "c"(MSR_EFER), "a"(low | (u32)EFER_NXE), "d"(high));
}

int guest_main(u32 magic, const u32 *info)
{
    print_boot_information(magic, info);
    enable_nx();
    tasks_init();
    tag_frames();
    for (u32 round = 0; round < ROUNDS; round++) {
        for (u32 i = 0; i < ARRAY_SIZE(modes); i++) {
            check_mode(&modes[i]);
            if (round == 0)
                say("mb32: %s: good", modes[i].name);
        }
        /* And in another order: straight from one mode into another, with no paging only in between. */
        for (u32 i = 0; i < ARRAY_SIZE(modes); i++)
            check_mode(&modes[random_below(ARRAY_SIZE(modes))]);
    }
    enter(&modes[0]);
    say("mb32: PDPTEs are %s", has_pdptes ? "in registers" : "read at each walk");
    say("mb32: PASS %u checks", checks);
    return 0;
}
