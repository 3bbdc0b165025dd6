# make bench-writes: what a traced write costs in VMs of 1, 2, 4 and 8 vCPUs. Our files have the hypervisor's flags.
WRITES_BENCH := $(BUILD)/bench/writes
WRITES_BENCH_OURS := $(addprefix $(WRITES_BENCH)/mm/,shadow.o shadow_pool.o shadow_derive.o shadow_fill.o shadow_leaf.o \
                       shadow_sync.o shadow_reach.o shadow_patch.o shadow_shared.o shadow_revoke.o revoke.o rmap.o trace.o gwalk.o p2m.o guest_mem.o channel.o matrix.o)

$(WRITES_BENCH_OURS): $(WRITES_BENCH)/%.o: %.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(HV_CFLAGS) -O2 -MMD -MP -c -o $@ $<
$(WRITES_BENCH)/tests/%.o: tests/%.c
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu17 -O2 -g $(WARNINGS) $(INCLUDES) -MMD -MP -c -o $@ $<
$(WRITES_BENCH)/bench: $(WRITES_BENCH_OURS) $(WRITES_BENCH)/tests/bench/writes/main.o
	$(call say,BENCH,$@)
	$(Q)$(CC) -o $@ $^
-include $(wildcard $(WRITES_BENCH)/*/*.d $(WRITES_BENCH)/*/*/*/*.d)

.PHONY: bench-writes
bench-writes: $(WRITES_BENCH)/bench
	$(Q)$<
