/*
 * matrix.h - the N x N matrix of patch channels of one VM (P48, P55, P63): row = producer, column = consumer.
 * Pure.
 *
 * The self-channels (diagonal) exist from the start. Any other channel is made when its producer first has
 * something for its consumer, so memory grows with use; if there is no memory for it, every patch is "lost",
 * and the consumer resynchronises.
 *
 *   pending[consumer]: bit p = channel p -> consumer may hold something. Producer: post (seq_cst), then look
 * at the bit (seq_cst) and set it if it is not set. Consumer: take all bits (exchange, seq_cst), then drain
 * those channels. If the producer saw its bit still set, the consumer had not taken it yet, and drains after
 * that.
 */
#pragma once
#include "arch/err.h"
#include "mm/channel.h"

#define MATRIX_MAX          64u
#define MATRIX_SELF_ENTRIES 512u
#define MATRIX_PAIR_ENTRIES 32u

struct matrix_consumer {
    aligned_to(64) _Atomic u64 pending; /* writers: producers (or), the consumer (exchange) */
    _Atomic u64 lost;     /* bit p: producer p had no channel, set before pending; writers as above */
    struct channel *self; /* constant; both ends on the consumer's CPU, so it has no bit in pending */
};

typedef _Atomic(struct channel *) channel_slot;

struct matrix {
    u32 size; /* vCPUs */
    /* Zeroed memory for a channel, 64-byte aligned, or NULL; called by producers, on any CPU. */
    void *(*get_memory)(void *ctx, u64 bytes);
    void *ctx;
    /* [producer * size + consumer]; set once by the producer (release), read by the consumer (acquire) */
    channel_slot *channel;
    struct matrix_consumer *consumer; /* size of them */
};

/* Zeroed memory that matrix_init() needs besides the channels. */
u64 matrix_metadata_size(u32 size);

/* NO_MEMORY: no room for the self-channels. RANGE: size is 0 or above MATRIX_MAX. */
enum err must_check matrix_init(struct matrix *m, u32 size, void *metadata,
                                void *(*get_memory)(void *ctx, u64 bytes), void *ctx);

/* Producer: tells one consumer. The primary was stored before (seq_cst). */
enum channel_posted matrix_post(struct matrix *m, u32 producer, u32 consumer, const struct patch *p);

/* Is there anything for this consumer? On its CPU. Exact for what was posted before in the order that the
 * guest can know of. */
static inline bool matrix_pending(const struct matrix *m, u32 consumer)
{
    const struct matrix_consumer *to = &m->consumer[consumer];

    return atomic_load_explicit(&to->pending, memory_order_seq_cst) != 0 || channel_self_ready(to->self);
}

/* Consumer: drains every channel to it. True: something was lost, as channel_drain(). */
bool must_check matrix_drain(struct matrix *m, u32 consumer, void (*take)(void *ctx, const struct patch *p),
                             void *ctx);
