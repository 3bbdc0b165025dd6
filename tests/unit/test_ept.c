/* links: mm/ept.c mm/p2m.c */
/*
 * test_ept.c - the EPT against the p2m, gfn by gfn, by a walk that knows only SDM Vol 3C 28.2.2 and 28.2.3.1: what
 * each access does, with every reserved bit looked at. PB_SEED, PB_STEPS choose the random changes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "mm/ept.h"

#define GFNS    2500u /* not a whole number of regions */
#define REGION  512u
#define WIDTH   46 /* of a physical address, on the machine that is tested for */
#define NOTHING (~0ull)

static _Atomic u64 words[GFNS];
static struct p2m p2m;
static struct ept ept;
static void *tables;
static u64 rng = 1;

static u64 rnd(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng * 0x2545f4914f6cdd1dull;
}
static u64 env(const char *name, u64 otherwise)
{
    const char *s = getenv(name);
    return s ? strtoull(s, NULL, 0) : otherwise;
}

static int set_up(void **state)
{
    (void)state;
    rng = env("PB_SEED", 1) * 2 + 1;
    tables =
        mmap(NULL, ept_size(GFNS), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    assert_true(tables != MAP_FAILED);
    return 0;
}

static void fresh(void)
{
    memset(tables, 0, ept_size(GFNS));
    p2m_init(&p2m, words, GFNS);
}

struct seen {
    u64 frame;  /* NOTHING: an EPT violation */
    u32 rights; /* bits 2:0 of the entry that maps it, AND of those above */
    bool is_2m;
};

/* 28.2.2, 28.2.3.1: an entry with none of bits 2:0 is not present. Any other with write but not read, a reserved bit,
 * or a reserved memory type is a misconfiguration: there must be none. */
static struct seen hardware(u64 gpa)
{
    struct seen s = {NOTHING, 7, false};
    u64 table = ept.root.v;

    for (int shift = 39; shift >= 12; shift -= 9) {
        u64 e = ((const u64 *)table)[gpa >> shift & 511];
        bool leaf = shift == 12 || (e >> 7 & 1);
        if (!(e & 7))
            return (struct seen){NOTHING, 0, false};
        assert_true(e & 1);
        assert_int_equal(e >> WIDTH, 0);
        s.rights &= e & 7;
        if (leaf) {
            assert_true(shift == 12 || shift == 21);
            assert_int_equal(e >> 3 & 7, 6); /* write-back */
            assert_int_equal(e >> 6 & 1, 1);
            assert_int_equal(e & 0xF00, 0);
            assert_true(shift == 12 || !(e & 0x1FF000));
            u64 page = 1ull << shift;
            s.frame = (e & 0xFFFFFFFFFF000 & ~(page - 1)) | (gpa & (page - 1) & ~0xFFFull);
            s.is_2m = shift == 21;
            return s;
        }
        assert_int_equal(e & 0xFF8, 0);
        table = e & 0xFFFFFFFFFF000;
    }
    return s;
}

static void check_one(u64 gfn)
{
    struct seen s = hardware(gfn << 12);
    u64 entry = p2m_get(&p2m, gfn);

    switch (p2m_entry_type(entry)) {
    case P2M_RAM_RW: assert_int_equal(s.rights, 7); break;
    case P2M_RAM_RO: assert_int_equal(s.rights, 5); break;
    default: assert_int_equal(s.frame, NOTHING); return;
    }
    assert_int_equal(s.frame, p2m_entry_hpa(entry).v);
}

static void check_all(void)
{
    for (u64 gfn = 0; gfn < GFNS + 2 * REGION; gfn++)
        check_one(gfn);
    /* nothing beyond, to the last of 48 bits */
    for (u64 gpa = 1ull << 30; gpa < 1ull << 48; gpa += 1ull << 30)
        assert_int_equal(hardware(gpa).frame, NOTHING);
}

static u64 large_pages(void)
{
    u64 count = 0;

    for (u64 gfn = 0; gfn < GFNS; gfn += REGION)
        count += hardware(gfn << 12).is_2m;
    return count;
}

/* Region 0: one frame of 2 MiB. 1: contiguous but not aligned. 2: with a hole. 3: empty. 4: cut off by the end. */
static void usual(void)
{
    fresh();
    assert_int_equal(p2m_map_ram(&p2m, 0, HPA(0x40000000), REGION), ERR_OK);
    assert_int_equal(p2m_map_ram(&p2m, REGION, HPA(0x50001000), REGION), ERR_OK);
    assert_int_equal(p2m_map_ram(&p2m, 2 * REGION, HPA(0x60000000), REGION), ERR_OK);
    p2m_set(&p2m, 2 * REGION + 511, HPA(0), P2M_EMPTY, false);
    assert_int_equal(p2m_map_ram(&p2m, 4 * REGION, HPA(0x70000000), GFNS - 4 * REGION), ERR_OK);
}

static void test_made_from_p2m(void **state)
{
    (void)state;
    usual();
    assert_int_equal(ept_init(&ept, &p2m, tables, EPT_LARGE_ANY), ERR_OK);
    check_all();
    assert_int_equal(large_pages(), 1);
    memset(tables, 0, ept_size(GFNS));
    assert_int_equal(ept_init(&ept, &p2m, tables, EPT_LARGE_NONE), ERR_OK);
    check_all();
    assert_int_equal(large_pages(), 0);
}

/* Of a large page only what was changed changes; the second change finds the table there. */
static void test_large_page_splits(void **state)
{
    (void)state;
    usual();
    assert_int_equal(ept_init(&ept, &p2m, tables, EPT_LARGE_ANY), ERR_OK);
    p2m_set(&p2m, 7, HPA(0), P2M_EMPTY, false);
    ept_update(&ept, 7);
    assert_int_equal(large_pages(), 0);
    check_all();
    p2m_set(&p2m, 8, HPA(0x40008000), P2M_RAM_RO, true);
    ept_update(&ept, 8);
    check_all();
    p2m_set(&p2m, 7, HPA(0x777000), P2M_RAM_RW, true);
    ept_update(&ept, 7);
    check_all();
    p2m_set(&p2m, 3 * REGION + 5, HPA(0x778000), P2M_RAM_RW, false); /* where there was nothing */
    ept_update(&ept, 3 * REGION + 5);
    check_all();
    ept_update(&ept, GFNS); /* behind the end */
    ept_update(&ept, ~0ull);
    check_all();
}

/* A read-only frame of 2 MiB is one entry too. */
static void test_read_only_large(void **state)
{
    (void)state;
    usual();
    for (u64 gfn = 0; gfn < REGION; gfn++)
        p2m_set(&p2m, gfn, HPA(0x40000000 + gfn * PAGE_SIZE), P2M_RAM_RO, true);
    assert_int_equal(ept_init(&ept, &p2m, tables, EPT_LARGE_ANY), ERR_OK);
    assert_int_equal(large_pages(), 1);
    check_all();
}

/* Where a change of a page's size may be fatal, nothing executes from 2 MiB; what is executed from gets 4 KiB pages. */
static void test_large_without_code(void **state)
{
    (void)state;
    usual();
    assert_int_equal(ept_init(&ept, &p2m, tables, EPT_LARGE_DATA), ERR_OK);
    assert_int_equal(large_pages(), 1);
    assert_int_equal(hardware(0).rights, 3);
    assert_int_equal(hardware(REGION << 12).rights, 7);
    ept_update(&ept, 5);
    assert_int_equal(large_pages(), 0);
    check_all();
}

static void test_sizes(void **state)
{
    (void)state;
    assert_int_equal(ept_size(1), 4 * PAGE_SIZE);
    assert_int_equal(ept_size(REGION + 1), 5 * PAGE_SIZE);
    assert_int_equal(ept_size(512 * 512), (3 + 512) * PAGE_SIZE);
    assert_int_equal(ept_size(512 * 512 + 1), (4 + 513) * PAGE_SIZE);
    struct p2m wide = {words, (1ull << 36) + 1}, none = {words, 0};
    assert_int_equal(ept_init(&ept, &wide, tables, EPT_LARGE_ANY), ERR_RANGE);
    assert_int_equal(ept_init(&ept, &none, tables, EPT_LARGE_ANY), ERR_RANGE);
}

static void test_random_changes(void **state)
{
    u64 steps = env("PB_STEPS", 20000);

    (void)state;
    usual();
    assert_int_equal(ept_init(&ept, &p2m, tables, EPT_LARGE_ANY), ERR_OK);
    for (u64 i = 0; i < steps; i++) {
        u64 gfn = rnd() % (GFNS + 8), frame = rnd() << 12 & ((1ull << WIDTH) - 1);
        p2m_set(&p2m, gfn, HPA(frame), (enum p2m_type)(rnd() & 3), rnd() & 1);
        ept_update(&ept, gfn);
        check_one(gfn);
        check_one(gfn ^ 1);
    }
    check_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_made_from_p2m),   cmocka_unit_test(test_large_page_splits),
        cmocka_unit_test(test_read_only_large), cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_random_changes),  cmocka_unit_test(test_large_without_code),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
