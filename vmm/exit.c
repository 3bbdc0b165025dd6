/*
 * exit.c - the table of exits. A reason that is not in it was never asked for in the control words: the VM
 * that caused it is stopped with a full report.
 */
#include "vmm/exit.h"

#include "arch/log.h"
#include "vmm/real.h"

/* Handlers of reasons with vmx_reason_has_event() begin with vmx_exit_recover(). */
static exit_handler *const handlers[VMX_EXIT_COUNT] = {
    [VMX_EXIT_EXCEPTION_NMI] = exit_exception,
    [VMX_EXIT_EXTERNAL_INTERRUPT] = exit_external_interrupt,
    [VMX_EXIT_TRIPLE_FAULT] = exit_triple_fault,
    [VMX_EXIT_INTERRUPT_WINDOW] = exit_window,
    [VMX_EXIT_NMI_WINDOW] = exit_window,
    [VMX_EXIT_TASK_SWITCH] = exit_task_switch,
    [VMX_EXIT_CPUID] = exit_cpuid,
    [VMX_EXIT_HLT] = exit_hlt,
    [VMX_EXIT_INVD] = exit_done,
    [VMX_EXIT_INVLPG] = exit_invlpg,
    [VMX_EXIT_RDPMC] = exit_protection, /* no counter is offered */
    [VMX_EXIT_VMCALL] = exit_vmcall,
    [VMX_EXIT_CR_ACCESS] = exit_cr,
    [VMX_EXIT_IO] = exit_io,
    [VMX_EXIT_RDMSR] = exit_rdmsr,
    [VMX_EXIT_WRMSR] = exit_wrmsr,
    [VMX_EXIT_PAUSE] = exit_pause,
    [VMX_EXIT_TPR_BELOW_THRESHOLD] = exit_tpr,
    [VMX_EXIT_PREEMPTION_TIMER] = exit_timer,
    [VMX_EXIT_EPT_VIOLATION] = exit_ept_violation,
    [VMX_EXIT_EPT_MISCONFIGURATION] = exit_ept_misconfiguration,
    [VMX_EXIT_WBINVD] = exit_done, /* guest memory is write-back and coherent */
    [VMX_EXIT_XSETBV] = exit_xsetbv,
    /* instructions whose features CPUID does not offer */
    [VMX_EXIT_GETSEC] = exit_undefined,
    [VMX_EXIT_RSM] = exit_undefined,
    [VMX_EXIT_VMCLEAR] = exit_undefined,
    [VMX_EXIT_VMLAUNCH] = exit_undefined,
    [VMX_EXIT_VMPTRLD] = exit_undefined,
    [VMX_EXIT_VMPTRST] = exit_undefined,
    [VMX_EXIT_VMREAD] = exit_undefined,
    [VMX_EXIT_VMRESUME] = exit_undefined,
    [VMX_EXIT_VMWRITE] = exit_undefined,
    [VMX_EXIT_VMXOFF] = exit_undefined,
    [VMX_EXIT_VMXON] = exit_undefined,
    [VMX_EXIT_MWAIT] = exit_undefined,
    [VMX_EXIT_MONITOR] = exit_undefined,
    [VMX_EXIT_INVEPT] = exit_undefined,
    [VMX_EXIT_INVVPID] = exit_undefined,
    [VMX_EXIT_INVPCID] = exit_undefined,
    [VMX_EXIT_RDTSCP] = exit_undefined,
    [VMX_EXIT_VMFUNC] = exit_undefined,
    [VMX_EXIT_XSAVES] = exit_undefined,
    [VMX_EXIT_XRSTORS] = exit_undefined,
    [VMX_EXIT_ENCLS] = exit_undefined,
    [VMX_EXIT_PCONFIG] = exit_undefined,
    [VMX_EXIT_UMWAIT] = exit_undefined,
    [VMX_EXIT_TPAUSE] = exit_undefined,
    [VMX_EXIT_SEAMCALL] = exit_undefined, /* no control permits these two: CPUs that know them always exit */
    [VMX_EXIT_TDCALL] = exit_undefined,
};

static rarely_run enum exit_result refused(struct vcpu *v, u32 reason)
{
    if (reason & VMX_REASON_ENTRY_FAILED)
        vm_fail(v, "VM entry refused: %s", vmx_exit_name(reason & VMX_REASON_BASIC_MASK));
    else
        vm_fail(v, "unexpected exit %u (%s), qualification 0x%lx", reason, vmx_exit_name(reason),
                vmx_exit_qualification(&v->vmx));
    return EXIT_YIELD;
}

enum exit_result exit_dispatch(struct vcpu *v)
{
    u32 reason = vmx_exit_reason();
    exit_handler *handler = likely(reason < VMX_EXIT_COUNT) ? handlers[reason] : NULL;

    if (unlikely(!handler))
        return refused(v, reason);
    counter_one(&v->stats.by_reason[reason]);
    return handler(v);
}

enum exit_result exit_done(struct vcpu *v)
{
    vmx_guest_skip_inline(&v->vmx);
    return EXIT_RESUME;
}

enum exit_result exit_carry_out(struct vcpu *v, u32 reason)
{
    return handlers[reason](v);
}

enum exit_result exit_inject(struct vcpu *v, u8 vector, u32 error)
{
    if (unlikely(real_active(v)))
        return real_inject_exception(v, vector);
    if (vmx_inject_exception(&v->vmx, vector, error))
        return EXIT_RESUME;
    return exit_triple_fault(v);
}

enum exit_result exit_inject_page_fault(struct vcpu *v, u32 error, gva_t address)
{
    if (unlikely(real_active(v))) {
        vmx_guest_set_cr2(address.v);
        return real_inject_exception(v, VECTOR_PF);
    }
    if (vmx_inject_page_fault(&v->vmx, error, address))
        return EXIT_RESUME;
    return exit_triple_fault(v);
}

enum exit_result exit_inject_found(struct vcpu *v)
{
    if (v->access.fault_vector == VECTOR_PF)
        return exit_inject_page_fault(v, v->access.fault_error, v->access.fault_address);
    return exit_inject(v, v->access.fault_vector, v->access.fault_error);
}
