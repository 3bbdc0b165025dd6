# mm/channel.h: an entry is marked in use before it is written.
/^    atomic_store_explicit(posted, (u8)after, memory_order_release);/d
s|^    channel_fill(channel_entry(c, ticket), .*|    atomic_store_explicit(posted, (u8)after, memory_order_release);\n&|
