# mm/matrix.c: a channel that cannot be made is told to nobody.
s|return likely(posted != CHANNEL_OVERFLOW) ? posted : tell_lost(to, producer);|return likely(posted != CHANNEL_OVERFLOW) \|\| !c ? posted : tell_lost(to, producer);|
