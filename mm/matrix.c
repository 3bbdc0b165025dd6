/* matrix.c - see matrix.h. */
#include "mm/matrix.h"

u64 matrix_metadata_size(u32 size)
{
    return size * sizeof(struct matrix_consumer) + (u64)size * size * sizeof(struct channel *);
}

static struct channel *make_channel(struct matrix *m, bool self)
{
    u32 entries = self ? MATRIX_SELF_ENTRIES : MATRIX_PAIR_ENTRIES;
    u64 bytes = channel_size(&entries, self);
    void *memory = m->get_memory(m->ctx, bytes);

    return memory ? channel_init(memory, entries, self) : NULL;
}

enum err matrix_init(struct matrix *m, u32 size, void *metadata, void *(*get_memory)(void *ctx, u64 bytes),
                     void *ctx)
{
    if (!size || size > MATRIX_MAX)
        return ERR_RANGE;
    m->size = size;
    m->get_memory = get_memory;
    m->ctx = ctx;
    m->consumer = metadata;
    m->channel = (channel_slot *)(m->consumer + size);
    for (u32 i = 0; i < size; i++) {
        struct channel *self = make_channel(m, true);
        if (!self)
            return ERR_NO_MEMORY;
        m->consumer[i].self = self;
    }
    return ERR_OK;
}

static void announce(_Atomic u64 *mask, u32 producer)
{
    if (!(atomic_load_explicit(mask, memory_order_seq_cst) & BIT(producer)))
        atomic_fetch_or_explicit(mask, BIT(producer), memory_order_seq_cst);
}

static __attribute__((noinline)) enum channel_posted post_to_other(struct matrix *m, u32 producer,
                                                                   u32 consumer, const struct patch *p)
{
    channel_slot *at = &m->channel[producer * m->size + consumer];
    struct channel *c = atomic_load_explicit(at, memory_order_relaxed); /* written by this producer only */
    enum channel_posted posted = CHANNEL_OVERFLOW;

    if (unlikely(!c)) {
        c = make_channel(m, false);
        atomic_store_explicit(at, c, memory_order_release);
    }
    if (likely(c != NULL))
        posted = channel_post(c, p);
    else
        announce(&m->consumer[consumer].lost, producer);
    if (posted != CHANNEL_ABSORBED)
        announce(&m->consumer[consumer].pending, producer);
    return posted;
}

enum channel_posted matrix_post(struct matrix *m, u32 producer, u32 consumer, const struct patch *p)
{
    if (producer == consumer)
        return channel_post(m->consumer[consumer].self, p);
    return post_to_other(m, producer, consumer, p);
}

static __attribute__((noinline)) bool drain_others(struct matrix *m, u32 consumer,
                                                   void (*take)(void *ctx, const struct patch *p), void *ctx)
{
    struct matrix_consumer *to = &m->consumer[consumer];
    u64 producers = atomic_exchange_explicit(&to->pending, 0, memory_order_seq_cst);
    bool lost = false;

    for (; producers; producers &= producers - 1) {
        u32 producer = (u32)__builtin_ctzll(producers);
        struct channel *c =
            atomic_load_explicit(&m->channel[producer * m->size + consumer], memory_order_acquire);
        if (c)
            lost |= channel_drain(c, take, ctx);
    }
    if (unlikely(atomic_load_explicit(&to->lost, memory_order_seq_cst)))
        lost |= atomic_exchange_explicit(&to->lost, 0, memory_order_seq_cst) != 0;
    return lost;
}

bool matrix_drain(struct matrix *m, u32 consumer, void (*take)(void *ctx, const struct patch *p), void *ctx)
{
    const struct matrix_consumer *to = &m->consumer[consumer];
    bool lost = channel_self_ready(to->self) && channel_drain(to->self, take, ctx);

    if (unlikely(atomic_load_explicit(&to->pending, memory_order_seq_cst)))
        lost |= drain_others(m, consumer, take, ctx);
    return lost;
}
