# mm/channel.h: the producer does not look whether the latest patch of a bucket is being consumed.
/^        (s32)(ticket - c->armed_from) < 0 ||/{N;s/.*/        (s32)(ticket - c->armed_from) < 0)/}
