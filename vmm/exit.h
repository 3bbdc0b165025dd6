/*
 * exit.h - what happens when a guest exits. Each handler deals with one exit reason and says how to go on.
 *
 * Handlers run with the vCPU current. A handler that has carried out the guest's instruction has moved RIP
 * behind it; one that injected an exception has not.
 */
#pragma once
#include "vmm/vm.h"

enum exit_result {
    EXIT_RESUME, /* enter the guest again */
    EXIT_YIELD,  /* the vCPU cannot or should not go on now: look for another */
};

typedef enum exit_result exit_handler(struct vcpu *v);

/* Dispatches the exit that has just happened. */
enum exit_result exit_dispatch(struct vcpu *v);

/* The instruction has been carried out: go on behind it. */
enum exit_result exit_done(struct vcpu *v);
/* The handler of a known reason, for an instruction that the hypervisor met in another way. The reasons with a
 * qualification have functions of their own below. */
enum exit_result exit_carry_out(struct vcpu *v, u32 reason);

/* Injects an exception; a triple fault ends the VM. */
enum exit_result exit_inject(struct vcpu *v, u8 vector, u32 error);
enum exit_result exit_inject_page_fault(struct vcpu *v, u32 error, gva_t address);
/* The fault that emulation has found (v->access). */
enum exit_result exit_inject_found(struct vcpu *v);
static inline enum exit_result exit_inject_gp(struct vcpu *v)
{
    return exit_inject(v, VECTOR_GP, 0);
}
static inline enum exit_result exit_inject_ud(struct vcpu *v)
{
    return exit_inject(v, VECTOR_UD, 0);
}

/* exit_cpu.c */
enum exit_result exit_cpuid(struct vcpu *v);
enum exit_result exit_hlt(struct vcpu *v);
enum exit_result exit_xsetbv(struct vcpu *v);
enum exit_result exit_pause(struct vcpu *v);
enum exit_result exit_undefined(struct vcpu *v);
enum exit_result exit_protection(struct vcpu *v);
enum exit_result exit_window(struct vcpu *v);
enum exit_result exit_tpr(struct vcpu *v);
enum exit_result exit_timer(struct vcpu *v);
enum exit_result exit_external_interrupt(struct vcpu *v);
enum exit_result exit_exception(struct vcpu *v);
enum exit_result exit_triple_fault(struct vcpu *v);
/* exit_task.c */
enum exit_result exit_task_switch(struct vcpu *v);
/* exit_cr.c */
enum exit_result exit_cr(struct vcpu *v);
enum exit_result exit_cr_access(struct vcpu *v, u64 qualification);
enum exit_result exit_invlpg(struct vcpu *v);
/* exit_msr.c */
enum exit_result exit_rdmsr(struct vcpu *v);
enum exit_result exit_wrmsr(struct vcpu *v);
/* exit_memory.c */
enum exit_result exit_page_fault(struct vcpu *v, u32 error);
enum exit_result exit_ept_violation(struct vcpu *v);
enum exit_result exit_ept_misconfiguration(struct vcpu *v);
/* exit_io.c */
enum exit_result exit_io(struct vcpu *v);
enum exit_result exit_io_access(struct vcpu *v, u64 qualification);
/* hypercall.c */
enum exit_result exit_vmcall(struct vcpu *v);
