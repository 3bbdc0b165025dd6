/* inject.c - events into the current VMCS; the rules are in event.c. */
#include "arch/regs.h"
#include "vmx/vcpu.h"

static void arm(struct vmx_vcpu *v, struct vmx_event e)
{
    v->armed = e;
    vmcs_write(VMCS_ENTRY_INTERRUPTION_INFO, e.info);
    if (e.info & VMX_EVENT_HAS_ERROR)
        vmcs_write(VMCS_ENTRY_EXCEPTION_ERROR, e.error);
    if (vmx_event_is_software(e))
        vmcs_write(VMCS_ENTRY_INSTRUCTION_LENGTH, e.length);
}

void vmx_event_disarm(struct vmx_vcpu *v)
{
    v->armed = (struct vmx_event){0, 0, 0};
    vmcs_write(VMCS_ENTRY_INTERRUPTION_INFO, 0);
}

void vmx_exit_recover(struct vmx_vcpu *v, u32 info)
{
    u64 flags = info & VMX_EVENT_VALID ? info : vmx_exit_qualification(v);
    struct vmx_interrupted in = {
        .idt_info = vmx_exit_idt_vectoring(),
        .iret_unblocked = v->virtual_nmis && flags & VMX_EVENT_IRET_NMI,
        .double_fault = (info & (VMX_EVENT_TYPE_MASK | VMX_EVENT_VECTOR_MASK)) ==
                        (VMX_EVENT_EXCEPTION << VMX_EVENT_TYPE_SHIFT | VECTOR_DF),
    };
    struct vmx_recovery out;

    if (likely(!(in.idt_info & VMX_EVENT_VALID) && !in.iret_unblocked))
        return;
    in.interruptibility = (u32)vmcs_read(VMCS_GUEST_INTERRUPTIBILITY);
    in.length = vmx_exit_length(v);
    if (in.idt_info & VMX_EVENT_HAS_ERROR)
        in.idt_error = (u32)vmcs_read(VMCS_IDT_VECTORING_ERROR);
    out = vmx_event_recover(&in);
    if (out.interruptibility != in.interruptibility)
        vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, out.interruptibility);
    if (out.iret_reblocked)
        v->state |= VMX_STATE_IRET_REBLOCKED;
    if (vmx_event_valid(out.event))
        arm(v, out.event);
}

/* Exceptions that are not faults leave RF alone (Vol. 3B 17.3.1.1). */
static bool is_fault(u8 vector)
{
    return vector != VECTOR_DB && vector != VECTOR_BP && vector != VECTOR_OF && vector != VECTOR_DF &&
           vector != VECTOR_MC;
}

static void settle_blocking(const struct vmx_vcpu *v, struct vmx_event e)
{
    u32 blocking = (u32)vmcs_read(VMCS_GUEST_INTERRUPTIBILITY);
    u32 after = vmx_event_blocking(v->armed, e, blocking);

    if (after != blocking)
        vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, after);
}

bool vmx_inject_exception(struct vmx_vcpu *v, u8 vector, u32 error)
{
    bool protected_mode = !v->cr_env.unrestricted || vmcs_read(VMCS_GUEST_CR0) & CR0_PE;
    struct vmx_event e;

    if (!vmx_event_combine(v->armed, vmx_event_exception(vector, error, protected_mode), protected_mode,
                           &e)) {
        vmx_event_disarm(v);
        return false;
    }
    /* The fault is the guest's own after all: its IRET will not be executed again. */
    if (unlikely(v->state & VMX_STATE_IRET_REBLOCKED)) {
        v->state &= ~(u32)VMX_STATE_IRET_REBLOCKED;
        vmcs_write(VMCS_GUEST_INTERRUPTIBILITY,
                   vmcs_read(VMCS_GUEST_INTERRUPTIBILITY) & ~(u64)VMX_BLOCKING_NMI);
    }
    if (is_fault(vmx_event_vector(e)))
        vmcs_write(VMCS_GUEST_RFLAGS, vmx_guest_rflags() | RFLAGS_RF);
    if (unlikely(vmx_event_vector(e) == VECTOR_DB || vmx_event_armed(v)))
        settle_blocking(v, e);
    arm(v, e);
    return true;
}

bool vmx_inject_page_fault(struct vmx_vcpu *v, u32 error, gva_t address)
{
    vmx_guest_set_cr2(address.v);
    return vmx_inject_exception(v, VECTOR_PF, error);
}

void vmx_inject_int1(struct vmx_vcpu *v)
{
    struct vmx_event e = vmx_event_make(VMX_EVENT_PRIVILEGED_EXCEPTION, VECTOR_DB);

    e.length = vmx_exit_length(v);
    settle_blocking(v, e);
    arm(v, e);
}

void vmx_inject_interrupt(struct vmx_vcpu *v, u8 vector)
{
    arm(v, vmx_event_make(VMX_EVENT_INTERRUPT, vector));
}

void vmx_inject_nmi(struct vmx_vcpu *v)
{
    arm(v, vmx_event_make(VMX_EVENT_NMI, VECTOR_NMI));
}

bool vmx_can_inject_interrupt(const struct vmx_vcpu *v)
{
    return vmx_interrupt_allowed(vmx_guest_rflags(), (u32)vmcs_read(VMCS_GUEST_INTERRUPTIBILITY),
                                 v->armed.info);
}

/* Without virtual NMIs nothing tells when the guest's NMI handler is done. It runs with IF=0 as a rule, so
 * the next one waits for IF=1. */
bool vmx_can_inject_nmi(const struct vmx_vcpu *v)
{
    if (!v->virtual_nmis)
        return vmx_can_inject_interrupt(v);
    return vmx_nmi_allowed((u32)vmcs_read(VMCS_GUEST_INTERRUPTIBILITY), v->armed.info);
}

static void windows(struct vmx_vcpu *v)
{
    vmx_vcpu_control(v, VMX_PRIMARY_INTERRUPT_WINDOW_EXITING,
                     v->interrupt_window || (v->nmi_window && v->nmi_by_interrupt));
    vmx_vcpu_control(v, VMX_PRIMARY_NMI_WINDOW_EXITING, v->nmi_window && !v->nmi_by_interrupt);
}

void vmx_interrupt_window_set(struct vmx_vcpu *v, bool on)
{
    if (v->interrupt_window == on)
        return;
    v->interrupt_window = on;
    windows(v);
}

void vmx_nmi_window_set(struct vmx_vcpu *v, bool on)
{
    bool by_interrupt =
        on && vmx_nmi_by_interrupt_window(v->virtual_nmis, (u32)vmcs_read(VMCS_GUEST_INTERRUPTIBILITY));
    if (v->nmi_window == on && v->nmi_by_interrupt == by_interrupt)
        return;
    v->nmi_window = on;
    v->nmi_by_interrupt = by_interrupt;
    windows(v);
}
