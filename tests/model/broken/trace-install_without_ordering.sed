# mm/trace.c: interest is set by a plain store, which the look at the writable mask can overtake.
s|atomic_fetch_or_explicit(&t->interest, BIT(vcpu), memory_order_seq_cst); /\* S1 \*/|atomic_store_explicit(\&t->interest, atomic_load_explicit(\&t->interest, memory_order_relaxed) \| BIT(vcpu), memory_order_release);|
