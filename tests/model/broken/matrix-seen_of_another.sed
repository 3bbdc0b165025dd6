# mm/matrix.c: one producer's patches make the consumer forget to look at the next one's.
s|^        to->seen\[producer\] = posted;|        to->seen_word[producer / 8] = atomic_load_explicit(\&to->posted_word[producer / 8], memory_order_acquire);\n        different = 0;|
