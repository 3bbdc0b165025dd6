/*
 * channel.h - a patch channel: what one producer vCPU tells one consumer vCPU about guest page-table entries
 * it wrote (P49, P52, P55-P59, P61, P63; design "Shadow MMU" point 4). Pure.
 *
 * A fixed array used as a set, keyed by (table, index): an entry belongs to one of the array's sets of
 * CHANNEL_WAYS ways. The flags "in use" of 64 entries are the bits of one word: one load tells a producer
 * about a whole set and a consumer where to look, and one operation frees all entries of a word, so an empty
 * drain is a few loads and a drain of k entries costs k.
 *
 *   producer (one CPU)                              consumer (another CPU)
 *   1 store the primary              seq_cst        1 look at the flags           acquire
 *   2 look at the entry's flag       seq_cst        2 read the bodies
 *   3 in use: skip; free: write body                3 flags = free                and, seq_cst
 *   4 flag = in use                  or, seq_cst    4 read the primaries, compare with "primary seen"
 *
 * Skipping is right: if (2) saw the flag in use, (3) comes later in the single order of seq_cst operations,
 * and so does (4): the consumer sees the new primary, finds that it differs from the one in the patch, and
 * derives again. Full set: `resync` is set instead of (3, 4), and the consumer trusts nothing derived from
 * this producer's tables; the same order, with resync for the flag. All interleavings, and the mistakes that
 * must be found: tests/model/model_channel.c; real threads: tests/tsan/tsan_channel.c.
 *
 * A self-channel has both ends on one CPU and needs none of this; it is the same set with plain stores.
 */
#pragma once
#include "arch/types.h"
#include <stdatomic.h>

#define CHANNEL_WAYS         4u
#define CHANNEL_ENTRIES_MAX  512u /* of a self-channel */
#define CHANNEL_ENTRIES_PAIR 64u  /* at most, between two CPUs: one word of flags */

/* A patch: entry `index` of the guest table in frame `frame` (gfn) was written. The producer's meaning of
 * `index` and of `derived` is its own (mm/shadow_patch.c). In a channel: written by the producer while the
 * flag is clear, read by the consumer while it is set. */
struct patch {
    u64 frame;
    u64 derived; /* what the producer would put into its shadow */
    u64 primary; /* what it saw in the guest's table: the validity information */
    u16 index;
};
_Static_assert(sizeof(struct patch) == 32, "two to a cache line");

struct channel {
    u32 entries; /* power of two; constant */
    bool self;   /* constant */
    /* Writers: the producer sets it (seq_cst), the consumer takes it (exchange, seq_cst). */
    _Atomic bool resync;
    u8 words_in_use; /* self-channel: bit w: used[w] is not 0 */
    /* Bit i of word w: entry w * 64 + i is in use. Writers: the producer sets bits (or), the consumer clears
     * them (and); both seq_cst. */
    _Atomic u64 used[CHANNEL_ENTRIES_MAX / 64];
    aligned_to(64) struct patch entry[];
};

enum channel_posted {
    CHANNEL_ABSORBED, /* a patch for this entry is still on its way: it serves for this write too */
    CHANNEL_POSTED,
    CHANNEL_OVERFLOW, /* no room: the consumer will resynchronise */
};

/* Bytes of a channel with that many entries (rounded up to a legal number, *entries is corrected). */
u64 channel_size(u32 *entries, bool self);

/* `memory` is channel_size() bytes, zeroed, 64-byte aligned. */
struct channel *channel_init(void *memory, u32 entries, bool self);

/* Producer only, after the primary was stored (seq_cst). */
enum channel_posted channel_post(struct channel *c, const struct patch *p);

/* Self-channel: is there something to drain? (An overflow leaves a full set behind, so this says it too.) */
static inline bool channel_self_ready(const struct channel *c)
{
    return c->words_in_use != 0;
}

/* Consumer only: takes every patch; take() compares with the primary as it is then, and does not post to this
 * channel. Returns true when patches
 * were lost: the consumer must drop or derive again everything it holds of this producer's tables, after this
 * call. */
bool must_check channel_drain(struct channel *c, void (*take)(void *ctx, const struct patch *p), void *ctx);
