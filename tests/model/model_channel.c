/*
 * model_channel.c - a producer and a consumer on one channel (mm/channel.c): skip, post, drain, validate.
 *
 * The producer writes two page-table entries and, after each write and post, says so in `done`, as a guest
 * would by a message to the other vCPU. The consumer looks at `done`, then has its coherency event: its
 * derived entries must not be older than what it knew of.
 */
#include "mm/channel.h"
#include "tests/model/explore.h"

#define ENTRIES 2

struct shared {
    _Atomic u64 primary[ENTRIES];
    _Atomic u64 done;  /* writes that the guest knows of */
    u64 copy[ENTRIES]; /* the consumer's derived entries */
    aligned_to(64) u8 channel[sizeof(struct channel) + 4 * sizeof(struct patch)];
};

static struct shared *s = MODEL_SHARED(struct shared);

static struct channel *channel(void)
{
    return (struct channel *)(void *)s->channel;
}

static void set_up(void)
{
    channel_init(s->channel, 4, false);
}

/* Values grow, so that "older" has a meaning; the derived value says which entry it is for. */
static void write_entry(u16 index, u64 value)
{
    atomic_store_explicit(&s->primary[index], value, PRIMARY_ORDER);
    struct patch p = {.frame = 9, .index = index, .derived = value * 2 + index, .primary = value};
    (void)channel_post(channel(), &p);
    atomic_store_explicit(&s->done, value, memory_order_release);
}

static void producer(void)
{
    write_entry(1, 1);
    write_entry(0, 2);
    write_entry(1, 3);
}

static void apply(void *ctx, const struct patch *p)
{
    (void)ctx;
    if (p->index >= ENTRIES)
        return; /* a patch that nobody posted: then another one is missing in the end */
    u64 now = atomic_load_explicit(&s->primary[p->index], memory_order_seq_cst);
    s->copy[p->index] = now == p->primary ? p->derived : now * 2 + p->index;
}

static void drain(u64 known)
{
    if (channel_drain(channel(), apply, NULL))
        model_require(!"four ways are enough for two entries");
    if (known >= 1)
        model_require(s->copy[1] >= 1 * 2 + 1);
    if (known >= 2)
        model_require(s->copy[0] >= 2 * 2);
    if (known >= 3)
        model_require(s->copy[1] >= 3 * 2 + 1);
}

static void consumer(void)
{
    for (u32 i = 0; i < 2; i++)
        drain(atomic_load_explicit(&s->done, memory_order_acquire));
}

static void check(void)
{
    drain(3);
    model_require(s->copy[0] == 2 * 2 && s->copy[1] == 3 * 2 + 1);
}

int main(void)
{
    static const struct model m = {MODEL_NAME, set_up, {producer, consumer}, check};
    return model_run(&m, MODEL_BROKEN);
}
