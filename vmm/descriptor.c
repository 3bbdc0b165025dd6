/* descriptor.c - see descriptor.h. */
#include "vmm/descriptor.h"
#include "vmx/bits.h"

#define BASE_SHIFT       16
#define BASE_MASK        0xFFFFFFu
#define BASE_HIGH_SHIFT  56
#define BASE_HIGH_AT     24
#define LIMIT_MASK       0xFFFFu
#define LIMIT_HIGH_SHIFT 48
#define LIMIT_HIGH_MASK  0xFu
#define LIMIT_HIGH_AT    16
#define ACCESS_SHIFT     40
#define ACCESS_MASK      0xF0FFu /* bits 11:8 of a VMCS's access rights are reserved */

struct vmx_seg descriptor_decode(u16 selector, u64 d)
{
    struct vmx_seg seg = {
        .selector = selector,
        .limit = (u32)((d & LIMIT_MASK) | (d >> LIMIT_HIGH_SHIFT & LIMIT_HIGH_MASK) << LIMIT_HIGH_AT),
        .access = (u32)(d >> ACCESS_SHIFT & ACCESS_MASK),
        .base = (d >> BASE_SHIFT & BASE_MASK) | d >> BASE_HIGH_SHIFT << BASE_HIGH_AT,
    };

    if (seg.access & VMX_AR_G)
        seg.limit = seg.limit << PAGE_SHIFT | PAGE_MASK;
    return seg;
}

bool descriptor_fits_data(const struct vmx_seg *seg, bool stack, unsigned cpl)
{
    unsigned dpl = vmx_access_dpl(seg->access), rpl = seg->selector & SELECTOR_RPL;
    bool code = seg->access & VMX_AR_CODE, conforming = code && (seg->access & VMX_AR_EXPAND_DOWN);
    bool second = seg->access & VMX_AR_WRITABLE; /* writable, or readable code */

    if (!(seg->access & VMX_AR_S))
        return false;
    if (stack)
        return !code && second && dpl == cpl && rpl == cpl;
    return (!code || second) && (conforming || (cpl <= dpl && rpl <= dpl));
}
