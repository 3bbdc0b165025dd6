# ipc/grant.c: a page is claimed by a load and a store.
s|^    if (!atomic_compare_exchange_strong_explicit(&g->word\[gfn\], &word,|    atomic_store_explicit(\&g->word[gfn], pack(GRANT_MOVING, was->peer, was->peer_gfn), memory_order_seq_cst);\n    if (!atomic_compare_exchange_strong_explicit((_Atomic u64 *)\&word, \&word,|
