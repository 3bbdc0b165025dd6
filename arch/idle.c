/* idle.c - waiting. */
#include "arch/idle.h"

#include "arch/apic.h"

/* arch/idle.asm */
void cpu_idle_halt(u64 nmi_count);

void cpu_idle_until(u64 nmi_count, u64 deadline)
{
    apic_timer_arm(deadline, HOST_TIMER_VECTOR);
    cpu_idle_halt(nmi_count);
    apic_eoi(); /* no effect if it was not the timer */
    apic_timer_stop();
}
