/* diag.c - what went wrong at an entry, and a dump of all a vCPU has. */
#include "arch/format.h"
#include "arch/regs.h"
#include "vmx/vcpu.h"

#define LINE_MAX    120
#define LINEAR_BITS 48 /* LA57 is not offered and not used */

static bool read_current(void *ctx, enum vmcs_field field, u64 *value)
{
    (void)ctx;
    return vmcs_read_checked(field, value) == VMX_SUCCESS;
}

static void explain_state(struct vmx_vcpu *v, vmx_line_fn line, void *ctx)
{
    struct vmx_check_env env = {&v->cpu->caps, v->cpu->physical_bits, LINEAR_BITS};

    if (vmx_entry_check(&env, read_current, NULL, line, ctx) == 0)
        line(ctx, "no rule known to the checker is broken");
}

void vmx_vcpu_explain(struct vmx_vcpu *v, enum vmx_enter_result result, vmx_line_fn line, void *ctx)
{
    u32 error, reason;
    char text[LINE_MAX];

    if (result == VMX_ENTER_FAIL_INVALID) {
        line(ctx, "VM entry failed: no current VMCS");
        return;
    }
    if (result == VMX_ENTER_FAIL_VALID) {
        error = (u32)vmcs_read(VMCS_INSTRUCTION_ERROR);
        format_string(text, sizeof text, "VM entry failed: error %u, %s", error,
                      vmx_instruction_error_text(error));
        line(ctx, text);
        explain_state(v, line, ctx);
        return;
    }
    reason = (u32)vmcs_read(VMCS_EXIT_REASON);
    if (!(reason & VMX_REASON_ENTRY_FAILED))
        return;
    format_string(text, sizeof text, "VM entry failed: %s, qualification %lu",
                  vmx_exit_name(reason & VMX_REASON_BASIC_MASK), vmcs_read(VMCS_EXIT_QUALIFICATION));
    line(ctx, text);
    explain_state(v, line, ctx);
    /* Such a failure comes back like an exit, but leaves the event to inject (26.8), and a VMCS that was
     * clear stays clear. */
    v->armed.info = (u32)vmcs_read(VMCS_ENTRY_INTERRUPTION_INFO);
    if (!vmx_event_valid(v->armed))
        v->armed.info = 0;
    if (vmx_vmclear(ptr_to_hpa(v->block)) == VMX_SUCCESS && vmx_vmptrld(ptr_to_hpa(v->block)) == VMX_SUCCESS)
        v->state &= ~(u32)VMX_STATE_LAUNCHED;
}

void vmx_vcpu_dump(struct vmx_vcpu *v, vmx_line_fn line, void *ctx)
{
    static const char names[VMX_GPR_COUNT][4] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                                 "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    char text[LINE_MAX];

    for (unsigned i = 0; i < VMX_GPR_COUNT; i += 4) {
        size_t n = 0;
        for (unsigned j = i; j < i + 4; j++)
            n += format_string(text + n, sizeof text - n, "  %-3s %016lx", names[j], vmx_gpr_read(v, j));
        line(ctx, text);
    }
    format_string(text, sizeof text, "  cr2 %016lx  to be injected: %08x", vmx_guest_cr2(), v->armed.info);
    line(ctx, text);
    vmx_dump_fields(read_current, NULL, line, ctx);
}
