/* kind_patchbay_self.c - our channel of a vCPU to itself (mm/channel.h). */
#include "mm/channel.h"
#include "tests/bench/channel/bench.h"

struct channel_of_kind {
    struct self_channel channel;
};
struct taken;
static ALWAYS_INLINE void take(void *ctx, const struct bench_patch *p);

static void kind_init(struct channel_of_kind *k)
{
    *k = (struct channel_of_kind){0};
    channel_self_init(&k->channel);
}

static ALWAYS_INLINE bool kind_post(struct channel_of_kind *k, const struct bench_patch *p)
{
    struct patch own = {.frame = p->frame, .derived = p->derived, .primary = p->primary, .index = p->index};

    return channel_self_post(&k->channel, &own) != CHANNEL_OVERFLOW;
}

static ALWAYS_INLINE void take_patch(void *ctx, const struct patch *p)
{
    struct bench_patch same = {p->frame, p->derived, p->primary, p->index, 0};

    take(ctx, &same);
}

static ALWAYS_INLINE void kind_drain(struct channel_of_kind *k, struct taken *t)
{
    if (channel_self_drain(&k->channel, take_patch, t))
        __builtin_trap();
}

#define ONE_THREAD_ONLY
#include "tests/bench/channel/loops.h"

const struct bench_kind bench_patchbay_self = {.name = "patchbay, self", .one_thread = one_thread};
