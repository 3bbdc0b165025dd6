/* guest_regs.c - CR4 and EFER of a guest. */
#include "vmm/guest_regs.h"

#include "vmm/paging.h"
#include "vmm/real.h"

void guest_regs_follow_paging(struct vcpu *v)
{
    const struct paging_state *p = &v->shadow.paging;

    vmx_guest_set_cr4(&v->vmx, p->cr4);
    /* no SYSCALL in real mode, whatever stands in for it */
    vmx_guest_set_efer(&v->vmx, real_active(v) ? p->efer & ~EFER_SCE : p->efer);
}

static const struct {
    u64 cr4;
    enum cpuid_feature feature;
} cr4_features[] = {
    {CR4_VME | CR4_PVI, CPUID_FEATURE_VME},
    {CR4_TSD, CPUID_FEATURE_TSC},
    {CR4_DE, CPUID_FEATURE_DE},
    {CR4_PSE, CPUID_FEATURE_PSE},
    {CR4_PAE, CPUID_FEATURE_PAE},
    {CR4_MCE, CPUID_FEATURE_MCE},
    {CR4_PGE, CPUID_FEATURE_PGE},
    {CR4_OSFXSR, CPUID_FEATURE_FXSR},
    {CR4_OSXMMEXCPT, CPUID_FEATURE_SSE},
    {CR4_OSXSAVE, CPUID_FEATURE_XSAVE},
    {CR4_FSGSBASE, CPUID_FEATURE_FSGSBASE},
    {CR4_SMEP, CPUID_FEATURE_SMEP},
    {CR4_SMAP, CPUID_FEATURE_SMAP},
    {CR4_UMIP, CPUID_FEATURE_UMIP},
};

static bool announced(const struct vm *vm, enum cpuid_feature feature)
{
    struct cpuid_location at = cpuid_locate(feature);

    return vcpuid_has(&vm->platform.cpuid, at.leaf, (enum cpuid_reg)at.reg, 1u << at.bit);
}

u64 guest_cr4_supported(const struct vm *vm)
{
    u64 bits = CR4_PCE; /* without counters it allows nothing: RDPMC is #GP anyway */

    for (size_t i = 0; i < ARRAY_SIZE(cr4_features); i++)
        if (announced(vm, cr4_features[i].feature))
            bits |= cr4_features[i].cr4;
    return bits;
}

bool guest_write_efer(struct vcpu *v, u64 value)
{
    paging_sync(v);
    struct paging_state next = v->shadow.paging;
    u64 legal = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;

    if (value & ~legal)
        return false;
    if ((next.cr0 & CR0_PG) && ((value ^ next.efer) & EFER_LME))
        return false; /* SDM Vol 3A 9.8.5: not while paging is on */
    next.efer = (value & ~EFER_LMA) | (next.efer & EFER_LMA);
    next.cr4 = vmx_guest_cr4(); /* it may have changed bits of its own since */
    bool meaning = (next.efer ^ v->shadow.paging.efer) & EFER_NXE;
    if (meaning) {
        paging_set(v, &next);
    } else {
        v->shadow.paging.efer = next.efer;
        v->shadow.paging.cr4 = next.cr4;
    }
    guest_regs_follow_paging(v);
    return true;
}
