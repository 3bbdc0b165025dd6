/*
 * exit_msr.c - RDMSR and WRMSR. Registers that the VMCS or the CPU holds for the guest are here; all others
 * are the virtual platform's (vmm/dev/vmsr.def). Most of those here pass without an exit where the CPU has
 * MSR bitmaps.
 */
#include "arch/msr.h"
#include "vmm/events.h"
#include "vmm/exit.h"
#include "vmm/guest_regs.h"
#include "vmm/real.h"

/* What RDMSR of a register the hardware holds for the guest reads; false: it is none of these. */
static bool read_own(struct vcpu *v, u32 msr, u64 *value)
{
    switch (msr) {
    case MSR_IA32_EFER: *value = v->shadow.paging.efer; return true;
    case MSR_IA32_FS_BASE: *value = vmcs_read(VMCS_GUEST_FS_BASE); return true;
    case MSR_IA32_GS_BASE: *value = vmcs_read(VMCS_GUEST_GS_BASE); return true;
    case MSR_IA32_SYSENTER_CS:
        *value = real_active(v) ? v->real.sysenter_cs : vmcs_read(VMCS_GUEST_SYSENTER_CS);
        return true;
    case MSR_IA32_SYSENTER_ESP: *value = vmcs_read(VMCS_GUEST_SYSENTER_ESP); return true;
    case MSR_IA32_SYSENTER_EIP: *value = vmcs_read(VMCS_GUEST_SYSENTER_EIP); return true;
    case MSR_IA32_STAR:
    case MSR_IA32_LSTAR:
    case MSR_IA32_CSTAR:
    case MSR_IA32_FMASK:
    case MSR_IA32_KERNEL_GS_BASE: *value = msr_read(msr); return true;
    case MSR_IA32_TSC_AUX:
        if (!v->vmx.tsc_aux_live)
            return false;
        *value = msr_read(msr);
        return true;
    }
    return false;
}

enum write_result { WRITE_NOT_OWN, WRITE_DONE, WRITE_REFUSED };

static enum write_result write_live(u32 msr, u64 value)
{
    return msr_write_safe(msr, value) ? WRITE_DONE : WRITE_REFUSED;
}

static enum write_result write_own(struct vcpu *v, u32 msr, u64 value)
{
    switch (msr) {
    case MSR_IA32_EFER: return guest_write_efer(v, value) ? WRITE_DONE : WRITE_REFUSED;
    case MSR_IA32_SYSENTER_CS:
        if (real_active(v))
            v->real.sysenter_cs = (u32)value;
        else
            vmcs_write(VMCS_GUEST_SYSENTER_CS, (u32)value);
        return WRITE_DONE;
    case MSR_IA32_FS_BASE:
    case MSR_IA32_GS_BASE:
    case MSR_IA32_SYSENTER_ESP:
    case MSR_IA32_SYSENTER_EIP:
        if (!linear_is_canonical(value))
            return WRITE_REFUSED;
        vmcs_write(msr == MSR_IA32_FS_BASE        ? VMCS_GUEST_FS_BASE
                   : msr == MSR_IA32_GS_BASE      ? VMCS_GUEST_GS_BASE
                   : msr == MSR_IA32_SYSENTER_ESP ? VMCS_GUEST_SYSENTER_ESP
                                                  : VMCS_GUEST_SYSENTER_EIP,
                   value);
        return WRITE_DONE;
    case MSR_IA32_STAR:
    case MSR_IA32_LSTAR:
    case MSR_IA32_CSTAR:
    case MSR_IA32_FMASK:
    case MSR_IA32_KERNEL_GS_BASE: return write_live(msr, value);
    case MSR_IA32_TSC_AUX:
        if (!v->vmx.tsc_aux_live)
            return WRITE_NOT_OWN;
        return (value >> 32) ? WRITE_REFUSED : write_live(msr, value);
    }
    return WRITE_NOT_OWN;
}

enum exit_result exit_rdmsr(struct vcpu *v)
{
    u32 msr = (u32)v->vmx.gpr[VMX_RCX];
    u64 value;

    if (!read_own(v, msr, &value) && !vmsr_read(&v->vm->platform, v->index, tsc_read(), msr, &value))
        return exit_inject_gp(v);
    v->vmx.gpr[VMX_RAX] = (u32)value;
    v->vmx.gpr[VMX_RDX] = value >> 32;
    return exit_done(v);
}

enum exit_result exit_wrmsr(struct vcpu *v)
{
    u32 msr = (u32)v->vmx.gpr[VMX_RCX];
    u64 value = v->vmx.gpr[VMX_RDX] << 32 | (u32)v->vmx.gpr[VMX_RAX];
    enum write_result own = write_own(v, msr, value);

    if (own == WRITE_REFUSED ||
        (own == WRITE_NOT_OWN && !vmsr_write(&v->vm->platform, v->index, tsc_read(), msr, value)))
        return exit_inject_gp(v);
    /* EOI, TPR, ICR, timer: interrupts and deadlines may stand differently now */
    events_expect(v);
    return exit_done(v);
}
