# vmm/dev/vlapic.c: a SIPI without INIT is dropped without a look whether an INIT has come since.
s/^        if (atomic_compare_exchange_weak_explicit(&l->events, &now, without, memory_order_acq_rel,$/        atomic_fetch_and_explicit(\&l->events, ~(u32)VLAPIC_EVENT_SIPI, memory_order_acq_rel);/
s/^                                                  memory_order_acquire))$//
