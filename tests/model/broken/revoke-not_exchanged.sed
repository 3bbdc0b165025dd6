# mm/revoke.c: what the owner writes between the look and the store is lost
/atomic_compare_exchange_strong/{N;s/.*/        { atomic_store_explicit(entry, e == ENTRY_FORWARDED ? ENTRY_ABSENT : e | ENTRY_REVOKED, memory_order_release); return; }/;N;s/\n.*//}
