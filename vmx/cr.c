/* cr.c - control registers: the guest's view and the CPU's. */
#include "vmx/cr.h"
#include "arch/regs.h"

const u64 vmx_cr0_guest_owned = CR0_TS | CR0_MP | CR0_EM;
const u64 vmx_cr4_guest_owned = CR4_DE | CR4_PCE | CR4_OSFXSR | CR4_OSXMMEXCPT;
/* What would be different for real mode, which runs at CPL 3 in their presence (vmm/real_cpu.h). */
#define CR0_NOT_REAL CR0_AM
#define CR4_NOT_REAL (CR4_VME | CR4_PVI | CR4_TSD | CR4_UMIP)
const u64 vmx_cr4_hidden = CR4_LA57 | CR4_VMXE | CR4_SMXE | CR4_PCIDE | CR4_KL | CR4_PKE | CR4_CET | CR4_PKS;

u64 vmx_cr0_real(const struct vmx_cr_env *env, u64 guest_cr0)
{
    u64 fixed0 = env->cr0_fixed0 | CR0_NE | CR0_ET;
    u64 real = guest_cr0 & ~(CR0_CD | CR0_NW); /* the guest's memory stays cached whatever it says */

    if (!(guest_cr0 & CR0_PE) && !env->unrestricted)
        real &= ~CR0_NOT_REAL;
    if (!env->ept)
        real |= CR0_PG | CR0_PE | CR0_WP;
    else if (env->unrestricted)
        fixed0 &= ~(CR0_PG | CR0_PE);
    return (real | fixed0) & env->cr0_fixed1;
}

u64 vmx_cr4_real(const struct vmx_cr_env *env, u64 guest_cr0, u64 guest_cr4)
{
    u64 real = (guest_cr4 & ~(vmx_cr4_hidden | CR4_MCE)) | (env->cr4_host & CR4_MCE) | CR4_VMXE;

    if (!env->ept)
        real |= CR4_PAE;
    /* Without paging everything may be executed and accessed, but the tables that stand in for it allow user
     * access, so these two would fault. */
    if (!env->ept && !(guest_cr0 & CR0_PG))
        real &= ~(CR4_SMEP | CR4_SMAP);
    if (!(guest_cr0 & CR0_PE) && !env->unrestricted)
        real &= ~CR4_NOT_REAL;
    return (real | env->cr4_fixed0) & env->cr4_fixed1;
}

bool vmx_cr0_legal(u64 cr0, u64 old_cr0, u64 cr4, u64 efer)
{
    if (cr0 >> 32)
        return false;
    if (cr0 & CR0_PG && !(cr0 & CR0_PE))
        return false;
    if (cr0 & CR0_NW && !(cr0 & CR0_CD))
        return false;
    /* Switching paging on with LME starts IA-32e mode, which wants PAE (Vol. 3A 9.8.5). */
    return !(cr0 & CR0_PG && !(old_cr0 & CR0_PG) && efer & EFER_LME && !(cr4 & CR4_PAE));
}

bool vmx_cr4_legal(u64 cr4, u64 efer, u64 supported)
{
    if (cr4 & (~supported | vmx_cr4_hidden))
        return false;
    return cr4 & CR4_PAE || !(efer & EFER_LMA);
}
