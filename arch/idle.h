/*
 * idle.h - a CPU with nothing to do.
 */
#pragma once
#include "arch/percpu.h"
#include "arch/types.h"

/* Vector of the host's own APIC timer. */
#define HOST_TIMER_VECTOR 0xE0

/* Waits until the TSC reaches `deadline` or an NMI has come since `nmi_count` was read; may return earlier. Leaves the
 * APIC timer in an unknown state. */
void cpu_idle_until(struct cpu *cpu, u64 nmi_count, u64 deadline);
