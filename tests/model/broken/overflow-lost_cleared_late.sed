# mm/matrix.c: `lost` is cleared at the next drain, not before the consumer resynchronises.
s|^    bool lost = .*|&\n    static bool resynced;\n    if (resynced)\n        atomic_store_explicit(\&to->lost, 0, memory_order_seq_cst);\n    resynced = false;|
s|lost .= atomic_exchange_explicit(&to->lost, 0, memory_order_seq_cst) != 0;|resynced = lost = true;|
