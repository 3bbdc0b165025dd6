# mm/revoke.c: that a page is off the list may still be in the owner's store buffer when it looks
s/&set\[i\], 0, memory_order_seq_cst/\&set[i], 0, memory_order_release/
