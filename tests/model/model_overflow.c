/*
 * model_overflow.c - a channel that is full (mm/channel.c, P63): one set of four ways, five entries. What
 * does not fit sets resync, and after it the consumer trusts nothing; no write is lost.
 */
#include "mm/channel.h"
#include "tests/model/explore.h"

#define ENTRIES 5

struct shared {
    _Atomic u64 primary[ENTRIES];
    u64 copy[ENTRIES];
    aligned_to(64) u8 channel[sizeof(struct channel) + 4 * sizeof(struct patch)];
};

static struct shared *s = MODEL_SHARED(struct shared);

static struct channel *channel(void)
{
    return (struct channel *)(void *)s->channel;
}

/* Three ways are taken already: the state space stays small. */
static void set_up(void)
{
    channel_init(s->channel, 4, false);
    for (u16 i = 0; i < 3; i++) {
        atomic_store_explicit(&s->primary[i], 1, memory_order_seq_cst);
        (void)channel_post(channel(), &(struct patch){.index = i, .primary = 1, .derived = 1});
    }
}

static void write_entry(u16 index, u64 value)
{
    atomic_store_explicit(&s->primary[index], value, PRIMARY_ORDER);
    (void)channel_post(channel(), &(struct patch){.index = index, .primary = value, .derived = value});
}

static void producer(void)
{
    write_entry(3, 2);
    write_entry(4, 3);
    write_entry(4, 4);
}

static void apply(void *ctx, const struct patch *p)
{
    (void)ctx;
    s->copy[p->index] = atomic_load_explicit(&s->primary[p->index], memory_order_seq_cst);
}

static void consumer(void)
{
    if (channel_drain(channel(), apply, NULL))
        for (u32 i = 0; i < ENTRIES; i++)
            s->copy[i] = atomic_load_explicit(&s->primary[i], memory_order_seq_cst);
}

static void check(void)
{
    consumer();
    for (u32 i = 0; i < ENTRIES; i++)
        model_require(s->copy[i] == s->primary[i]);
}

int main(void)
{
    static const struct model m = {MODEL_NAME, set_up, {producer, consumer}, check};
    return model_run(&m, MODEL_BROKEN);
}
