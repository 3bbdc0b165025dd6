/* smp64.h - what the parts of the smp64 guest share: vCPUs that use one set of page tables at once. */
#pragma once
#include "vmm/demo/guest.h"
#include <stdatomic.h>

#define CPUS_MAX   64
#define FRAME_BASE 0x1000000ull /* 16 MiB: data frames, each 4 KiB, tagged */
#define FRAMES     64
#define LARGE_BASE 0x1400000ull /* 20 MiB: two 2 MiB frames, tagged at each 4 KiB */
#define LARGES     2
#define MEMORY_END (32 * MIB)

/* One vCPU's numbers: xorshift. */
struct dice {
    u64 state;
};
static inline u64 roll(struct dice *d, u64 below)
{
    d->state ^= d->state << 13;
    d->state ^= d->state >> 7;
    d->state ^= d->state << 17;
    return d->state % below;
}

static inline void load_cr3(u64 root)
{
    __asm__ volatile("mov %0, %%cr3" : : "r"(root) : "memory");
}
static inline void relax(void)
{
    __asm__ volatile("pause");
}

/* One vCPU at a time; the first one ends the guest. */
no_return void smp_fail(const char *what, u32 cpu, u64 at, u64 got, u64 want);

/* smp64_coherent.c: changes announced by one vCPU, seen by the others as the SDM allows. */
void coherent_set_up(u32 cpus, u64 seed, u64 rounds);
void coherent_run(u32 cpu);

/* smp64_faults.c: faults of the guest's own; pages that one vCPU makes present under the eyes of the others. */
void faults_set_up(u32 cpus, u64 rounds, u64 handed_over);
void faults_run(u32 cpu);
u64 faults_taken(void); /* at entries that stay as they are */

/* smp64_hostile.c: garbage in the tables that everybody is using. */
void hostile_set_up(u64 seed, u64 steps);
void hostile_run(u32 cpu);
