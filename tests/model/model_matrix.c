/*
 * model_matrix.c - two producers and one consumer on the matrix (mm/matrix.c): channels made on first need (or,
 * NO_MEMORY, that cannot be made), and what the consumer has seen of each producer.
 */
#include "mm/matrix.h"
#include "tests/model/explore.h"

static const memory_order primary_order =
    model_makes(STORE_WITHOUT_ORDERING) ? memory_order_release : memory_order_seq_cst;

#define VCPUS    3u
#define CONSUMER 2u
#define HEAP     2816

struct shared {
    _Atomic u64 primary[2];
    u64 copy[2];
    _Atomic u64 done[2]; /* by producer: the guest knows of this write */
    struct matrix m;
    u64 heap_used;
    aligned_to(64) u8 piece[2][MATRIX_PIECE]; /* each producer makes one channel */
    u8 heap[HEAP];
};

static struct shared *s = MODEL_SHARED(struct shared);

static void *take_memory(void *ctx, u64 bytes)
{
    u64 at = s->heap_used;

    (void)ctx;
    if (model_thread() >= 0)
        return NO_MEMORY ? NULL : s->piece[model_thread()];
    s->heap_used += ALIGN_UP(bytes, 64);
    model_require(s->heap_used <= HEAP);
    return s->heap + at;
}

static void set_up(void)
{
    void *metadata = take_memory(NULL, matrix_metadata_size(VCPUS));

    if (matrix_init(&s->m, VCPUS, metadata, take_memory, NULL) != ERR_OK)
        model_require(!"the heap is large enough");
    model_constant(&s->m, s->piece);
    model_constant(&s->m.consumer[CONSUMER].self, &s->m.consumer[CONSUMER].from + 1);
    model_private(CONSUMER, s->copy, s->copy + 2);
    model_private(CONSUMER, s->m.consumer[CONSUMER].seen, s->m.consumer[CONSUMER].seen + MATRIX_MAX);
    for (u32 p = 0; p < 2; p++) {
        model_private(p, &s->m.producer[p], &s->m.producer[p + 1]);
        model_private(p, s->piece[p], s->piece[p] + 64 + offsetof(struct channel, closed));
    }
}

static void produce(u32 producer, u16 index, u64 value)
{
    atomic_store_explicit(&s->primary[index], value, primary_order);
    (void)matrix_post(&s->m, producer, CONSUMER,
                      &(struct patch){.index = index, .primary = value, .derived = value});
    atomic_store_explicit(&s->done[producer], value, memory_order_release);
}

static void producer0(void)
{
    produce(0, 0, 1);
    if (NO_MEMORY)
        produce(0, 0, 3);
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
    if (matrix_pending(&s->m, CONSUMER) && matrix_drain(&s->m, CONSUMER, apply, NULL)) {
        model_require(NO_MEMORY);
        for (u32 i = 0; i < 2; i++)
            s->copy[i] = atomic_load_explicit(&s->primary[i], memory_order_seq_cst);
    }
    model_require(s->copy[0] >= known0 && s->copy[1] >= known1);
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
    drain(NO_MEMORY ? 3 : 1, 2);
}

int main(void)
{
    static const struct model m = {
        MODEL_NAME, set_up, {producer0, producer1, consumer}, check, sizeof(struct shared)};
    return model_run(&m, MODEL_BROKEN);
}
