/* tlb.c - which INVVPID and INVEPT serve which wish. */
#include "vmx/tlb.h"
#include "vmx/bits.h"

bool vmx_tlb_ops_choose(const struct vmx_caps *caps, bool vpid, bool ept, struct vmx_tlb_ops *ops)
{
    u64 cap = caps->ept_vpid;

    *ops = (struct vmx_tlb_ops){VMX_INVVPID_NOTHING, VMX_INVVPID_NOTHING, VMX_INVVPID_NOTHING,
                                VMX_INVVPID_NOTHING, VMX_INVEPT_NOTHING,  VMX_INVEPT_NOTHING};
    if (vpid) {
        if (!(cap & VMX_VPID_CAP_INVVPID) || !(cap & VMX_VPID_CAP_ALL))
            return false;
        ops->all = VMX_INVVPID_ALL;
        ops->context = cap & VMX_VPID_CAP_CONTEXT ? VMX_INVVPID_CONTEXT : ops->all;
        ops->context_keep_global =
            cap & VMX_VPID_CAP_KEEP_GLOBAL ? VMX_INVVPID_CONTEXT_KEEP_GLOBAL : ops->context;
        ops->address = cap & VMX_VPID_CAP_ADDRESS ? VMX_INVVPID_ADDRESS : ops->context;
    }
    if (ept) {
        if (!(cap & VMX_EPT_CAP_INVEPT) || !(cap & VMX_EPT_CAP_INVEPT_ALL))
            return false;
        ops->ept_all = VMX_INVEPT_ALL;
        ops->ept_context = cap & VMX_EPT_CAP_INVEPT_CONTEXT ? VMX_INVEPT_CONTEXT : VMX_INVEPT_ALL;
    }
    return true;
}
