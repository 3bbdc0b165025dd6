/*
 * real.h - guests in real mode, on CPUs that cannot enter them as they are (no unrestricted guest, or no EPT).
 *
 *   MOV CR0, PE=0 --> real_switch() --> VM86 or HELD (vmm/real_cpu.h), every exception exits
 *   INIT          --> real_reset()       |
 *   SIPI          --> real_start()       +--> #GP and others: real_exception() --> real_execute()
 *                                        +--> MOV CR0, PE=1: real_switch()
 *
 * While v->real.shape is not REAL_OFF, v->real holds the guest's own segments, TR, LDTR, GDTR, IDTR, IOPL and
 * SYSENTER_CS, and the VMCS holds what the CPU needs in their place. All functions want v to be current.
 */
#pragma once
#include "vmm/exit.h"
#include "vmm/vm.h"

static inline bool real_active(const struct vcpu *v)
{
    return v->real.shape != REAL_OFF;
}

/* Privilege level as the guest knows it. */
static inline unsigned real_cpl(const struct vcpu *v)
{
    return real_active(v) ? 0 : vmx_guest_cpl();
}

/* Register state after INIT (SDM Vol 3A table 9-1) into VMCS, live registers and shadow.paging. What is not in
 * the table stays: XCR0, most MSRs, the FPU. */
void real_reset(struct vcpu *v);
/* After SIPI: CS:IP = vector << 8 : 0, base vector << 12. After real_reset(). */
void real_start(struct vcpu *v, u8 vector);

/* CR0.PE changes to 0 (`real`) or 1; called before CR0 itself is written. Nothing to do where the CPU runs real
 * mode by itself. */
void real_switch(struct vcpu *v, bool real);

/* An external interrupt or an NMI for the guest in whatever mode it is; only if vmx_can_inject_interrupt() or
 * vmx_can_inject_nmi(). */
void real_or_inject_interrupt(struct vcpu *v, u8 vector);
void real_or_inject_nmi(struct vcpu *v);

/* ES to GS as the guest has them, for the emulation of its instructions; and a load. */
struct vmx_seg real_segment_read(struct vcpu *v, u32 seg);
void real_segment_load(struct vcpu *v, u32 seg, u16 selector);

/* A fault, or trap, of the CPU's own for a guest in real mode. */
enum exit_result real_inject_exception(struct vcpu *v, u8 vector);
/* An exception exit of a guest in real mode, #PF excepted. */
enum exit_result real_exception(struct vcpu *v, u32 info);
