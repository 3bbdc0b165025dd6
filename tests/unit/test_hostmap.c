/* links: mm/hostmap.c mm/frames.c */
/* test_hostmap.c - the host page tables against a byte per page, read back by a walker of its own that knows
 * only SDM Vol 3A 4.5. PB_SEED, PB_STEPS choose the random part. */
#include "mm/hostmap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#define TABLE_FRAMES 4096u
#define MODEL_PAGES  (3u << 18) /* 3 GiB of address space */

static u8 *memory;
static u8 model[MODEL_PAGES]; /* enum hostmap_kind */
static struct frames frames;
static struct hostmap map;

static u64 env(const char *name, u64 value)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 0) : value;
}

static int set_up(void **state)
{
    (void)state;
    memory = mmap(NULL, TABLE_FRAMES * PAGE_SIZE, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    assert_true(memory != MAP_FAILED);
    return 0;
}

static void fresh(u64 table_frames, bool page_1g)
{
    frames_init(&frames);
    assert_int_equal(frames_add(&frames, ptr_to_hpa(memory), table_frames * PAGE_SIZE), ERR_OK);
    assert_int_equal(hostmap_init(&map, &frames, page_1g), ERR_OK);
    memset(model, HOSTMAP_NONE, sizeof(model));
}

/* What hardware does, step by step; -1: fault on any access. Bits: 1 writable, 2 executable, 4 uncached.
 * Checks on its way that the address is mapped to itself. */
static int hardware(u64 address)
{
    const u64 *pml4 = (const u64 *)map.root.v;
    u64 e = pml4[address >> 39 & 511];
    u64 w = e, nx = e;

    if (!(e & 1))
        return -1;
    assert_int_equal(e & 0x80, 0);
    e = ((const u64 *)(e & 0xFFFFFFFFFF000))[address >> 30 & 511];
    w &= e;
    nx |= e;
    u64 size = 1u << 30;
    if ((e & 1) && !(e & 0x80)) {
        e = ((const u64 *)(e & 0xFFFFFFFFFF000))[address >> 21 & 511];
        w &= e;
        nx |= e;
        size = 1u << 21;
        if ((e & 1) && !(e & 0x80)) {
            e = ((const u64 *)(e & 0xFFFFFFFFFF000))[address >> 12 & 511];
            w &= e;
            nx |= e;
            size = 1u << 12;
        }
    }
    if (!(e & 1))
        return -1;
    assert_int_equal(e & 0x000FFFFFFFFFF000 & ~(size - 1), address & ~(size - 1));
    assert_int_equal(e & 4, 0); /* never for user mode */
    assert_int_equal(size > 4096 ? e & (size - 4096) & 0x000FFFFFFFFFF000 : 0,
                     0); /* reserved bits of large pages */
    return (w & 2 ? 1 : 0) | (nx >> 63 ? 0 : 2) | ((e & 0x18) == 0x18 ? 4 : 0);
}

static int expected(u8 kind)
{
    static const int rights[] = {[HOSTMAP_DATA] = 1,
                                 [HOSTMAP_RODATA] = 0,
                                 [HOSTMAP_TEXT] = 2,
                                 [HOSTMAP_MMIO] = 5,
                                 [HOSTMAP_NONE] = -1};
    return rights[kind];
}

static void check_page(u64 page)
{
    int want = expected(model[page]);
    struct hostmap_page q = hostmap_query(&map, page * PAGE_SIZE + 5);

    assert_int_equal(hardware(page * PAGE_SIZE + 5), want);
    assert_int_equal(q.present, want >= 0);
    if (want >= 0) {
        assert_int_equal(q.writable, want & 1);
        assert_int_equal(q.executable, want >> 1 & 1);
        assert_int_equal(q.uncached, want >> 2 & 1);
    }
}

static enum err put(u64 page, u64 count, enum hostmap_kind kind, bool *flush)
{
    struct hostmap_flush f = {false};
    enum err e = hostmap_map(&map, page * PAGE_SIZE, count * PAGE_SIZE, kind, &f);

    if (e == ERR_OK)
        memset(model + page, kind, count);
    *flush = f.needed;
    return e;
}

static void test_page_sizes(void **state)
{
    bool flush;

    (void)state;
    fresh(TABLE_FRAMES, true);
    assert_int_equal(put(1, (2u << 18) - 1, HOSTMAP_DATA, &flush), ERR_OK); /* 4K .. 2 GiB */
    assert_false(flush);
    assert_int_equal(map.pages_1g, 1);
    assert_int_equal(map.pages_2m, 511);
    assert_int_equal(map.pages_4k, 511);
    assert_int_equal(map.table_pages, 4);
    fresh(TABLE_FRAMES, false);
    assert_int_equal(put(1, (2u << 18) - 1, HOSTMAP_DATA, &flush), ERR_OK);
    assert_int_equal(map.pages_1g, 0);
    assert_int_equal(map.pages_2m, 1023);
}

static void test_splits_and_flushes(void **state)
{
    bool flush;

    (void)state;
    fresh(TABLE_FRAMES, true);
    assert_int_equal(put(1u << 18, 1u << 18, HOSTMAP_DATA, &flush), ERR_OK);
    assert_int_equal(map.pages_1g, 1);
    assert_int_equal(put((1u << 18) + 700, 1, HOSTMAP_NONE, &flush), ERR_OK); /* a stack guard */
    assert_true(flush);
    assert_int_equal(map.pages_1g, 0);
    assert_int_equal(map.pages_2m, 511);
    assert_int_equal(map.pages_4k, 511);
    for (u64 p = 1u << 18; p < 2u << 18; p += 37)
        check_page(p);
    check_page((1u << 18) + 699);
    check_page((1u << 18) + 700);
    check_page((1u << 18) + 701);
    assert_int_equal(put((1u << 18) + 700, 1, HOSTMAP_NONE, &flush), ERR_OK); /* no change */
    assert_false(flush);
    assert_int_equal(put((1u << 18) + 700, 1, HOSTMAP_DATA, &flush),
                     ERR_OK); /* from nothing: nothing cached */
    assert_false(flush);
    assert_int_equal(put((1u << 18) + 700, 1, HOSTMAP_RODATA, &flush), ERR_OK);
    assert_true(flush);
}

static void test_bad_arguments(void **state)
{
    struct hostmap_flush f = {false};

    (void)state;
    fresh(TABLE_FRAMES, true);
    assert_int_equal(hostmap_map(&map, 0, 0, HOSTMAP_DATA, &f), ERR_INVALID);
    assert_int_equal(hostmap_map(&map, 1ull << 47, PAGE_SIZE, HOSTMAP_DATA, &f), ERR_INVALID);
    assert_int_equal(hostmap_map(&map, (1ull << 47) - PAGE_SIZE, 2 * PAGE_SIZE, HOSTMAP_DATA, &f),
                     ERR_INVALID);
    assert_int_equal(hostmap_map(&map, PAGE_SIZE, UINT64_MAX, HOSTMAP_DATA, &f), ERR_INVALID);
    assert_int_equal(hostmap_map(&map, (1ull << 47) - PAGE_SIZE, PAGE_SIZE, HOSTMAP_DATA, &f), ERR_OK);
    assert_false(hostmap_query(&map, 1ull << 47).present);
    assert_false(hostmap_query(&map, ~0ull).present);
}

static void test_out_of_memory(void **state)
{
    bool flush;

    (void)state;
    for (u64 n = 1; n < 4; n++) {
        fresh(n, true);
        assert_int_equal(put(5, 1, HOSTMAP_TEXT, &flush), ERR_NO_MEMORY);
        assert_int_equal(hardware(5 * PAGE_SIZE), -1);
    }
    fresh(4, true);
    assert_int_equal(put(5, 1, HOSTMAP_TEXT, &flush), ERR_OK);
    assert_int_equal(hardware(5 * PAGE_SIZE), 2);
}

static void test_check_finds_violations(void **state)
{
    struct hostmap_report r;
    bool flush;

    (void)state;
    fresh(TABLE_FRAMES, true);
    assert_int_equal(put(16, 16, HOSTMAP_TEXT, &flush), ERR_OK);
    assert_int_equal(put(32, 4, HOSTMAP_RODATA, &flush), ERR_OK);
    assert_int_equal(put(40, 2, HOSTMAP_DATA, &flush), ERR_OK);
    assert_int_equal(put(60, 1, HOSTMAP_MMIO, &flush), ERR_OK);
    assert_true(hostmap_check(&map, &r));
    assert_int_equal(r.text_bytes, 16 * PAGE_SIZE);
    assert_int_equal(r.rodata_bytes, 4 * PAGE_SIZE);
    assert_int_equal(r.data_bytes, 2 * PAGE_SIZE);
    assert_int_equal(r.mmio_bytes, PAGE_SIZE);
    assert_int_equal(put(0, 1, HOSTMAP_RODATA, &flush), ERR_OK); /* the null page */
    assert_false(hostmap_check(&map, &r));
    assert_int_equal(put(0, 1, HOSTMAP_NONE, &flush), ERR_OK);
    assert_true(hostmap_check(&map, &r));
    u64 *pdpt = (u64 *)(*(u64 *)map.root.v & 0xFFFFFFFFFF000), *pd = (u64 *)(pdpt[0] & 0xFFFFFFFFFF000);
    u64 *pt = (u64 *)(pd[0] & 0xFFFFFFFFFF000);
    pt[20] |= 2; /* someone makes code writable */
    assert_false(hostmap_check(&map, &r));
    assert_int_equal(r.bad_address, 20 * PAGE_SIZE);
}

static void random_range(u64 *page, u64 *count)
{
    static const u32 grains[] = {1, 1, 16, 512, 512, 1u << 18};
    u32 grain = grains[rand() % 6];

    *page = (u64)rand() % MODEL_PAGES / grain * grain;
    *count = (1 + (u64)rand() % (grain == 1 ? 1500 : 3)) * (u64)grain;
    if (*count > MODEL_PAGES - *page)
        *count = MODEL_PAGES - *page;
}

static void test_random_against_model(void **state)
{
    u64 seed = env("PB_SEED", 1), steps = env("PB_STEPS", 3000);

    (void)state;
    print_message("seed %llu, %llu steps\n", (unsigned long long)seed, (unsigned long long)steps);
    srand((unsigned)seed);
    fresh(TABLE_FRAMES, seed & 1);
    for (u64 i = 0; i < steps; i++) {
        struct hostmap_report r;
        u64 page, count;
        bool flush, changes = false;
        u8 kind = (u8)(rand() % 5);

        random_range(&page, &count);
        for (u64 p = page; p < page + count; p++)
            changes |= model[p] != HOSTMAP_NONE && model[p] != kind;
        assert_int_equal(put(page, count, kind, &flush), ERR_OK);
        assert_int_equal(flush, changes); /* exactly when a present page changed */
        for (u32 k = 0; k < 20; k++) {
            check_page(page + (u64)rand() % count);
            check_page((u64)rand() % MODEL_PAGES);
        }
        check_page(page);
        check_page(page + count - 1);
        if (page)
            check_page(page - 1);
        if (page + count < MODEL_PAGES)
            check_page(page + count);
        if (i % 64 == 0)
            assert_int_equal(hostmap_check(&map, &r), model[0] == HOSTMAP_NONE);
    }
    u64 mapped = map.pages_4k + map.pages_2m * 512 + map.pages_1g * 512 * 512, in_model = 0;
    for (u64 p = 0; p < MODEL_PAGES; p++) {
        check_page(p);
        in_model += model[p] != HOSTMAP_NONE;
    }
    assert_int_equal(mapped, in_model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_page_sizes),
        cmocka_unit_test(test_splits_and_flushes),
        cmocka_unit_test(test_bad_arguments),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_check_finds_violations),
        cmocka_unit_test(test_random_against_model),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
