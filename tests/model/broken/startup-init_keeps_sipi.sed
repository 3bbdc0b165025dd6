# vmm/dev/vlapic.c: a SIPI that an INIT has overtaken starts after all.
/^    if (event == VLAPIC_EVENT_INIT)/,/vlapic_events_take/d
