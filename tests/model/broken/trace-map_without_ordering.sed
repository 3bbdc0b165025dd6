# mm/trace.c: the writable bit is set by a plain store, which the look at interest can overtake.
s|atomic_fetch_or_explicit(&t->writable, vcpus, memory_order_seq_cst);  */\* S2 \*/|atomic_store_explicit(\&t->writable, atomic_load_explicit(\&t->writable, memory_order_relaxed) \| vcpus, memory_order_release);|
