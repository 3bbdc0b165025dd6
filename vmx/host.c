/* host.c - the host-state area. */
#include "vmx/host.h"
#include "arch/cpu.h"
#include "arch/msr.h"
#include "vmx/bits.h"
#include "vmx/insn.h"

/* entry.asm */
extern const u8 vmx_exit_landing[];

/* Base of the 64-bit TSS descriptor that `selector` names (Vol. 3A figure 7-4). */
static u64 tss_base(u64 gdt, u16 selector)
{
    const u32 *d = (const u32 *)(uintptr_t)(gdt + (selector & ~(u64)SELECTOR_RPL_TI));

    return (d[0] >> 16) | (u64)(d[1] & 0xFF) << 16 | (u64)(d[1] >> 24) << 24 | (u64)d[2] << 32;
}

void vmx_host_capture(struct vmx_host *host)
{
    u16 tr = vmx_selector_tr();
    const u16 selectors[VMX_SEG_COUNT] = {[VMX_SEG_ES] = vmx_selector_es(),
                                          [VMX_SEG_CS] = vmx_selector_cs(),
                                          [VMX_SEG_SS] = vmx_selector_ss(),
                                          [VMX_SEG_DS] = vmx_selector_ds(),
                                          [VMX_SEG_FS] = vmx_selector_fs(),
                                          [VMX_SEG_GS] = vmx_selector_gs(),
                                          [VMX_SEG_TR] = tr};

    *host = (struct vmx_host){.cr0 = cr0_read(),
                              .cr3 = cr3_read(),
                              .cr4 = cr4_read(),
                              .efer = msr_read(MSR_IA32_EFER),
                              .pat = msr_read(MSR_IA32_PAT),
                              .fs_base = msr_read(MSR_IA32_FS_BASE),
                              .gs_base = msr_read(MSR_IA32_GS_BASE),
                              .gdtr_base = cpu_store_gdt().base,
                              .idtr_base = cpu_store_idt().base,
                              .sysenter_cs = (u32)msr_read(MSR_IA32_SYSENTER_CS),
                              .sysenter_esp = msr_read(MSR_IA32_SYSENTER_ESP),
                              .sysenter_eip = msr_read(MSR_IA32_SYSENTER_EIP)};
    host->tr_base = tss_base(host->gdtr_base, tr);
    for (unsigned i = 0; i < VMX_SEG_COUNT; i++)
        host->selector[i] = selectors[i] & (u16)~SELECTOR_RPL_TI;
}

void vmx_host_write(const struct vmx_host *host)
{
    const struct {
        u16 field;
        u64 value;
    } fields[] = {
        {VMCS_HOST_CR0, host->cr0},
        {VMCS_HOST_CR3, host->cr3},
        {VMCS_HOST_CR4, host->cr4},
        {VMCS_HOST_FS_BASE, host->fs_base},
        {VMCS_HOST_GS_BASE, host->gs_base},
        {VMCS_HOST_TR_BASE, host->tr_base},
        {VMCS_HOST_GDTR_BASE, host->gdtr_base},
        {VMCS_HOST_IDTR_BASE, host->idtr_base},
        {VMCS_HOST_SYSENTER_CS, host->sysenter_cs},
        {VMCS_HOST_SYSENTER_ESP, host->sysenter_esp},
        {VMCS_HOST_SYSENTER_EIP, host->sysenter_eip},
        {VMCS_HOST_TR_SELECTOR, host->selector[VMX_SEG_TR]},
        {VMCS_HOST_RIP, (uintptr_t)vmx_exit_landing},
    };

    for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
        vmcs_write((enum vmcs_field)fields[i].field, fields[i].value);
    for (unsigned i = VMX_SEG_ES; i <= VMX_SEG_GS; i++)
        vmcs_write(vmcs_segment_field(VMCS_HOST_ES_SELECTOR, (enum vmx_segment)i), host->selector[i]);
    /* Only some CPUs have these; those that do not, do not load them either. */
    (void)!vmcs_write_checked(VMCS_HOST_EFER, host->efer);
    (void)!vmcs_write_checked(VMCS_HOST_PAT, host->pat);
}
