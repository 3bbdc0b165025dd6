/*
 * tlb.h - INVVPID and INVEPT: which operation a CPU has for what one wants. Pure; the
 * execution is in flush.h.
 *
 * SDM Vol. 3C 28.3.3, capabilities in IA32_VMX_EPT_VPID_CAP (appendix A.10). A CPU that lacks a narrow
 * operation gets the next wider one; flushing more than asked is always correct.
 * Without VPID there is nothing to execute: each VM entry and exit flushes all linear translations
 * (28.3.3.1).
 */
#pragma once
#include "arch/types.h"
#include "vmx/caps.h"

/* Operation codes of INVVPID and INVEPT (Vol. 3C 30.3); VMX_FLUSH_NOTHING is ours. */
enum vmx_invvpid {
    VMX_INVVPID_ADDRESS = 0,
    VMX_INVVPID_CONTEXT = 1,
    VMX_INVVPID_ALL = 2,
    VMX_INVVPID_CONTEXT_KEEP_GLOBAL = 3,
    VMX_INVVPID_NOTHING = 4
};
enum vmx_invept { VMX_INVEPT_CONTEXT = 1, VMX_INVEPT_ALL = 2, VMX_INVEPT_NOTHING = 3 };

/* What this CPU executes when asked for ... */
struct vmx_tlb_ops {
    u8 address;             /* enum vmx_invvpid: one linear address of one VPID */
    u8 context;             /* one VPID */
    u8 context_keep_global; /* one VPID, global translations may stay */
    u8 all;                 /* every VPID but 0 */
    u8 ept_context;         /* enum vmx_invept: one EPT hierarchy */
    u8 ept_all;
};

/* `vpid`: VPIDs are in use, `ept`: EPT is in use (else the corresponding operations are NOTHING). If a CPU
 * can use VPIDs but flush none of them, returns false, and VPID must stay off. */
bool must_check vmx_tlb_ops_choose(const struct vmx_caps *caps, bool vpid, bool ept, struct vmx_tlb_ops *ops);
