/*
 * events.h - what waits for a vCPU: interrupts, NMIs, messages, typed characters, orders from other CPUs.
 */
#pragma once
#include "vmm/vm.h"

/* Takes v's requests and does them; v is current. False: it is not to be entered now (stopped, or off). */
bool must_check events_serve(struct vcpu *v);

/* v is halted or waiting and not current: may it run again? Then its state is READY. Timers have been
 * advanced. */
bool events_wake(struct vcpu *v, u64 now);
