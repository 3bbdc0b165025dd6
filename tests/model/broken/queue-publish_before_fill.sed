# ipc/queue.c: the cell is published before it is filled.
/q->cell\[at % MSG_QUEUE_DEPTH\] = \*m;/d
s|^    atomic_store_explicit(&q->turn\(.*\)|    atomic_store_explicit(\&q->turn\1\n    q->cell[at % MSG_QUEUE_DEPTH] = *m;|
