# mm/channel.h: the consumer's barrier is removed: its reads of the primaries can overtake `closed`.
s|at + (u8)(end - at), memory_order_seq_cst|at + (u8)(end - at), memory_order_release|
