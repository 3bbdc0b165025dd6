/*
 * insn.h - the VMX instructions as functions: the one header of vmx/ with inline assembly.
 *
 * SDM Vol. 3C 30.3. Success is taken from the flags: CF is VMfailInvalid (no current VMCS), ZF is VMfailValid
 * (VMCS_INSTRUCTION_ERROR says why).
 */
#pragma once
#include "arch/types.h"
#include "vmx/vmcs.h"

enum vmx_status { VMX_SUCCESS, VMX_FAIL_INVALID, VMX_FAIL_VALID };

#define VMX_INSN_OUTPUTS(cf, zf) "=@ccc"(cf), "=@ccz"(zf)

static inline enum vmx_status vmx_status_of(bool cf, bool zf)
{
    return cf ? VMX_FAIL_INVALID : zf ? VMX_FAIL_VALID : VMX_SUCCESS;
}

/* The operand of these three is the address of a 64-bit physical address. */
#define VMX_POINTER_INSN(name)                                                               \
    static inline enum vmx_status must_check vmx_##name(hpa_t region)                        \
    {                                                                                        \
        bool cf, zf;                                                                         \
        __asm__ volatile(#name " %2" : VMX_INSN_OUTPUTS(cf, zf) : "m"(region.v) : "memory"); \
        return vmx_status_of(cf, zf);                                                        \
    }
VMX_POINTER_INSN(vmxon)
VMX_POINTER_INSN(vmclear)
VMX_POINTER_INSN(vmptrld)
#undef VMX_POINTER_INSN

/*
 * The current VMCS, hot path: no check of the flags. Only for fields every CPU has, or that exist because a
 * control is on; with a VMCS current, they cannot fail then.
 */
static inline u64 vmcs_read(enum vmcs_field field)
{
    u64 value;
    __asm__ volatile("vmread %1, %0" : "=r"(value) : "r"((u64)field) : "cc");
    return value;
}
static inline void vmcs_write(enum vmcs_field field, u64 value)
{
    __asm__ volatile("vmwrite %1, %0" : : "r"((u64)field), "r"(value) : "cc");
}

/* The same for fields that the CPU may not have. */
static inline enum vmx_status must_check vmcs_read_checked(enum vmcs_field field, u64 *value)
{
    bool cf, zf;
    u64 result = 0;
    __asm__ volatile("vmread %3, %2" : VMX_INSN_OUTPUTS(cf, zf), "+r"(result) : "r"((u64)field));
    *value = result;
    return vmx_status_of(cf, zf);
}
static inline enum vmx_status must_check vmcs_write_checked(enum vmcs_field field, u64 value)
{
    bool cf, zf;
    __asm__ volatile("vmwrite %3, %2" : VMX_INSN_OUTPUTS(cf, zf) : "r"((u64)field), "r"(value));
    return vmx_status_of(cf, zf);
}

/* 128-bit descriptors of INVVPID and INVEPT */
struct vmx_invalidate {
    u64 id; /* VPID, or EPT pointer */
    u64 address;
};
static inline enum vmx_status vmx_invvpid(u64 type, u16 vpid, u64 address)
{
    bool cf, zf;
    struct vmx_invalidate what = {vpid, address};
    __asm__ volatile("invvpid %2, %3" : VMX_INSN_OUTPUTS(cf, zf) : "m"(what), "r"(type) : "memory");
    return vmx_status_of(cf, zf);
}
static inline enum vmx_status vmx_invept(u64 type, u64 ept_pointer)
{
    bool cf, zf;
    struct vmx_invalidate what = {ept_pointer, 0};
    __asm__ volatile("invept %2, %3" : VMX_INSN_OUTPUTS(cf, zf) : "m"(what), "r"(type) : "memory");
    return vmx_status_of(cf, zf);
}

/* Segment selectors for the host-state area. */
#define VMX_SELECTOR(name)                                        \
    static inline u16 vmx_selector_##name(void)                   \
    {                                                             \
        u16 selector;                                             \
        __asm__ volatile("mov %%" #name ", %0" : "=r"(selector)); \
        return selector;                                          \
    }
VMX_SELECTOR(es)
VMX_SELECTOR(cs)
VMX_SELECTOR(ss)
VMX_SELECTOR(ds)
VMX_SELECTOR(fs)
VMX_SELECTOR(gs)
#undef VMX_SELECTOR
static inline u16 vmx_selector_tr(void)
{
    u16 selector;
    __asm__ volatile("str %0" : "=r"(selector));
    return selector;
}
