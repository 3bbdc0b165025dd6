/*
 * sched.h - each physical CPU runs the vCPUs placed on it, in turn.
 */
#pragma once
#include "vmm/vm.h"

/* Runs this CPU's vCPUs until every VM has ended; then returns on the boot CPU and halts the others. */
void sched_run(struct vmm_cpu *me);

/* Places a vCPU on a CPU; before that CPU is released. */
void sched_place(struct vmm_cpu *cpu, struct vcpu *v);

/* Chooses a CPU for one more vCPU of vm: of those it may run on (bits; 0: all), the one with the fewest vCPUs of
 * this VM, then the one with the fewest. NULL: it may run on none. */
struct vmm_cpu *sched_choose(struct vmm_cpu *cpus, u32 count, u64 allowed, const struct vm *vm);

/* A vCPU of this CPU that sleeps has something new: before the current one is entered again, it is looked at. */
void sched_look_around(struct vmm_cpu *me);

/* How long a vCPU of this CPU may have to wait for its turn, in ns: a slice for each of the others. */
u64 sched_longest_wait_ns(const struct vmm_cpu *cpu);

/* Does another vCPU wait for this CPU? As of the last look. */
bool sched_others_wait(const struct vmm_cpu *me);

/* The vCPU is not to run any more; its CPU calls it. The last one of a VM reports the VM's end. */
void sched_stop(struct vcpu *v);
