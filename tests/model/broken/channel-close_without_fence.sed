# mm/channel.h: the consumer's barrier is removed: its reads of the primaries can overtake `closed`.
s|closed, end, memory_order_seq_cst|closed, end, memory_order_release|
