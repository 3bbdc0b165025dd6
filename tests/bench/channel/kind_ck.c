/* kind_ck.c - Concurrency Kit's single-producer single-consumer ring, typed: elements are copied. */
#include "tests/bench/channel/bench.h"

#include <ck_ring.h>

CK_RING_PROTOTYPE(patch, bench_patch)

struct channel_of_kind {
    ck_ring_t ring __attribute__((aligned(64)));
    struct bench_patch buffer[2 * BENCH_ENTRIES] __attribute__((aligned(64)));
};
struct taken;
static ALWAYS_INLINE void take(void *ctx, const struct bench_patch *p);

static void kind_init(struct channel_of_kind *k)
{
    ck_ring_init(&k->ring, 2 * BENCH_ENTRIES); /* a power of two, and one place of it is not used */
}

static ALWAYS_INLINE bool kind_post(struct channel_of_kind *k, const struct bench_patch *p)
{
    return CK_RING_ENQUEUE_SPSC(patch, &k->ring, k->buffer, (struct bench_patch *)p);
}

static ALWAYS_INLINE void kind_drain(struct channel_of_kind *k, struct taken *t)
{
    struct bench_patch p;

    while (CK_RING_DEQUEUE_SPSC(patch, &k->ring, k->buffer, &p))
        take(t, &p);
}

#include "tests/bench/channel/loops.h"

const struct bench_kind bench_ck = {"ck_ring", one_thread, two_threads_init, produce, consume, ping, pong};
