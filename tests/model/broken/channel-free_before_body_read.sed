# mm/channel.c: entries are freed before they are read.
/atomic_fetch_and_explicit(&c->used\[0\]/d
s|^        u64 before = left;|        u64 before = left;\n        atomic_fetch_and_explicit(\&c->used[0], ~before, memory_order_seq_cst);|
