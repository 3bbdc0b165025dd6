# ipc/landing.c: the slot is put into the ring by a release store only; the look at who waits can overtake it.
s|at + 1, memory_order_seq_cst);|at + 1, memory_order_release);|
