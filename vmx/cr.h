/*
 * cr.h - control registers as the guest sees them and as the CPU has them. Pure.
 *
 * With shadow page tables the CPU always pages, whatever the guest does: real CR0 has PG, PE, WP and NE, real
 * CR4 has PAE and VMXE. The guest's own value is kept in the VMCS's read shadow; bits in the guest/host mask
 * are the hypervisor's (a guest read takes them from the shadow, a guest write that changes one exits), the
 * others are owned by the guest (SDM Vol. 3C 24.6.6, 25.3).
 */
#pragma once
#include "arch/types.h"
#include "vmx/caps.h"

/* Owned by the guest: changing them concerns neither paging nor us. */
extern const u64 vmx_cr0_guest_owned;
extern const u64 vmx_cr4_guest_owned;
/* CR4 bits that no guest may have: their features are not offered (CPUID hides them). */
extern const u64 vmx_cr4_hidden;

struct vmx_cr_env {
    u64 cr0_fixed0, cr0_fixed1, cr4_fixed0, cr4_fixed1; /* of the CPU (struct vmx_caps) */
    u64 cr4_host;                                       /* MCE is taken from here */
    bool ept;                                           /* the CPU walks the guest's own tables */
    bool unrestricted;                                  /* with ept: PE and PG may be 0 */
};

/* The value the CPU gets for what the guest wrote. */
u64 vmx_cr0_real(const struct vmx_cr_env *env, u64 guest_cr0);
u64 vmx_cr4_real(const struct vmx_cr_env *env, u64 guest_cr0, u64 guest_cr4);
/* The guest's own value: owned bits from the CPU's register, the others from the shadow. */
static inline u64 vmx_cr_view(u64 real, u64 shadow, u64 guest_owned)
{
    return (real & guest_owned) | (shadow & ~guest_owned);
}

/* Whether a MOV to CR0/CR4 of this value is legal; if not, #GP(0) (Vol. 3A 2.5). `efer` is the guest's;
 * `supported` are the CR4 bits that the guest's CPUID announces. Rules about CR3 (PDPTE checks) and CS.L are
 * the caller's, as they need the guest's memory or segments. */
bool vmx_cr0_legal(u64 cr0, u64 old_cr0, u64 cr4, u64 efer);
bool vmx_cr4_legal(u64 cr4, u64 efer, u64 supported);
