/* enable.c - one CPU into VMX operation: SDM Vol. 3C 23.7, 23.8, 30.3 (VMXON). */
#include "vmx/enable.h"
#include "arch/cpu.h"
#include "arch/cpuid.h"
#include "arch/format.h"
#include "arch/msr.h"
#include "arch/regs.h"
#include "vmx/bits.h"
#include "vmx/flush.h"
#include "vmx/insn.h"
#include "vmx/vcpu.h"

#define CPUID_FEATURES      1u
#define CPUID_ADDRESS_SIZES 0x80000008u
#define CPUID_1_ECX_VMX     BIT(5)
#define LINE_MAX            128

static u64 read_msr(void *ctx, u32 msr)
{
    (void)ctx;
    return msr_read(msr);
}

bool vmx_cpu_present(void)
{
    return cpuid_read(CPUID_FEATURES, 0).ecx & CPUID_1_ECX_VMX;
}

static enum err feature_control(vmx_line_fn line, void *ctx)
{
    u64 value;

    switch (vmx_feature_control_decide(msr_read(MSR_IA32_FEATURE_CONTROL), &value)) {
    case VMX_FEATURE_READY: return ERR_OK;
    case VMX_FEATURE_WRITE:
        if (msr_write_safe(MSR_IA32_FEATURE_CONTROL, value) &&
            msr_read(MSR_IA32_FEATURE_CONTROL) & FEATURE_CONTROL_VMX_OUT_OF_SMX)
            return ERR_OK;
        line(ctx, "VT-x cannot be switched on: IA32_FEATURE_CONTROL does not take the bit");
        return ERR_DENIED;
    case VMX_FEATURE_LOCKED_OFF: break;
    }
    line(ctx,
         "VT-x is locked off by the firmware (IA32_FEATURE_CONTROL): switch it on in the firmware's setup");
    return ERR_DENIED;
}

static enum err check_controls(const struct vmx_caps *caps, vmx_line_fn line, void *ctx)
{
    struct vmx_request request;
    struct vmx_controls controls;
    struct vmx_report report;
    char text[LINE_MAX];

    vmx_request_shadow(&request);
    if (vmx_controls_choose(caps, &request, &controls, &report) == ERR_OK)
        return ERR_OK;
    for (u32 i = 0; i < MIN(report.count, (u32)VMX_MISSING_MAX); i++) {
        vmx_missing_describe(&report.item[i], text, sizeof text);
        line(ctx, text);
    }
    return ERR_UNSUPPORTED;
}

static enum err vmxon(struct vmx_cpu *cpu, vmx_line_fn line, void *ctx)
{
    struct vmcs_block *region = hpa_to_ptr(cpu->vmxon_region);
    u64 cr0 = cr0_read(), cr4 = cr4_read();

    if (!vmx_fixed_apply(&cpu->caps, &cr0, &cr4)) {
        line(ctx, "VMX operation wants control register bits that this hypervisor cannot have");
        return ERR_UNSUPPORTED;
    }
    if (cpu->caps.address_32bit && cpu->vmxon_region.v >> 32) {
        line(ctx, "this CPU wants its VMX structures below 4 GiB");
        return ERR_UNSUPPORTED;
    }
    cr0_write(cr0);
    cr4_write(cr4);
    region->revision = cpu->caps.revision;
    switch (vmx_vmxon(cpu->vmxon_region)) {
    case VMX_SUCCESS: return ERR_OK;
    case VMX_FAIL_INVALID: line(ctx, "VMXON refused (VMfailInvalid)"); break;
    case VMX_FAIL_VALID: line(ctx, "VMXON refused: this CPU is in VMX operation already"); break;
    }
    return ERR_STATE;
}

enum err vmx_cpu_enable(struct vmx_cpu *cpu, hpa_t vmxon_region, vmx_line_fn line, void *ctx)
{
    u64 ept_flush = VMX_EPT_CAP_INVEPT | VMX_EPT_CAP_INVEPT_ALL;
    enum err e;

    *cpu = (struct vmx_cpu){.vmxon_region = vmxon_region};
    if (!vmx_cpu_present()) {
        line(ctx, "no VMX (CPUID.1:ECX.VMX is 0): Intel VT-x is needed, and has to be on in the firmware");
        return ERR_UNSUPPORTED;
    }
    e = feature_control(line, ctx);
    if (e != ERR_OK)
        return e;
    vmx_caps_read(&cpu->caps, read_msr, NULL);
    cpu->physical_bits = cpuid_read(CPUID_ADDRESS_SIZES, 0).eax & 0xFF;
    e = check_controls(&cpu->caps, line, ctx);
    if (e == ERR_OK)
        e = vmxon(cpu, line, ctx);
    if (e != ERR_OK)
        return e;
    cpu->on = true;
    cpu->vpid = vmx_caps_has(&cpu->caps, VMX_SECONDARY_VPID) &&
                vmx_tlb_ops_choose(&cpu->caps, true, false, &cpu->tlb);
    bool ept = vmx_caps_has(&cpu->caps, VMX_SECONDARY_EPT) && (cpu->caps.ept_vpid & ept_flush) == ept_flush;
    if (!vmx_tlb_ops_choose(&cpu->caps, cpu->vpid, ept, &cpu->tlb))
        cpu->vpid = false; /* cannot be: both were looked at above */
    /* The firmware, or a hypervisor before us, may have left translations behind (28.3.3.4). */
    vmx_tlb_flush_all(&cpu->tlb);
    vmx_tlb_flush_ept_all(&cpu->tlb);
    vmx_host_capture(&cpu->host);
    return ERR_OK;
}
