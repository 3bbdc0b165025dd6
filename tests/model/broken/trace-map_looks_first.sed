# mm/trace.c: the mapper looks for interest before it sets its writable bit.
s|^    bool had = .*|    bool had = true;\n    if (likely(!atomic_load_explicit(\&t->interest, memory_order_seq_cst))) {\n        atomic_fetch_or_explicit(\&t->writable, own, memory_order_seq_cst);\n        return true;\n    }|
