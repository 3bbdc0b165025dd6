/* offsets.c - structure layouts for nasm; becomes build/gen/arch/offsets.inc, never linked. */
#include "arch/percpu.h"
#include "arch/traps.h"

#define OFFSET(name, value) __asm__ volatile("\n.ascii \"->" #name " %c0\"" : : "i"(value))

void offsets(void);
void offsets(void)
{
    OFFSET(CPU_SELF, offsetof(struct cpu, self));
    OFFSET(CPU_STACK_TOP, offsetof(struct cpu, stack_top));
    OFFSET(CPU_APIC_ID, offsetof(struct cpu, apic_id));
    OFFSET(CPU_NMI_COUNT, offsetof(struct cpu, nmi_count));
    OFFSET(CPU_STATE, offsetof(struct cpu, state));
    OFFSET(CPU_STATE_STOPPED, CPU_STOPPED);
    OFFSET(NMI_WINDOW_START, offsetof(struct nmi_window, start));
    OFFSET(NMI_WINDOW_END, offsetof(struct nmi_window, end));
    OFFSET(NMI_WINDOW_RESUME_AT, offsetof(struct nmi_window, resume_at));
}
