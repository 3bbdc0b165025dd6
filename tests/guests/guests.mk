# guests.mk - the guests that the end-to-end tests boot; included by the Makefile. They are in $(TEST_GUESTS).
#
#   mb32.elf       32-bit multiboot: what it was given, then all 32-bit paging modes
#   elf64.elf      64-bit ELF with three segments
#   torture64.bin  flat 64-bit: random page-table changes, every access checked
#   smp64.bin      flat 64-bit, any number of vCPUs on one set of page tables: changes and their visibility; garbage
#   real.elf       32-bit multiboot: real mode, and all ways there and back
#   step.bin       flat 64-bit: HLT under single step
#   apic64.bin     flat 64-bit: its local APIC
#   cpus64.bin     flat 64-bit, several vCPUs: shares of the CPUs, shoot-downs, IPIs, INIT and SIPI
#
# Each prints "NAME: PASS" (or FAIL and why) and writes its exit code to port 0xF4.

TEST_GUEST_DIR := $(BUILD)/tests/guests
TEST_GUESTS    := $(TEST_GUEST_DIR)/mb32.elf $(TEST_GUEST_DIR)/elf64.elf $(TEST_GUEST_DIR)/torture64.bin \
                  $(TEST_GUEST_DIR)/step.bin $(TEST_GUEST_DIR)/smp64.bin $(TEST_GUEST_DIR)/cpus64.bin \
                  $(TEST_GUEST_DIR)/real.elf

# Tables are read and written through pointers of several types.
$(BUILD)/guest/tests/guests/%.o: GUEST_OBJ_CFLAGS += -fno-strict-aliasing

$(TEST_GUEST_DIR)/elf64.elf: $(BUILD)/guest/tests/guests/elf64.o $(GUEST_LIB_OBJS) tests/guests/elf64.ld
	$(call say,GUESTLD,$@)
	@mkdir -p $(@D)
	$(Q)$(LD) $(GUEST_LINK) -T tests/guests/elf64.ld -o $@ $(filter %.o,$^)

$(TEST_GUEST_DIR)/torture64.bin: $(BUILD)/guest/tests/guests/torture64.o $(GUEST_LIB_OBJS) vmm/demo/guest.ld
	$(call say,GUESTLD,$@)
	@mkdir -p $(@D)
	$(Q)$(LD) $(GUEST_LINK) -T vmm/demo/guest.ld -o $(@:.bin=.elf) $(filter %.o,$^)
	$(Q)$(OBJCOPY) -O binary $(@:.bin=.elf) $@

SMP64_OBJS := $(patsubst %,$(BUILD)/guest/tests/guests/%.o,smp64 others_start smp64_coherent smp64_hostile \
                smp64_faults) \
              $(GUEST_LIB_OBJS)
$(TEST_GUEST_DIR)/smp64.bin: $(SMP64_OBJS) vmm/demo/guest.ld
	$(call say,GUESTLD,$@)
	@mkdir -p $(@D)
	$(Q)$(LD) $(GUEST_LINK) -T vmm/demo/guest.ld -o $(@:.bin=.elf) $(filter %.o,$^)
	$(Q)$(OBJCOPY) -O binary $(@:.bin=.elf) $@

CPUS64_OBJS := $(addprefix $(BUILD)/guest/tests/guests/,cpus64.o others_start.o cpus64_tests.o cpus64_apic.o \
                cpus64_pages.o)
$(TEST_GUEST_DIR)/cpus64.bin: $(CPUS64_OBJS) $(GUEST_LIB_OBJS) vmm/demo/guest.ld
	$(call say,GUESTLD,$@)
	@mkdir -p $(@D)
	$(Q)$(LD) $(GUEST_LINK) -T vmm/demo/guest.ld -o $(@:.bin=.elf) $(filter %.o,$^)
	$(Q)$(OBJCOPY) -O binary $(@:.bin=.elf) $@

$(TEST_GUEST_DIR)/step.bin: tests/guests/step.asm
	$(call say,NASM,$<)
	@mkdir -p $(@D)
	$(Q)$(NASM) -f bin -Wall -o $@ $<

MB32_OBJS := $(addprefix $(TEST_GUEST_DIR)/,mb32.o mb32_lib.o mb32_start.o)
$(filter-out %_start.o,$(MB32_OBJS)) $(TEST_GUEST_DIR)/real.o: $(TEST_GUEST_DIR)/%.o: tests/guests/%.c tests/guests/mb32.h $(BUILD)/flags
	$(call say,GUESTCC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) -m32 $(filter-out -mcmodel=small -mno-red-zone,$(GUEST_OBJ_CFLAGS)) -fno-strict-aliasing -c -o $@ $<
$(TEST_GUEST_DIR)/mb32_start.o $(TEST_GUEST_DIR)/real16.o: $(TEST_GUEST_DIR)/%.o: tests/guests/%.S $(BUILD)/flags
	$(call say,GUESTCC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) -m32 -c -o $@ $<
$(TEST_GUEST_DIR)/mb32.elf: $(MB32_OBJS) tests/guests/mb32.ld
	$(call say,GUESTLD,$@)
	$(Q)$(LD) -m elf_i386 $(GUEST_LINK) -T tests/guests/mb32.ld -o $@ $(MB32_OBJS)

REAL_OBJS := $(addprefix $(TEST_GUEST_DIR)/,real.o real16.o mb32_lib.o mb32_start.o)
$(TEST_GUEST_DIR)/real.elf: $(REAL_OBJS) tests/guests/mb32.ld
	$(call say,GUESTLD,$@)
	$(Q)$(LD) -m elf_i386 $(GUEST_LINK) -T tests/guests/mb32.ld -o $@ $(REAL_OBJS)

# The host tool that checks configurations with the hypervisor's parser.
CHECK_TOOL := $(BUILD)/patchbay-check
$(CHECK_TOOL): $(patsubst %.c,$(BUILD)/host/%.o,tests/tools/patchbay-check.c $(wildcard vmm/config*.c) arch/err.c arch/format.c)
	$(call say,HOSTLD,$@)
	$(Q)$(CC) $(HOST_CFLAGS) -o $@ $^ $(shell $(CC) -print-file-name=libinih.a)
$(BUILD)/unit/test_patchbay_check: $(CHECK_TOOL)

# The host tool that shows a dump of PB_CALL_STATS.
STAT_TOOL := $(BUILD)/patchbay-stat
$(STAT_TOOL): $(patsubst %.c,$(BUILD)/host/%.o,tests/tools/patchbay-stat.c vmx/exit.c)
	$(call say,HOSTLD,$@)
	$(Q)$(CC) $(HOST_CFLAGS) -o $@ $^
$(BUILD)/unit/test_patchbay_stat: $(STAT_TOOL)

# stats64.bin, flat 64-bit: its counters against what it did.
TEST_GUESTS += $(TEST_GUEST_DIR)/stats64.bin
$(TEST_GUEST_DIR)/stats64.bin: $(BUILD)/guest/tests/guests/stats64.o $(GUEST_LIB_OBJS) vmm/demo/guest.ld
	$(call say,GUESTLD,$@)
	@mkdir -p $(@D)
	$(Q)$(LD) $(GUEST_LINK) -T vmm/demo/guest.ld -o $(@:.bin=.elf) $(filter %.o,$^)
	$(Q)$(OBJCOPY) -O binary $(@:.bin=.elf) $@

# apic64.bin, flat 64-bit: priorities of its local APIC, and what its registers cost.
TEST_GUESTS += $(TEST_GUEST_DIR)/apic64.bin
$(TEST_GUEST_DIR)/apic64.bin: $(BUILD)/guest/tests/guests/apic64.o $(GUEST_LIB_OBJS) vmm/demo/guest.ld
	$(call say,GUESTLD,$@)
	@mkdir -p $(@D)
	$(Q)$(LD) $(GUEST_LINK) -T vmm/demo/guest.ld -o $(@:.bin=.elf) $(filter %.o,$^)
	$(Q)$(OBJCOPY) -O binary $(@:.bin=.elf) $@
