# mm/matrix.c: one producer's patches make the consumer forget to look at the next one's.
s|word &= ~(0xffull << byte \* 8);|word = 0; to->seen_word[w] = atomic_load_explicit(\&to->posted_word[w], memory_order_acquire);|
