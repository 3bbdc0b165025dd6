/*
 * queue.h - the message queue of one VMCS (Q1): the page behind the VMCS region in struct vmcs_block. Pure.
 *
 *   +--------------------+------------------------------------------------------------+
 *   | staged (outgoing)  |  in: messages for this VMCS, from any CPU                   |
 *   +--------------------+------------------------------------------------------------+
 *
 * A sender's message is first placed into its own VMCS's queue (staged), and moved from there into the
 * receiver's at the same exit (Q3). `in` has many producers (the CPUs that run senders) and one consumer (the
 * CPU that runs the VMCS's vCPU): a ring of cells, each with a turn number that says whose turn the cell is.
 *
 *   turn == position             free for the producer that claims `position`
 *   turn == position + 1         filled; the consumer may read it
 *   turn == position + CAPACITY  free again, one lap later
 *
 * A producer claims a position by compare-and-exchange of `head` and then owns the cell until it fills it:
 * between the two it does what can no longer fail (moving a page), so a message is never lost for want of
 * room (Q10). Messages of one sender come out in the order in which they were claimed. Positions are 64 bits
 * and never wrap.
 */
#pragma once
#include "arch/types.h"
#include "ipc/abi.h"
#include <stdatomic.h>

#define QUEUE_CAPACITY 48u
#define QUEUE_STAGED   4u

struct msg_queue {
    aligned_to(
        64) _Atomic u64 head; /* next position to claim; writers: producers (CAS, relaxed: the turns order) */
    aligned_to(64) u64 tail;  /* next position to read; consumer only */
    u32 staged_count;         /* owner only */
    aligned_to(64) _Atomic u64
        turn[QUEUE_CAPACITY]; /* producer: release after the cell; consumer: release after reading */
    aligned_to(64) struct pb_message cell[QUEUE_CAPACITY];
    struct pb_message staged[QUEUE_STAGED]; /* owner only */
};
_Static_assert(sizeof(struct msg_queue) <= PAGE_SIZE, "the page behind the VMCS region");

#define QUEUE_FULL (~0ull)

void queue_init(struct msg_queue *q);

/* Producer, any CPU: claims a cell; QUEUE_FULL when there is none. Whoever claims must fill. */
u64 must_check queue_claim(struct msg_queue *q);
void queue_fill(struct msg_queue *q, u64 position, const struct pb_message *m);

/* Consumer: is there a message? One load when there is none. */
static inline bool queue_ready(const struct msg_queue *q)
{
    u64 turn =
        atomic_load_explicit(&((struct msg_queue *)q)->turn[q->tail % QUEUE_CAPACITY], memory_order_acquire);

    return turn == q->tail + 1;
}
/* Consumer: takes the oldest message; false: none. */
bool must_check queue_take(struct msg_queue *q, struct pb_message *m);

/* Owner: a message on its way out. False: QUEUE_STAGED are there already. */
bool must_check queue_stage(struct msg_queue *q, const struct pb_message *m);
/* Owner: the oldest staged message, NULL if there is none; and: it has been dealt with. */
struct pb_message *queue_staged(struct msg_queue *q);
void queue_unstage(struct msg_queue *q);
