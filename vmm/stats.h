/*
 * stats.h - the counters of a vCPU: for people (ctrl-a s, and the end of a VM with log = debug), and for its guest
 * (PB_CALL_STATS; ipc/abi.h has the layout, ipc/stats.def what each counter means).
 *
 * Each counter is written by its vCPU's CPU and read by anybody, by relaxed atomics (arch/counter.h): nobody waits, and
 * no vCPU is disturbed by who looks at it.
 */
#pragma once
#include "vmm/vm.h"

/* Fills the whole of *out but tsc and tsc_hz. On any CPU. counter[PB_STAT_EXITS] is the sum of exits[]. */
void stats_read(const struct vcpu *v, struct pb_stats *out);

/*
 * PB_CALL_STATS of vCPU v, which runs here: gpa, vCPU and room as the guest gave them, any values. PB_STATUS_OK and
 * *written, or another status and nothing is written. *flush is to be executed in any case.
 */
u32 must_check stats_call(struct vcpu *v, u64 gpa, u64 which, u64 room, u64 now, u64 *written,
                          struct flush *flush);

/* Prints a table of one VM's counters, a column for each vCPU; those that are zero are left out. */
void stats_print(const struct vm *vm);
void stats_print_all(void);
