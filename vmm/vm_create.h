/*
 * vm_create.h - from a section of the configuration to a VM that can run.
 */
#pragma once
#include "vmm/main.h"
#include "vmm/vm.h"

struct vm_create {
    const struct boot_info *info;
    const struct config *config;
    const struct vmx_caps *caps; /* what all CPUs have in common */
    struct vmm_cpu *cpus;
    u32 cpu_count;
};

/* Makes VM number `id` and places its vCPUs. What is wrong has been reported, with file and reason; then
 * everything it had got is given back, vms[id] is NULL, and the others are not concerned. */
enum err must_check vm_create(const struct vm_create *with, u32 id);

/* When every vCPU has stopped: the patch channels between them. The rest of a VM's memory stays with it, for its
 * report and its statistics. */
void vm_give_channels_back(struct vm *vm);
