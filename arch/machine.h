/*
 * machine.h - the ends of a run.
 */
#pragma once
#include "arch/types.h"

/* All output is written, every other CPU is stopped, this one halts. */
no_return void machine_halt(void);

/* Ends an emulator with `code`: ESC [ X code on port 0xE9 (the Bochs test machine), then `code` to port 0xF4
 * (QEMU's isa-debug-exit); halts if that did nothing. Only for configurations that ask for it. */
no_return void machine_exit(u8 code);

/* This CPU halts for ever (NMIs do not wake it for good). */
no_return void machine_stop_cpu(void);

/* Stops all other CPUs for good: they halt in their NMI handler, out of the guest or out of our own code.
 * Returns. */
void machine_stop_others(void);
