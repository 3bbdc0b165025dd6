/* registers.c - the guest's registers that are in the VMCS, or follow from what is. */
#include "arch/cpu.h"
#include "arch/msr.h"
#include "arch/regs.h"
#include "vmx/bits.h"
#include "vmx/vcpu.h"

/* TF and RF at the end of an instruction (Vol. 3B 17.3.1.1 and 17.3.1.4). */
static void finish_flags(u64 rflags)
{
    vmcs_write(VMCS_GUEST_RFLAGS, rflags & ~RFLAGS_RF);
    if (rflags & RFLAGS_TF && !(vmcs_read(VMCS_GUEST_DEBUGCTL) & DEBUGCTL_BTF))
        vmcs_write(VMCS_GUEST_PENDING_DEBUG, vmcs_read(VMCS_GUEST_PENDING_DEBUG) | VMX_PENDING_DEBUG_BS);
}

/* Outside 64-bit mode RIP has 32 bits, so it may have to be cut where it has passed a multiple of 4 GiB. */
void vmx_guest_skip_rest(struct vmx_vcpu *v, u64 rip, u64 rflags, u32 blocking)
{
    if (rip >> 32 && vmx_guest_code_bits(v) != 64)
        vmx_guest_set_rip(v, (u32)rip);
    if (blocking & (VMX_BLOCKING_STI | VMX_BLOCKING_MOV_SS))
        vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, blocking & ~(VMX_BLOCKING_STI | VMX_BLOCKING_MOV_SS));
    if (rflags & (RFLAGS_TF | RFLAGS_RF))
        finish_flags(rflags);
}

void vmx_guest_skip(struct vmx_vcpu *v)
{
    vmx_guest_skip_inline(v);
}

struct vmx_seg vmx_segment_read(enum vmx_segment s)
{
    return (struct vmx_seg){
        .selector = (u16)vmcs_read(vmcs_segment_field(VMCS_GUEST_ES_SELECTOR, s)),
        .limit = (u32)vmcs_read(vmcs_segment_field(VMCS_GUEST_ES_LIMIT, s)),
        .access = vmx_segment_access(s),
        .base = vmx_segment_base(s),
    };
}

void vmx_segment_write(enum vmx_segment s, const struct vmx_seg *seg)
{
    vmcs_write(vmcs_segment_field(VMCS_GUEST_ES_SELECTOR, s), seg->selector);
    vmcs_write(vmcs_segment_field(VMCS_GUEST_ES_LIMIT, s), seg->limit);
    vmcs_write(vmcs_segment_field(VMCS_GUEST_ES_ACCESS, s), seg->access);
    vmcs_write(vmcs_segment_field(VMCS_GUEST_ES_BASE, s), seg->base);
}

unsigned vmx_guest_code_bits(const struct vmx_vcpu *v)
{
    u32 access = vmx_segment_access(VMX_SEG_CS);

    if (access & VMX_AR_L && vmx_control_is_on(&v->controls, VMX_ENTRY_GUEST_64))
        return 64;
    return access & VMX_AR_DB ? 32 : 16;
}

void vmx_guest_set_cr0(struct vmx_vcpu *v, u64 guest_cr0)
{
    vmcs_write(VMCS_CR0_SHADOW, guest_cr0);
    vmcs_write(VMCS_GUEST_CR0, vmx_cr0_real(&v->cr_env, guest_cr0));
}

void vmx_guest_set_cr4(struct vmx_vcpu *v, u64 guest_cr4)
{
    vmcs_write(VMCS_CR4_SHADOW, guest_cr4);
    vmcs_write(VMCS_GUEST_CR4, vmx_cr4_real(&v->cr_env, vmx_guest_cr0(), guest_cr4));
}

/* LMA and LME of the CPU follow the entry control (26.3.2.1); with shadow page tables NXE is always on, as
 * derived entries carry NX. */
void vmx_guest_set_efer(struct vmx_vcpu *v, u64 guest_efer)
{
    u64 real = guest_efer & (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE);

    if (!v->cr_env.ept) {
        real |= EFER_NXE;
        if (!(guest_efer & EFER_LMA))
            real &= ~EFER_LME; /* the CPU pages: LME and LMA have to agree (26.3.1.1) */
    }
    v->efer = real;
    vmx_vcpu_control(v, VMX_ENTRY_GUEST_64, guest_efer & EFER_LMA);
    if (vmx_control_is_on(&v->controls, VMX_ENTRY_LOAD_EFER))
        vmcs_write(VMCS_GUEST_EFER, real);
    else
        msr_write(MSR_IA32_EFER, (v->cpu->host.efer & ~EFER_SCE) | (real & EFER_SCE));
}

u64 vmx_guest_cr2(void)
{
    return cr2_read();
}

void vmx_guest_set_cr2(u64 address)
{
    cr2_write(address);
}

u64 vmx_guest_dr(unsigned number)
{
    switch (number) {
    case 0: return dr0_read();
    case 1: return dr1_read();
    case 2: return dr2_read();
    case 3: return dr3_read();
    case 6: return dr6_read();
    }
    return vmcs_read(VMCS_GUEST_DR7);
}

void vmx_guest_set_dr(unsigned number, u32 value)
{
    switch (number) {
    case 0: dr0_write(value); return;
    case 1: dr1_write(value); return;
    case 2: dr2_write(value); return;
    case 3: dr3_write(value); return;
    case 6: dr6_write((value & DR6_WRITABLE) | DR6_INIT); return;
    }
    vmcs_write(VMCS_GUEST_DR7, (value & DR7_WRITABLE) | DR7_INIT);
}

void vmx_guest_write(struct vmx_vcpu *v, const struct vmx_guest_init *init)
{
    vmx_guest_set_rip(v, init->rip);
    vmcs_write(VMCS_GUEST_RSP, init->rsp);
    vmcs_write(VMCS_GUEST_RFLAGS, init->rflags);
    vmx_guest_set_cr0(v, init->cr0);
    vmx_guest_set_cr4(v, init->cr4);
    vmx_guest_set_efer(v, init->efer);
    if (v->cr_env.ept)
        vmx_guest_set_cr3(init->cr3);
    for (unsigned i = 0; i < VMX_SEG_COUNT; i++)
        vmx_segment_write((enum vmx_segment)i, &init->seg[i]);
    vmcs_write(VMCS_GUEST_GDTR_BASE, init->gdtr_base);
    vmcs_write(VMCS_GUEST_GDTR_LIMIT, init->gdtr_limit);
    vmcs_write(VMCS_GUEST_IDTR_BASE, init->idtr_base);
    vmcs_write(VMCS_GUEST_IDTR_LIMIT, init->idtr_limit);
    vmcs_write(VMCS_GUEST_DR7, DR7_INIT);
    vmcs_write(VMCS_GUEST_DEBUGCTL, 0);
    vmcs_write(VMCS_GUEST_PENDING_DEBUG, 0);
    vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, 0);
    vmcs_write(VMCS_GUEST_ACTIVITY, VMX_ACTIVITY_ACTIVE);
    vmcs_write(VMCS_GUEST_SYSENTER_CS, 0);
    vmcs_write(VMCS_GUEST_SYSENTER_ESP, 0);
    vmcs_write(VMCS_GUEST_SYSENTER_EIP, 0);
    vmx_event_disarm(v);
}
