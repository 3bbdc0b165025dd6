/*
 * queue.h - the message queue of one VMCS (Q1, Q3, Q10). It fills the page after the VMCS region. Pure.
 *
 *     sender's CPU                                                     receiver's CPU
 *   VMCALL -> staged[] of the sender's VMCS -- checks, page moves --> cell[] of the receiver's VMCS -> guest
 *             (private to that CPU)                                   (bounded, many producers, one consumer)
 *
 * The incoming half is a ring. A producer first takes a credit (there are as many as cells), so that once the
 * page has moved nothing can fail any more; then a position, which decides the order; then it fills the cell
 * and publishes it by the cell's `turn`. Two messages of one sender are in the order in which it sent them.
 *
 * Orders. A producer may fill a cell because the consumer has read what was there a round ago: the consumer
 * gives the credit back with release, producers take credits with acquire, and `tail` is taken with acq_rel,
 * so that whoever takes a position knows all credits taken for earlier positions. turn[]: release by the
 * producer, acquire by the consumer. Between taking a position and publishing it a producer executes a few
 * dozen instructions with interrupts off; the consumer then sees the queue as ending there for that moment.
 * All interleavings: tests/model/model_queue.c; real threads: tests/tsan/tsan_queue.c.
 */
#pragma once
#include "arch/types.h"
#include "ipc/abi.h"
#include <stdatomic.h>

#define MSG_QUEUE_DEPTH  48u
#define MSG_QUEUE_STAGED 8u

struct msg_queue {
    /* Shared. Writers: producers (take), the consumer (credits only: gives back). */
    _Atomic u32 credits;
    u32 pad0;
    _Atomic u64 tail; /* next position; writers: producers */
    u8 pad1[48];
    /* The consumer's own, and the staged half: both belong to the CPU that runs this vCPU. */
    u64 head;
    u32 staged_first, staged_count;
    u8 pad2[48];
    _Atomic u32 turn[MSG_QUEUE_DEPTH]; /* position + 1 of the message in the cell; writers: producers */
    struct pb_message cell[MSG_QUEUE_DEPTH];
    struct pb_message staged[MSG_QUEUE_STAGED];
    u8 pad3[192];
};
_Static_assert(sizeof(struct msg_queue) == PAGE_SIZE, "fills the page after the VMCS");
_Static_assert(offsetof(struct msg_queue, head) == 64, "the two sides have cache lines of their own");
_Static_assert(offsetof(struct msg_queue, cell) % 64 == 0, "a message is one cache line");

/* page: the PAGE_SIZE bytes, in any state. */
struct msg_queue *msg_queue_init(void *page);

/* Producer, any CPU: room for one message is mine. False: full. */
bool must_check msg_queue_reserve(struct msg_queue *q);
/* Producer: gives back room that it does not use. */
void msg_queue_unreserve(struct msg_queue *q);
/* Producer that has reserved room: enqueues; cannot fail. */
void msg_queue_put(struct msg_queue *q, const struct pb_message *m);

/* Consumer: is there a message? */
static inline bool msg_queue_ready(const struct msg_queue *q)
{
    return atomic_load_explicit(&q->turn[q->head % MSG_QUEUE_DEPTH], memory_order_acquire) ==
           (u32)q->head + 1;
}
/* Consumer: the oldest message, removed. False: there is none. */
bool must_check msg_queue_take(struct msg_queue *q, struct pb_message *to);

/* The own CPU: puts a message of the guest into its VMCS's queue; false: no room. */
bool must_check msg_queue_stage(struct msg_queue *q, const struct pb_message *m);
/* The oldest staged message, which stays until unstaged; NULL: none. */
static inline const struct pb_message *msg_queue_staged(const struct msg_queue *q)
{
    return q->staged_count ? &q->staged[q->staged_first] : NULL;
}
void msg_queue_unstage(struct msg_queue *q);
