# mm/revoke.h: a load and a store, between which the link may be revoked
s/    atomic_fetch_and_explicit(link, ~bits, memory_order_relaxed);/    atomic_store_explicit(link, atomic_load_explicit(link, memory_order_relaxed) \& ~bits, memory_order_relaxed);/
