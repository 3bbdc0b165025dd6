/*
 * channel.h - a patch channel: what one producer vCPU tells one consumer vCPU about guest page-table entries
 * it wrote (P49, P52, P55-P59, P61, P63). Pure.
 *
 * A fixed array used as a set, keyed by (table, index). Entries are taken and given back in turn: entry number
 * n, its ticket, is at place n % entries. It is in use when `posted` has counted past it and `freed` has not:
 * one store marks an entry in use, no earlier than its body is written, and one store frees all of a drain, no
 * earlier than they were read (P56). The producer finds its duplicates (P58) by an index that it alone
 * touches. `closed` runs ahead of `freed`: it passes an entry before the entry's primary is read.
 *
 *            freed            closed           posted
 *     ---------|----------------|----------------|---------> tickets
 *       free     being consumed   may be skipped   free
 *                                 onto
 *
 *   producer (one CPU)                              consumer (another CPU)
 *   1 store the primary            seq_cst          1 read posted, armed                 acquire
 *   2 a patch for it is there, with                 2 if armed: closed = posted          seq_cst
 *     ticket >= closed: skip       seq_cst          3 read the bodies, in place;
 *   3 else write the body                             read the primaries, compare them
 *   4 posted = ticket + 1, armed   release            with "primary seen"                seq_cst
 *                                                   4 freed = posted                     release
 *
 * Skipping is right: if the producer's (2) came before the consumer's (2) in the single order of seq_cst
 * operations, so did its (1), and the consumer's (3) sees the new primary, finds that it differs from the one
 * in the patch, and derives again.
 *
 * The consumer's (2) is a full barrier, the only one here, and is needed for skips alone. So the producer says
 * beside `posted` whether it skips at all: `armed`. It never skips onto an entry that it posted before it was
 * armed; so a consumer that reads "not armed" needs no barrier: skips onto those entries either came before
 * what it has acquired, or do not come. A producer that finds no duplicate among as many posts as the channel
 * has entries disarms; the next duplicate arms it, and is the one that is posted twice.
 *
 * No room: nothing is written, and the caller (mm/matrix.h) tells the consumer that patches were lost.
 *
 * All interleavings, and the mistakes that must be found: tests/model (model_channel.c, channel.pml); real
 * threads: tests/tsan/tsan_channel.c; beside other people's queues: make bench-channel.
 *
 * A self-channel has both ends on one CPU: the same set with plain stores.
 */
#pragma once
#include "arch/types.h"
#include <stdatomic.h>

#define CHANNEL_ENTRIES      32u  /* between two CPUs; a power of two, at most half of what `posted` counts */
#define CHANNEL_SELF_ENTRIES 512u /* a power of two: a whole table's */
#define CHANNEL_FIRST_TICKET 256u /* 0 in `posted`, and above what empty buckets hold */
#define CHANNEL_ARMED        1u

/* A patch: entry `index` of the guest table in frame `frame` (gfn) was written. The producer's meaning of
 * `index` and of `derived` is its own (mm/shadow_patch.c). In a channel: written by the producer while the
 * entry is free, read by the consumer while it is in use. */
struct patch {
    u64 frame;
    u64 derived; /* what the producer would put into its shadow */
    u64 primary; /* what it saw in the guest's table: the validity information */
    u16 index;
    u32 before; /* the channel's own, producer only: ticket of the entry that its hash bucket had before */
};
_Static_assert(sizeof(struct patch) == 32, "two to a cache line");

/* A ticket goes up by 2 for each entry, so that a flag fits in; it wraps. */
struct channel {
    /* The low byte of the next ticket, | CHANNEL_ARMED. Written by the producer (release), read by the consumer
     * (acquire). The matrix keeps those of one consumer together; the pointer is constant. */
    _Atomic u8 *posted;
    /* Producer only. */
    u32 next;       /* the next ticket, | CHANNEL_ARMED */
    u32 stop_at;    /* next, when there may be no room, or it is time to look whether to stay armed */
    u32 free_below; /* freed, as last looked at */
    u32 armed_from; /* while armed: entries from this ticket on may be skipped onto */
    bool repeats;   /* there was a duplicate since it was last looked at */
    u32 bucket[CHANNEL_ENTRIES]; /* by hash of the key: the latest ticket */
    /* The low bytes of tickets. Written by the consumer: closed seq_cst, freed release. Read by the producer: seq_cst,
     * acquire. */
    aligned_to(64) _Atomic u8 closed;
    _Atomic u8 freed;
    aligned_to(64) struct patch entry[CHANNEL_ENTRIES];
};

struct self_channel {
    u32 next, freed, stop_at; /* tickets; at stop_at there is no room */
    bool lost;                /* patches did not fit since the last drain */
    u32 bucket[CHANNEL_SELF_ENTRIES];
    aligned_to(64) struct patch entry[CHANNEL_SELF_ENTRIES];
};

enum channel_posted {
    CHANNEL_ABSORBED, /* a patch for this entry is still on its way: it serves for this write too */
    CHANNEL_POSTED,
    CHANNEL_OVERFLOW, /* no room: the consumer has to resynchronise */
};

/* Compares with the primary as it is then; does not post to this channel. */
typedef void (*channel_take)(void *ctx, const struct patch *p);

/* Both: the memory is zeroed and 64-byte aligned; *posted is 0. */
void channel_init(struct channel *c, _Atomic u8 *posted);
void channel_self_init(struct self_channel *c);

/* Posts that need more than a glance: perhaps a duplicate, perhaps no room. */
enum channel_posted channel_post_slowly(struct channel *c, u64 frame, u64 derived, u64 primary, u16 index);
enum channel_posted channel_self_post_slowly(struct self_channel *c, u64 frame, u64 derived, u64 primary,
                                             u16 index);

/* Neighbouring entries have buckets of their own, and so have the same entries of neighbouring tables. */
static inline u32 channel_hash(u64 frame, u16 index)
{
    return (u32)frame * 8 + index;
}

/* The places as offsets: what compilers make of entry[ticket / 2 % ...] is two instructions longer. */
static inline u64 channel_place(u32 ticket)
{
    return (u64)(ticket & (2 * CHANNEL_ENTRIES - 2)) * (sizeof(struct patch) / 2);
}
static inline struct patch *channel_at(struct channel *c, u64 place)
{
    return (struct patch *)(void *)((u8 *)c->entry + place);
}
static inline struct patch *channel_entry(struct channel *c, u32 ticket)
{
    return channel_at(c, channel_place(ticket));
}
static inline struct patch *channel_self_entry(struct self_channel *c, u32 ticket)
{
    u64 offset = (u64)(ticket & (2 * CHANNEL_SELF_ENTRIES - 2)) * (sizeof(struct patch) / 2);

    return (struct patch *)(void *)((u8 *)c->entry + offset);
}

/* Field by field: a caller's index and before are two stores, from which one load cannot be forwarded. */
static inline void channel_fill(struct patch *e, u64 frame, u64 derived, u64 primary, u16 index, u32 before)
{
    e->frame = frame;
    e->derived = derived;
    e->primary = primary;
    e->index = index;
    e->before = before;
}

/*
 * Does the latest patch of the bucket serve for this write too? Since it was posted while armed, a drain that has taken
 * it has closed it before. (Only the low byte of `closed` is there. It may be from an earlier round; what comes of
 * that is a patch too many.)
 */
static inline bool channel_absorbs(struct channel *c, u32 ticket, u64 frame, u16 index)
{
    const struct patch *e = channel_entry(c, ticket);
    u32 age = c->next - ticket;

    if (e->frame != frame || e->index != index || age > 2 * CHANNEL_ENTRIES || !(c->next & CHANNEL_ARMED) ||
        (s32)(ticket - c->armed_from) < 0 ||
        age > (u8)(c->next - atomic_load_explicit(&c->closed, memory_order_seq_cst))) /* 2 */
        return false;
    c->repeats = true;
    return true;
}

/* Producer only, after the primary was stored (seq_cst). */
static __attribute__((always_inline)) inline enum channel_posted channel_post(struct channel *c,
                                                                              const struct patch *p)
{
    u64 frame = p->frame; /* read once: for all that the compiler knows, *p may be in *c */
    u16 index = p->index;
    u32 hash = channel_hash(frame, index) % CHANNEL_ENTRIES;
    u32 before = c->bucket[hash], ticket = c->next, after = ticket + 2;
    _Atomic u8 *posted = c->posted;

    if (unlikely((s32)(before - c->free_below) >= 0)) {
        if (channel_absorbs(c, before, frame, index))
            return CHANNEL_ABSORBED;
        return channel_post_slowly(c, frame, p->derived, p->primary, index);
    }
    if (unlikely(ticket == c->stop_at))
        return channel_post_slowly(c, frame, p->derived, p->primary, index);
    c->bucket[hash] = ticket;
    c->next = after;
    channel_fill(channel_entry(c, ticket), frame, p->derived, p->primary, index, before); /* 3 */
    atomic_store_explicit(posted, (u8)after, memory_order_release);                       /* 4 */
    return CHANNEL_POSTED;
}

/*
 * Consumer only: takes every patch from `seen`, what it read in `posted` when it drained last (0 at first), up to
 * `posted`, which it has just read there (acquire) and which is something else.
 */
static __attribute__((always_inline)) inline void channel_drain(struct channel *c, u8 seen, u8 posted,
                                                                channel_take take, void *ctx)
{
    u8 end = posted & (u8)~CHANNEL_ARMED;
    u64 place = channel_place(seen), last = channel_place(end);

    if (unlikely(posted & CHANNEL_ARMED))
        atomic_store_explicit(&c->closed, end, memory_order_seq_cst); /* 2 */
    do {
        take(ctx, channel_at(c, place)); /* 3 */
        place = (place + sizeof(struct patch)) % sizeof(c->entry);
    } while (place != last);
    atomic_store_explicit(&c->freed, end, memory_order_release); /* 4 */
}

static inline enum channel_posted channel_self_post(struct self_channel *c, const struct patch *p)
{
    u32 *bucket = &c->bucket[channel_hash(p->frame, p->index) % CHANNEL_SELF_ENTRIES];
    u32 before = *bucket, ticket = c->next;

    if (unlikely((s32)(before - c->freed) >= 0 || ticket == c->stop_at))
        return channel_self_post_slowly(c, p->frame, p->derived, p->primary, p->index);
    *bucket = ticket;
    c->next = ticket + 2;
    channel_fill(channel_self_entry(c, ticket), p->frame, p->derived, p->primary, p->index, before);
    return CHANNEL_POSTED;
}

/* Is there something to drain? (An overflow leaves a full set behind, so this says it too.) */
static inline bool channel_self_ready(const struct self_channel *c)
{
    return c->next != c->freed;
}

/* Takes every patch. True when patches were lost: what is derived from this vCPU's tables must be dropped or
 * derived again, after this call. */
static inline bool must_check channel_self_drain(struct self_channel *c, channel_take take, void *ctx)
{
    u32 at = c->freed, end = c->next;
    bool lost = false;

    if (unlikely(end == c->stop_at)) {
        lost = c->lost;
        c->lost = false;
    }
    for (; at != end; at += 2)
        take(ctx, channel_self_entry(c, at));
    c->freed = at;
    c->stop_at = at + 2 * CHANNEL_SELF_ENTRIES;
    return lost;
}
