# Models: every program explores one scenario with the real code, as it is or with one mistake made in a copy of it
# (broken/), and exits 0 when it holds or the mistake was found. See tests/model/README.md.
MODEL_VARIANTS := \
    $(addsuffix -as_it_is,channel calm disarming overflow matrix nomemory trace giveup revoke cut reuse queue room landing grant lapic startup litmus) \
    $(addsuffix -store_without_ordering,channel overflow nomemory) channel-not_validated \
    $(addprefix litmus-,store_without_ordering stored_again) $(addprefix trace-,not_announced not_loose) \
    $(addprefix giveup-,not_announced not_told told_late not_revoked revoked_late forwarded_loose not_looked not_loose \
                        not_read_again) \
    $(foreach scenario,revoke cut,$(addprefix $(scenario)-,revoked_late not_announced announce_without_ordering \
                        ended_before_posted not_looked patch_looked_first patch_not_looked listed_late)) \
    $(addprefix reuse-,not_announced announce_without_ordering frame_not_looked) \
    $(basename $(notdir $(wildcard tests/model/broken/*.sed)))

MODEL_SOURCES_channel := mm/channel.c
MODEL_SOURCES_calm := mm/channel.c
MODEL_SOURCES_disarming := mm/channel.c
MODEL_SOURCES_overflow := mm/matrix.c mm/channel.c
MODEL_SOURCES_matrix := $(MODEL_SOURCES_overflow)
MODEL_SOURCES_nomemory := $(MODEL_SOURCES_overflow)
MODEL_SOURCES_trace := mm/trace.c
MODEL_SOURCES_giveup := mm/trace.c mm/revoke.c
MODEL_SOURCES_revoke := mm/revoke.c
MODEL_SOURCES_cut := mm/revoke.c
MODEL_SOURCES_reuse := mm/revoke.c
MODEL_SOURCES_queue := ipc/queue.c
MODEL_SOURCES_room := ipc/send.c ipc/receive.c ipc/page.c ipc/grant.c ipc/landing.c ipc/queue.c
MODEL_SOURCES_landing := $(MODEL_SOURCES_room)
MODEL_SOURCES_grant := $(MODEL_SOURCES_room)
MODEL_SOURCES_lapic := vmm/dev/vlapic.c
MODEL_SOURCES_startup := vmm/dev/vlapic.c
MODEL_INPUTS := $(wildcard tests/model/*.[ch] tests/model/*.sed tests/model/broken/*.sed mm/channel.[ch] mm/matrix.[ch] \
                mm/trace.[ch] mm/revoke.[ch] ipc/*.[ch] vmm/dev/*.h vmm/dev/vlapic.c arch/types.h arch/err.h) tests/model/build_model tests/model/model.mk

SPIN_MODELS := $(notdir $(basename $(wildcard tests/model/*.pml)))
MODEL_BINS += $(MODEL_VARIANTS:%=$(BUILD)/model/%) $(SPIN_MODELS:%=$(BUILD)/model/spin_%)

# gcc always: the programs replace its ThreadSanitizer library.
$(MODEL_VARIANTS:%=$(BUILD)/model/%): $(BUILD)/model/%: $(MODEL_INPUTS)
	$(call say,MODEL,$@)
	@mkdir -p $(@D)
	$(Q)tests/model/build_model $@ $(word 1,$(subst -, ,$*)) $(word 2,$(subst -, ,$*)) gcc \
	    $(MODEL_SOURCES_$(word 1,$(subst -, ,$*)))

$(SPIN_MODELS:%=$(BUILD)/model/spin_%): $(BUILD)/model/spin_%: tests/model/spin_model tests/model/%.pml
	@mkdir -p $(@D)
	@printf '#!/bin/sh\nexec %s/tests/model/spin_model $*\n' '$(CURDIR)' > $@
	@chmod +x $@
