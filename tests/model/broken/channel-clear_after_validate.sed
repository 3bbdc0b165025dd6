# mm/channel.c: the consumer reads the primary first and frees the entry then.
/atomic_fetch_and_explicit(&c->used\[0\]/d
s|take(ctx, &p\[i\]); /\* 4 \*/|take(ctx, \&p[i]);\n        atomic_fetch_and_explicit(\&c->used[0], ~(before ^ left), memory_order_seq_cst);|
