# The lock-free structures with real threads under ThreadSanitizer. No suppressions. See tests/tsan/README.md.
TSAN_CFLAGS := -std=gnu17 -O1 -g -fsanitize=thread $(WARNINGS) $(INCLUDES)
TSAN_BINS += $(BUILD)/tsan/tsan_channel $(BUILD)/tsan/tsan_trace $(BUILD)/tsan/tsan_queue $(BUILD)/tsan/tsan_ipc \
             $(BUILD)/tsan/tsan_stats $(BUILD)/tsan/tsan_shadow

$(BUILD)/tsan/tsan_channel: mm/channel.c mm/matrix.c
$(BUILD)/tsan/tsan_trace: mm/trace.c mm/channel.c mm/matrix.c
$(BUILD)/tsan/tsan_queue: ipc/queue.c ipc/landing.c
$(BUILD)/tsan/tsan_ipc: ipc/send.c ipc/receive.c ipc/page.c ipc/grant.c ipc/landing.c ipc/queue.c
TSAN_SHADOW := $(filter-out mm/frames.c mm/hostmap.c mm/audit_changes.c,$(wildcard mm/*.c)) tests/unit/host_log.c arch/err.c
$(BUILD)/tsan/tsan_stats: vmm/stats.c vmx/exit.c tests/unit/stats_world.h $(TSAN_SHADOW)

$(BUILD)/tsan/tsan_%: tests/tsan/tsan_%.c tests/tsan/threads.h $(wildcard mm/channel.h mm/matrix.h mm/trace.h ipc/*.h)
	$(call say,TSAN,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(TSAN_CFLAGS) -o $@ $(filter %.c,$^) -lpthread

# A unit test, built once more. Its threads spin for the lock of shared tables.
$(BUILD)/tsan/tsan_shadow: tests/unit/test_shadow_threads.c tests/unit/shadow_host.h tests/tsan/yield.h arch/format.c \
                           $(TSAN_SHADOW) $(wildcard mm/*.h)
	$(call say,TSAN,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(TSAN_CFLAGS) -DSHARED_SLOWER=2 -include tests/tsan/yield.h -o $@ $(filter %.c,$^) -lcmocka -lpthread
