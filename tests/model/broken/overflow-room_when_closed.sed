# mm/channel.c: places are used again when they are closed, not when they are free.
s|^    c->free_below = atomic_load_explicit(&c->freed, memory_order_acquire);|    c->free_below = atomic_load_explicit(\&c->closed, memory_order_acquire);|
