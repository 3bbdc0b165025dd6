# mm/channel.c: the producer skips onto entries that it posted before it was armed.
/^        arm(c, true);/{n;d}
s|(s32)(ticket - c->armed_from) >= 0 && ||
