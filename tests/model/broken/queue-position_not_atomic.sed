# ipc/queue.c: two senders can have the same position.
s|u64 at = atomic_fetch_add_explicit(&q->tail, 1, memory_order_acq_rel);|u64 at = atomic_load_explicit(\&q->tail, memory_order_seq_cst);\n    atomic_store_explicit(\&q->tail, at + 1, memory_order_seq_cst);|
