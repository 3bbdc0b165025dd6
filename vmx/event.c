/* event.c - which event is delivered next. */
#include "vmx/event.h"
#include "arch/regs.h"

#define VECTOR_BIT(vector) (1u << VECTOR_##vector)

/* Vol. 3A table 6-1 */
static const u32 with_error = VECTOR_BIT(DF) | VECTOR_BIT(TS) | VECTOR_BIT(NP) | VECTOR_BIT(SS) |
                              VECTOR_BIT(GP) | VECTOR_BIT(PF) | VECTOR_BIT(AC) | VECTOR_BIT(CP);

bool vmx_vector_has_error(u8 vector)
{
    return vector < VECTOR_EXCEPTIONS && with_error >> vector & 1;
}

struct vmx_event vmx_event_exception(u8 vector, u32 error, bool protected_mode)
{
    struct vmx_event e = vmx_event_make(VMX_EVENT_EXCEPTION, vector & (VECTOR_EXCEPTIONS - 1));

    if (protected_mode && vmx_vector_has_error(vector)) {
        e.info |= VMX_EVENT_HAS_ERROR;
        e.error = error & 0xFFFF; /* bits 31:16 have to be 0 for entries on older CPUs (26.2.1.3) */
        if (vector == VECTOR_DF)
            e.error = 0;
    }
    return e;
}

/* Vol. 3A table 6-4 */
enum severity { BENIGN, CONTRIBUTORY, PAGE_FAULT, DOUBLE_FAULT };

static enum severity severity_of(struct vmx_event e)
{
    const u32 contributory =
        VECTOR_BIT(DE) | VECTOR_BIT(TS) | VECTOR_BIT(NP) | VECTOR_BIT(SS) | VECTOR_BIT(GP) | VECTOR_BIT(CP);
    u8 vector = vmx_event_vector(e);

    /* Interrupts, NMI, INT n, INT3 and INTO are benign whatever their vector. */
    if (!vmx_event_valid(e) || vmx_event_type(e) != VMX_EVENT_EXCEPTION || vector >= VECTOR_EXCEPTIONS)
        return BENIGN;
    if (vector == VECTOR_DF)
        return DOUBLE_FAULT;
    if (vector == VECTOR_PF || vector == VECTOR_VE)
        return PAGE_FAULT;
    return contributory >> vector & 1 ? CONTRIBUTORY : BENIGN;
}

bool vmx_event_combine(struct vmx_event first, struct vmx_event second, bool protected_mode,
                       struct vmx_event *out)
{
    enum severity a = severity_of(first), b = severity_of(second);

    *out = second;
    if (a == DOUBLE_FAULT && b != BENIGN) {
        *out = (struct vmx_event){0, 0, 0};
        return false;
    }
    /* Table 6-5. In all other cases the second is delivered; the instruction that caused the first is
     * executed again after its handler. */
    if ((a == CONTRIBUTORY && b == CONTRIBUTORY) || (a == PAGE_FAULT && b != BENIGN))
        *out = vmx_event_exception(VECTOR_DF, 0, protected_mode);
    return true;
}

struct vmx_recovery vmx_event_recover(const struct vmx_interrupted *in)
{
    struct vmx_recovery out = {{0, 0, 0}, in->interruptibility, false};

    if (!(in->idt_info & VMX_EVENT_VALID)) {
        /* The fault hit an IRET that had already unblocked NMIs: block them again, as it will be executed
         * again (27.2.3, 31.7.1.2). */
        if (in->iret_unblocked && !in->double_fault) {
            out.interruptibility |= VMX_BLOCKING_NMI;
            out.iret_reblocked = true;
        }
        return out;
    }
    out.event.info = in->idt_info & ~VMX_EVENT_IRET_NMI; /* bit 12 is undefined here */
    if (in->idt_info & VMX_EVENT_HAS_ERROR)
        out.event.error = in->idt_error;
    if (vmx_event_is_software(out.event))
        out.event.length = in->length;
    /* The delivery of an NMI blocks NMIs; its repetition wants them unblocked (26.3.1.5). */
    if (vmx_event_type(out.event) == VMX_EVENT_NMI)
        out.interruptibility &= ~VMX_BLOCKING_NMI;
    return out;
}

u32 vmx_event_blocking(struct vmx_event lost, struct vmx_event e, u32 interruptibility)
{
    enum vmx_event_type type = vmx_event_type(e);

    if (vmx_event_valid(lost) && vmx_event_type(lost) == VMX_EVENT_NMI)
        interruptibility |= VMX_BLOCKING_NMI;
    if (vmx_event_valid(e) && vmx_event_vector(e) == VECTOR_DB &&
        (type == VMX_EVENT_EXCEPTION || type == VMX_EVENT_PRIVILEGED_EXCEPTION))
        interruptibility &= ~(VMX_BLOCKING_STI | VMX_BLOCKING_MOV_SS);
    return interruptibility;
}

bool vmx_interrupt_allowed(u64 rflags, u32 interruptibility, u32 armed_info)
{
    return !armed_info && rflags & RFLAGS_IF &&
           !(interruptibility & (VMX_BLOCKING_STI | VMX_BLOCKING_MOV_SS));
}

bool vmx_nmi_allowed(u32 interruptibility, u32 armed_info)
{
    /* 26.3.1.5 lets a CPU refuse an NMI in the shadow of STI too. */
    return !armed_info && !(interruptibility &
                            (VMX_BLOCKING_STI | VMX_BLOCKING_MOV_SS | VMX_BLOCKING_SMI | VMX_BLOCKING_NMI));
}

bool vmx_nmi_by_interrupt_window(bool virtual_nmis, u32 interruptibility)
{
    return !virtual_nmis || interruptibility & VMX_BLOCKING_STI;
}
