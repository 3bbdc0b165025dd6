/*
 * vcpu.h - one virtual CPU as the hardware runs it: VMCS, general registers, entry and exit, event injection.
 *
 * Life: vmx_vcpu_init once; then on the CPU that is to run it vmx_vcpu_load (makes it current),
 * vmx_vcpu_setup once (writes every field), vmx_guest_write (first register state), and vmx_enter again and
 * again. To run it elsewhere: vmx_vcpu_unload on the old CPU, vmx_vcpu_load on the new.
 *
 * All functions but init and the GPR array need the vCPU to be current on the CPU that calls them. A vCPU is
 * only ever touched by one CPU at a time; handing it over is the scheduler's business (release after unload,
 * acquire before load).
 */
#pragma once
#include "arch/err.h"
#include "arch/regs.h"
#include "arch/types.h"
#include "vmx/caps.h"
#include "vmx/check.h"
#include "vmx/cr.h"
#include "vmx/enable.h"
#include "vmx/event.h"
#include "vmx/exit.h"
#include "vmx/flush.h"
#include "vmx/guest.h"
#include "vmx/insn.h"
#include "vmx/msr_bitmap.h"
#include "vmx/vmcs.h"

/* SDM register numbers: index into gpr[] */
enum vmx_gpr {
    VMX_RAX,
    VMX_RCX,
    VMX_RDX,
    VMX_RBX,
    VMX_RSP, /* in the VMCS: vmx_gpr_read() and vmx_gpr_write() know */
    VMX_RBP,
    VMX_RSI,
    VMX_RDI,
    VMX_R8,
    VMX_R9,
    VMX_R10,
    VMX_R11,
    VMX_R12,
    VMX_R13,
    VMX_R14,
    VMX_R15,
    VMX_GPR_COUNT
};

/* Registers that hardware neither saves nor loads at exits and entries. They stay live in the CPU while the
 * vCPU is current, and are swapped by vmx_vcpu_load/unload. (x87/SSE/AVX state and XCR0 are the caller's.) */
struct vmx_live {
    u64 cr2;
    u64 dr[4], dr6;
    u64 star, lstar, cstar, fmask, kernel_gs_base, tsc_aux;
};

/* Bits of vmx_vcpu.state. The HAVE bits: read already since the last exit. */
enum vmx_state {
    VMX_STATE_LAUNCHED = 1, /* VMRESUME, not VMLAUNCH */
    VMX_HAVE_QUALIFICATION = 2,
    VMX_HAVE_LENGTH = 4,
    VMX_HAVE_RIP = 8,
    VMX_STATE_IRET_REBLOCKED = 16 /* see struct vmx_recovery; of this exit */
};

struct vmx_vcpu;
/*
 * Deals with an exit and says how to go on: with the count of NMIs (struct cpu) as it was when there was no work left,
 * to enter the guest again unless one has come since; or with VMX_LEAVE, and vmx_enter() returns. Guest registers are
 * in v->gpr, and changes made there count at the next entry. Interrupts are off.
 */
typedef u64 vmx_exit_fn(struct vmx_vcpu *v);
#define VMX_LEAVE (~0ull)

struct vmx_vcpu {
    u64 gpr[VMX_GPR_COUNT]; /* of the guest while it is not running; [VMX_RSP] unused */
    u64 host_rsp;           /* what HOST_RSP in the VMCS is; 0: not known */
    vmx_exit_fn *on_exit;   /* set before vmx_enter() */
    u32 state; /* enum vmx_state; an exit clears the HAVE bits and, with the same store, armed.info */
    struct vmx_event armed; /* what the entry fields of the VMCS hold; info 0: nothing will be injected */
    bool virtual_nmis;
    bool interrupt_window, nmi_window; /* wanted */
    bool nmi_by_interrupt;             /* the NMI window is to be the interrupt window */
    bool flush_l1d;                    /* vmx_setup's */
    bool tsc_aux_live;                 /* RDTSCP is on, TSC_AUX has to be switched */
    u8 tpr_threshold;                  /* as the VMCS has it */
    u16 vpid;                          /* 0: no VPID */
    u64 qualification, rip;
    u32 length;
    u64 efer;                     /* as the CPU has it in the guest, see vmx_guest_set_efer() */
    struct vmx_controls controls; /* what the VMCS holds */
    struct vmcs_block *block;
    struct vmx_cpu *cpu; /* where the VMCS is active; NULL: nowhere (VMCLEARed) */
    struct vmx_cr_env cr_env;
    struct vmx_live live; /* valid while not current */
};

/* ------------------------------------------------------------------ life */

struct vmx_setup {
    struct vmx_controls controls; /* of vmx_controls_choose() */
    u16 vpid;                     /* not 0 if the VPID control is on */
    hpa_t msr_bitmap;             /* used if the MSR_BITMAPS control is on */
    u64 ept_pointer;              /* used if the EPT control is on */
    u32 exception_bitmap;         /* vectors that exit */
    bool flush_l1d;               /* at each entry with EPT: L1TF_FLUSH (vmx/l1tf.h) */
};

/* `block` is zeroed; `revision` is caps.revision. */
void vmx_vcpu_init(struct vmx_vcpu *v, struct vmcs_block *block, u32 revision);
/* Makes v current on this CPU: swaps the live registers, VMPTRLD; the first time on this CPU also the host
 * state. Cheap if it is current already. STATE: it is still active on another CPU, or VMPTRLD failed. */
enum err must_check vmx_vcpu_load(struct vmx_vcpu *v, struct vmx_cpu *cpu);
/* Takes v from this CPU, so that another one may load it: saves the live registers, VMCLEAR. Also for death.
 */
void vmx_vcpu_unload(struct vmx_vcpu *v);
/* Writes all control fields and those guest fields that vmx_guest_write() does not. After load. STATE: the
 * CPU refused a field (it is named in the log). */
enum err must_check vmx_vcpu_setup(struct vmx_vcpu *v, const struct vmx_setup *setup);
/* Turns one control on or off; writes the VMCS only if that changes something. The control has to be one that
 * vmx_control_can() (or is on now and not forced). */
void vmx_vcpu_control(struct vmx_vcpu *v, enum vmx_control control, bool on);
/* Replaces all control words (shadow <-> EPT); windows, timer and the guest's mode stay. The real control
 * registers and EFER depend on it: the caller writes all of them again, and flushes translations as needed.
 */
void vmx_vcpu_set_controls(struct vmx_vcpu *v, const struct vmx_controls *controls, u64 ept_pointer);
/* Preemption timer: exit after `tsc_ticks` (rounded up, saturated), or never. False: this CPU has none. */
bool vmx_vcpu_timer_set(struct vmx_vcpu *v, u64 tsc_ticks);
void vmx_vcpu_timer_off(struct vmx_vcpu *v);
/* Exits (VMX_EXIT_PAUSE) when the guest spins: after a loop of PAUSEs where the CPU tells, else at each PAUSE; on some
 * CPUs not at all. */
void vmx_vcpu_spin_exits(struct vmx_vcpu *v, bool on);

/* ----------------------------------------------------------------- running */

enum vmx_enter_result {
    VMX_ENTER_LEFT,         /* on_exit said so, or an NMI has called the entry off */
    VMX_ENTER_FAIL_INVALID, /* VMfailInvalid: no current VMCS */
    VMX_ENTER_FAIL_VALID    /* VMfailValid: VMCS_INSTRUCTION_ERROR */
};
/*
 * Enters the guest, calls v->on_exit at each exit, and enters it again for as long as that says so (vmx/entry.asm).
 * `nmi_count` is this_cpu()->nmi_count as read before the caller looked for work: if an NMI has come after that, or
 * comes before the entry is done, nothing is entered, so that no kick is lost. The same holds for what on_exit returns.
 */
enum vmx_enter_result must_check vmx_enter(struct vmx_vcpu *v, u64 nmi_count);
/* Tells arch/traps.h about the window in which an NMI calls the entry off. Once, on the boot CPU, before the
 * first vmx_enter(). */
void vmx_enter_init(void);

/* First thing at an exit: the whole exit reason field, basic reason in bits 15:0, and VMX_REASON_ENTRY_FAILED. */
static inline u32 vmx_exit_reason(void)
{
    return (u32)vmcs_read(VMCS_EXIT_REASON);
}
/*
 * Second thing at an exit that can interrupt the delivery of an event (vmx_reason_has_event()): the event is armed
 * again (v->armed). info: VMCS_EXIT_INTERRUPTION_INFO at exits by exceptions, else 0.
 */
void vmx_exit_recover(struct vmx_vcpu *v, u32 info);

static inline u64 vmx_exit_qualification(struct vmx_vcpu *v)
{
    if (!(v->state & VMX_HAVE_QUALIFICATION)) {
        v->qualification = vmcs_read(VMCS_EXIT_QUALIFICATION);
        v->state |= VMX_HAVE_QUALIFICATION;
    }
    return v->qualification;
}
/* Length of the instruction that exited; meaningful for the exits listed in 27.2.5 only. */
static inline u32 vmx_exit_length(struct vmx_vcpu *v)
{
    if (!(v->state & VMX_HAVE_LENGTH)) {
        v->length = (u32)vmcs_read(VMCS_EXIT_INSTRUCTION_LENGTH);
        v->state |= VMX_HAVE_LENGTH;
    }
    return v->length;
}
static inline u32 vmx_exit_interruption_info(void)
{
    return (u32)vmcs_read(VMCS_EXIT_INTERRUPTION_INFO);
}
static inline u32 vmx_exit_interruption_error(void)
{
    return (u32)vmcs_read(VMCS_EXIT_INTERRUPTION_ERROR);
}
static inline u32 vmx_exit_instruction_info(void)
{
    return (u32)vmcs_read(VMCS_EXIT_INSTRUCTION_INFO);
}
static inline u32 vmx_exit_idt_vectoring(void)
{
    return (u32)vmcs_read(VMCS_IDT_VECTORING_INFO);
}
static inline gpa_t vmx_exit_gpa(void)
{
    return GPA(vmcs_read(VMCS_GUEST_PHYSICAL_ADDRESS));
}
static inline gva_t vmx_exit_linear(void)
{
    return GVA(vmcs_read(VMCS_GUEST_LINEAR_ADDRESS));
}

/* ------------------------------------------------------------ guest registers */

static inline u64 vmx_gpr_read(const struct vmx_vcpu *v, unsigned number)
{
    return number == VMX_RSP ? vmcs_read(VMCS_GUEST_RSP) : v->gpr[number & 15];
}
static inline void vmx_gpr_write(struct vmx_vcpu *v, unsigned number, u64 value)
{
    if (number == VMX_RSP)
        vmcs_write(VMCS_GUEST_RSP, value);
    else
        v->gpr[number & 15] = value;
}
static inline u64 vmx_guest_rip(struct vmx_vcpu *v)
{
    if (!(v->state & VMX_HAVE_RIP)) {
        v->rip = vmcs_read(VMCS_GUEST_RIP);
        v->state |= VMX_HAVE_RIP;
    }
    return v->rip;
}
static inline void vmx_guest_set_rip(struct vmx_vcpu *v, u64 rip)
{
    v->rip = rip;
    v->state |= VMX_HAVE_RIP;
    vmcs_write(VMCS_GUEST_RIP, rip);
}
/* The instruction is done: RIP behind it, blocking by STI and MOV SS over, a single step (TF) due. */
void vmx_guest_skip(struct vmx_vcpu *v);
/* Its rare part: what is to be done besides a new RIP. */
void vmx_guest_skip_rest(struct vmx_vcpu *v, u64 rip, u64 rflags, u32 blocking);
/* The same as vmx_guest_skip(), where an exit has to be fast: four VMREADs, one VMWRITE. */
static inline void vmx_guest_skip_inline(struct vmx_vcpu *v)
{
    u64 was = vmcs_read(VMCS_GUEST_RIP), rip = was + (u32)vmcs_read(VMCS_EXIT_INSTRUCTION_LENGTH);
    u64 rflags = vmcs_read(VMCS_GUEST_RFLAGS);
    u32 blocking = (u32)vmcs_read(VMCS_GUEST_INTERRUPTIBILITY);

    v->state &= ~(u32)VMX_HAVE_RIP;
    vmcs_write(VMCS_GUEST_RIP, rip);
    if (unlikely((rip ^ was) >> 32 || blocking & (VMX_BLOCKING_STI | VMX_BLOCKING_MOV_SS) ||
                 rflags & (RFLAGS_TF | RFLAGS_RF)))
        vmx_guest_skip_rest(v, rip, rflags, blocking);
}

static inline u64 vmx_guest_rflags(void)
{
    return vmcs_read(VMCS_GUEST_RFLAGS);
}
static inline u32 vmx_segment_access(enum vmx_segment s)
{
    return (u32)vmcs_read(vmcs_segment_field(VMCS_GUEST_ES_ACCESS, s));
}
static inline u64 vmx_segment_base(enum vmx_segment s)
{
    return vmcs_read(vmcs_segment_field(VMCS_GUEST_ES_BASE, s));
}
struct vmx_seg vmx_segment_read(enum vmx_segment s);
void vmx_segment_write(enum vmx_segment s, const struct vmx_seg *seg);
/* Privilege level: DPL of SS, in all modes (24.4.1). */
static inline unsigned vmx_guest_cpl(void)
{
    return vmx_access_dpl(vmx_segment_access(VMX_SEG_SS));
}
/* 64, 32 or 16: operating size of the code that runs. */
unsigned vmx_guest_code_bits(const struct vmx_vcpu *v);

/* Control registers as the guest sees them. */
static inline u64 vmx_guest_cr0(void)
{
    return vmx_cr_view(vmcs_read(VMCS_GUEST_CR0), vmcs_read(VMCS_CR0_SHADOW), vmx_cr0_guest_owned);
}
static inline u64 vmx_guest_cr4(void)
{
    return vmx_cr_view(vmcs_read(VMCS_GUEST_CR4), vmcs_read(VMCS_CR4_SHADOW), vmx_cr4_guest_owned);
}
/* Writes the guest's value to the shadow and what follows from it to the real register. CR4's real value
 * depends on CR0 too: after a change of CR0.PG write both. */
void vmx_guest_set_cr0(struct vmx_vcpu *v, u64 guest_cr0);
void vmx_guest_set_cr4(struct vmx_vcpu *v, u64 guest_cr4);
/* The guest's EFER (SCE, LME, LMA, NXE as the guest sees them): sets the CPU's, and the "IA-32e mode guest"
 * entry control from LMA. NXE is always on in the CPU unless EPT is on. */
void vmx_guest_set_efer(struct vmx_vcpu *v, u64 guest_efer);
/* The real CR3: root of the shadow (or the guest's own under EPT). */
static inline void vmx_guest_set_cr3(u64 cr3)
{
    vmcs_write(VMCS_GUEST_CR3, cr3);
}
/*
 * Which page faults exit: those with one of these bits in the error code; all if there are none. SDM Vol 3C 25.2: with
 * bit 14 of the exception bitmap set, those with (code AND mask) = match, and with the bit clear the others. exceptions:
 * the bitmap, with bit 14 set.
 */
static inline void vmx_guest_exit_on_faults(u32 exceptions, u32 bits)
{
    vmcs_write(VMCS_EXCEPTION_BITMAP, bits ? exceptions & ~(1u << VECTOR_PF) : exceptions);
    vmcs_write(VMCS_PAGE_FAULT_ERROR_MASK, bits);
    vmcs_write(VMCS_PAGE_FAULT_ERROR_MATCH, 0);
}
/* CR2 is live in the CPU while v is current. */
u64 vmx_guest_cr2(void);
void vmx_guest_set_cr2(u64 address);

/* Debug registers 0-3 and 6, live in the CPU while v is current, and 7. set: as MOV DR does, reserved bits as
 * they have to be. */
u64 vmx_guest_dr(unsigned number);
void vmx_guest_set_dr(unsigned number, u32 value);

/* Puts a whole register state into the VMCS: registers, segments, CR0, CR4, EFER by the functions above; CR3
 * only if EPT is on (else the shadow's root comes from the caller). GPRs and live registers are not touched.
 */
void vmx_guest_write(struct vmx_vcpu *v, const struct vmx_guest_init *init);

/* ------------------------------------------------------------------- events */

/* Exception for the guest at this entry. If an event is armed already (it was being delivered when the exit
 * happened), the two combine as in Vol. 3A 6.15. False: triple fault, the guest shuts down, and nothing is
 * armed. Faults are delivered with RF set in the saved flags, as the CPU does. */
bool must_check vmx_inject_exception(struct vmx_vcpu *v, u8 vector, u32 error);
/* The same for #PF, with CR2. */
bool must_check vmx_inject_page_fault(struct vmx_vcpu *v, u32 error, gva_t address);
/* The INT1 that has just exited (an exception exit of type VMX_EVENT_PRIVILEGED_EXCEPTION). */
void vmx_inject_int1(struct vmx_vcpu *v);
/* External interrupt; only if vmx_can_inject_interrupt(). */
void vmx_inject_interrupt(struct vmx_vcpu *v, u8 vector);
/* NMI; only if vmx_can_inject_nmi(). */
void vmx_inject_nmi(struct vmx_vcpu *v);
bool vmx_can_inject_interrupt(const struct vmx_vcpu *v);
bool vmx_can_inject_nmi(const struct vmx_vcpu *v);
/* Exit (INTERRUPT_WINDOW, NMI_WINDOW) as soon as the guest can take one; stays until turned off. The NMI window is the
 * interrupt window where vmx_nmi_by_interrupt_window() says so: it is asked each time. */
void vmx_interrupt_window_set(struct vmx_vcpu *v, bool on);
void vmx_nmi_window_set(struct vmx_vcpu *v, bool on);
static inline bool vmx_event_armed(const struct vmx_vcpu *v)
{
    return v->armed.info != 0;
}
/*
 * With TPR_SHADOW on: exit (TPR_BELOW_THRESHOLD) after a MOV CR8 that takes the priority class in the virtual-APIC page
 * below `threshold`, which must not be above that class now (SDM Vol 3C 26.2.1.1, 29.1.2).
 */
static inline void vmx_vcpu_tpr_threshold(struct vmx_vcpu *v, u32 threshold)
{
    if (likely(threshold == v->tpr_threshold))
        return;
    v->tpr_threshold = (u8)threshold;
    vmcs_write(VMCS_TPR_THRESHOLD, threshold);
}
/* Takes back what is armed (for a vCPU that is reset). */
void vmx_event_disarm(struct vmx_vcpu *v);

/* --------------------------------------------------------------- diagnosis */

/* After VMX_REASON_ENTRY_FAILED or a VMfail: says what it was and every broken rule. Then the vCPU may be
 * corrected and entered again. */
void vmx_vcpu_explain(struct vmx_vcpu *v, enum vmx_enter_result result, vmx_line_fn line, void *ctx);
/* All GPRs and every field of the VMCS, with names. */
void vmx_vcpu_dump(struct vmx_vcpu *v, vmx_line_fn line, void *ctx);
