/* links: mm/shadow_reach.c */
/*
 * test_shadow_reach.c - which roots a shadow page may be reached from: random links among a few pages, and so many roots
 * that their numbers go round. What a root leads to has its name or that of all.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mm/shadow_internal.h"

#define ROOTS  4u /* pages 0 .. 3; then 4 of each level below */
#define PAGES  (4 * ROOTS)
#define SLOTS  3u
#define STEPS  400000u
#define ROUNDS 4u

static u8 frames[PAGES * PAGE_SIZE] aligned_to(PAGE_SIZE);
static struct shadow_page page[PAGES];
static struct shadow_vm vm = {.vcpus = 1};
static struct shadow sh;
static u64 rng_state = 0x2545f4914f6cdd1d;

static u32 random_below(u32 n)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return (u32)(rng_state >> 32) % n;
}

static u32 level_of(u32 no)
{
    return 4 - no / ROOTS;
}

static void clear(u32 no)
{
    memset(frames + no * PAGE_SIZE, 0, PAGE_SIZE);
    page[no].live = 0;
}

static void begin(u32 root)
{
    page[root].key = key_make(100 + root, (u32)GWALK_LONG << KEY_MODE_SHIFT, 4, 0);
    shadow_reach_name(&sh, root);
}

/* The root is gone, but not what it led to. */
static void end(u32 root)
{
    clear(root);
    page[root].key = 0;
    page[root].reach = REACH_NONE;
}

static void make(void)
{
    memset(&sh, 0, sizeof sh);
    memset(page, 0, sizeof page);
    sh.vm = &vm;
    sh.page = page;
    sh.frames = frames;
    sh.frames_hpa = (u64)(uintptr_t)frames;
    sh.frame_count = PAGES;
    for (u32 no = 0; no < PAGES; no++) {
        clear(no);
        page[no].state = PAGE_LIVE;
        page[no].key = key_make(100 + no, (u32)GWALK_LONG << KEY_MODE_SHIFT, level_of(no), 0);
        if (level_of(no) == 4)
            begin(no);
    }
}

static void cut(u32 from, u32 slot)
{
    page[from].live -= entry_get(&sh, from, slot) != 0;
    page_entries(&sh, from)[slot] = 0;
}

static void make_link(u32 from, u32 slot, u32 to)
{
    cut(from, slot);
    shadow_note_link(&sh, to, page[from].reach);
    page_entries(&sh, from)[slot] = page_hpa(&sh, to) | PTE_P;
    page[from].live++;
}

static void check_below(u32 no, u32 name)
{
    for (u32 slot = 0; slot < SLOTS; slot++) {
        u64 e = entry_get(&sh, no, slot);
        if (!e)
            continue;
        u32 child = link_page(&sh, e);
        assert_true(page[child].reach == name || page[child].reach == REACH_ANY);
        if (level_of(child) > 1)
            check_below(child, name);
    }
}

/* A page that is no root is gone, and made again. */
static void renew(u32 no)
{
    for (u32 from = 0; from < PAGES; from++)
        for (u32 slot = 0; slot < SLOTS; slot++)
            if (entry_get(&sh, from, slot) && link_page(&sh, entry_get(&sh, from, slot)) == no)
                cut(from, slot);
    clear(no);
    page[no].reach = REACH_NONE;
}

/* Makes roots until their numbers begin anew. */
static void go_round(u32 root)
{
    for (u32 before = 0; sh.root_serial >= before;) {
        before = sh.root_serial;
        end(root);
        begin(root);
    }
}

/* A root that has lived through it, and then ends, leaves its name in what it led to. */
static void a_new_root_has_no_name_of_old(void **state)
{
    u32 table = ROOTS, directory = 2 * ROOTS;
    (void)state;
    make();
    make_link(1, 0, table);
    make_link(table, 0, directory);
    go_round(0);
    check_below(1, page[1].reach);
    u32 old = page[table].reach;
    end(1);
    make_link(2, 0, ROOTS + 1); /* nothing else leads to this directory now: it is another root's */
    make_link(ROOTS + 1, 0, directory);
    begin(1);
    assert_int_not_equal(page[1].reach, old);
    make_link(1, 0, table);
    check_below(1, page[1].reach);
    check_below(2, page[2].reach);
}

static void all_that_a_root_leads_to_has_its_name(void **state)
{
    u32 rounds = 0;
    (void)state;
    make();
    for (u32 i = 0; i < STEPS; i++) {
        u32 from = random_below(PAGES - ROOTS), before = sh.root_serial;
        u32 to = from / ROOTS * ROOTS + ROOTS + random_below(ROOTS);
        if (!page[from].key || !random_below(3))
            cut(from, random_below(SLOTS));
        else
            make_link(from, random_below(SLOTS), to);
        if (!random_below(4))
            renew(ROOTS + random_below(PAGES - ROOTS));
        for (u32 root = 0; root < ROOTS; root++) {
            if (!page[root].key)
                begin(root);
            else if (!random_below(root < ROOTS / 2 ? 8 : 4000)) /* some live through it */
                end(root);
        }
        rounds += sh.root_serial < before;
        for (u32 root = 0; root < ROOTS; root++)
            check_below(root, page[root].reach);
    }
    assert_true(rounds >= ROUNDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_root_has_no_name_of_old),
        cmocka_unit_test(all_that_a_root_leads_to_has_its_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
