# make bench-channel: the patch channel beside Concurrency Kit's ck_ring and Boost's spsc_queue, in one program. Our files
# have the hypervisor's flags (no vector registers), the others -O2.
CHANNEL_BENCH := $(BUILD)/bench/channel
CHANNEL_BENCH_OURS := $(addprefix $(CHANNEL_BENCH)/,mm/channel.o mm/matrix.o tests/bench/channel/kind_patchbay.o \
                        tests/bench/channel/kind_patchbay_self.o)
CHANNEL_BENCH_THEIRS := $(addprefix $(CHANNEL_BENCH)/tests/bench/channel/,kind_ck.o kind_boost.o main.o matrix_costs.o)
CXX := g++

$(CHANNEL_BENCH_OURS): $(CHANNEL_BENCH)/%.o: %.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(HV_CFLAGS) -O2 -MMD -MP -c -o $@ $<
$(CHANNEL_BENCH)/%.o: %.c
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu17 -O2 -g $(WARNINGS) $(INCLUDES) -MMD -MP -c -o $@ $<
$(CHANNEL_BENCH)/%.o: %.cc
	@mkdir -p $(@D)
	$(Q)$(CXX) -std=gnu++17 -O2 -g -Wall -Wextra $(INCLUDES) -MMD -MP -c -o $@ $<
$(CHANNEL_BENCH)/bench: $(CHANNEL_BENCH_OURS) $(CHANNEL_BENCH_THEIRS)
	$(call say,BENCH,$@)
	$(Q)$(CXX) -o $@ $^ -lpthread
-include $(wildcard $(CHANNEL_BENCH)/*/*.d $(CHANNEL_BENCH)/*/*/*/*.d)

.PHONY: bench-channel
bench-channel: $(CHANNEL_BENCH)/bench
	$(Q)$<
