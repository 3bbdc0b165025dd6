# vmm/dev/vlapic.c: a post is in the summary before it is in IRR.
/^    atomic_fetch_or_explicit(&l->irr\[word\], bit, memory_order_release);$/d
s/^    atomic_fetch_or_explicit(&l->irr_words, 1u << word, memory_order_release);$/&\n    atomic_fetch_or_explicit(\&l->irr[word], bit, memory_order_release);/
