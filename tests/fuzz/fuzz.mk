# make fuzz: the libFuzzer targets one after the other, each for PB_SECONDS (60). Needs clang. A crash leaves its input
# in build/fuzz. As with unit tests, the first comments of a target name what it is linked with.
FUZZ_TARGETS := $(sort $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c)))
FUZZ_FLAGS := -std=gnu17 -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all $(WARNINGS) $(INCLUDES)
fuzz_words = $(shell awk '/\/\* links:/,/\*\// { print } /\/\* libs:/,/\*\// { print } NR == 6 { exit }' $(1))

$(BUILD)/fuzz/%: tests/fuzz/%.c $(wildcard vmm/*.[ch] vmm/*.def) | $(GENERATED)
	$(call say,FUZZCC,$@)
	@mkdir -p $(@D)
	$(Q)clang $(FUZZ_FLAGS) -o $@ $< $(filter %.c,$(call fuzz_words,$<)) $(UNIT_COMMON) \
	    $(filter -l%,$(call fuzz_words,$<))

.PHONY: fuzz
fuzz: $(FUZZ_TARGETS:%=$(BUILD)/fuzz/%)
	$(Q)cd $(BUILD)/fuzz && for t in $(FUZZ_TARGETS); do mkdir -p $$t.inputs; echo "  FUZZ    $$t"; \
	  ./$$t -max_total_time=$${PB_SECONDS:-60} -max_len=4096 -verbosity=0 -print_final_stats=1 $$t.inputs || exit 1; done
