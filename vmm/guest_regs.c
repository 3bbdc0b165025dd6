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
