/* links: mm/matrix.c mm/channel.c */
/* test_matrix.c - patch channels and their matrix, one CPU at a time: a set of patches per pair, nothing
 * lost, nothing invented, each in its own direction (P57), memory that grows with use (P48, P55, P58, P59, P61,
 * P63). Several CPUs at once: tests/model, tests/tsan. PB_SEED, PB_STEPS. */
#include "mm/matrix.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TABLES  4u
#define INDICES 512u

static u64 env(const char *name, u64 value)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 0) : value;
}

static u8 arena[16 << 20] aligned_to(64);
static u64 arena_used, arena_limit;

static void *arena_take(void *ctx, u64 bytes)
{
    void *at = arena + arena_used;

    (void)ctx;
    if (arena_used + bytes > arena_limit)
        return NULL;
    arena_used = ALIGN_UP(arena_used + bytes, 64);
    return at;
}

static struct matrix m;

static void fresh_arena(u64 limit)
{
    memset(arena, 0, sizeof(arena));
    arena_used = 0;
    arena_limit = limit;
}

static void fresh_matrix(u32 size)
{
    fresh_arena(sizeof(arena));
    assert_int_equal(matrix_init(&m, size, arena_take(NULL, matrix_metadata_size(size)), arena_take, NULL),
                     ERR_OK);
}

/* What a drain delivered. */
static struct patch got[4096];
static u32 got_count;

static void collect(void *ctx, const struct patch *p)
{
    (void)ctx;
    assert_true(got_count < ARRAY_SIZE(got));
    got[got_count++] = *p;
}

static struct patch patch_of(u64 frame, u16 index, u64 value)
{
    return (struct patch){.frame = frame, .index = index, .derived = value, .primary = ~value};
}

static void test_sizes(void **state)
{
    (void)state;
    fresh_arena(1 << 20);
    assert_int_equal(matrix_init(&m, 0, arena, arena_take, NULL), ERR_RANGE);
    assert_int_equal(matrix_init(&m, MATRIX_MAX + 1, arena, arena_take, NULL), ERR_RANGE);
    arena_limit = 4096;
    assert_int_equal(matrix_init(&m, 4, arena, arena_take, NULL), ERR_NO_MEMORY);
    assert_true(3 * sizeof(struct channel) + 64 <= MATRIX_PIECE);
}

/* A set: what is in it is not posted twice, and the body is the first one's. */
static void test_duplicates(void **state)
{
    (void)state;
    fresh_matrix(2);
    for (u32 consumer = 0; consumer < 2; consumer++) {
        struct patch a = patch_of(7, 3, 1), b = patch_of(7, 3, 2), c = patch_of(7, 4, 3),
                     d = patch_of(8, 3, 4);
        assert_false(matrix_pending(&m, consumer));
        assert_int_equal(matrix_post(&m, 0, consumer, &a), CHANNEL_POSTED);
        assert_int_equal(matrix_post(&m, 0, consumer, &b), CHANNEL_ABSORBED);
        assert_int_equal(matrix_post(&m, 0, consumer, &c), CHANNEL_POSTED);
        assert_int_equal(matrix_post(&m, 0, consumer, &d), CHANNEL_POSTED);
        assert_true(matrix_pending(&m, consumer));
        assert_false(matrix_pending(&m, !consumer));
        got_count = 0;
        assert_false(matrix_drain(&m, consumer, collect, NULL));
        assert_int_equal(got_count, 3);
        for (u32 i = 0; i < 3; i++)
            assert_true(got[i].derived != 2 && got[i].primary == ~got[i].derived);
        got_count = 0;
        assert_false(matrix_pending(&m, consumer));
        assert_false(matrix_drain(&m, consumer, collect, NULL));
        assert_int_equal(got_count, 0);
        assert_int_equal(matrix_post(&m, 0, consumer, &b), CHANNEL_POSTED); /* free again */
        assert_false(matrix_drain(&m, consumer, collect, NULL));
        assert_int_equal(got[0].derived, 2);
    }
}

/* All 512 entries of one table fit into a self-channel: neighbours do not collide. */
static void test_whole_table(void **state)
{
    (void)state;
    fresh_matrix(1);
    for (u32 i = 0; i < INDICES; i++) {
        struct patch p = patch_of(0x12345, (u16)i, i);
        assert_int_equal(matrix_post(&m, 0, 0, &p), CHANNEL_POSTED);
    }
    struct patch one_more = patch_of(1, 1, 0);
    assert_int_equal(matrix_post(&m, 0, 0, &one_more), CHANNEL_OVERFLOW);
    got_count = 0;
    assert_true(matrix_drain(&m, 0, collect, NULL)); /* says so once */
    assert_int_equal(got_count, INDICES);
    assert_false(matrix_pending(&m, 0));
    assert_false(matrix_drain(&m, 0, collect, NULL));
}

/* P63: no way free, or no memory for the channel: the consumer is told, and the self-channels are not. */
static void test_overflow(void **state)
{
    (void)state;
    fresh_matrix(3);
    struct patch p;
    enum channel_posted posted = CHANNEL_POSTED;
    u32 n = 0;
    for (; posted == CHANNEL_POSTED; n++) {
        p = patch_of(1, 2, 0);
        p.frame += n * 1000;
        posted = matrix_post(&m, 0, 1, &p);
    }
    assert_int_equal(n, CHANNEL_ENTRIES + 1);
    assert_int_equal(posted, CHANNEL_OVERFLOW);
    got_count = 0;
    assert_false(matrix_drain(&m, 0, collect, NULL));
    assert_false(matrix_drain(&m, 2, collect, NULL));
    assert_true(matrix_drain(&m, 1, collect, NULL));
    assert_int_equal(got_count, n - 1);

    arena_limit = arena_used;
    assert_int_equal(matrix_post(&m, 2, 1, &p), CHANNEL_OVERFLOW);
    assert_int_equal(matrix_post(&m, 2, 2, &p), CHANNEL_POSTED);
    assert_true(matrix_pending(&m, 1));
    assert_true(matrix_drain(&m, 1, collect, NULL));
    assert_false(matrix_pending(&m, 1));
    arena_limit = sizeof(arena); /* there is memory again */
    assert_int_equal(matrix_post(&m, 2, 1, &p), CHANNEL_POSTED);
    assert_false(matrix_drain(&m, 1, collect, NULL));
}

/* As vmm/vm_create.c does: whole pages. */
static void *take_pages(void *ctx, u64 bytes)
{
    return arena_take(ctx, ALIGN_UP(bytes, PAGE_SIZE));
}
static u64 pieces_back;
static void give_piece(void *ctx, void *piece)
{
    (void)ctx;
    assert_true((u8 *)piece >= arena && (u8 *)piece + MATRIX_PIECE <= arena + arena_used);
    memset(piece, 0xee, MATRIX_PIECE); /* nobody looks at it again */
    pieces_back++;
}

/* Only pairs that need one get a channel; 64 vCPUs that all talk to all stay below 8 MiB; all of it is given
 * back. */
static void test_memory(void **state)
{
    struct patch p = patch_of(1, 1, 1);
    u64 at_start;

    (void)state;
    fresh_arena(sizeof(arena));
    assert_int_equal(
        matrix_init(&m, MATRIX_MAX, take_pages(NULL, matrix_metadata_size(MATRIX_MAX)), take_pages, NULL),
        ERR_OK);
    at_start = arena_used;
    for (u32 a = 0; a < MATRIX_MAX; a++)
        assert_int_equal(matrix_post(&m, a, a, &p), CHANNEL_POSTED);
    assert_int_equal(arena_used, at_start);
    for (u32 consumer = 5; consumer < 8; consumer++) /* three to a page */
        assert_int_equal(matrix_post(&m, 3, consumer, &p), CHANNEL_POSTED);
    assert_int_equal(arena_used, at_start + PAGE_SIZE);
    for (u32 a = 0; a < MATRIX_MAX; a++)
        for (u32 b = 0; b < MATRIX_MAX; b++)
            assert_int_not_equal(matrix_post(&m, a, b, &p), CHANNEL_OVERFLOW);
    print_message("64 vCPUs: %lu bytes at start, %lu bytes with all %u channels\n", (unsigned long)at_start,
                  (unsigned long)arena_used, MATRIX_MAX * MATRIX_MAX);
    assert_true(at_start < (3 << 19));
    assert_true(arena_used < (8 << 20));

    u64 pieces = (arena_used - at_start) / MATRIX_PIECE;
    pieces_back = 0;
    matrix_release(&m, give_piece, NULL);
    assert_int_equal(pieces_back, pieces);
    matrix_release(&m, give_piece, NULL); /* nothing left */
    assert_int_equal(pieces_back, pieces);
    assert_false(matrix_pending(&m, 9) && !channel_self_ready(m.consumer[9].self));
    got_count = 0;
    assert_int_equal(matrix_post(&m, 3, 9, &p), CHANNEL_POSTED); /* as new */
    assert_false(matrix_drain(&m, 9, collect, NULL));
    assert_int_equal(got_count, 2);       /* the self-channel's too */
    matrix_release(&m, give_piece, NULL); /* what has been drained is forgotten, too */
    assert_false(matrix_pending(&m, 9));
    assert_int_equal(matrix_post(&m, 3, 9, &p), CHANNEL_POSTED);
    assert_true(matrix_pending_others(&m, 9));
    assert_false(matrix_drain(&m, 9, collect, NULL));
    assert_int_equal(got_count, 3);
}

static struct channel *channel_of(u32 producer, u32 consumer)
{
    return atomic_load_explicit(&m.consumer[consumer].from[producer], memory_order_relaxed);
}

/* After many posts without a duplicate the next one is posted twice, and those after it are absorbed. */
static void test_arming(void **state)
{
    u16 index = 0;

    (void)state;
    fresh_matrix(2);
    for (; index < 3 * CHANNEL_ENTRIES; index++) {
        struct patch p = patch_of(7, index, index);
        assert_int_equal(matrix_post(&m, 0, 1, &p), CHANNEL_POSTED);
        assert_false(matrix_drain(&m, 1, collect, NULL));
        got_count = 0;
    }
    assert_false(channel_of(0, 1)->next & CHANNEL_ARMED);
    struct patch again = patch_of(7, index, 1);
    assert_int_equal(matrix_post(&m, 0, 1, &again), CHANNEL_POSTED);
    assert_int_equal(matrix_post(&m, 0, 1, &again), CHANNEL_POSTED);
    assert_true(channel_of(0, 1)->next & CHANNEL_ARMED);
    for (u32 i = 0; i < 1000; i++)
        assert_int_equal(matrix_post(&m, 0, 1, &again), CHANNEL_ABSORBED);
    assert_false(matrix_drain(&m, 1, collect, NULL));
    assert_int_equal(got_count, 2);
    assert_false(matrix_pending(&m, 1));
}

/*
 * Random writes by random producers, the primary being one number per table entry. Model: a consumer's copy
 * of every entry. Between drains a copy may be old; after a drain all are what the primary is.
 */
static u64 primary[TABLES][INDICES];
static u64 copy[8][TABLES][INDICES];

static void apply(void *ctx, const struct patch *p)
{
    u64(*mine)[INDICES] = ctx;
    u64 now = primary[p->frame][p->index];

    mine[p->frame][p->index] = now == p->primary ? ~p->derived : now;
}

/* Tickets of existing channels, `before` their end. */
static void shift_tickets(u32 before)
{
    u32 by = 0u - before * 256 - CHANNEL_FIRST_TICKET;

    for (u32 i = 0; i < m.size * m.size; i++) {
        struct channel *c = channel_of(i / m.size, i % m.size);
        if (!c)
            continue;
        assert_int_equal((u8)(c->next - c->freed), c->next & CHANNEL_ARMED); /* it is empty */
        c->next += by;
        c->stop_at += by;
        c->free_below += by;
        c->armed_from += by;
    }
}

static void test_random(void **state)
{
    u64 seed = env("PB_SEED", 1), steps = env("PB_STEPS", 400000), resyncs = 0, absorbed = 0;

    (void)state;
    print_message("PB_SEED=%lu PB_STEPS=%lu\n", (unsigned long)seed, (unsigned long)steps);
    srandom((u32)seed);
    for (u32 size = 1; size <= 8; size++) {
        fresh_matrix(size);
        memset(primary, 0, sizeof(primary));
        memset(copy, 0, sizeof(copy));
        for (u32 a = 0; a < size; a++)
            for (u32 b = 0; b < size; b++) {
                struct patch first = {.primary = 1};
                (void)matrix_post(&m, a, b, &first);
            }
        for (u32 b = 0; b < size; b++)
            assert_false(matrix_drain(&m, b, apply, copy[b]));
        shift_tickets(3); /* they wrap soon */
        for (u64 i = 0; i < steps / 8; i++) {
            u32 who = (u32)random() % size;
            if (random() % 16) {
                u64 f = (u64)random() % TABLES, value = (u64)random() % 4;
                u16 index = (u16)((u32)random() % (random() % 2 ? 8 : INDICES));
                primary[f][index] = value;
                for (u32 c = 0; c < size; c++) {
                    struct patch p = {.frame = f, .index = index, .derived = ~value, .primary = value};
                    absorbed += matrix_post(&m, who, c, &p) == CHANNEL_ABSORBED;
                }
                continue;
            }
            if (matrix_drain(&m, who, apply, copy[who])) {
                memcpy(copy[who], primary, sizeof(primary));
                resyncs++;
            }
            assert_memory_equal(copy[who], primary, sizeof(primary));
        }
    }
    if (steps >= 100000)
        assert_true(resyncs && absorbed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),       cmocka_unit_test(test_duplicates),
        cmocka_unit_test(test_whole_table), cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_memory),      cmocka_unit_test(test_arming),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
