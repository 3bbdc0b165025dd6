/*
 * vm_size.h - what a VM costs the hypervisor besides its own memory.
 */
#pragma once
#include "arch/types.h"
#include "vmm/config.h"

/* Pages of guest-physical space behind a VM's RAM of that many pages, for pages that others give it. */
u64 vm_window_pages(u64 ram_pages);

/* Bytes, nearly, for config_check(). */
u64 vm_overhead(const struct vm_config *vm);
