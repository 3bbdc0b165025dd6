/* stats.h - counters for people (ctrl-a s) and for PB_CALL_STATS. */
#pragma once
#include "vmm/vm.h"

/* Prints every VM's counters. */
void stats_print_all(void);
void stats_print(const struct vm *vm);
/* The counter PB_STAT_index of a vCPU; index < PB_STAT_COUNT. */
u64 stats_value(const struct vcpu *v, u32 index);
