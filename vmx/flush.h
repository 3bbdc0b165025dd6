/*
 * flush.h - INVVPID and INVEPT executed as chosen in tlb.h.
 */
#pragma once
#include "vmx/insn.h"
#include "vmx/tlb.h"

/* Drop all of what the CPU cached for `vpid` at one linear address, or entirely, or everything for all VPIDs.
 */
static inline void vmx_tlb_flush_address(const struct vmx_tlb_ops *ops, u16 vpid, gva_t address)
{
    if (ops->address != VMX_INVVPID_NOTHING)
        vmx_invvpid(ops->address, vpid, address.v);
}
static inline void vmx_tlb_flush_context(const struct vmx_tlb_ops *ops, u16 vpid)
{
    if (ops->context != VMX_INVVPID_NOTHING)
        vmx_invvpid(ops->context, vpid, 0);
}
static inline void vmx_tlb_flush_all(const struct vmx_tlb_ops *ops)
{
    if (ops->all != VMX_INVVPID_NOTHING)
        vmx_invvpid(ops->all, 0, 0);
}
static inline void vmx_tlb_flush_ept(const struct vmx_tlb_ops *ops, u64 ept_pointer)
{
    if (ops->ept_context != VMX_INVEPT_NOTHING)
        vmx_invept(ops->ept_context, ept_pointer);
}
static inline void vmx_tlb_flush_ept_all(const struct vmx_tlb_ops *ops)
{
    if (ops->ept_all != VMX_INVEPT_NOTHING)
        vmx_invept(ops->ept_all, 0);
}
