# mm/matrix.c: the consumer notes as seen what is posted after the drain.
/^        to->seen\[producer\] = posted;/d
s|^        channel_drain(c, seen, posted, take, ctx);|&\n        to->seen[producer] = atomic_load_explicit(\&to->posted[producer], memory_order_acquire);|
