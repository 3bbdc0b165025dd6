/* matrix.c - see matrix.h. */
#include "mm/matrix.h"

u64 matrix_metadata_size(u32 size)
{
    return size * (sizeof(struct matrix_consumer) + sizeof(struct matrix_producer)) +
           (u64)size * size * sizeof(channel_slot);
}

enum err matrix_init(struct matrix *m, u32 size, void *metadata, void *(*get_memory)(void *ctx, u64 bytes),
                     void *ctx)
{
    if (!size || size > MATRIX_MAX)
        return ERR_RANGE;
    m->size = size;
    m->words = (size + 7) / 8;
    m->get_memory = get_memory;
    m->ctx = ctx;
    m->consumer = metadata;
    m->producer = (struct matrix_producer *)(m->consumer + size);
    for (u32 i = 0; i < size; i++) {
        struct self_channel *self = get_memory(ctx, sizeof(*self));
        if (!self)
            return ERR_NO_MEMORY;
        channel_self_init(self);
        m->consumer[i].self = self;
        m->consumer[i].from = (channel_slot *)(m->producer + size) + i * size;
    }
    return ERR_OK;
}

void matrix_release(struct matrix *m, void (*give)(void *ctx, void *piece), void *ctx)
{
    for (u32 i = 0; i < m->size; i++) {
        for (u32 p = 0; p < m->size; p++)
            atomic_store_explicit(&m->consumer[i].from[p], NULL, memory_order_relaxed);
        void *piece = m->producer[i].piece;
        for (u32 w = 0; w < m->words; w++) {
            atomic_store_explicit(&m->consumer[i].posted_word[w], 0, memory_order_relaxed);
            m->consumer[i].seen_word[w] = 0;
        }
        m->producer[i] = (struct matrix_producer){0};
        while (piece) {
            void *before = *(void **)piece;
            give(ctx, piece);
            piece = before;
        }
    }
}

/* NULL: no memory. */
static __attribute__((noinline)) struct channel *make_channel(struct matrix *m, u32 producer, u32 consumer)
{
    struct matrix_producer *from = &m->producer[producer];

    if (!from->piece || from->used + sizeof(struct channel) > MATRIX_PIECE) {
        void **piece = m->get_memory(m->ctx, MATRIX_PIECE);
        if (!piece)
            return NULL;
        *piece = from->piece;
        from->piece = piece;
        from->used = 64;
    }
    struct channel *c = (struct channel *)(void *)((u8 *)from->piece + from->used);
    from->used += sizeof(*c);
    channel_init(c, &m->consumer[consumer].posted[producer]);
    atomic_store_explicit(&m->consumer[consumer].from[producer], c, memory_order_release);
    return c;
}

static __attribute__((noinline)) enum channel_posted tell_lost(struct matrix_consumer *to, u32 producer)
{
    if (!(atomic_load_explicit(&to->lost, memory_order_seq_cst) & BIT(producer)))
        atomic_fetch_or_explicit(&to->lost, BIT(producer), memory_order_seq_cst);
    return CHANNEL_OVERFLOW;
}

enum channel_posted matrix_post(struct matrix *m, u32 producer, u32 consumer, const struct patch *p)
{
    struct matrix_consumer *to = &m->consumer[consumer];
    enum channel_posted posted = CHANNEL_OVERFLOW;

    if (producer == consumer)
        return channel_self_post(to->self, p);
    /* written by this producer only */
    struct channel *c = atomic_load_explicit(&to->from[producer], memory_order_relaxed);
    if (unlikely(!c))
        c = make_channel(m, producer, consumer);
    if (likely(c != NULL))
        posted = channel_post(c, p);
    return likely(posted != CHANNEL_OVERFLOW) ? posted : tell_lost(to, producer);
}

/* Functions of their own, so that what has nothing to drain saves few registers. */
static __attribute__((noinline)) void drain_from(struct matrix_consumer *to, u32 producer, u64 different,
                                                 channel_take take, void *ctx)
{
    for (; different; different >>= 8, producer++) {
        u32 skip = (u32)__builtin_ctzll(different) / 8;
        producer += skip;
        different >>= skip * 8;
        struct channel *c = atomic_load_explicit(&to->from[producer], memory_order_acquire);
        u8 posted = atomic_load_explicit(&to->posted[producer], memory_order_acquire);
        u8 seen = to->seen[producer];
        to->seen[producer] = posted;
        channel_drain(c, seen, posted, take, ctx);
    }
}

static __attribute__((noinline)) bool drain_self(struct self_channel *c, channel_take take, void *ctx)
{
    return channel_self_drain(c, take, ctx);
}

bool matrix_drain(struct matrix *m, u32 consumer, channel_take take, void *ctx)
{
    struct matrix_consumer *to = &m->consumer[consumer];
    bool lost = channel_self_ready(to->self) && drain_self(to->self, take, ctx);

    for (u32 w = 0; w < m->words; w++) {
        u64 different = atomic_load_explicit(&to->posted_word[w], memory_order_acquire) ^ to->seen_word[w];
        if (different)
            drain_from(to, w * 8, different, take, ctx);
    }
    if (unlikely(atomic_load_explicit(&to->lost, memory_order_acquire)))
        lost |= atomic_exchange_explicit(&to->lost, 0, memory_order_seq_cst) != 0;
    return lost;
}
