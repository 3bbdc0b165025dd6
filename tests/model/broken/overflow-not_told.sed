# mm/matrix.c: a full channel is taken for an entry in use.
s|return likely(posted != CHANNEL_OVERFLOW) ? posted : tell_lost(to, producer);|return likely(posted != CHANNEL_OVERFLOW) \|\| c ? posted : tell_lost(to, producer);|
