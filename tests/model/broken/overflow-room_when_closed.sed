# mm/channel.c: places are used again when they are closed, not when they are free.
s|atomic_load_explicit(&c->freed, memory_order_acquire)|atomic_load_explicit(\&c->closed, memory_order_acquire)|
