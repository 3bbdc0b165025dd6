# demo.mk - how the built-in guests are made; included by the Makefile. demo_image.asm embeds them.
# GUEST_LIB_OBJS is what the 64-bit guests of tests/guests/ are linked with, too.

comma := ,
GUEST_OBJ_CFLAGS := $(filter-out -O2 -nostdlib -static -Wl$(comma)%,$(GUEST_CFLAGS)) -Os
GUEST_LIB_OBJS   := $(addprefix $(BUILD)/guest/,vmm/demo/guest_start.o vmm/demo/guest_lib.o vmm/demo/guest_trap.o \
                    vmm/demo/guest_paging.o vmm/demo/guest_talk.o arch/format.o arch/string.o)
GUEST_LINK       := -nostdlib -static --build-id=none -z noexecstack -z max-page-size=4096 --no-warn-rwx-segments
DEMO_BIN         := $(BUILD)/gen/demo/demo.bin
DEMO_OBJS        := $(patsubst %,$(BUILD)/guest/vmm/demo/%.o,demo_main alpha beta exchange)

$(BUILD)/guest/%.o: %.c $(BUILD)/flags
	$(call say,GUESTCC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(GUEST_OBJ_CFLAGS) -MMD -MP -c -o $@ $<
$(BUILD)/guest/%.o: %.S $(BUILD)/flags
	$(call say,GUESTCC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) -I. -MMD -MP -c -o $@ $<
$(DEMO_BIN): $(DEMO_OBJS) $(GUEST_LIB_OBJS) vmm/demo/guest.ld
	$(call say,GUESTLD,$@)
	@mkdir -p $(@D)
	$(Q)$(LD) $(GUEST_LINK) -T vmm/demo/guest.ld -o $(@:.bin=.elf) $(filter %.o,$^)
	$(Q)$(OBJCOPY) -O binary $(@:.bin=.elf) $@
.PRECIOUS: $(BUILD)/guest/%.o

$(BUILD)/hv/vmm/demo/demo_image.asm.o: $(DEMO_BIN)
# Cold code is made for size: what runs once at boot.
$(patsubst %.c,$(BUILD)/hv/%.o,$(wildcard vmm/config*.c vmm/load_*.c vmm/inih_shim.c)): HV_CFLAGS += -Os

-include $(shell find $(BUILD)/guest -name '*.d' 2>/dev/null)
