/* vm_platform.h - a VM's virtual PC: made from the configuration, its effects joined to the rest of vmm/. */
#pragma once
#include "vmm/main.h"
#include "vmm/vm.h"

/* After the VM's memory: devices, CPUID, ACPI tables. */
enum err must_check vm_platform_init(struct vm *vm, const struct boot_info *info,
                                     const struct vmx_caps *caps);
