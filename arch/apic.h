/*
 * apic.h - the local APIC of the host CPUs, in the mode the firmware left it in (xAPIC or x2APIC, per CPU).
 * IA32_APIC_BASE.EN is never cleared. SDM Vol 3A chapter 10. All but apic_send_* act on the CPU that executes
 * them.
 */
#pragma once
#include "arch/types.h"

struct cpu;

#define APIC_VECTOR_SPURIOUS 0xFF

/* Turns the software enable on, masks all local vectors (timer, LINT0/1, thermal, performance, error), stops
 * the timer. Sets cpu->x2apic. If the boot CPU is in x2APIC mode, follows it there. */
void apic_init(struct cpu *cpu);

/* Physical address of the xAPIC page as found, for the host map; 0 when x2APIC mode needs none. */
u64 apic_mmio_base(void);

/* Kicks another CPU: ends its guest's run (NMI exiting) or its HLT. Never blocks for long: waits for the
 * previous IPI of this CPU to be accepted. Safe with interrupts off and from any handler. */
void apic_send_nmi(const struct cpu *to);

/* Boot only: by APIC id, since the target is not up. page is the real-mode start page >> 12. */
void apic_send_init(u32 id);
void apic_send_startup(u32 id, u8 page);

/* NMI to all CPUs but this one. */
void apic_broadcast_nmi(void);

void apic_eoi(void);

/* One-shot timer at a TSC value; a deadline in the past fires at once. TSC-deadline mode where the CPU has
 * it, else the count-down timer (rate calibrated at boot; fires up to one timer tick late). The interrupt is
 * pending in the APIC while the host runs (IF = 0) and shows as an external-interrupt exit in the guest. */
void apic_timer_arm(u64 tsc_deadline, u8 vector);
void apic_timer_stop(void);

/* Count-down timer ticks per second at divide by 1; by tsc_calibrate(). */
void apic_set_timer_hz(u64 hz);

/* Boot only, for tsc_calibrate(): starts the masked count-down timer at its maximum; reads it. */
void apic_timer_measure_start(void);
u32 apic_timer_measure_read(void);

/* Masks every pin of the I/O APIC whose registers are at `base` (mapped uncached): the firmware may have left
 * some on, and a level-triggered one would come again and again. 82093AA datasheet 3.2. */
void ioapic_mask_all(u64 base);

/* Masks both 8259 PICs: nothing of ours uses them. */
void pic_mask_all(void);
