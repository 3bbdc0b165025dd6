/*
 * events.h - what waits for a vCPU: interrupts, NMIs, messages, typed characters, orders from other CPUs.
 */
#pragma once
#include "vmm/vm.h"

/* Takes v's requests and does them, INIT and SIPI too; v is current. False: it is not to be entered now (stopped, off,
 * or waiting). */
bool must_check events_serve(struct vcpu *v);

/* v is halted, waiting or off, and does not run: may it? Then its state is READY, or it is OFF and events_serve() has to
 * see what woke it. Timers have been advanced. */
bool events_wake(struct vcpu *v, u64 now);
