# make bench-stale: a patch whose primary has changed again, derived again or invalidated. Our files have the
# hypervisor's flags.
STALE_BENCH := $(BUILD)/bench/stale
STALE_BENCH_OURS := $(patsubst %.c,$(STALE_BENCH)/%.o,$(filter-out mm/frames.c mm/hostmap.c mm/audit%,$(wildcard mm/*.c)))

$(STALE_BENCH_OURS): $(STALE_BENCH)/%.o: %.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(HV_CFLAGS) -O2 -MMD -MP -c -o $@ $<
$(STALE_BENCH)/tests/%.o: tests/%.c
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu17 -O2 -g $(WARNINGS) $(INCLUDES) -MMD -MP -c -o $@ $<
$(STALE_BENCH)/bench: $(STALE_BENCH_OURS) $(STALE_BENCH)/tests/bench/stale/main.o
	$(call say,BENCH,$@)
	$(Q)$(CC) -o $@ $^
-include $(wildcard $(STALE_BENCH)/*/*.d $(STALE_BENCH)/*/*/*/*.d)

.PHONY: bench-stale
bench-stale: $(STALE_BENCH)/bench
	$(Q)$<
