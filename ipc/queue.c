/* queue.c - see queue.h, which has the orders. */
#include "ipc/queue.h"
#include "arch/string.h"

struct msg_queue *msg_queue_init(void *page)
{
    struct msg_queue *q = page;

    memset(q, 0, sizeof(*q));
    atomic_init(&q->credits, MSG_QUEUE_DEPTH);
    return q;
}

bool msg_queue_reserve(struct msg_queue *q)
{
    u32 have = atomic_load_explicit(&q->credits, memory_order_seq_cst);

    while (have)
        if (atomic_compare_exchange_weak_explicit(&q->credits, &have, have - 1, memory_order_acquire,
                                                  memory_order_relaxed))
            return true;
    return false;
}

void msg_queue_unreserve(struct msg_queue *q)
{
    atomic_fetch_add_explicit(&q->credits, 1, memory_order_seq_cst); /* as in msg_queue_take() */
}

void msg_queue_put(struct msg_queue *q, const struct pb_message *m)
{
    u64 at = atomic_fetch_add_explicit(&q->tail, 1, memory_order_acq_rel);

    q->cell[at % MSG_QUEUE_DEPTH] = *m;
    atomic_store_explicit(&q->turn[at % MSG_QUEUE_DEPTH], (u32)at + 1, memory_order_release);
}

bool msg_queue_take(struct msg_queue *q, struct pb_message *to)
{
    if (!msg_queue_ready(q))
        return false;
    *to = q->cell[q->head % MSG_QUEUE_DEPTH];
    q->head++;
    /* seq_cst: ipc_receive() looks for senders that wait for room after this. */
    atomic_fetch_add_explicit(&q->credits, 1, memory_order_seq_cst);
    return true;
}

bool msg_queue_stage(struct msg_queue *q, const struct pb_message *m)
{
    if (q->staged_count == MSG_QUEUE_STAGED)
        return false;
    q->staged[(q->staged_first + q->staged_count++) % MSG_QUEUE_STAGED] = *m;
    return true;
}

void msg_queue_unstage(struct msg_queue *q)
{
    if (!q->staged_count)
        return;
    q->staged_first = (q->staged_first + 1) % MSG_QUEUE_STAGED;
    q->staged_count--;
}
