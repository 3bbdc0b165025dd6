/* queue.c - see queue.h. */
#include "ipc/queue.h"

void queue_init(struct msg_queue *q)
{
    atomic_init(&q->head, 0);
    q->tail = 0;
    q->staged_count = 0;
    for (u64 i = 0; i < QUEUE_CAPACITY; i++)
        atomic_init(&q->turn[i], i);
}

u64 queue_claim(struct msg_queue *q)
{
    u64 position = atomic_load_explicit(&q->head, memory_order_relaxed);

    for (;;) {
        u64 turn = atomic_load_explicit(&q->turn[position % QUEUE_CAPACITY], memory_order_acquire);
        if (turn == position) {
            if (atomic_compare_exchange_weak_explicit(&q->head, &position, position + 1, memory_order_relaxed,
                                                      memory_order_relaxed))
                return position;
        } else if (turn < position) {
            return QUEUE_FULL; /* still holds the message of a lap ago */
        } else {
            position = atomic_load_explicit(&q->head, memory_order_relaxed);
        }
    }
}

void queue_fill(struct msg_queue *q, u64 position, const struct pb_message *m)
{
    q->cell[position % QUEUE_CAPACITY] = *m;
    atomic_store_explicit(&q->turn[position % QUEUE_CAPACITY], position + 1, memory_order_release);
}

bool queue_take(struct msg_queue *q, struct pb_message *m)
{
    u64 position = q->tail;

    if (!queue_ready(q))
        return false;
    *m = q->cell[position % QUEUE_CAPACITY];
    q->tail = position + 1;
    atomic_store_explicit(&q->turn[position % QUEUE_CAPACITY], position + QUEUE_CAPACITY, memory_order_release);
    return true;
}

bool queue_stage(struct msg_queue *q, const struct pb_message *m)
{
    if (q->staged_count == QUEUE_STAGED)
        return false;
    q->staged[q->staged_count++] = *m;
    return true;
}

struct pb_message *queue_staged(struct msg_queue *q)
{
    return q->staged_count ? &q->staged[0] : NULL;
}

void queue_unstage(struct msg_queue *q)
{
    q->staged_count--;
    for (u32 i = 0; i < q->staged_count; i++)
        q->staged[i] = q->staged[i + 1];
}
