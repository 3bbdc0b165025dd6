/*
 * channel.h - a patch channel: what one producer vCPU tells one consumer vCPU about guest page-table entries
 * it wrote (P49, P52, P55-P59, P61, P63; design "Shadow MMU" point 4). Pure.
 *
 * A fixed array used as a set, keyed by (table, index): an entry belongs to one of SETS sets of CHANNEL_WAYS
 * ways. One bit per entry in summary[] says where to look, so an empty drain is a few loads and a drain of k
 * entries costs k.
 *
 *   producer (one CPU)                              consumer (another CPU, or the same)
 *   1 store the primary              seq_cst        1 take summary bits          exchange, seq_cst
 *   2 look at the entry's flag       seq_cst        2 read the entry's body
 *   3 in use: skip; free: write body                3 flag = free                seq_cst
 *   4 flag = in use                  release        4 read the primary, compare with "primary seen"
 *   5 set the summary bit            seq_cst
 *
 * Skipping is right: if (2) saw the flag in use, (3) comes later in the single order of seq_cst operations,
 * and so does (4): the consumer sees the new primary, finds that it differs from the one in the patch, and
 * derives again. Checked in tests/model. Full set: `resync` is set instead, and the consumer trusts nothing
 * derived from this producer's tables.
 */
#pragma once
#include "arch/types.h"
#include <stdatomic.h>

#define CHANNEL_WAYS        4u
#define CHANNEL_ENTRIES_MAX 512u

/* A patch: entry `index` of the guest table in frame `frame` (gfn) was written. The producer's meaning of
 * `index` and of `derived` is its own (mm/shadow_patch.c). */
struct patch {
    u64 frame;
    u64 derived; /* what the producer would put into its shadow */
    u64 primary; /* what it saw in the guest's table: the validity information */
    u16 index;
};

struct channel_entry {
    _Atomic u32 used; /* writers: producer 0 -> 1 (release, after the body), consumer 1 -> 0 (seq_cst, after
                         reading it) */
    u16 index; /* this and the rest: written by the producer while free, read by the consumer while in use */
    u64 frame, derived, primary;
};
_Static_assert(sizeof(struct channel_entry) == 32, "two to a cache line");

struct channel {
    u32 entries; /* power of two, CHANNEL_WAYS .. CHANNEL_ENTRIES_MAX; constant */
    /* Writers: producer sets (seq_cst), consumer takes (exchange, seq_cst). */
    _Atomic bool resync;
    _Atomic u64 summary[CHANNEL_ENTRIES_MAX / 64];
    aligned_to(64) struct channel_entry entry[];
};

enum channel_posted {
    CHANNEL_ABSORBED, /* a patch for this entry is still on its way: it serves for this write too */
    CHANNEL_POSTED,
    CHANNEL_OVERFLOW, /* no room: the consumer will resynchronise */
};

/* Bytes of a channel with that many entries (rounded up to a legal number, *entries is corrected). */
u64 channel_size(u32 *entries);

/* `memory` is channel_size() bytes, zeroed, 64-byte aligned. */
struct channel *channel_init(void *memory, u32 entries);

/* Producer only, after the primary was stored (seq_cst). */
enum channel_posted channel_post(struct channel *c, const struct patch *p);

/* Consumer only: takes every patch; take() compares with the primary as it is then. Returns true when patches
 * were lost: the consumer must drop or derive again everything it holds of this producer's tables, after this
 * call. */
bool must_check channel_drain(struct channel *c, void (*take)(void *ctx, const struct patch *p), void *ctx);
