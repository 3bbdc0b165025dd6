# vmm/dev/vlapic.c: the owner takes a word out of the summary and does not look whether a post came in between.
/^    if (atomic_load_explicit(&l->irr\[word\], memory_order_acquire))$/,/^        atomic_fetch_or/d
