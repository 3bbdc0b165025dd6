/* exit_cpu.c - exits of single instructions, of interrupts and of timers. */
#include "arch/apic.h"
#include "arch/log.h"
#include "vmm/exit.h"
#include "vmm/real.h"
#include "vmm/sched.h"

static enum exit_result cpuid_answer(struct vcpu *v, const struct cpuid_regs *r)
{
    v->vmx.gpr[VMX_RAX] = r->eax;
    v->vmx.gpr[VMX_RBX] = r->ebx;
    v->vmx.gpr[VMX_RCX] = r->ecx;
    v->vmx.gpr[VMX_RDX] = r->edx;
    return exit_done(v);
}

/* A leaf whose answer depends on the vCPU's state or on the subleaf. */
static rarely_run enum exit_result cpuid_dynamic(struct vcpu *v)
{
    const struct vcpuid_state state = {
        .cr4 = v->shadow.paging.cr4,
        .xcr0 = v->xcr0,
        .apic_base = vlapic_base(vcpu_lapic(v)),
        .apic_id = v->index,
    };
    struct cpuid_regs r;

    vcpuid_query(&v->vm->platform.cpuid, &state, (u32)v->vmx.gpr[VMX_RAX], (u32)v->vmx.gpr[VMX_RCX], &r);
    return cpuid_answer(v, &r);
}

enum exit_result exit_cpuid(struct vcpu *v)
{
    const struct vcpuid_entry *e = vcpuid_entry(&v->vm->platform.cpuid, (u32)v->vmx.gpr[VMX_RAX]);

    if (unlikely(e->dynamic != VCPUID_STATIC))
        return cpuid_dynamic(v);
    return cpuid_answer(v, &e->regs);
}

/* The vCPU sleeps until something is deliverable; with IF=0 only an NMI or INIT wakes it, as on a real CPU.
 */
enum exit_result exit_hlt(struct vcpu *v)
{
    bool stepping = vmx_guest_rflags() & RFLAGS_TF;

    vmx_guest_skip(&v->vmx);
    if (stepping) /* the #DB after it wakes at once */
        return EXIT_RESUME;
    v->interruptible = vmx_guest_rflags() & RFLAGS_IF;
    vcpu_sleep(v, VCPU_HALTED);
    return EXIT_YIELD;
}

/* SDM Vol 2: #GP for an unknown register, reserved or unsupported components, x87 off, AVX without SSE; #UD
 * without CR4.OSXSAVE does not exit. */
enum exit_result exit_xsetbv(struct vcpu *v)
{
    u64 value = (v->vmx.gpr[VMX_RDX] << 32) | (u32)v->vmx.gpr[VMX_RAX];

    if ((u32)v->vmx.gpr[VMX_RCX] != 0 || real_cpl(v) != 0 || !(value & XCR0_X87) ||
        (value & ~v->vm->platform.cpuid.xcr0) || ((value & XCR0_AVX) && !(value & XCR0_SSE)))
        return exit_inject_gp(v);
    v->xcr0 = value;
    xcr0_write(value); /* ours while this vCPU is current: the VMM itself uses no such state */
    return exit_done(v);
}

/* It spins, and what it waits for may be the work of a vCPU that waits for this CPU. */
enum exit_result exit_pause(struct vcpu *v)
{
    vmx_guest_skip(&v->vmx);
    return sched_others_wait(v->on) ? EXIT_YIELD : EXIT_RESUME;
}

enum exit_result exit_undefined(struct vcpu *v)
{
    return exit_inject_ud(v);
}

enum exit_result exit_protection(struct vcpu *v)
{
    return exit_inject_gp(v);
}

/* The guest can take what waits for it now: the entry path looks again. */
enum exit_result exit_window(struct vcpu *v)
{
    vmx_interrupt_window_set(&v->vmx, false);
    vmx_nmi_window_set(&v->vmx, false);
    atomic_fetch_or_explicit(&v->requests, REQUEST_EVENTS, memory_order_relaxed);
    return EXIT_RESUME;
}

/* A MOV CR8 lets something through. */
enum exit_result exit_tpr(struct vcpu *v)
{
    atomic_fetch_or_explicit(&v->requests, REQUEST_EVENTS, memory_order_relaxed);
    return EXIT_RESUME;
}

/* Timers are looked at after every exit: nothing else to do. */
enum exit_result exit_timer(struct vcpu *v)
{
    v->timer_entries = 0;
    return EXIT_RESUME;
}

/* Only our own APIC timer sends fixed vectors to this CPU. */
enum exit_result exit_external_interrupt(struct vcpu *v)
{
    v->on->timer_armed = ~0ull;
    v->timer_entries = 0;
    apic_eoi();
    return EXIT_RESUME;
}

/* The guest's own #DB, delivered as the CPU would have: DR6 says why, DR7.GD is off (SDM Vol 3B 17.2,
 * 3C 27.1). It exits only because a guest can arrange that delivering it raises it again, for ever and
 * uninterruptibly; #AC likewise. */
static enum exit_result reflect_debug(struct vcpu *v, u32 info)
{
    if ((info & VMX_EVENT_TYPE_MASK) >> VMX_EVENT_TYPE_SHIFT == VMX_EVENT_PRIVILEGED_EXCEPTION) {
        vmx_inject_int1(&v->vmx); /* no cause in DR6, and its return address is behind the instruction */
        return EXIT_RESUME;
    }
    dr6_write((dr6_read() & ~(u64)DR6_BREAKPOINTS) | (vmx_exit_qualification(&v->vmx) & DR6_CAUSES));
    vmcs_write(VMCS_GUEST_DR7, vmcs_read(VMCS_GUEST_DR7) & ~(u64)DR7_GD);
    return exit_inject(v, VECTOR_DB, 0);
}

enum exit_result exit_exception(struct vcpu *v)
{
    u32 info = vmx_exit_interruption_info();

    vmx_exit_recover(&v->vmx, info);
    if ((info & VMX_EVENT_TYPE_MASK) >> VMX_EVENT_TYPE_SHIFT == VMX_EVENT_NMI) {
        cpu_run_nmi_handler(); /* a kick: sched.c sees that the count has changed */
        counter_one(&v->stats.kicks);
        return EXIT_RESUME;
    }
    if (likely((info & VMX_EVENT_VECTOR_MASK) == VECTOR_PF))
        return exit_page_fault(v, vmx_exit_interruption_error());
    if (unlikely(real_active(v)))
        return real_exception(v, info);
    switch (info & VMX_EVENT_VECTOR_MASK) {
    case VECTOR_DB: return reflect_debug(v, info);
    case VECTOR_AC: return exit_inject(v, VECTOR_AC, 0);
    case VECTOR_MC: panic("machine check on CPU %u", v->on->cpu->index); /* the machine's, not the guest's */
    }
    vm_fail(v, "unexpected exception exit, vector %u", info & VMX_EVENT_VECTOR_MASK);
    return EXIT_YIELD;
}

enum exit_result exit_triple_fault(struct vcpu *v)
{
    vm_fail(v, "triple fault: the guest could not handle an exception");
    return EXIT_YIELD;
}
