# Patchbay. `make help` lists what there is to make.
#
# Every goal first sees to it that the Debian packages it needs are there (tests/tools/deps).
# Nothing is rebuilt when nothing changed; `make CC=clang` works for every goal.

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory
ifeq ($(filter -j% --jobserver%,$(MAKEFLAGS)),)
MAKEFLAGS += -j$(shell nproc)
endif

ifeq ($(origin CC),default)
CC := gcc
endif
LD := ld
OBJCOPY := objcopy
NASM := nasm
IASL := iasl
# Debian's own interpreter: pytest and pexpect are installed for it.
PYTHON := /usr/bin/python3
BUILD := build
Q := $(if $(V),,@)
say = @printf '  %-8s%s\n' '$(1)' '$(2)'

# ------------------------------------------------------------------ packages
# One marker per set of packages; made again when a package was installed or removed.
BUILD_GOALS := all image efi esp check
RUN_GOALS := run linux
GOALS := $(or $(MAKECMDGOALS),all)
NO_DEPS_GOALS := clean help
DEPS_SET := $(if $(filter-out $(NO_DEPS_GOALS) $(BUILD_GOALS) $(RUN_GOALS),$(GOALS)),test,$(if $(filter $(RUN_GOALS),$(GOALS)),run,build))
ifneq ($(filter-out $(NO_DEPS_GOALS),$(GOALS)),)
include $(BUILD)/deps-$(DEPS_SET).mk
endif
$(BUILD)/deps-%.mk: tests/tools/deps $(wildcard /var/lib/dpkg/status)
	@tests/tools/deps $*
	@mkdir -p $(BUILD)
	@echo '# packages of set "$*" are installed' > $@

# --------------------------------------------------------------------- flags
WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wundef -Wvla -Wpointer-arith
CODEGEN := -ffreestanding -fpie -mno-red-zone -mgeneral-regs-only -fno-stack-protector -fno-strict-aliasing \
           -fcf-protection=none -fno-asynchronous-unwind-tables
INCLUDES := -I. -I$(BUILD)/gen
# Small by default; the paths that run at every exit, fill and event are compiled for speed below.
HV_CFLAGS := -std=gnu17 -Os -g $(CODEGEN) $(WARNINGS) $(INCLUDES) $(EXTRA_CFLAGS)
# boot/ alone sees gnu-efi; CHAR16 strings want short wchar_t.
EFI_CFLAGS := -isystem /usr/include/efi -isystem /usr/include/efi/x86_64 -fshort-wchar -DGNU_EFI_USE_MS_ABI \
              -maccumulate-outgoing-args
ifneq ($(findstring clang,$(CC)),)
EFI_CFLAGS := $(filter-out -maccumulate-outgoing-args,$(EFI_CFLAGS))
NO_PIE :=
else
NO_PIE := -no-pie
endif
HOST_CFLAGS := -std=gnu17 -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer \
               $(WARNINGS) $(INCLUDES) $(EXTRA_CFLAGS)
# For test guests (flat or ELF images without an operating system).
GUEST_CFLAGS := -std=gnu17 -O2 -ffreestanding -fno-pic $(NO_PIE) -mno-red-zone -mgeneral-regs-only \
                -fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables -mcmodel=small \
                -nostdlib -static -Wl,--build-id=none $(WARNINGS) -I.

# -------------------------------------------------------------------- sources
HV_DIRS := arch mm ipc vmx vmm vmm/dev
# offsets.c files only describe structure layouts for nasm; they are no code.
HV_SRCS := $(filter-out %/offsets.c,$(wildcard $(addsuffix /*.c,$(HV_DIRS)))) $(wildcard boot/*.c)
HV_ASMS := $(wildcard $(addsuffix /*.asm,$(HV_DIRS) boot vmm/demo))
# demo.mk may add objects of its own here (guest images, embedded).
HV_EXTRA_OBJS :=

-include vmm/demo/demo.mk
-include tests/guests/guests.mk
-include tests/model/model.mk
-include tests/tsan/tsan.mk
-include tests/fuzz/fuzz.mk
-include tests/bench/channel/channel.mk
-include tests/bench/stale/stale.mk
-include tests/bench/writes/writes.mk

HV_OBJS := $(HV_SRCS:%.c=$(BUILD)/hv/%.o) $(HV_ASMS:%.asm=$(BUILD)/hv/%.asm.o) $(HV_EXTRA_OBJS)

# ------------------------------------------------- generated files (build/gen)
# X/offsets.c -> build/gen/X/offsets.inc: lines "->NAME value" of its assembly become nasm %defines.
OFFSETS := $(patsubst %.c,$(BUILD)/gen/%.inc,$(wildcard */offsets.c))
$(BUILD)/gen/%/offsets.inc: %/offsets.c $(BUILD)/flags
	$(call say,OFFSETS,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(HV_CFLAGS) -MMD -MP -MF $(@:.inc=.d) -MT $@ -S -o $(@:.inc=.s) $<
	$(Q)sed -n 's/^.*->\([A-Za-z0-9_]*\) [$$#]*\(-\{0,1\}[0-9]*\).*/%define \1 \2/p' $(@:.inc=.s) > $@

# vmm/dev/X.asl -> build/gen/vmm/dev/X.hex: "unsigned char X_aml_code[] = {...}", the table name taken from -p.
ASL := $(patsubst %.asl,$(BUILD)/gen/%.hex,$(wildcard vmm/dev/*.asl))
$(BUILD)/gen/%.hex: %.asl
	$(call say,IASL,$@)
	@mkdir -p $(@D)
	$(Q)$(IASL) -vs -p $(@:.hex=) -tc $< > $(@:.hex=.log) 2>&1 || { cat $(@:.hex=.log); exit 1; }

GENERATED := $(OFFSETS) $(ASL)

# ------------------------------------------------------------- the hypervisor
# Objects depend on this file, which changes only when compiler or flags do.
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(HV_CFLAGS) $(EFI_CFLAGS) $(HOST_CFLAGS)' | cmp -s - $@ || \
	 echo '$(CC) $(HV_CFLAGS) $(EFI_CFLAGS) $(HOST_CFLAGS)' > $@
FORCE:

HOT := $(addprefix mm/,channel.c matrix.c gwalk.c guest_mem.c trace.c shadow.c shadow_derive.c shadow_fill.c shadow_leaf.c \
                       shadow_patch.c shadow_pool.c shadow_sync.c shadow_reach.c shadow_lookup.c shadow_revoke.c revoke.c) \
       vmx/vcpu.c vmm/exit.c vmm/exit_cpu.c vmm/exit_cr.c vmm/exit_io.c vmm/exit_memory.c vmm/sched.c \
       vmm/access_quick.c vmm/emulate_quick.c vmm/dev/vcpuid.c
$(HOT:%.c=$(BUILD)/hv/%.o): HV_CFLAGS += -O2
$(BUILD)/hv/boot/%.o: HV_CFLAGS += $(EFI_CFLAGS)
$(BUILD)/hv/%.o: %.c $(BUILD)/flags | $(GENERATED)
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(HV_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/hv/%.asm.o: %.asm | $(GENERATED)
	$(call say,NASM,$<)
	@mkdir -p $(@D)
	$(Q)$(NASM) -f elf64 -g -F dwarf -Wall -I. -I$(BUILD)/gen/ -MD $(@:.o=.d) -MP -MT $@ -o $@ $<

EFI := $(BUILD)/BOOTX64.EFI
EFI_SECTIONS := .text .rodata .data .dynamic .dynsym .dynstr .rela .reloc
$(BUILD)/patchbay.elf: $(HV_OBJS) linker.ld
	$(call say,LD,$@)
	$(Q)$(LD) -nostdlib -znocombreloc -znoexecstack -shared -Bsymbolic --no-undefined -T linker.ld \
	    /usr/lib/crt0-efi-x86_64.o $(HV_OBJS) -L/usr/lib -lefi -lgnuefi \
	    $(shell $(CC) -print-file-name=libinih.a) -Map $(BUILD)/patchbay.map -o $@

$(EFI): $(BUILD)/patchbay.elf
	$(call say,OBJCOPY,$@)
	$(Q)$(OBJCOPY) $(addprefix -j ,$(EFI_SECTIONS)) --target=efi-app-x86_64 --subsystem=10 $< $@

$(BUILD)/esp/EFI/BOOT/BOOTX64.EFI: $(EFI)
	@mkdir -p $(@D)
	@cp $< $@

.PHONY: all efi esp
efi: $(EFI)
esp: $(BUILD)/esp/EFI/BOOT/BOOTX64.EFI
all: efi esp

-include $(HV_OBJS:.o=.d) $(OFFSETS:.inc=.d)

# ----------------------------------------------------------------- unit tests
# The first line of tests/unit/test_X.c names what it is linked with: /* links: mm/a.c mm/b.c */;
# an optional second line names libraries: /* libs: -lZydis */.
UNIT_SRCS := $(sort $(wildcard tests/unit/test_*.c))
UNIT_BINS := $(UNIT_SRCS:tests/unit/%.c=$(BUILD)/unit/%)
UNIT_COMMON := $(wildcard tests/unit/host_log.c arch/err.c arch/format.c)

$(BUILD)/unit.mk: $(UNIT_SRCS) $(UNIT_COMMON) tests/tools/unit_rules.awk Makefile
	@mkdir -p $(@D)
	@awk -f tests/tools/unit_rules.awk -v build=$(BUILD) -v common='$(UNIT_COMMON)' $(UNIT_SRCS) > $@
ifneq ($(filter-out $(NO_DEPS_GOALS) $(BUILD_GOALS) $(RUN_GOALS),$(GOALS)),)
include $(BUILD)/unit.mk
endif

$(BUILD)/host/%.o: %.c $(BUILD)/flags | $(GENERATED)
	$(call say,HOSTCC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(HOST_CFLAGS) -MMD -MP -c -o $@ $<
$(BUILD)/unit/test_%:
	$(call say,HOSTLD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(HOST_CFLAGS) -o $@ $(filter %.o,$^) -lcmocka $(UNIT_LIBS)
-include $(shell find $(BUILD)/host -name '*.d' 2>/dev/null)

.PHONY: unit-bins unit model tsan lint e2e test bench kut
unit-bins: $(UNIT_BINS)
unit: unit-bins
	$(Q)tests/tools/suite unit

# ---------------------------------------------------------------- other tests
# model.mk, tsan.mk and fuzz.mk add their programs to these; guests.mk its images.
MODEL_BINS ?=
TSAN_BINS ?=
TEST_GUESTS ?=
BENCH_GUEST := $(BUILD)/bench/guest.bin
TEST_PROGRAMS = $(UNIT_BINS) $(MODEL_BINS) $(TSAN_BINS) $(CHECK_TOOL) $(STAT_TOOL)
GUEST_IMAGES = $(EFI) $(BUILD)/esp/EFI/BOOT/BOOTX64.EFI $(TEST_GUESTS) $(BENCH_GUEST)

model: $(MODEL_BINS)
	$(Q)tests/tools/suite model
tsan: $(TSAN_BINS)
	$(Q)tests/tools/suite tsan
lint: $(GENERATED) $(EFI)
	$(Q)tests/tools/suite lint
e2e: $(GUEST_IMAGES) $(STAT_TOOL) linux
	$(Q)tests/tools/suite e2e
test: $(TEST_PROGRAMS) $(GUEST_IMAGES) linux
	$(Q)tests/tools/suite all
# Hours of it, in pieces that are not done twice: SOAK_ARGS="--hours 8 --shard 1/2 oracle".
.PHONY: soak
soak: $(BUILD)/unit/test_shadow_oracle $(TSAN_BINS)
	$(Q)tests/tools/soak $(SOAK_ARGS)
bench: $(GUEST_IMAGES)
	$(Q)$(PYTHON) tests/bench/bench.py

# Images of kvm-unit-tests, built elsewhere: tests/kut/README.md
kut: $(EFI) $(BUILD)/esp/EFI/BOOT/BOOTX64.EFI
	$(Q)BUILD=$(BUILD) $(PYTHON) tests/kut/kut.py $(if $(KUT),--kut $(KUT)) $(if $(KUT32),--kut32 $(KUT32)) $(KUT_ARGS)

# Always by the same compiler: its instructions are what is counted.
$(BUILD)/bench/guest.bin: tests/bench/start.S tests/bench/guest.c tests/bench/guest.ld $(BUILD)/flags
	$(call say,GUEST,$@)
	@mkdir -p $(@D)
	$(Q)gcc $(filter-out $(WARNINGS),$(GUEST_CFLAGS)) -Wall -Wextra -Wl,-T,tests/bench/guest.ld \
	    -Wl,--no-warn-rwx-segments -o $(@:.bin=.elf) tests/bench/start.S tests/bench/guest.c
	$(Q)$(OBJCOPY) -O binary $(@:.bin=.elf) $@

# ------------------------------------------------------------- running things
.PHONY: run image linux
# Debian's own kernel, not rebuilt, and a small busybox initramfs; never committed.
linux: $(BUILD)/linux/vmlinuz $(BUILD)/linux/initrd
$(BUILD)/linux/vmlinuz: tests/tools/fetch-kernel
	$(Q)tests/tools/fetch-kernel $(BUILD)/linux
$(BUILD)/linux/initrd: tests/tools/mkinitrd $(wildcard tests/tools/initrd/*)
	$(call say,INITRD,$@)
	@mkdir -p $(@D)
	$(Q)$(PYTHON) tests/tools/mkinitrd $@

run: $(BUILD)/esp/EFI/BOOT/BOOTX64.EFI linux
	$(Q)$(PYTHON) tests/tools/run $(RUN_ARGS)

# Made anew each time: which files of ESP changed, and whether ESP is another folder now, make cannot see.
image: $(BUILD)/esp/EFI/BOOT/BOOTX64.EFI
	$(Q)$(PYTHON) tests/tools/mkimage $(or $(ESP),$(BUILD)/esp) $(BUILD)/patchbay.img

.PHONY: check clean help
# Checks a configuration as the boot would: make check INI=path/to/patchbay.ini
check: $(CHECK_TOOL)
	$(if $(INI),,$(error say which file: make check INI=path/to/patchbay.ini))
	$(Q)$(CHECK_TOOL) $(INI)

clean:
	rm -rf $(BUILD)

help:
	@echo 'make               build/BOOTX64.EFI and the system partition build/esp/'
	@echo 'make run           boot the demonstration (QEMU with KVM where VMX is on offer, else Bochs)'
	@echo 'make test          unit, model, tsan, lint and e2e, with a summary'
	@echo 'make unit          host unit tests under ASan and UBSan (PB_SEED, PB_STEPS choose random inputs)'
	@echo 'make model         all interleavings of the lock-free structures'
	@echo 'make tsan          the same structures with real threads under ThreadSanitizer'
	@echo 'make lint          layering, headers, purity, format, clang-tidy, cppcheck, image size'
	@echo 'make e2e           boots in emulators (E2E_ARGS="--machine qemu-kvm -k linux" goes to pytest)'
	@echo 'make soak          hours of oracle, threads and models; goes on where it was cut off (SOAK_ARGS="--hours 8")'
	@echo 'make fuzz          libFuzzer targets, PB_SECONDS=60 each; not part of make test'
	@echo 'make bench         the benchmark guest; writes build/bench.tsv'
	@echo 'make bench-channel patch channels beside ck_ring and spsc_queue, on this machine'
	@echo 'make bench-stale   stale patches: derived again or invalidated'
	@echo 'make bench-writes  what a traced write costs in VMs of 1, 2, 4 and 8 vCPUs'
	@echo 'make kut KUT=dir   images of kvm-unit-tests as guests (tests/kut/README.md says how to get them)'
	@echo 'make image         build/patchbay.img for a USB stick (ESP=folder takes another system partition)'
	@echo 'make check INI=f   checks a configuration file as the boot would'
	@echo 'make linux         fetches a Debian kernel and makes an initramfs in build/linux/'
	@echo 'make efi, make esp one of the two that make alone builds; make unit-bins: the unit tests, not run'
	@echo 'make clean         removes build/'
	@echo 'V=1 shows commands; CC=clang takes the other compiler.'
