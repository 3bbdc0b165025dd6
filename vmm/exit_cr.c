/*
 * exit_cr.c - the guest's control registers: what it may write, and what follows for its shadow (P54).
 *
 * The guest's own view of CR0, CR3, CR4 and EFER is shadow.paging; the VMCS holds what the CPU needs.
 */
#include "mm/shadow_quick.h"
#include "vmm/exit.h"
#include "vmm/guest_regs.h"
#include "vmm/paging.h"
#include "vmm/real.h"

/* Outside IA-32e mode. */
static rarely_run enum exit_result write_legacy_cr3(struct vcpu *v, u32 value)
{
    struct paging_state next = v->shadow.paging;

    next.cr3 = value;
    if (v->shadow.mode == GWALK_PAE && !gwalk_load_pdptes(&v->vm->p2m, &next))
        return exit_inject_gp(v);
    paging_set(v, &next);
    return exit_done(v);
}

static rarely_run enum exit_result write_cr3(struct vcpu *v, u64 value)
{
    u64 old_root = v->shadow.root.v;

    if (unlikely(value >> 32)) { /* MAXPHYADDR is 32 at least */
        if (vmx_guest_code_bits(&v->vmx) != 64)
            value = (u32)value;
        else if (value >> v->shadow.maxphyaddr)
            return exit_inject_gp(v);
    }
    if (unlikely(v->shadow.mode != GWALK_LONG))
        return write_legacy_cr3(v, (u32)value);
    struct flush flush = shadow_set_cr3(&v->shadow, value);
    if (v->shadow.root.v != old_root)
        vmx_guest_set_cr3(v->shadow.root.v);
    vcpu_flush(v, flush);
    return exit_done(v);
}

/* LMA follows LME and PG (SDM Vol 3A 9.8.5). False: #GP. */
static bool long_mode_follows(const struct vcpu *v, struct paging_state *next)
{
    bool was = v->shadow.paging.cr0 & CR0_PG, is = next->cr0 & CR0_PG;

    if (!was && is && (next->efer & EFER_LME)) {
        u32 tr = real_active(v) ? v->real.tr.access : vmx_segment_access(VMX_SEG_TR);
        if (!(next->cr4 & CR4_PAE) || (vmx_segment_access(VMX_SEG_CS) & VMX_AR_L) ||
            (tr & VMX_AR_TYPE_MASK) == VMX_TYPE_TSS16)
            return false;
        next->efer |= EFER_LMA;
    } else if (was && !is) {
        if (vmx_guest_code_bits(&v->vmx) == 64)
            return false;
        next->efer &= ~EFER_LMA;
    }
    return true;
}

static enum exit_result write_cr0(struct vcpu *v, u64 value)
{
    paging_sync(v);
    v->shadow.paging.cr4 = vmx_guest_cr4(); /* it may have changed bits of its own since */
    struct paging_state next = v->shadow.paging;
    u64 old = vmx_guest_cr0();

    value |= CR0_ET;
    if (!vmx_cr0_legal(value, old, next.cr4, next.efer))
        return exit_inject_gp(v);
    next.cr0 = value;
    if (!long_mode_follows(v, &next))
        return exit_inject_gp(v);
    bool loads = gwalk_loads_pdptes(&v->shadow.paging, &next);
    if (loads && !gwalk_load_pdptes(&v->vm->p2m, &next))
        return exit_inject_gp(v);
    paging_choose(v, value); /* first: it makes segments valid that real mode then gives another shape */
    if ((value ^ old) & CR0_PE)
        real_switch(v, !(value & CR0_PE));
    vmx_guest_set_cr0(&v->vmx, value);
    if (loads || ((value ^ old) & (CR0_PG | CR0_WP)))
        paging_set(v, &next);
    else
        v->shadow.paging.cr0 = value;
    if ((value ^ old) & (CR0_PG | CR0_PE))
        guest_regs_follow_paging(v);
    return exit_done(v);
}

static enum exit_result write_cr4(struct vcpu *v, u64 value)
{
    paging_sync(v);
    struct paging_state next = v->shadow.paging;
    u64 old = vmx_guest_cr4(), changed = value ^ old;

    if (!vmx_cr4_legal(value, next.efer, v->vm->platform.cpuid.cr4))
        return exit_inject_gp(v);
    next.cr4 = value;
    if (gwalk_loads_pdptes(&v->shadow.paging, &next) && !gwalk_load_pdptes(&v->vm->p2m, &next))
        return exit_inject_gp(v);
    if (changed & (CR4_PGE | CR4_PSE | CR4_PAE | CR4_SMEP | CR4_SMAP))
        paging_set(v, &next);
    else
        v->shadow.paging.cr4 = value;
    guest_regs_follow_paging(v);
    return exit_done(v);
}

static enum exit_result write_cr8(struct vcpu *v, u64 value)
{
    if (value & ~0xFull)
        return exit_inject_gp(v);
    vlapic_cr8_set(vcpu_lapic(v), value);
    atomic_fetch_or_explicit(&v->requests, REQUEST_EVENTS, memory_order_relaxed);
    return exit_done(v);
}

static enum exit_result mov_to(struct vcpu *v, unsigned cr, u64 value)
{
    if (vmx_guest_code_bits(&v->vmx) != 64)
        value = (u32)value;
    switch (cr) {
    case 0: return write_cr0(v, value);
    case 2: vmx_guest_set_cr2(value); return exit_done(v);
    case 3: return write_cr3(v, value);
    case 4: return write_cr4(v, value);
    case 8: return write_cr8(v, value);
    }
    return exit_inject_ud(v);
}

static enum exit_result mov_from(struct vcpu *v, unsigned cr, unsigned gpr)
{
    u64 value;

    switch (cr) {
    case 0: value = vmx_guest_cr0(); break; /* 0, 2 and 4: of real mode only, others do not exit */
    case 2: value = vmx_guest_cr2(); break;
    case 3: value = v->shadow.paging.cr3; break;
    case 4: value = vmx_guest_cr4(); break;
    case 8: value = vlapic_cr8(vcpu_lapic(v)); break;
    default: return exit_inject_ud(v);
    }
    vmx_gpr_write(&v->vmx, gpr, value);
    return exit_done(v);
}

rarely_run enum exit_result exit_cr_access(struct vcpu *v, u64 q)
{
    switch (vmx_cr_type(q)) {
    case VMX_CR_MOV_TO: return mov_to(v, vmx_cr_number(q), vmx_gpr_read(&v->vmx, vmx_cr_gpr(q)));
    case VMX_CR_MOV_FROM: return mov_from(v, vmx_cr_number(q), vmx_cr_gpr(q));
    case VMX_CR_CLTS: return write_cr0(v, vmx_guest_cr0() & ~CR0_TS);
    case VMX_CR_LMSW: {
        /* LMSW sets PE, MP, EM and TS but cannot clear PE (SDM Vol 2) */
        u64 low = CR0_PE | CR0_MP | CR0_EM | CR0_TS, cr0 = vmx_guest_cr0();
        return write_cr0(v, (cr0 & ~(low & ~CR0_PE)) | (vmx_cr_lmsw_source(q) & low));
    }
    }
    return exit_inject_ud(v);
}

enum exit_result exit_cr(struct vcpu *v)
{
    u64 q = vmcs_read(VMCS_EXIT_QUALIFICATION);

    /* the one that has to be fast */
    if (likely(vmx_cr_number(q) == 3 && vmx_cr_type(q) == VMX_CR_MOV_TO)) {
        u64 value = vmx_gpr_read(&v->vmx, vmx_cr_gpr(q)), old_root = v->shadow.root.v;
        bool flush;
        if (unlikely(value >> 32) || unlikely(!shadow_set_cr3_quick(&v->shadow, value, &flush)))
            return write_cr3(v, value);
        if (flush) {
            if (v->shadow.root.v != old_root)
                vmx_guest_set_cr3(v->shadow.root.v);
            if (likely(v->vmx.vpid))
                vmx_invvpid(v->on->vmx.tlb.context_keep_global, v->vmx.vpid, 0);
        }
        return exit_done(v);
    }
    return exit_cr_access(v, q);
}

enum exit_result exit_invlpg(struct vcpu *v)
{
    vcpu_flush(v, shadow_invlpg(&v->shadow, GVA(vmcs_read(VMCS_EXIT_QUALIFICATION))));
    return exit_done(v);
}
