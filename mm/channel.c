/* channel.c - see channel.h; the numbers are those of its table. */
#include "mm/channel.h"

u64 channel_size(u32 *entries)
{
    u32 n = CHANNEL_WAYS;

    while (n < *entries && n < CHANNEL_ENTRIES_MAX)
        n *= 2;
    *entries = n;
    return sizeof(struct channel) + n * sizeof(struct channel_entry);
}

struct channel *channel_init(void *memory, u32 entries)
{
    struct channel *c = memory;

    c->entries = entries;
    return c;
}

/* Neighbouring entries of one table fall into neighbouring sets. */
static u32 first_way(const struct channel *c, const struct patch *p)
{
    u64 mixed = (p->frame * 0x9E3779B97F4A7C15ull) >> 32;

    return (u32)((mixed + p->index) * CHANNEL_WAYS) & (c->entries - 1);
}

enum channel_posted channel_post(struct channel *c, const struct patch *p)
{
    u32 at = first_way(c, p), free = CHANNEL_ENTRIES_MAX;

    for (u32 i = at; i < at + CHANNEL_WAYS; i++) {
        struct channel_entry *e = &c->entry[i];
        if (!atomic_load_explicit(&e->used, memory_order_seq_cst)) /* 2 */
            free = i;
        else if (e->frame == p->frame && e->index == p->index)
            return CHANNEL_ABSORBED;
    }
    if (unlikely(free == CHANNEL_ENTRIES_MAX)) {
        atomic_store_explicit(&c->resync, true, memory_order_seq_cst);
        return CHANNEL_OVERFLOW;
    }
    struct channel_entry *e = &c->entry[free];
    e->index = p->index;
    e->frame = p->frame;
    e->derived = p->derived;
    e->primary = p->primary;
    atomic_store_explicit(&e->used, 1, memory_order_release);                               /* 4 */
    atomic_fetch_or_explicit(&c->summary[free / 64], BIT(free % 64), memory_order_seq_cst); /* 5 */
    return CHANNEL_POSTED;
}

static void take_entry(struct channel_entry *e, void (*take)(void *ctx, const struct patch *p), void *ctx)
{
    struct patch p;

    if (!atomic_load_explicit(&e->used, memory_order_acquire))
        return;
    p = (struct patch){e->frame, e->derived, e->primary, e->index}; /* 2 */
    atomic_store_explicit(&e->used, 0, memory_order_seq_cst);       /* 3 */
    take(ctx, &p);                                                  /* 4 */
}

bool channel_drain(struct channel *c, void (*take)(void *ctx, const struct patch *p), void *ctx)
{
    for (u32 word = 0; word < (c->entries + 63) / 64; word++) {
        if (!atomic_load_explicit(&c->summary[word], memory_order_relaxed))
            continue;
        u64 bits = atomic_exchange_explicit(&c->summary[word], 0, memory_order_seq_cst); /* 1 */
        for (; bits; bits &= bits - 1)
            take_entry(&c->entry[word * 64 + (u32)__builtin_ctzll(bits)], take, ctx);
    }
    if (likely(!atomic_load_explicit(&c->resync, memory_order_seq_cst)))
        return false;
    return atomic_exchange_explicit(&c->resync, false, memory_order_seq_cst);
}
