/* idle.c - waiting. */
#include "arch/idle.h"

void cpu_idle_until(struct cpu *cpu, u64 nmi_count, u64 deadline)
{
    while (tsc_read() < deadline && __atomic_load_n(&cpu->nmi_count, __ATOMIC_RELAXED) == nmi_count)
        cpu_pause();
}
