/* machine.c - the ends of a run. */
#include "arch/machine.h"
#include "arch/apic.h"
#include "arch/console.h"
#include "arch/cpu.h"
#include "arch/percpu.h"
#include "arch/traps.h"
#include "arch/tsc.h"

#define PORT_BOCHS_DEBUG 0xE9
#define PORT_QEMU_EXIT   0xF4
#define STOP_WAIT_US     1000u /* for the others to reach their HLT; a courtesy */

void machine_stop_cpu(void)
{
    for (;;) {
        cpu_disable_interrupts();
        cpu_halt();
    }
}

void machine_stop_others(void)
{
    if (cpu_count() < 2)
        return;
    if (!traps_request_stop(this_cpu()))
        machine_stop_cpu(); /* another CPU is ending the run already */
    apic_broadcast_nmi();
    tsc_wait_us(STOP_WAIT_US);
    console_seize();
}

void machine_halt(void)
{
    machine_stop_others();
    console_flush();
    machine_stop_cpu();
}

void machine_exit(u8 code)
{
    machine_stop_others();
    console_flush();
    for (const char *s = "\x1b[X"; *s; s++)
        port_write8(PORT_BOCHS_DEBUG, (u8)*s);
    port_write8(PORT_BOCHS_DEBUG, code);
    port_write8(PORT_QEMU_EXIT, code);
    machine_stop_cpu();
}
