/* channel.c - see channel.h; the numbers are those of its table. */
#include "mm/channel.h"

#define FRAME_STRIDE  37u /* sets between the same entries of neighbouring tables */
#define WAYS_MASK     (BIT(CHANNEL_WAYS) - 1)
#define DRAIN_AT_ONCE 8u /* entries read before they are freed together */

u64 channel_size(u32 *entries, bool self)
{
    u32 n = CHANNEL_WAYS, most = self ? CHANNEL_ENTRIES_MAX : CHANNEL_ENTRIES_PAIR;

    while (n < *entries && n < most)
        n *= 2;
    *entries = n;
    return sizeof(struct channel) + n * sizeof(struct patch);
}

struct channel *channel_init(void *memory, u32 entries, bool self)
{
    struct channel *c = memory;

    c->entries = entries;
    c->self = self;
    return c;
}

/* Neighbouring entries of one table fall into neighbouring sets. */
static u32 first_way(const struct channel *c, const struct patch *p)
{
    return ((u32)p->frame * FRAME_STRIDE + p->index) * CHANNEL_WAYS & (c->entries - 1);
}

enum channel_posted channel_post(struct channel *c, const struct patch *p)
{
    u32 at = first_way(c, p);
    _Atomic u64 *used = &c->used[at / 64];
    u64 word = atomic_load_explicit(used, memory_order_seq_cst); /* 2 */
    u64 set = word >> at % 64 & WAYS_MASK, free = ~set & WAYS_MASK;

    for (; unlikely(set != 0); set &= set - 1) {
        const struct patch *e = &c->entry[at + (u32)__builtin_ctzll(set)];
        if (e->frame == p->frame && e->index == p->index)
            return CHANNEL_ABSORBED;
    }
    if (unlikely(!free)) {
        atomic_store_explicit(&c->resync, true, memory_order_seq_cst);
        return CHANNEL_OVERFLOW;
    }
    at += (u32)__builtin_ctzll(free);
    c->entry[at] = *p; /* 3 */
    if (c->self) {
        atomic_store_explicit(used, word | BIT(at % 64), memory_order_relaxed);
        c->words_in_use |= (u8)(1u << at / 64);
    } else {
        atomic_fetch_or_explicit(used, BIT(at % 64), memory_order_seq_cst); /* 4 */
    }
    return CHANNEL_POSTED;
}

/* Between two CPUs: entries are copied before they are freed, and freed before take() reads the primary. */
static void drain_pair(struct channel *c, void (*take)(void *ctx, const struct patch *p), void *ctx)
{
    u64 left = atomic_load_explicit(&c->used[0], memory_order_acquire); /* 1 */

    while (left) {
        struct patch p[DRAIN_AT_ONCE];
        u64 before = left;
        u32 n = 0;

        for (; left && n < DRAIN_AT_ONCE; left &= left - 1)
            p[n++] = c->entry[__builtin_ctzll(left)];                                   /* 2 */
        atomic_fetch_and_explicit(&c->used[0], ~(before ^ left), memory_order_seq_cst); /* 3 */
        for (u32 i = 0; i < n; i++)
            take(ctx, &p[i]); /* 4 */
    }
}

static void drain_self(struct channel *c, void (*take)(void *ctx, const struct patch *p), void *ctx)
{
    u32 words = c->words_in_use;

    c->words_in_use = 0;
    for (; words; words &= words - 1) {
        u32 w = (u32)__builtin_ctz(words);
        u64 left = atomic_load_explicit(&c->used[w], memory_order_relaxed);
        atomic_store_explicit(&c->used[w], 0, memory_order_relaxed);
        for (; left; left &= left - 1)
            take(ctx, &c->entry[w * 64 + (u32)__builtin_ctzll(left)]);
    }
}

bool channel_drain(struct channel *c, void (*take)(void *ctx, const struct patch *p), void *ctx)
{
    if (c->self)
        drain_self(c, take, ctx);
    else
        drain_pair(c, take, ctx);
    if (likely(!atomic_load_explicit(&c->resync, memory_order_seq_cst)))
        return false;
    return atomic_exchange_explicit(&c->resync, false, memory_order_seq_cst);
}
