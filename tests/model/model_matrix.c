/*
 * model_matrix.c - two producers and one consumer on the matrix (mm/matrix.c): channels made on first need,
 * the pending mask, and writes of one entry by both.
 */
#include "mm/matrix.h"
#include "tests/model/explore.h"

#define VCPUS    3u
#define CONSUMER 2u
#define HEAP     3072

struct shared {
    _Atomic u64 primary[2];
    u64 copy[2];
    _Atomic u64 done[2]; /* by producer: the guest knows of this write */
    _Atomic u64 heap_used;
    struct matrix m;
    aligned_to(64) u8 heap[HEAP];
};

static struct shared *s = MODEL_SHARED(struct shared);

static void *take_memory(void *ctx, u64 bytes)
{
    u64 at = atomic_fetch_add_explicit(&s->heap_used, ALIGN_UP(bytes, 64), memory_order_relaxed);

    (void)ctx;
    return at + bytes <= HEAP ? s->heap + at : NULL;
}

static void set_up(void)
{
    void *metadata = take_memory(NULL, matrix_metadata_size(VCPUS));

    if (matrix_init(&s->m, VCPUS, metadata, take_memory, NULL) != ERR_OK)
        model_require(!"the heap is large enough");
}

static void produce(u32 producer, u16 index, u64 value)
{
    atomic_store_explicit(&s->primary[index], value, memory_order_seq_cst);
    (void)matrix_post(&s->m, producer, CONSUMER,
                      &(struct patch){.index = index, .primary = value, .derived = value});
    atomic_store_explicit(&s->done[producer], value, memory_order_release);
}

static void producer0(void)
{
    produce(0, 0, 1);
}
static void producer1(void)
{
    produce(1, 1, 2);
}

static void apply(void *ctx, const struct patch *p)
{
    u64 now = atomic_load_explicit(&s->primary[p->index], memory_order_seq_cst);

    (void)ctx;
    s->copy[p->index] = now == p->primary ? p->derived : now;
}

static void drain(u64 known0, u64 known1)
{
    if (matrix_pending(&s->m, CONSUMER) && matrix_drain(&s->m, CONSUMER, apply, NULL))
        model_require(!"nothing overflows here");
    model_require(!known0 || s->copy[0] == 1);
    model_require(!known1 || s->copy[1] == 2);
}

static void consumer(void)
{
    for (u32 i = 0; i < 2; i++) {
        u64 known0 = atomic_load_explicit(&s->done[0], memory_order_acquire);
        u64 known1 = atomic_load_explicit(&s->done[1], memory_order_acquire);
        drain(known0, known1);
    }
}

static void check(void)
{
    drain(1, 1);
}

int main(void)
{
    static const struct model m = {MODEL_NAME, set_up, {producer0, producer1, consumer}, check};
    return model_run(&m, MODEL_BROKEN);
}
