# mm/revoke.h: what the owner wrote may still be in its store buffer when it looks
s/    atomic_fetch_add_explicit(&l->turns, 1, memory_order_seq_cst);/    atomic_store_explicit(\&l->turns, 1, memory_order_relaxed);/
