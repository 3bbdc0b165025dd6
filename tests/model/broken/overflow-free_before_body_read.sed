# mm/channel.h: entries are freed before they are read.
/^    atomic_store_explicit(&c->freed, end, memory_order_release);/d
s|^    do {|    atomic_store_explicit(\&c->freed, end, memory_order_release);\n&|
