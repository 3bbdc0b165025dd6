// kind_boost.cc - Boost's single-producer single-consumer queue, of fixed size, elements by value.
#include "tests/bench/channel/bench.h"

#include <boost/lockfree/spsc_queue.hpp>

struct channel_of_kind {
    boost::lockfree::spsc_queue<bench_patch, boost::lockfree::capacity<BENCH_ENTRIES>> queue;
};
struct taken;
static ALWAYS_INLINE void take(void *ctx, const bench_patch *p);

static void kind_init(channel_of_kind *k)
{
    k->queue.reset();
}

static ALWAYS_INLINE bool kind_post(channel_of_kind *k, const bench_patch *p)
{
    return k->queue.push(*p);
}

static ALWAYS_INLINE void kind_drain(channel_of_kind *k, taken *t)
{
    k->queue.consume_all([t](const bench_patch &p) { take(t, &p); });
}

#include "tests/bench/channel/loops.h"

extern "C" const bench_kind bench_boost = {"spsc_queue", one_thread, two_threads_init, produce, consume,
                                           ping,         pong};
