/* kind_patchbay.c - our channel between two CPUs (mm/channel.h). */
#include "mm/channel.h"
#include "tests/bench/channel/bench.h"

_Static_assert(sizeof(struct bench_patch) == sizeof(struct patch), "equal elements");

struct channel_of_kind {
    aligned_to(64) _Atomic u8 posted; /* as in the matrix */
    aligned_to(64) u8 seen;
    struct channel channel;
};
struct taken;
static ALWAYS_INLINE void take(void *ctx, const struct bench_patch *p);

static void kind_init(struct channel_of_kind *k)
{
    *k = (struct channel_of_kind){0};
    channel_init(&k->channel, &k->posted);
}

static ALWAYS_INLINE bool kind_post(struct channel_of_kind *k, const struct bench_patch *p)
{
    struct patch own = {.frame = p->frame, .derived = p->derived, .primary = p->primary, .index = p->index};

    return channel_post(&k->channel, &own) != CHANNEL_OVERFLOW;
}

static ALWAYS_INLINE void take_patch(void *ctx, const struct patch *p)
{
    struct bench_patch same = {p->frame, p->derived, p->primary, p->index, 0};

    take(ctx, &same);
}

static ALWAYS_INLINE void kind_drain(struct channel_of_kind *k, struct taken *t)
{
    u8 posted = atomic_load_explicit(&k->posted, memory_order_acquire);

    u8 seen = k->seen;

    if (posted == seen)
        return;
    k->seen = posted;
    channel_drain(&k->channel, seen, posted, take_patch, t);
}

#include "tests/bench/channel/loops.h"

const struct bench_kind bench_patchbay = {"patchbay", one_thread, two_threads_init, produce, consume,
                                          ping,       pong};
