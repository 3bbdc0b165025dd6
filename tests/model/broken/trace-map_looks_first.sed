# mm/trace.c: the mapper looks for interest before it sets its writable bit.
/\/\* S2 \*\//d
s|^        return true;|        return atomic_fetch_or_explicit(\&t->writable, vcpus, memory_order_seq_cst), true;|
