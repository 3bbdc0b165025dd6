# mm/matrix.c: the pending bits are cleared after the channels were drained.
s|u64 producers = atomic_exchange_explicit(&to->pending, 0, memory_order_seq_cst);|u64 producers = atomic_load_explicit(\&to->pending, memory_order_seq_cst);|
s|^    if (unlikely(atomic_load_explicit(&to->lost, memory_order_seq_cst)))|    atomic_store_explicit(\&to->pending, 0, memory_order_seq_cst);\n    if (unlikely(atomic_load_explicit(\&to->lost, memory_order_seq_cst)))|
