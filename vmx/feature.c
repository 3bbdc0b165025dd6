/* feature.c - decisions of taking a CPU into VMX operation; pure. */
#include "arch/msr.h"
#include "arch/regs.h"
#include "vmx/enable.h"

/*
 *                 VMX outside SMX: on        off
 *   locked                         READY     LOCKED_OFF
 *   not locked                     WRITE     WRITE
 *
 * VMXON faults unless the register is locked (23.7), so an unlocked register is written even if the bit is
 * on. We do not run inside SMX (measured launch): that bit stays as the firmware left it.
 */
enum vmx_feature_action vmx_feature_control_decide(u64 feature_control, u64 *value)
{
    *value = feature_control | FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMX_OUT_OF_SMX;
    if (!(feature_control & FEATURE_CONTROL_LOCK))
        return VMX_FEATURE_WRITE;
    return feature_control & FEATURE_CONTROL_VMX_OUT_OF_SMX ? VMX_FEATURE_READY : VMX_FEATURE_LOCKED_OFF;
}

bool vmx_fixed_apply(const struct vmx_caps *caps, u64 *cr0, u64 *cr4)
{
    u64 need0 = CR0_PE | CR0_PG | CR0_NE | CR0_WP, need4 = CR4_PAE | CR4_VMXE;

    *cr0 = (*cr0 | need0 | caps->cr0_fixed0) & caps->cr0_fixed1;
    *cr4 = (*cr4 | need4 | caps->cr4_fixed0) & caps->cr4_fixed1;
    return (*cr0 & need0) == need0 && (*cr4 & need4) == need4 && !(caps->cr0_fixed0 & ~caps->cr0_fixed1) &&
           !(caps->cr4_fixed0 & ~caps->cr4_fixed1);
}
