/* exit_cpu.c - exits of single instructions, of interrupts and of timers. */
#include "arch/apic.h"
#include "vmm/exit.h"

enum exit_result exit_cpuid(struct vcpu *v)
{
    const struct vcpuid_state state = {
        .cr4 = v->shadow.paging.cr4,
        .xcr0 = v->xcr0,
        .apic_base = vlapic_base(&v->vm->platform.cpu[v->index].lapic),
        .apic_id = v->index,
    };
    struct cpuid_regs r;

    vcpuid_query(&v->vm->platform.cpuid, &state, (u32)v->vmx.gpr[VMX_RAX], (u32)v->vmx.gpr[VMX_RCX], &r);
    v->vmx.gpr[VMX_RAX] = r.eax;
    v->vmx.gpr[VMX_RBX] = r.ebx;
    v->vmx.gpr[VMX_RCX] = r.ecx;
    v->vmx.gpr[VMX_RDX] = r.edx;
    vmx_guest_skip(&v->vmx);
    return EXIT_RESUME;
}

/* The vCPU sleeps until something is deliverable; with IF=0 only an NMI or INIT wakes it, as on a real CPU.
 */
enum exit_result exit_hlt(struct vcpu *v)
{
    vmx_guest_skip(&v->vmx);
    if (vmx_event_armed(&v->vmx)) /* a single step (#DB) wakes at once */
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

    if ((u32)v->vmx.gpr[VMX_RCX] != 0 || vmx_guest_cpl() != 0 || !(value & XCR0_X87) ||
        (value & ~v->vm->platform.cpuid.xcr0) || ((value & XCR0_AVX) && !(value & XCR0_SSE)))
        return exit_inject_gp(v);
    v->xcr0 = value;
    xcr0_write(value); /* ours while this vCPU is current: the VMM itself uses no such state */
    vmx_guest_skip(&v->vmx);
    return EXIT_RESUME;
}

enum exit_result exit_skip(struct vcpu *v)
{
    vmx_guest_skip(&v->vmx);
    return EXIT_RESUME;
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

/* Timers are looked at after every exit: nothing else to do. */
enum exit_result exit_timer(struct vcpu *v)
{
    (void)v;
    return EXIT_RESUME;
}

/* Only our own APIC timer sends fixed vectors to this CPU. */
enum exit_result exit_external_interrupt(struct vcpu *v)
{
    v->on->timer_armed = ~0ull;
    apic_eoi();
    return EXIT_RESUME;
}

enum exit_result exit_exception(struct vcpu *v)
{
    u32 info = vmx_exit_interruption_info();

    if ((info & VMX_EVENT_TYPE_MASK) >> VMX_EVENT_TYPE_SHIFT == VMX_EVENT_NMI) {
        cpu_run_nmi_handler(); /* a kick: what it is about stands in v->requests */
        v->stats.kicks++;
        return v->on->run_count > 1 ? EXIT_YIELD : EXIT_RESUME; /* it may be for another vCPU here */
    }
    if ((info & VMX_EVENT_VECTOR_MASK) == VECTOR_PF)
        return exit_page_fault(v, vmx_exit_interruption_error());
    vm_fail(v, "unexpected exception exit, vector %u", info & VMX_EVENT_VECTOR_MASK);
    return EXIT_YIELD;
}

enum exit_result exit_triple_fault(struct vcpu *v)
{
    vm_fail(v, "triple fault: the guest could not handle an exception");
    return EXIT_YIELD;
}
