/*
 * others.h - others_start.S: where the vCPUs but the first one of a flat guest begin. They wait until others_entry is
 * set and call it with their number, descriptor tables loaded; the stack of number i ends at others_stacks + i * 4 KiB.
 */
#pragma once
#include "vmm/demo/guest.h"

#define OTHERS_STACK 4096

extern void (*volatile others_entry)(u64 vcpu);
extern u8 *volatile others_stacks;
