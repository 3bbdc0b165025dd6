/* links: boot/memmap.c */
/* test_memmap.c - the firmware's memory map, against a byte per page. PB_SEED, PB_STEPS choose the random
 * part. */
#include "boot/memmap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define STRIDE      48u /* firmware has 48, the structure 40 */
#define MODEL_PAGES 4096u
#define WRITE_BACK  8u

enum {
    LOADER_CODE = 1,
    LOADER_DATA = 2,
    BOOT_DATA = 4,
    RUNTIME_DATA = 6,
    CONVENTIONAL = 7,
    ACPI_TABLES = 9,
    MMIO = 11
};

static u8 descriptors[1000 * STRIDE];
static u32 count;
static struct memmap map;

static void add(u32 type, u64 page, u64 pages, u64 attributes)
{
    u64 d[5] = {type, page * PAGE_SIZE, 0, pages, attributes};
    memcpy(descriptors + count++ * STRIDE, d, sizeof(d));
}

static void read_map(const struct memmap_range *keep, u32 keeps)
{
    struct memmap_source s = {descriptors, (u64)count * STRIDE, STRIDE};
    assert_int_equal(memmap_read(&s, keep, keeps, &map), ERR_OK);
}

static int fresh(void **state)
{
    (void)state;
    count = 0;
    memset(descriptors, 0, sizeof(descriptors));
    return 0;
}

static void expect(const struct memmap_ranges *r, u32 i, u64 page, u64 end_page)
{
    assert_true(i < r->count);
    assert_int_equal(r->range[i].start, page * PAGE_SIZE);
    assert_int_equal(r->range[i].end, end_page * PAGE_SIZE);
}

static void test_kinds(void **state)
{
    const struct memmap_range keep[] = {{0x210 * PAGE_SIZE, 0x218 * PAGE_SIZE},
                                        {0x300 * PAGE_SIZE, 0x301 * PAGE_SIZE}};

    (void)state;
    add(BOOT_DATA, 0x300, 0x10, WRITE_BACK); /* order does not matter */
    add(CONVENTIONAL, 0, 0xA0, WRITE_BACK);  /* below 1 MiB */
    add(CONVENTIONAL, 0x100, 0x100, WRITE_BACK);
    add(LOADER_DATA, 0x200, 0x100, WRITE_BACK);
    add(RUNTIME_DATA, 0x310, 0x10, WRITE_BACK);
    add(ACPI_TABLES, 0x320, 0x10, WRITE_BACK);
    add(CONVENTIONAL, 0x330, 0x10, 1); /* cannot be cached */
    add(MMIO, 0xFEC00, 1, 1);
    read_map(keep, 2);
    assert_int_equal(map.ram.count, 1);
    expect(&map.ram, 0, 0x100, 0x310);
    assert_int_equal(map.free_now.count, 1);
    expect(&map.free_now, 0, 0x100, 0x200);
    assert_int_equal(map.free_later.count, 3);
    expect(&map.free_later, 0, 0x200, 0x210);
    expect(&map.free_later, 1, 0x218, 0x300);
    expect(&map.free_later, 2, 0x301, 0x310);
    assert_int_equal(map.total, (0xA0 + 0x100 + 0x100 + 0x40) * PAGE_SIZE);
}

static void test_broken_maps(void **state)
{
    struct memmap_source s = {descriptors, sizeof(descriptors), 39};

    (void)state;
    assert_int_equal(memmap_read(&s, NULL, 0, &map), ERR_INVALID);
    s.stride = 0;
    assert_int_equal(memmap_read(&s, NULL, 0, &map), ERR_INVALID);
    add(CONVENTIONAL, 0x1000, ~0ull, WRITE_BACK);
    add(CONVENTIONAL, 1ull << 40, 16, WRITE_BACK);
    add(CONVENTIONAL, 0x2000, 1ull << 36, WRITE_BACK);
    add(CONVENTIONAL, 0x3000, 0, WRITE_BACK);
    read_map(NULL, 0);
    assert_int_equal(map.ram.count, 0);
    fresh(NULL);
    for (u32 i = 0; i < 600; i++) /* more than fit */
        add(CONVENTIONAL, 0x200 + 2 * i, 1, WRITE_BACK);
    read_map(NULL, 0);
    assert_int_equal(map.free_now.count, MEMMAP_MAX_RANGES);
    assert_int_equal(map.free_now.lost, (600 - MEMMAP_MAX_RANGES) * PAGE_SIZE);
}

static bool holds(const struct memmap_ranges *r, u64 page)
{
    u32 n = 0;
    for (u32 i = 0; i < r->count; i++)
        n += page * PAGE_SIZE >= r->range[i].start && page * PAGE_SIZE < r->range[i].end;
    assert_true(n <= 1);
    return n;
}

static void test_random(void **state)
{
    const char *seed_text = getenv("PB_SEED"), *steps_text = getenv("PB_STEPS");
    u64 seed = seed_text ? strtoull(seed_text, NULL, 0) : 1,
        steps = steps_text ? strtoull(steps_text, NULL, 0) : 100;

    (void)state;
    print_message("seed %llu, %llu steps\n", (unsigned long long)seed, (unsigned long long)steps);
    srand((unsigned)seed);
    for (u64 s = 0; s < steps; s++) {
        static u8 type[MODEL_PAGES], kept[MODEL_PAGES];
        struct memmap_range keep[8];
        fresh(NULL);
        for (u64 p = 0x80; p < MODEL_PAGES;) { /* no overlaps, any order is covered by test_kinds */
            u64 wish = 1 + (u64)rand() % 60, n = MIN(wish, MODEL_PAGES - p);
            u32 t = (u32)rand() % 15;
            add(t, p, n, rand() % 8 ? WRITE_BACK : 1);
            u64 attributes;
            memcpy(&attributes, descriptors + (count - 1) * STRIDE + 32, 8);
            memset(type + p, attributes == WRITE_BACK ? (int)t : 0, n);
            p += n;
        }
        memset(kept, 0, sizeof(kept));
        for (u32 k = 0; k < 8; k++) {
            u64 p = (u64)rand() % (MODEL_PAGES - 50), n = 1 + (u64)rand() % 50;
            keep[k] = (struct memmap_range){p * PAGE_SIZE, (p + n) * PAGE_SIZE};
            memset(kept + p, 1, n);
        }
        read_map(keep, 8);
        for (u64 p = 0x100; p < MODEL_PAGES; p++) {
            bool usable = type[p] >= 1 && type[p] <= 7 && type[p] != 5 && type[p] != 6;
            assert_int_equal(holds(&map.ram, p), usable);
            assert_int_equal(holds(&map.free_now, p), usable && !kept[p] && type[p] == CONVENTIONAL);
            assert_int_equal(holds(&map.free_later, p), usable && !kept[p] && type[p] != CONVENTIONAL);
        }
        for (u32 i = 1; i < map.ram.count; i++)
            assert_true(map.ram.range[i - 1].end < map.ram.range[i].start); /* sorted, merged */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_kinds, fresh),
        cmocka_unit_test_setup(test_broken_maps, fresh),
        cmocka_unit_test_setup(test_random, fresh),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
