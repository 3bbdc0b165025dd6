/*
 * model_channel.c - a producer and a consumer on one channel (mm/channel.c): skip, post, drain, validate, and
 * when the consumer may do without a barrier.
 *
 * The producer writes page-table entries and, after each write and post, says so in `done`, as a guest would
 * by a message to the other vCPU. The consumer looks at `done`, then has its coherency event: its derived
 * entries must not be older than what it knew of. START says what the producer is used to.
 */
#include "mm/channel.h"
#include "tests/model/explore.h"

static const memory_order primary_order =
    model_makes(STORE_WITHOUT_ORDERING) ? memory_order_release : memory_order_seq_cst;

#define ENTRIES 3
#ifndef EVENTS
#define EVENTS 2 /* more: make soak */
#endif

enum start { START_ARMED, START_CALM, START_DISARMING };

struct shared {
    _Atomic u64 primary[ENTRIES];
    _Atomic u64 done; /* writes that the guest knows of */
    _Atomic u64 lost; /* in place of the matrix's */
    u64 copy[ENTRIES];
    u8 seen; /* the consumer's */
    aligned_to(8) _Atomic u8 posted;
    struct channel channel;
};

/* The entry written by write number n + 1. */
static const u8 writes[][5] = {
    [START_ARMED] = {1, 0, 1, 1},
    [START_CALM] = {1, 1, 1, 0},
    [START_DISARMING] = {1, 0, 2, 1, 2},
};
static const u8 write_count[] = {4, 4, 5};

static struct shared *s = MODEL_SHARED(struct shared);

/* All entries share a hash bucket. */
static u16 index_of(u32 entry)
{
    return (u16)(entry * CHANNEL_ENTRIES);
}

static u64 derived_from(u32 entry, u64 value)
{
    return value * ENTRIES + entry;
}

static void apply(void *ctx, const struct patch *p)
{
    u32 entry = p->index / CHANNEL_ENTRIES;

    (void)ctx;
    if (entry >= ENTRIES)
        return; /* a patch that nobody posted: then another one is missing in the end */
    u64 now = atomic_load_explicit(&s->primary[entry], memory_order_seq_cst);
    s->copy[entry] = now == p->primary || model_makes(NOT_VALIDATED) ? p->derived : derived_from(entry, now);
}

static void drain_channel(void)
{
    u8 seen = s->seen;

    s->seen = atomic_load_explicit(&s->posted, memory_order_acquire);
    if (s->seen != seen)
        channel_drain(&s->channel, seen, s->seen, apply, NULL);
}

static void drain(u64 known)
{
    drain_channel();
    if (atomic_load_explicit(&s->lost, memory_order_acquire) &&
        atomic_exchange_explicit(&s->lost, 0, memory_order_seq_cst))
        for (u32 i = 0; i < ENTRIES; i++)
            s->copy[i] = derived_from(i, atomic_load_explicit(&s->primary[i], memory_order_seq_cst));
    for (u32 n = 0; n < known; n++)
        model_require(s->copy[writes[START][n]] >= derived_from(writes[START][n], n + 1));
}

/* Values grow, so that "older" has a meaning; the derived value says which entry it is for. */
static void write_entry(u32 entry, u64 value)
{
    struct patch p = {
        .frame = 9, .index = index_of(entry), .derived = derived_from(entry, value), .primary = value};

    atomic_store_explicit(&s->primary[entry], value, primary_order);
    if (channel_post(&s->channel, &p) == CHANNEL_OVERFLOW)
        atomic_store_explicit(&s->lost, 1, memory_order_seq_cst);
    atomic_store_explicit(&s->done, value, memory_order_release);
}

static void set_up(void)
{
    u32 before = START == START_ARMED ? 0 : START == START_CALM ? CHANNEL_ENTRIES + 1 : CHANNEL_ENTRIES / 2;

    channel_init(&s->channel, &s->posted);
    for (u32 i = 0; i < before; i++) {
        struct patch p = {.frame = 1, .index = index_of(ENTRIES + i)};
        (void)channel_post(&s->channel, &p);
        drain_channel();
    }
    model_require((s->channel.next & CHANNEL_ARMED) == (START == START_CALM ? 0 : CHANNEL_ARMED));
    model_private(0, &s->channel.posted, &s->channel.closed);
    model_private(1, s->copy, s->copy + ENTRIES);
}

static void producer(void)
{
    for (u32 n = 0; n < write_count[START]; n++)
        write_entry(writes[START][n], n + 1);
}

static void consumer(void)
{
    for (u32 i = 0; i < EVENTS; i++)
        drain(atomic_load_explicit(&s->done, memory_order_acquire));
}

static void check(void)
{
    drain(write_count[START]);
    for (u32 i = 0; i < ENTRIES; i++)
        model_require(!s->primary[i] || s->copy[i] == derived_from(i, s->primary[i]));
}

int main(void)
{
    static const struct model m = {MODEL_NAME, set_up, {producer, consumer}, check, sizeof(struct shared)};
    return model_run(&m, MODEL_BROKEN);
}
