/*
 * real.c - a multiboot guest that goes to real mode and back, again and again: instructions, vector table, faults,
 * single steps, interrupts, "unreal" segments, 64-bit mode (real16.S). Checks what was found there.
 */
#include "tests/guests/mb32.h"

#define MULTIBOOT_MAGIC 0x2BADB002u
#define IMAGE           0x8000u
#define SEGMENT         0x800u
#define STACK           0x7F00u
#define FAR_WORD        0x12342u /* 1234:0002 */
#define LOW_WORD        0x1500u
#define PAGE_TABLES     0x20000u
#define TABLE_ENTRY     3u /* present, writable */
#define LARGE_PAGE      0x83u
#define ROUNDS          3u

extern char real_image[], real_image_end[];
extern char real_stray[], strayed[], results[], long_cr3[];
extern char real_basics[], real_flags[], real_interrupts[], real_faults[], real_step[], real_far[],
    real_system[], real_ports[], real_timer[], real_unreal[], real_long[], real_short_idt[];
void real_call(u32 routine);

/* The interrupt vector table; an address that the compiler does not know to be 0. */
static u32 *ivt;
static u32 checks;

static u8 *in_image(const char *symbol)
{
    return (u8 *)(IMAGE + (u32)(symbol - real_image));
}

static u16 result(u32 i)
{
    return ((const u16 *)in_image(results))[i];
}

static void expect(const char *what, u32 got, u32 want)
{
    checks++;
    if (got != want)
        fail(what, got, want);
}

static void run(const char *name, const char *code, const u16 *want, u32 count)
{
    for (u32 i = 0; i < 128; i++)
        ((u16 *)in_image(results))[i] = 0;
    for (u32 i = 0; i < 256; i++)
        ivt[i] = SEGMENT << 16 | (u32)(real_stray - real_image);
    *(u16 *)in_image(strayed) = 0;
    real_call((u32)(code - real_image));
    if (*(u16 *)in_image(strayed)) {
        say("real: %s:", name);
        fail("stray interrupt", *(u16 *)in_image(strayed), 0);
    }
    for (u32 i = 0; i < count; i++) {
        checks++;
        if (result(i) != want[i]) {
            say("real: %s, result %u:", name, i);
            fail(name, result(i), want[i]);
        }
    }
}
#define RUN(name, ...)                                   \
    do {                                                 \
        static const u16 want[] = {__VA_ARGS__};         \
        run(#name, real_##name, want, ARRAY_SIZE(want)); \
    } while (0)

static void put_image(void)
{
    for (u32 i = 0; i < (u32)(real_image_end - real_image); i++)
        ((u8 *)IMAGE)[i] = (u8)real_image[i];
}

/* The first 2 MiB, one large page. */
static void put_page_tables(void)
{
    u32 *tables = (u32 *)PAGE_TABLES;

    for (u32 i = 0; i < 3 * PAGE_SIZE / sizeof(u32); i++)
        tables[i] = 0;
    tables[0] = (PAGE_TABLES + PAGE_SIZE) | TABLE_ENTRY;
    tables[PAGE_SIZE / sizeof(u32)] = (PAGE_TABLES + 2 * PAGE_SIZE) | TABLE_ENTRY;
    tables[2 * PAGE_SIZE / sizeof(u32)] = LARGE_PAGE;
    *(u32 *)in_image(long_cr3) = PAGE_TABLES;
}

static void check_interrupts(void)
{
    const u16 *r = (const u16 *)in_image(results);

    run("interrupts", real_interrupts, NULL, 0);
    expect("INT: IP", r[0], r[4]);
    expect("INT: IF pushed, IF", r[1] | r[2], 0);
    expect("INT: SP after it", r[3], STACK - 2);
    expect("INT3: IP", r[5], r[8]);
    expect("INTO: IP", r[9], r[12]);
    expect("INT: IF pushed", r[14], 0x200);
    expect("INT: IF", r[15], 0);
    expect("IRET: IF", r[16], 0x200);
    expect("IRETD", r[17], 0x1234);
}

static void check_system(void)
{
    u32 b, a = 0, c = 0, d;

    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    run("system", real_system, NULL, 0);
    expect("CPUID", result(0) | (u32)result(1) << 16, b);
    expect("RDTSC", result(2), 1);
    expect("WRMSR, RDMSR", result(3), 0x5678);
    expect("DR0", result(4) | (u32)result(5) << 16, 0x12345678);
    expect("CR3", result(6) | (u32)result(7) << 16, 0x2000);
    expect("CR4", result(8) | (u32)result(9) << 16, 0x11);
    expect("CR2", result(10) | (u32)result(11) << 16, 0xABCD0000);
    expect("LMSW", result(12), 2);
}

int guest_main(u32 magic, const u32 *info)
{
    ivt = (u32 *)(magic - MULTIBOOT_MAGIC);
    (void)info;
    put_image();
    put_page_tables();
    *(u16 *)FAR_WORD = 0x9876;
    *(u16 *)LOW_WORD = 0x5432;
    for (u32 round = 0; round < ROUNDS; round++) {
        RUN(basics, SEGMENT, SEGMENT, 0, 0, 0x3FF, SEGMENT);
        RUN(flags, 0, 0x7202, 0x7002, 0x0CD7, 0x24, 2);
        check_interrupts();
        RUN(faults, 0, 0, 5, 0, 6, 0, 6, 0, 6, 0, 6, 0, 13, 0, 13, 0, 13, 0, 13, 0, 13, 0, 12, 0, 13, 0, 13,
            0, 7, 0, 0);
        RUN(step, 7, 0x4000);
        RUN(far, 0xFA, 0xFA, 0xFB, 0x1234, 0x4321, 0x1234, 0x1234, 0x1234, 0x9876, 0x9876, 0x123);
        check_system();
        RUN(ports, 0x5A, 0, 0x5A5A, 0xBAD);
        RUN(timer, 1);
        RUN(unreal, 0x3345, 0x1122, 0x3345, 0x1122, 0x668A, 0x2244, 0x3345, 0x1122, 0x1100, 0, 0x3345, 0x1122,
            0x5432, SEGMENT, SEGMENT, 0x3345, 0x1122, 13, 0, 13, 0);
        RUN(long, 0x5678, 0x1234);
        RUN(short_idt, 13, 0);
        say("real: round %u: good", round);
    }
    say("real: PASS %u checks", checks);
    return 0;
}
