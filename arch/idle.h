/*
 * idle.h - a CPU with nothing to do.
 */
#pragma once
#include "arch/types.h"

/* Vector of the host's own APIC timer. */
#define HOST_TIMER_VECTOR 0xE0

/* Halts until the TSC reaches `deadline` or an NMI has come since `nmi_count` (struct cpu) was read; may
 * return earlier. Uses the APIC timer, which is off afterwards. */
void cpu_idle_until(u64 nmi_count, u64 deadline);
