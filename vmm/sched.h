/*
 * sched.h - each physical CPU runs the vCPUs placed on it, in turn.
 */
#pragma once
#include "vmm/vm.h"

/* Runs this CPU's vCPUs until every VM has ended; then returns on the boot CPU and halts the others. */
void sched_run(struct vmm_cpu *me);

/* Places a vCPU on a CPU; before that CPU is released. */
void sched_place(struct vmm_cpu *cpu, struct vcpu *v);

/* Chooses a CPU for a vCPU: the least loaded of those it may run on. */
struct vmm_cpu *sched_choose(struct vmm_cpu *cpus, u32 count, u64 allowed);

/* The vCPU is not to run any more; its CPU calls it. The last one of a VM reports the VM's end. */
void sched_stop(struct vcpu *v);
