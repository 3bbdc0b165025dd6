/*
 * matrix.h - the N x N matrix of patch channels of one VM (P48, P55, P63): row = producer, column = consumer.
 * Pure.
 *
 * The self-channels (diagonal) exist from the start. Any other channel is made when its producer first has
 * something for its consumer, so memory grows with use. It comes out of pieces that each producer has for
 * itself; if there is no memory for one, every patch is "lost", and the consumer resynchronises.
 *
 *   consumer's view, one byte per producer:
 *
 *     posted   | p0 | p1 | p2 | ...      each producer stores its own byte when it posts (channel.h)
 *     seen     | p0 | p1 | p2 | ...      what the consumer has taken
 *     lost     one bit per producer: set (seq_cst) after the primary was stored (seq_cst), taken (seq_cst)
 *              before the consumer reads primaries again; set already: the consumer has yet to do that
 *
 * So a post costs no locked operation whatever N is, and only vCPUs with interest are touched; and an event
 * looks at one 8-byte word for 8 producers.
 */
#pragma once
#include "arch/err.h"
#include "mm/channel.h"

#define MATRIX_MAX   64u
#define MATRIX_PIECE PAGE_SIZE /* channels between two vCPUs take their memory in such pieces */

typedef _Atomic(struct channel *) channel_slot;

struct matrix_consumer {
    /* Writers: producer p byte p (release). Reader: the consumer, a byte (acquire), or eight to see whether
     * anything changed. An aligned word of bytes is read at once (SDM Vol 3A 8.1.1). */
    union {
        aligned_to(64) _Atomic u8 posted[MATRIX_MAX];
        _Atomic u64 posted_word[MATRIX_MAX / 8];
    };
    union { /* consumer only */
        aligned_to(64) u8 seen[MATRIX_MAX];
        u64 seen_word[MATRIX_MAX / 8];
    };
    aligned_to(64) _Atomic u64 lost; /* writers: producers (or, seq_cst), the consumer (exchange, seq_cst) */
    struct self_channel *self;       /* constant; both ends on the consumer's CPU */
    channel_slot *from; /* [producer], each set once by it (release), read by the consumer (acquire) */
};

/* The piece that a producer's next channel comes out of, on its CPU only. A piece begins with a link to the one
 * before. */
struct matrix_producer {
    aligned_to(64) void *piece;
    u64 used;
};

struct matrix {
    u32 size;  /* vCPUs */
    u32 words; /* of posted and seen that are used */
    /* Zeroed memory, 64-byte aligned, or NULL. bytes: the size of a self-channel, in matrix_init(); later
     * MATRIX_PIECE, called by producers, on any CPU. */
    void *(*get_memory)(void *ctx, u64 bytes);
    void *ctx;
    struct matrix_consumer *consumer; /* size of them */
    struct matrix_producer *producer; /* size of them */
};

/* Zeroed memory that matrix_init() needs besides the channels, 64-byte aligned. */
u64 matrix_metadata_size(u32 size);

/* NO_MEMORY: no room for the self-channels. RANGE: size is 0 or above MATRIX_MAX. */
enum err must_check matrix_init(struct matrix *m, u32 size, void *metadata,
                                void *(*get_memory)(void *ctx, u64 bytes), void *ctx);

/* Takes every piece out while no vCPU runs; what was posted is forgotten. Self-channels stay. */
void matrix_release(struct matrix *m, void (*give)(void *ctx, void *piece), void *ctx);

/* Producer: tells one consumer. The primary was stored before (seq_cst). */
enum channel_posted matrix_post(struct matrix *m, u32 producer, u32 consumer, const struct patch *p);

/* Is there anything for this consumer, from other vCPUs? On its CPU. Exact for what was posted before in the order that
 * the guest can know of. */
static inline bool matrix_pending_others(const struct matrix *m, u32 consumer)
{
    const struct matrix_consumer *to = &m->consumer[consumer];
    u64 different = atomic_load_explicit(&to->lost, memory_order_acquire);

    for (u32 w = 0; w < m->words; w++)
        different |= atomic_load_explicit(&to->posted_word[w], memory_order_acquire) ^ to->seen_word[w];
    return different != 0;
}
/* The same, and from itself. */
static inline bool matrix_pending(const struct matrix *m, u32 consumer)
{
    return matrix_pending_others(m, consumer) || channel_self_ready(m->consumer[consumer].self);
}

/* Consumer: drains every channel to it. True: something was lost; the consumer must drop or derive again
 * everything it holds of the other vCPUs' tables, after this call. */
bool must_check matrix_drain(struct matrix *m, u32 consumer, channel_take take, void *ctx);
