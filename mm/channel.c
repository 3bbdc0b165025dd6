/* channel.c - posts that need more than a glance; see channel.h, whose numbers are used here. */
#include "mm/channel.h"

#define CAPACITY (2 * CHANNEL_ENTRIES) /* in tickets */

void channel_init(struct channel *c, _Atomic u8 *posted)
{
    c->posted = posted;
    c->free_below = c->armed_from = CHANNEL_FIRST_TICKET;
    c->next = CHANNEL_FIRST_TICKET | CHANNEL_ARMED;
    c->stop_at = c->next + CAPACITY;
    atomic_init(&c->closed, (u8)CHANNEL_FIRST_TICKET);
    atomic_init(&c->freed, (u8)CHANNEL_FIRST_TICKET);
}

void channel_self_init(struct self_channel *c)
{
    c->next = c->freed = CHANNEL_FIRST_TICKET;
    c->stop_at = c->freed + 2 * CHANNEL_SELF_ENTRIES;
}

/*
 * The latest patch for an entry among those with tickets in [from, next), along its bucket's chain from
 * *ticket on. Tickets on a chain only get older; where they do not, the place has been used again, and the
 * chain has ended.
 */
static bool find(const struct patch *entry, u32 entries, u32 from, u32 next, u64 frame, u16 index,
                 u32 *ticket)
{
    for (u32 age, span = next - from; (age = (*ticket & ~CHANNEL_ARMED) - from) < span; span = age) {
        const struct patch *e = &entry[*ticket / 2 % entries];
        if (e->frame == frame && e->index == index)
            return true;
        *ticket = e->before;
    }
    return false;
}

/* The last ticket with this low byte. No more than CAPACITY are not freed; `closed` may be older, and is then taken for
 * later than it is: that costs a patch. */
static inline u32 last_with(const struct channel *c, u8 low)
{
    u32 ticket = c->next & ~CHANNEL_ARMED;

    return ticket - (u8)(ticket - low);
}

static inline u32 read_closed(const struct channel *c)
{
    return last_with(c, atomic_load_explicit(&c->closed, memory_order_seq_cst)); /* 2 */
}

static inline u32 read_freed(const struct channel *c)
{
    return last_with(c, atomic_load_explicit(&c->freed, memory_order_acquire));
}

static void arm(struct channel *c, bool armed)
{
    u32 ticket = c->next & ~CHANNEL_ARMED;

    c->next = armed ? ticket | CHANNEL_ARMED : ticket;
    c->stop_at = armed ? c->stop_at | CHANNEL_ARMED : c->stop_at & ~CHANNEL_ARMED;
    c->armed_from = ticket;
}

/* Is a patch for the same entry in use, among those from ticket on, and does it serve for this write too? A function of
 * its own, so that what is posted needs few registers. */
static __attribute__((noinline)) bool absorb(struct channel *c, u64 frame, u16 index, u32 ticket)
{
    u32 closed;

    if (!find(c->entry, CHANNEL_ENTRIES, c->free_below, c->next, frame, index, &ticket))
        return false;
    closed = read_closed(c);
    c->repeats = true;
    if (!(c->next & CHANNEL_ARMED)) {
        arm(c, true);
        return false;
    }
    return (s32)(ticket - c->armed_from) >= 0 && (s32)(ticket - closed) >= 0;
}

/* Room for one more? */
static bool make_room(struct channel *c)
{
    if (!c->repeats)
        arm(c, false);
    c->repeats = false;
    c->free_below = read_freed(c);
    c->stop_at = (c->free_below + CAPACITY) | (c->next & CHANNEL_ARMED);
    return c->next != c->stop_at;
}

enum channel_posted channel_post_slowly(struct channel *c, u64 frame, u64 derived, u64 primary, u16 index)
{
    u32 *bucket = &c->bucket[channel_hash(frame, index) % CHANNEL_ENTRIES];
    u32 before = *bucket;

    c->free_below = read_freed(c);
    if (unlikely((s32)(before - c->free_below) >= 0) && absorb(c, frame, index, before))
        return CHANNEL_ABSORBED;
    if (c->next == c->stop_at && !make_room(c))
        return CHANNEL_OVERFLOW;
    *bucket = c->next;
    channel_fill(channel_entry(c, c->next), frame, derived, primary, index, before); /* 3 */
    c->next += 2;
    atomic_store_explicit(c->posted, (u8)c->next, memory_order_release); /* 4 */
    return CHANNEL_POSTED;
}

enum channel_posted channel_self_post_slowly(struct self_channel *c, u64 frame, u64 derived, u64 primary,
                                             u16 index)
{
    u32 *bucket = &c->bucket[channel_hash(frame, index) % CHANNEL_SELF_ENTRIES];
    u32 before = *bucket, found = before;

    if (find(c->entry, CHANNEL_SELF_ENTRIES, c->freed, c->next, frame, index, &found))
        return CHANNEL_ABSORBED;
    if (c->next == c->stop_at) {
        c->lost = true;
        return CHANNEL_OVERFLOW;
    }
    *bucket = c->next;
    channel_fill(channel_self_entry(c, c->next), frame, derived, primary, index, before);
    c->next += 2;
    return CHANNEL_POSTED;
}
