# mm/channel.c: the consumer clears flags by a load and a store, and with them what was set in between.
s|atomic_fetch_and_explicit(&c->used\[0\], ~(before ^ left), memory_order_seq_cst);|atomic_store_explicit(\&c->used[0], atomic_load_explicit(\&c->used[0], memory_order_seq_cst) \& ~(before ^ left), memory_order_seq_cst);|
