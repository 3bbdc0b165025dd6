# mm/channel.c: resync is cleared at the next drain, not before the consumer resynchronises.
s|^    if (c->self)$|    static bool seen;\n    if (seen)\n        atomic_store_explicit(\&c->resync, false, memory_order_seq_cst);\n    seen = true;\n    if (c->self)|
s|return atomic_exchange_explicit(&c->resync, false, memory_order_seq_cst);|return true;|
