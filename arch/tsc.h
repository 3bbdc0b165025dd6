/*
 * tsc.h - the time-stamp counter as the clock of everything. Ticks come from cpu.h's tsc_read().
 */
#pragma once
#include "arch/types.h"

/* Ticks per second; 0 before tsc_calibrate(). Constant afterwards, the same on all CPUs. */
u64 tsc_hz(void);

/* Boot only. Measures some 10 ms against the ACPI PM timer (port pm_timer, 0: none) or PIT channel 2 and
 * compares with CPUID leaves 0x15/0x16: within 2 % the CPUID figure is the exact one, otherwise (an emulator)
 * the measured one counts. Also calibrates the APIC timer. Returns the words for the boot log: where the
 * figure comes from. */
const char *tsc_calibrate(u16 pm_timer);

/* hz from CPUID alone, 0 if the CPU does not say. Pure: max_leaf, leaf 0x15 and leaf 0x16 as read. */
struct cpuid_regs;
u64 tsc_hz_from_cpuid(u32 max_leaf, const struct cpuid_regs *leaf15, const struct cpuid_regs *leaf16);

/* Conversions without overflow for any rate up to 2^34 ticks per second; pure. */
u64 tsc_ticks_to_ns(u64 ticks, u64 per_second);
u64 tsc_ns_to_ticks(u64 ns, u64 per_second);

/* Busy-waits; before calibration it assumes a fast TSC (5 GHz), so it waits at least as long. */
void tsc_wait_us(u64 us);
