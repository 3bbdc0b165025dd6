# mm/channel.h: entries are freed before they are read.
/^    atomic_store_explicit(&c->freed, at, memory_order_release);/d
s|^    for (; (u8)at != end; at += 2)|    atomic_store_explicit(\&c->freed, at + (u8)(end - at), memory_order_release);\n&|
