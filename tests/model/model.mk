# Models: every program explores one scenario with the real code, as it is or with one mistake made in a copy of it
# (broken/), and exits 0 when it holds or the mistake was found. See tests/model/README.md.
MODEL_VARIANTS := \
    channel-as_it_is channel-store_without_ordering channel-clear_after_validate channel-flag_before_body \
    channel-free_before_body_read channel-free_not_atomic \
    overflow-as_it_is overflow-resync_cleared_late overflow-skip_when_full \
    matrix-as_it_is matrix-pending_cleared_late matrix-pending_before_post \
    trace-as_it_is trace-install_looks_first trace-map_looks_first trace-not_announced \
    queue-as_it_is queue-publish_before_fill queue-credit_before_read queue-position_not_atomic \
    room-as_it_is room-sender_looks_once room-receiver_looks_first \
    landing-as_it_is landing-offer_without_ordering \
    grant-as_it_is grant-claim_not_atomic

MODEL_SOURCES_channel := mm/channel.c
MODEL_SOURCES_overflow := mm/channel.c
MODEL_SOURCES_matrix := mm/matrix.c mm/channel.c
MODEL_SOURCES_trace := mm/trace.c
MODEL_SOURCES_queue := ipc/queue.c
MODEL_SOURCES_room := ipc/send.c ipc/receive.c ipc/page.c ipc/grant.c ipc/landing.c ipc/queue.c
MODEL_SOURCES_landing := $(MODEL_SOURCES_room)
MODEL_SOURCES_grant := $(MODEL_SOURCES_room)
MODEL_INPUTS := $(wildcard tests/model/*.[ch] tests/model/*.sed tests/model/broken/*.sed mm/channel.[ch] mm/matrix.[ch] \
                mm/trace.[ch] ipc/*.[ch] arch/types.h arch/err.h) tests/model/build_model tests/model/model.mk

MODEL_BINS += $(MODEL_VARIANTS:%=$(BUILD)/model/%) $(BUILD)/model/spin_channel

# gcc always: the programs replace its ThreadSanitizer library.
$(MODEL_VARIANTS:%=$(BUILD)/model/%): $(BUILD)/model/%: $(MODEL_INPUTS)
	$(call say,MODEL,$@)
	@mkdir -p $(@D)
	$(Q)tests/model/build_model $@ $(word 1,$(subst -, ,$*)) $(word 2,$(subst -, ,$*)) gcc \
	    $(MODEL_SOURCES_$(word 1,$(subst -, ,$*)))

$(BUILD)/model/spin_channel: tests/model/spin_model tests/model/channel.pml
	@mkdir -p $(@D)
	@printf '#!/bin/sh\nexec %s/tests/model/spin_model\n' '$(CURDIR)' > $@
	@chmod +x $@
