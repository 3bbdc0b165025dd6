/*
 * events.h - what waits for a vCPU: interrupts, NMIs, messages, typed characters, orders from other CPUs.
 */
#pragma once
#include "vmm/vm.h"

/* Takes v's requests and does them, INIT and SIPI too; v is current. False: it is not to be entered now (stopped, off,
 * or waiting). */
bool must_check events_serve(struct vcpu *v);

/* After v, which is current, has written to a device: is anything deliverable or due earlier than was known? Then its
 * requests say so. What a device says by struct vplat_ops they say already; the local APIC's registers are looked at. */
void events_expect(struct vcpu *v);

/* v is halted, waiting or off, and does not run: may it? Then its state is READY, or it is OFF and events_serve() has to
 * see what woke it. Timers have been advanced. */
bool events_wake(struct vcpu *v, u64 now);
