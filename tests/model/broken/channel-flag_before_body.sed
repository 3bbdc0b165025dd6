# mm/channel.c: the flag is set before the entry is written.
/c->entry\[at\] = \*p; \/\* 3 \*\//d
s|^    return CHANNEL_POSTED;|    c->entry[at] = *p;\n    return CHANNEL_POSTED;|
