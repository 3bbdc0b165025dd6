/*
 * gdt.h - selectors of our flat 64-bit GDT, and the task state segment (SDM Vol 3A 3.4, 7.7). Every CPU has
 * its own GDT and TSS, inside its struct cpu (arch/percpu.h).
 */
#pragma once
#include "arch/types.h"

#define SELECTOR_CODE 0x08
#define SELECTOR_DATA 0x10
#define SELECTOR_TSS  0x18 /* two slots */
#define GDT_SLOTS     5

/* Interrupt stack table: which entry serves which vector */
#define IST_NMI   1
#define IST_DF    2
#define IST_MC    3
#define IST_COUNT 3

struct packed_layout tss {
    u32 reserved0;
    u64 rsp[3];
    u64 reserved1;
    u64 ist[7]; /* ist[i] is IST i + 1 */
    u64 reserved2;
    u16 reserved3;
    u16 io_map_base;
};
_Static_assert(sizeof(struct tss) == 104 && offsetof(struct tss, ist) == 36, "SDM Vol 3A figure 7-11");

struct cpu;

/* Fills cpu's GDT and TSS and loads GDTR, the segment registers, GS base and TR of the CPU that executes it.
 */
void gdt_load(struct cpu *cpu);
