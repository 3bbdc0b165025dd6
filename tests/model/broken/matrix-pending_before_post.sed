# mm/matrix.c: the pending bit is set before the patch is in the channel.
s|^    if (likely(c != NULL))|    announce(\&m->consumer[consumer].pending, producer);\n    if (likely(c != NULL))|
/^    if (posted != CHANNEL_ABSORBED)/,+1d
