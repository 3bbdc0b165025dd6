# mm/channel.c: a full set is taken for an entry in use.
/atomic_store_explicit(&c->resync, true, memory_order_seq_cst);/d
