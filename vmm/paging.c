/* paging.c - see paging.h. */
#include "vmm/paging.h"

#include "arch/cpu.h"
#include "arch/log.h"
#include "arch/msr.h"
#include "vmx/bits.h"
#include "vmx/l1tf.h"

static const enum vmcs_field pdpte_fields[] = {VMCS_GUEST_PDPTE0, VMCS_GUEST_PDPTE1, VMCS_GUEST_PDPTE2,
                                               VMCS_GUEST_PDPTE3};

/* ---- set-up ---- */

static bool has_unrestricted(const struct vmx_caps *caps)
{
    return vmx_caps_has(caps, VMX_SECONDARY_UNRESTRICTED_GUEST);
}

/* IA32_ARCH_CAPABILITIES of this CPU, 0 where there is none. */
static u64 arch_capabilities(void)
{
    return cpu_has(CPUID_FEATURE_ARCH_CAPABILITIES) ? msr_read(MSR_IA32_ARCH_CAPABILITIES) : 0;
}

static enum ept_large large_pages(const struct vmx_caps *caps)
{
    if (!(caps->ept_vpid & VMX_EPT_CAP_2M))
        return EPT_LARGE_NONE;
    return arch_capabilities() & ARCH_CAPABILITIES_PSCHANGE_MC_NO ? EPT_LARGE_ANY : EPT_LARGE_DATA;
}

/* Four levels in write-back memory, without A and D (SDM Vol 3C 24.6.11). */
static u64 pointer_to(hpa_t root)
{
    return root.v | EPTP_TYPE_WB | EPTP_WALK_4 << EPTP_WALK_SHIFT;
}

/* What this CPU needs in guests that page by EPT. */
static enum l1tf l1tf_here(void)
{
    return l1tf_of(arch_capabilities(), cpu_has(CPUID_FEATURE_L1D_FLUSH));
}

enum err paging_init_vm(struct vm *vm, const struct vmx_caps *caps)
{
    const struct vm_config *c = vm->config;

    if (!vmx_caps_ept_usable(caps))
        return ERR_OK;
    vm->ept_paged = c->paging == PAGING_EPT;
    vm->ept_unpaged = c->unpaged == UNPAGED_EPT && has_unrestricted(caps);
    if (!vm->ept_paged)
        return ERR_OK;
    if (l1tf_here() == L1TF_OPEN)
        log_line("vm %s: paging = ept on a CPU with L1TF that cannot flush its L1 data cache: for guests "
                 "that are trusted",
                 vm->name);
    void *tables = vm->take(vm, ept_size(vm->p2m.count));
    if (!tables)
        return ERR_NO_MEMORY;
    enum err e = ept_init(&vm->ept, &vm->p2m, tables, large_pages(caps));
    if (e == ERR_OK)
        vm->ept_pointer = pointer_to(vm->ept.root);
    return e;
}

/* The VM's, or the shadow's: of use while the EPT is on. */
static u64 ept_pointer_of(const struct vcpu *v)
{
    return v->vm->ept_paged ? v->vm->ept_pointer : pointer_to(v->shadow.root);
}

static bool wants_ept(const struct vm *vm, u64 cr0)
{
    return cr0 & CR0_PG ? vm->ept_paged : vm->ept_unpaged;
}

static enum err choose_controls(const struct vcpu *v, struct vmx_request *request,
                                struct vmx_controls *controls)
{
    const struct vmx_cpu *cpu = &v->on->vmx;
    struct vmx_report report;

    vmx_request_tpr_shadow(request, &cpu->caps);
    if (!cpu->vpid)
        request->optional[VMX_SECONDARY] &= ~vmx_control_mask(VMX_SECONDARY_VPID);
    /* CPUID offers neither: let them be undefined */
    request->optional[VMX_SECONDARY] &=
        ~(vmx_control_mask(VMX_SECONDARY_INVPCID) | vmx_control_mask(VMX_SECONDARY_XSAVES));
    return vmx_controls_choose(&cpu->caps, request, controls, &report);
}

enum err paging_init_vcpu(struct vcpu *v, u64 cr0, struct vmx_setup *setup)
{
    struct vmx_request request;

    vmx_request_shadow(&request);
    enum err e = choose_controls(v, &request, &v->by_shadow);
    if (e == ERR_OK && (v->vm->ept_paged || v->vm->ept_unpaged)) {
        vmx_request_ept(&request, has_unrestricted(&v->on->vmx.caps));
        e = choose_controls(v, &request, &v->by_ept);
        v->ept_stale = true;
    }
    setup->ept_pointer = ept_pointer_of(v);
    setup->flush_l1d = v->vm->ept_paged && l1tf_here() == L1TF_FLUSH;
    setup->controls = wants_ept(v->vm, cr0) ? v->by_ept : v->by_shadow;
    return e;
}

/* ---- flushes ---- */

void vcpu_flush_ept(struct vcpu *v)
{
    if (v->shadow.ept_root && paging_is_ept(v))
        vmx_tlb_flush_ept(&v->on->vmx.tlb, ept_pointer_of(v));
}

void paging_drop(struct vcpu *v)
{
    if (!v->vm->ept_paged)
        return;
    v->ept_stale = !paging_is_ept(v);
    if (!v->ept_stale)
        vmx_tlb_flush_ept(&v->on->vmx.tlb, v->vm->ept_pointer);
}

static void flush_if_stale(struct vcpu *v)
{
    if (v->ept_stale)
        vmx_tlb_flush_ept(&v->on->vmx.tlb, v->vm->ept_pointer);
    v->ept_stale = false;
}

/* ---- registers ---- */

void paging_sync(struct vcpu *v)
{
    struct paging_state *p = &v->shadow.paging;

    if (!paging_is_ept(v))
        return;
    p->cr3 = vmcs_read(VMCS_GUEST_CR3);
    if (gwalk_mode_of(p) == GWALK_PAE)
        for (u32 i = 0; i < ARRAY_SIZE(pdpte_fields); i++)
            p->pdpte[i] = vmcs_read(pdpte_fields[i]);
}

/* Unrestricted guest ends. */
static void settle_segments(void)
{
    for (u32 s = VMX_SEG_ES; s <= VMX_SEG_GS; s++) {
        struct vmx_seg seg = vmx_segment_read((enum vmx_segment)s);
        if (real_settle_segment(&seg, s, vmx_guest_cpl()))
            vmx_segment_write((enum vmx_segment)s, &seg);
    }
}

void paging_choose(struct vcpu *v, u64 cr0)
{
    bool ept = wants_ept(v->vm, cr0);

    if (ept == paging_is_ept(v))
        return;
    if (ept && v->vm->ept_paged)
        (void)shadow_clear(&v->shadow); /* nobody is to find anything in it; set_by_ept() flushes */
    vmx_vcpu_set_controls(&v->vmx, ept ? &v->by_ept : &v->by_shadow, ept_pointer_of(v));
    vcpu_filter_faults(v);
    if (!ept)
        settle_segments();
}

static void set_by_ept(struct vcpu *v, const struct paging_state *next)
{
    v->shadow.paging = *next;
    vmx_guest_set_cr3(next->cr3);
    if (gwalk_mode_of(next) == GWALK_PAE)
        for (u32 i = 0; i < ARRAY_SIZE(pdpte_fields); i++)
            vmcs_write(pdpte_fields[i], next->pdpte[i]);
    flush_if_stale(v);
    vcpu_flush(v, FLUSH_ALL);
}

void paging_set(struct vcpu *v, const struct paging_state *next)
{
    if (paging_is_ept(v) && v->vm->ept_paged) {
        set_by_ept(v, next);
        return;
    }
    struct flush flush = shadow_set_paging(&v->shadow, next);
    if (paging_is_ept(v)) {
        vmx_guest_set_cr3(next->cr3);
        vmcs_write(VMCS_EPT_POINTER, ept_pointer_of(v));
        v->linear_vpid = VMX_VPID_NONE;
    } else {
        vmx_guest_set_cr3(v->shadow.root.v);
        v->linear_vpid = v->vmx.vpid;
    }
    vcpu_flush(v, flush);
}
