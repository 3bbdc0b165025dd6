/* links: mm/frames.c */
/* test_frames.c - the frame allocator against a byte per page. PB_SEED, PB_STEPS choose the random part. */
#include "mm/frames.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#define PAGES 512u

static u8 *memory; /* PAGES pages, 2 MiB-aligned, below 4 GiB */

static int set_up(void **state)
{
    (void)state;
    u8 *p = mmap(NULL, 2 * PAGES * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT,
                 -1, 0);
    assert_true(p != MAP_FAILED);
    memory = (u8 *)ALIGN_UP((u64)p, PAGES * PAGE_SIZE);
    return 0;
}

static u64 env(const char *name, u64 value)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 0) : value;
}

static hpa_t at(u64 page)
{
    return ptr_to_hpa(memory + page * PAGE_SIZE);
}

/* How many pages can be had in one piece. */
static u64 largest(struct frames *f)
{
    hpa_t got;

    for (u64 n = PAGES; n; n--)
        if (frames_alloc(f, n, PAGE_SIZE, FRAMES_ANYWHERE, &got) == ERR_OK) {
            assert_int_equal(frames_free(f, got, n), ERR_OK);
            return n;
        }
    return 0;
}

static void test_arguments(void **state)
{
    struct frames f;
    hpa_t got;

    (void)state;
    frames_init(&f);
    assert_int_equal(frames_alloc(&f, 1, PAGE_SIZE, FRAMES_ANYWHERE, &got), ERR_NO_MEMORY);
    assert_int_equal(frames_add(&f, at(0), 8 * PAGE_SIZE), ERR_OK);
    assert_int_equal(frames_add(&f, at(7), PAGE_SIZE), ERR_INVALID); /* there already */
    assert_int_equal(frames_add(&f, HPA(~PAGE_MASK), 2 * PAGE_SIZE), ERR_INVALID);
    assert_int_equal(frames_alloc(&f, 0, PAGE_SIZE, FRAMES_ANYWHERE, &got), ERR_INVALID);
    assert_int_equal(frames_alloc(&f, 1, 8, FRAMES_ANYWHERE, &got), ERR_INVALID);
    assert_int_equal(frames_alloc(&f, 1, 3 * PAGE_SIZE, FRAMES_ANYWHERE, &got), ERR_INVALID);
    assert_int_equal(frames_alloc(&f, UINT64_MAX / 2, PAGE_SIZE, FRAMES_ANYWHERE, &got), ERR_INVALID);
    assert_int_equal(frames_alloc(&f, 9, PAGE_SIZE, FRAMES_ANYWHERE, &got), ERR_NO_MEMORY);
    assert_int_equal(frames_free(&f, at(3), 1), ERR_INVALID); /* free already */
    assert_int_equal(frames_free(&f, HPA(at(9).v + 1), 1), ERR_INVALID);
    assert_int_equal(frames_free(&f, HPA(0), 1), ERR_INVALID);
    assert_int_equal(f.free_pages, 8);
    assert_int_equal(f.total_pages, 8);
}

static void test_partial_pages_are_dropped(void **state)
{
    struct frames f;

    (void)state;
    frames_init(&f);
    assert_int_equal(frames_add(&f, HPA(at(0).v + 1), 3 * PAGE_SIZE), ERR_OK);
    assert_int_equal(f.free_pages, 2);
    assert_int_equal(frames_add(&f, HPA(at(10).v + 1), 100), ERR_OK);
    assert_int_equal(f.free_pages, 2);
}

static void test_bounds_and_alignment(void **state)
{
    struct frames f;
    hpa_t got;

    (void)state;
    frames_init(&f);
    assert_int_equal(frames_add(&f, at(0), PAGES * PAGE_SIZE), ERR_OK);
    assert_int_equal(frames_alloc(&f, 1, PAGE_SIZE, FRAMES_ANYWHERE, &got), ERR_OK);
    assert_int_equal(got.v, at(PAGES - 1).v); /* from the top */
    assert_int_equal(frames_alloc(&f, 3, 64 * PAGE_SIZE, FRAMES_ANYWHERE, &got), ERR_OK);
    assert_int_equal(got.v, at(PAGES - 64).v);
    assert_int_equal(frames_alloc(&f, 2, PAGE_SIZE, at(5).v + 17, &got), ERR_OK);
    assert_int_equal(got.v, at(3).v);
    assert_int_equal(frames_alloc(&f, 4, PAGE_SIZE, at(3).v, &got), ERR_NO_MEMORY);
    assert_int_equal(frames_alloc(&f, 3, PAGE_SIZE, at(3).v, &got), ERR_OK);
    assert_int_equal(got.v, at(0).v);
    assert_int_equal(largest(&f), PAGES - 64 - 5);
}

static void test_zeroed(void **state)
{
    struct frames f;
    hpa_t got;

    (void)state;
    memset(memory, 0xEE, PAGES * PAGE_SIZE);
    frames_init(&f);
    assert_int_equal(frames_add(&f, at(0), PAGES * PAGE_SIZE), ERR_OK);
    assert_int_equal(frames_alloc(&f, PAGES, PAGE_SIZE, FRAMES_ANYWHERE, &got), ERR_OK);
    for (size_t i = 0; i < PAGES * PAGE_SIZE; i++)
        assert_int_equal(memory[i], 0);
}

/* Owners of pages in the model: 0 free, else the number of the allocation. */
static u8 model[PAGES];

static bool model_is(u64 page, u64 count, u8 owner)
{
    for (u64 i = 0; i < count; i++)
        if (model[page + i] != owner)
            return false;
    return true;
}

/* Would any aligned run of free pages below `limit` (a page number) do? */
static bool model_has_room(u64 count, u64 align, u64 limit)
{
    for (u64 p = 0; p + count <= limit; p++)
        if (at(p).v % (align * PAGE_SIZE) == 0 && model_is(p, count, 0))
            return true;
    return false;
}

struct block {
    u64 page, count;
};

static void random_alloc(struct frames *f, u8 owner, struct block *block)
{
    hpa_t got;
    u64 count = 1 + (u64)rand() % 40, align = 1ull << rand() % 6, limit = 1 + (u64)rand() % PAGES;
    enum err e = frames_alloc_dirty(f, count, align * PAGE_SIZE, at(limit).v, &got);

    assert_int_equal(e, model_has_room(count, align, limit) ? ERR_OK : ERR_NO_MEMORY);
    block->count = 0;
    if (e != ERR_OK)
        return;
    block->page = (got.v - at(0).v) / PAGE_SIZE;
    block->count = count;
    assert_true(block->page + count <= limit);
    assert_int_equal(got.v % (align * PAGE_SIZE), 0);
    assert_true(model_is(block->page, count, 0));
    memset(model + block->page, owner, count);
    memset(memory + block->page * PAGE_SIZE, owner, count * PAGE_SIZE);
}

static void test_random_against_model(void **state)
{
    struct frames f;
    struct block block[64] = {0};
    u64 seed = env("PB_SEED", 1), steps = env("PB_STEPS", 20000);

    (void)state;
    srand((unsigned)seed);
    print_message("seed %llu, %llu steps\n", (unsigned long long)seed, (unsigned long long)steps);
    frames_init(&f);
    assert_int_equal(frames_add(&f, at(0), PAGES * PAGE_SIZE), ERR_OK);
    for (u64 i = 0; i < steps; i++) {
        u8 n = (u8)(1 + rand() % 63);
        if (!block[n].count) {
            random_alloc(&f, n, &block[n]);
        } else {
            assert_int_equal(memory[block[n].page * PAGE_SIZE], n); /* nobody wrote into it */
            assert_int_equal(memory[(block[n].page + block[n].count) * PAGE_SIZE - 1], n);
            assert_int_equal(frames_free(&f, at(block[n].page), block[n].count), ERR_OK);
            memset(model + block[n].page, 0, block[n].count);
            assert_int_equal(frames_free(&f, at(block[n].page), 1), ERR_INVALID);
            block[n].count = 0;
        }
        u64 free_pages = 0;
        for (u32 p = 0; p < PAGES; p++)
            free_pages += !model[p];
        assert_int_equal(f.free_pages, free_pages);
    }
    for (u32 n = 0; n < 64; n++)
        if (block[n].count)
            assert_int_equal(frames_free(&f, at(block[n].page), block[n].count), ERR_OK);
    assert_int_equal(largest(&f), PAGES); /* all merged again */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_partial_pages_are_dropped),
        cmocka_unit_test(test_bounds_and_alignment),
        cmocka_unit_test(test_zeroed),
        cmocka_unit_test(test_random_against_model),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
