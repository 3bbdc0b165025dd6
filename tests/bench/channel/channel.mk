# make bench-channel: the patch channel beside Concurrency Kit's ck_ring and Boost's spsc_queue, in one program. All have
# the same flags, plain -O2, at which ck_ring is fastest: the hypervisor's own (no vector registers, -ffreestanding)
# make the compiler copy its elements by a call.
CHANNEL_BENCH := $(BUILD)/bench/channel
CHANNEL_BENCH_OBJS := $(addprefix $(CHANNEL_BENCH)/,mm/channel.o mm/matrix.o) \
                      $(addprefix $(CHANNEL_BENCH)/tests/bench/channel/,kind_patchbay.o kind_patchbay_self.o kind_ck.o \
                        kind_boost.o main.o matrix_costs.o)
CXX := g++

# What a matrix costs is counted as in the hypervisor.
$(CHANNEL_BENCH)/mm/%.o: mm/%.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(HV_CFLAGS) -O2 -MMD -MP -c -o $@ $<
$(CHANNEL_BENCH)/%.o: %.c
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu17 -O2 -g $(WARNINGS) $(INCLUDES) -MMD -MP -c -o $@ $<
$(CHANNEL_BENCH)/%.o: %.cc
	@mkdir -p $(@D)
	$(Q)$(CXX) -std=gnu++17 -O2 -g -Wall -Wextra $(INCLUDES) -MMD -MP -c -o $@ $<
$(CHANNEL_BENCH)/bench: $(CHANNEL_BENCH_OBJS)
	$(call say,BENCH,$@)
	$(Q)$(CXX) -o $@ $^ -lpthread
-include $(wildcard $(CHANNEL_BENCH)/*/*.d $(CHANNEL_BENCH)/*/*/*/*.d)

.PHONY: bench-channel
bench-channel: $(CHANNEL_BENCH)/bench
	$(Q)$<
