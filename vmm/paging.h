/*
 * paging.h - what translates a vCPU's addresses: its shadow, or the guest's own tables and its VM's EPT.
 *
 *                      the guest pages        it does not (CR0.PG=0)
 *   paging = shadow    its shadow             its shadow, which is an EPT then, if the CPUs have "unrestricted guest" and
 *                                             `unpaged` does not say otherwise; else the identity shadow, with
 *                                             vmm/real.h for real mode
 *   paging = ept       the VM's EPT           the VM's EPT, under the same conditions; else likewise
 *
 * EPT and unrestricted guest are on together or off together, with all that goes with them: exits of MOV CR3 and INVLPG,
 * #PF exits, NXE, the real CR0 and CR4 (vmx/cr.h).
 *
 * What the TLB holds (SDM Vol 3C 28.3.1): linear mappings, made while EPT was off, of this VPID; combined mappings, made
 * while it was on, of this VPID and EPT; guest-physical mappings, of this EPT alone. Combined ones are never used while
 * EPT is off, nor linear ones while it is on, but they stay. So
 *   - at each switch, and at each event of the guest that the VMM carries out under EPT, INVVPID of one context: linear
 *     and combined mappings of the VPID go (28.3.3.1), of all PCIDs and EPTs. Without VPID each VM entry does that.
 *   - when the EPT itself allows less, INVEPT: guest-physical and combined mappings go. VM entries do not do that, with
 *     or without VPID. A vCPU whose EPT is off does it when it switches it on (ept_stale).
 * Nothing is ever made more restrictive without one of the two, so an emulator that flushes all at exits shows nothing.
 *
 * A shadow that is an EPT is its vCPU's own (or the vCPUs' that share tables), as all of a shadow is: an EPT violation is
 * what a #PF is otherwise, so stores to traced tables exit, and what mm/ wants flushed is flushed by INVEPT while it is on.
 * While it is off nothing is: mm/ wants all flushed at each change of CR0.PG.
 */
#pragma once
#include "vmm/vm.h"

/* The EPT is on for v. */
static inline bool paging_is_ept(const struct vcpu *v)
{
    return v->vmx.cr_env.ept;
}
/* The CPU itself runs what the guest does with CR0.PE=0. */
static inline bool paging_has_real_mode(const struct vm *vm)
{
    return vm->ept_unpaged;
}

/* Its vCPUs have one shadow. For a single vCPU that would be the same, but slower; and under EPT a vCPU relies on nobody
 * putting anything into its shadow. */
static inline bool paging_shares_tables(const struct vm *vm)
{
    return vm->config->shadow == SHADOW_SHARED && vm->vcpus > 1 && !vm->ept_paged;
}

/* When the VM is made, after its memory: its EPT, if its configuration and the CPUs want one. NO_MEMORY. */
enum err must_check paging_init_vm(struct vm *vm, const struct vmx_caps *caps);

/* When v's VMCS is written for the first time: its controls, as it begins in. They are in *setup. UNSUPPORTED: some are
 * missing. */
enum err must_check paging_init_vcpu(struct vcpu *v, u64 cr0, struct vmx_setup *setup);

/* Under EPT the guest loads CR3 and PDPTEs with no exit: into shadow.paging, where gwalk() and all others look for
 * them. */
void paging_sync(struct vcpu *v);

/* The guest's CR0 is to become this, or just has: EPT on or off, as it wants it. Then CR0 is to be written, and paging_set()
 * called. */
void paging_choose(struct vcpu *v, u64 cr0);

/* The guest's paging registers are these: its shadow's new root, or its own CR3 and PDPTEs, and a flush. CR4 and EFER of
 * the CPU are guest_regs_follow_paging()'s. */
void paging_set(struct vcpu *v, const struct paging_state *next);

/* The p2m entry of gfn has changed: for those who use the EPT. */
static inline void paging_page_changed(struct vm *vm, u64 gfn)
{
    if (vm->ept_pointer)
        ept_update(&vm->ept, gfn);
}
/* It allows less: what v's CPU may have cached of it goes. On that CPU. */
void paging_drop(struct vcpu *v);
