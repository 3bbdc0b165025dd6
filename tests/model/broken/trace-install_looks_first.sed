# mm/trace.c: the installer reads the writable mask before it sets its interest.
/\/\* S1 \*\//d
s|return atomic_load_explicit(&t->writable, memory_order_seq_cst);         /\* L1 \*/|u64 was = atomic_load_explicit(\&t->writable, memory_order_seq_cst);\n    atomic_fetch_or_explicit(\&t->interest, BIT(vcpu), memory_order_seq_cst);\n    return was;|
