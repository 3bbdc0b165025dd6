/*
 * event.h - rules for injecting events and for events that an exit interrupted. Pure: values in, values out.
 *
 * The layout of an event is the VM-entry interruption-information field (SDM Vol. 3C 24.8.3), which the
 * IDT-vectoring information (24.9.3) shares but for bit 12.
 */
#pragma once
#include "arch/types.h"

enum vmx_event_type { /* bits 10:8 */
                      VMX_EVENT_INTERRUPT = 0,
                      VMX_EVENT_NMI = 2,
                      VMX_EVENT_EXCEPTION = 3,
                      VMX_EVENT_SOFT_INTERRUPT = 4,       /* INT n */
                      VMX_EVENT_PRIVILEGED_EXCEPTION = 5, /* INT1 */
                      VMX_EVENT_SOFT_EXCEPTION = 6,       /* INT3, INTO */
                      VMX_EVENT_OTHER = 7                 /* pending MTF at entries */
};
#define VMX_EVENT_VECTOR_MASK 0xFFu
#define VMX_EVENT_TYPE_SHIFT  8
#define VMX_EVENT_TYPE_MASK   (7u << VMX_EVENT_TYPE_SHIFT)
#define VMX_EVENT_HAS_ERROR   (1u << 11)
#define VMX_EVENT_IRET_NMI    (1u << 12)  /* exits only: an IRET had unblocked NMIs before it faulted */
#define VMX_EVENT_RESERVED    0x7FFFF000u /* at entries */
#define VMX_EVENT_VALID       (1u << 31)

/* Guest interruptibility state (24.4.2, table 24-3) */
#define VMX_BLOCKING_STI         (1u << 0)
#define VMX_BLOCKING_MOV_SS      (1u << 1)
#define VMX_BLOCKING_SMI         (1u << 2)
#define VMX_BLOCKING_NMI         (1u << 3)
#define VMX_ENCLAVE_INTERRUPTION (1u << 4)

#define VMX_INTERRUPTIBILITY_RESERVED (~0x1Fu)

#define VMX_INSTRUCTION_MAX 15u /* bytes */

struct vmx_event {
    u32 info;   /* 0: none */
    u32 error;  /* if info has VMX_EVENT_HAS_ERROR */
    u32 length; /* of the instruction, for the three software types */
};

static inline bool vmx_event_valid(struct vmx_event e)
{
    return e.info & VMX_EVENT_VALID;
}
static inline u8 vmx_event_vector(struct vmx_event e)
{
    return e.info & VMX_EVENT_VECTOR_MASK;
}
static inline enum vmx_event_type vmx_event_type(struct vmx_event e)
{
    return (enum vmx_event_type)((e.info & VMX_EVENT_TYPE_MASK) >> VMX_EVENT_TYPE_SHIFT);
}
static inline struct vmx_event vmx_event_make(enum vmx_event_type type, u8 vector)
{
    return (struct vmx_event){VMX_EVENT_VALID | (u32)type << VMX_EVENT_TYPE_SHIFT | vector, 0, 0};
}
/* Whether the exception pushes an error code in protected mode (Vol. 3A 6.13). */
bool vmx_vector_has_error(u8 vector);
/* A hardware exception. The error code goes with the vectors that have one, if the guest is in protected mode
 * (26.2.1.3), and is ignored for others. */
struct vmx_event vmx_event_exception(u8 vector, u32 error, bool protected_mode);
static inline bool vmx_event_is_software(struct vmx_event e)
{
    return vmx_event_valid(e) && vmx_event_type(e) >= VMX_EVENT_SOFT_INTERRUPT &&
           vmx_event_type(e) <= VMX_EVENT_SOFT_EXCEPTION;
}

/*
 * An exception arises while `first` is being delivered (Vol. 3A 6.15, tables 6-4 and 6-5): returns true with
 * the event to deliver in *out: `second`, or #DF. Returns false for a triple fault: the guest shuts down.
 * `first` may be invalid (nothing was being delivered) or any type of event; `second` is a hardware
 * exception.
 */
bool must_check vmx_event_combine(struct vmx_event first, struct vmx_event second, bool protected_mode,
                                  struct vmx_event *out);

/* ---- what to do about an event interrupted by an exit ---- */

/* Exit reasons at which IDT-vectoring information or bit 12 can be valid and the event has to be delivered
 * again: exception, EPT violation and misconfiguration, APIC access, page-modification log full. (Task switch
 * and triple fault have it too, but there the delivery is over.) Vol. 3C 27.2.4. */
#define VMX_REASONS_WITH_EVENT (BIT(0) | BIT(44) | BIT(48) | BIT(49) | BIT(62))
static inline bool vmx_reason_has_event(u32 basic_reason)
{
    return basic_reason < 64 && (VMX_REASONS_WITH_EVENT >> basic_reason & 1);
}

struct vmx_interrupted {
    u32 idt_info;         /* VMCS_IDT_VECTORING_INFO */
    u32 idt_error;        /* VMCS_IDT_VECTORING_ERROR, if valid */
    u32 length;           /* VMCS_EXIT_INSTRUCTION_LENGTH */
    u32 interruptibility; /* VMCS_GUEST_INTERRUPTIBILITY */
    bool
        iret_unblocked; /* bit 12 of the exit interruption information (of the qualification for EPT, APIC) */
    bool double_fault;  /* the exit is for #DF: bit 12 then means nothing (27.2.3) */
};
struct vmx_recovery {
    struct vmx_event event; /* to be injected at the next entry, unless an exception replaces it */
    u32 interruptibility;   /* to be written if different */
    bool iret_reblocked;    /* NMI blocking was set again for an IRET that will be executed again */
};
/* 31.7.1.2 (resuming after an exit during delivery) and 27.2.3 (NMI unblocking due to IRET). */
struct vmx_recovery vmx_event_recover(const struct vmx_interrupted *in);

/*
 * The interruptibility (24.4.2) to enter with when `e` is injected in the place of `lost`, which was to be delivered again
 * (or is invalid). A #DB takes the blocking by STI and MOV SS with it: delivery ends that anyway (26.7.1), but a #DB that
 * exits is none of the guest's state: unlike at other exits the CPU does not note the single step (BS) that is due after
 * STI or MOV SS with TF set, and refuses entries without it while the blocking lasts (26.3.1.5). An NMI that is lost to
 * the exception that its delivery has met has begun all the same: NMIs are blocked until the IRET (Vol. 3A 6.7.1).
 */
u32 vmx_event_blocking(struct vmx_event lost, struct vmx_event e, u32 interruptibility);

/* ---- when the guest can take what ---- */

/* An external interrupt can be injected now: IF, no blocking, nothing else being injected (26.3.1.4/5). */
bool vmx_interrupt_allowed(u64 rflags, u32 interruptibility, u32 armed_info);
/* An NMI that waits is to be told by the interrupt window, not by the NMI window: there is none; or it is the shadow
 * of STI that blocks it, in which CPUs may exit for the NMI window already (25.2), and would again and again. IF is 1
 * there. */
bool vmx_nmi_by_interrupt_window(bool virtual_nmis, u32 interruptibility);
/* An NMI can be injected now. */
bool vmx_nmi_allowed(u32 interruptibility, u32 armed_info);
