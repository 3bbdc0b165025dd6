/*
 * model_overflow.c - a channel that is full (mm/channel.c, mm/matrix.c, P63). What does not fit is told as
 * lost, and after it the consumer trusts nothing; no write is forgotten.
 */
#include "mm/matrix.h"
#include "tests/model/explore.h"

static const memory_order primary_order =
    model_makes(STORE_WITHOUT_ORDERING) ? memory_order_release : memory_order_seq_cst;

#define ENTRIES (CHANNEL_ENTRIES + 2)
#define HEAP    2560

struct shared {
    _Atomic u64 primary[ENTRIES];
    u64 copy[ENTRIES];
    _Atomic u64 done;
    struct matrix m;
    u64 heap_used;
    aligned_to(64) u8 heap[HEAP];
};

static struct shared *s = MODEL_SHARED(struct shared);

static void *take_memory(void *ctx, u64 bytes)
{
    u64 at = s->heap_used;

    (void)ctx;
    s->heap_used += ALIGN_UP(bytes, 64);
    model_require(s->heap_used <= HEAP);
    return s->heap + at;
}

static void write_entry(u16 index, u64 value)
{
    struct patch p = {.index = index, .primary = value, .derived = value};

    atomic_store_explicit(&s->primary[index], value, primary_order);
    (void)matrix_post(&s->m, 0, 1, &p);
    atomic_store_explicit(&s->done, value, memory_order_release);
}

/* All but one place is taken already: the state space stays small. */
static void set_up(void)
{
    if (matrix_init(&s->m, 2, take_memory(NULL, matrix_metadata_size(2)), take_memory, NULL) != ERR_OK)
        model_require(!"the heap is large enough");
    for (u16 i = 0; i < CHANNEL_ENTRIES - 1; i++)
        write_entry(i, 1);
    s->done = 0;
    model_constant(&s->m, &s->m + 1);
    model_constant(&s->m.consumer[1].self, &s->m.consumer[1].from + 1);
    model_constant(s->m.consumer[1].from, s->m.consumer[1].from + 2);
    struct channel *c = atomic_load_explicit(&s->m.consumer[1].from[0], memory_order_relaxed);
    model_private(0, &c->posted, &c->closed);
    model_private(1, s->copy, s->copy + ENTRIES);
    model_private(1, s->m.consumer[1].seen, s->m.consumer[1].seen + MATRIX_MAX);
}

static void producer(void)
{
    write_entry(CHANNEL_ENTRIES - 1, 2);
    write_entry(CHANNEL_ENTRIES, 3);
    write_entry(CHANNEL_ENTRIES, 4);
    write_entry(CHANNEL_ENTRIES + 1, 5);
}

static void apply(void *ctx, const struct patch *p)
{
    (void)ctx;
    model_require(p->index < ENTRIES);
    u64 now = atomic_load_explicit(&s->primary[p->index], memory_order_seq_cst);
    s->copy[p->index] = now == p->primary ? p->derived : now;
}

static void event(u64 known)
{
    if (matrix_pending(&s->m, 1) && matrix_drain(&s->m, 1, apply, NULL))
        for (u32 i = 0; i < ENTRIES; i++)
            s->copy[i] = atomic_load_explicit(&s->primary[i], memory_order_seq_cst);
    model_require(known < 2 || s->copy[CHANNEL_ENTRIES - 1] == 2);
    model_require(known < 3 || s->copy[CHANNEL_ENTRIES] >= MIN(known, 4ull));
    model_require(known < 5 || s->copy[CHANNEL_ENTRIES + 1] == 5);
}

static void consumer(void)
{
    for (u32 i = 0; i < 2; i++)
        event(atomic_load_explicit(&s->done, memory_order_acquire));
}

static void check(void)
{
    event(5);
    for (u32 i = 0; i < ENTRIES; i++)
        model_require(s->copy[i] == s->primary[i]);
}

int main(void)
{
    static const struct model m = {MODEL_NAME, set_up, {producer, consumer}, check, sizeof(struct shared)};
    return model_run(&m, MODEL_BROKEN);
}
