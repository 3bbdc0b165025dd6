/* offsets.c - numbers that entry.asm needs; compiled to assembly and turned into vmx/offsets.inc by the
 * Makefile. */
#include "arch/percpu.h"
#include "vmx/vcpu.h"

#define DEFINE(name, value) __asm__ volatile("\n.ascii \"->" #name " %0\"" : : "i"(value))
#define GPR(name)           DEFINE(VCPU_##name, offsetof(struct vmx_vcpu, gpr) + 8 * VMX_##name)

_Static_assert(VMX_ENTER_LEFT == 0 && VMX_ENTER_FAIL_INVALID == 1 && VMX_ENTER_FAIL_VALID == 2,
               "entry.asm has these numbers");
_Static_assert(offsetof(struct vmx_vcpu, armed.info) == offsetof(struct vmx_vcpu, state) + 4 &&
                   offsetof(struct vmx_vcpu, state) % 8 == 0,
               "an exit clears both with one store");
_Static_assert(VMX_STATE_LAUNCHED < 0x80, "in the lowest byte, and no sign bit");

void vmx_offsets(void);
void vmx_offsets(void)
{
    GPR(RAX);
    GPR(RCX);
    GPR(RDX);
    GPR(RBX);
    GPR(RBP);
    GPR(RSI);
    GPR(RDI);
    GPR(R8);
    GPR(R9);
    GPR(R10);
    GPR(R11);
    GPR(R12);
    GPR(R13);
    GPR(R14);
    GPR(R15);
    DEFINE(VCPU_HOST_RSP, offsetof(struct vmx_vcpu, host_rsp));
    DEFINE(VCPU_ON_EXIT, offsetof(struct vmx_vcpu, on_exit));
    DEFINE(VCPU_STATE, offsetof(struct vmx_vcpu, state));
    DEFINE(STATE_LAUNCHED, VMX_STATE_LAUNCHED);
    DEFINE(FIELD_HOST_RSP, VMCS_HOST_RSP);
    DEFINE(CPU_NMI_COUNT, offsetof(struct cpu, nmi_count));
}
