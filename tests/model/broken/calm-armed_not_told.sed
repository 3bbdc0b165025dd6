# mm/channel.c: the producer is armed and does not say so beside `posted`.
s|atomic_store_explicit(c->posted, (u8)c->next, memory_order_release);|atomic_store_explicit(c->posted, (u8)(c->next \& ~CHANNEL_ARMED), memory_order_release);|
