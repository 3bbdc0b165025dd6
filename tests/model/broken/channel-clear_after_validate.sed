# mm/channel.h: the consumer reads the primaries first and ends skipping then.
/^    if (unlikely(posted & CHANNEL_ARMED))/,+1d
s|^    atomic_store_explicit(&c->freed, end, memory_order_release); /\* 4 \*/|    atomic_store_explicit(\&c->closed, end, memory_order_seq_cst);\n&|
