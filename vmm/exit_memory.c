/*
 * exit_memory.c - page faults of the guest: the shadow decides what they mean (mm/shadow.h), here is what follows.
 *
 *   RESUME         the shadow was filled: again
 *   GUEST_FAULT    the guest's own: inject
 *   TRACED_WRITE   a store to one of its page tables: carry it out and post patches;
 *                  if it cannot be, the table loses its trace and the CPU does it
 *   MMIO           a device of the virtual platform
 *   EMPTY, RO      a page that is away, or shared in read-only: the guest's own fault too
 *
 * An EPT violation means the same: of a guest that does not page, to its shadow (struct shadow.ept_root); of one that pages
 * by EPT a device, a page that is away, a read-only page, because its own faults do not come here.
 */
#include "vmm/access.h"
#include "vmm/exit.h"
#include "vmm/paging.h"

/* The store that shadow_fault() announced is none of ours. */
static rarely_run enum exit_result not_stored(struct vcpu *v, enum exit_result result)
{
    shadow_write_end(&v->shadow);
    return result;
}

/* The page has lost its trace: the CPU carries out the store itself, and should not fault for it once more. */
static enum exit_result without_trace(struct vcpu *v, gva_t gva)
{
    u32 error = (u32)(PF_P | PF_W | (vmx_guest_cpl() == 3 ? PF_U : 0));

    vcpu_flush(v,
               shadow_fault(&v->shadow, gva, error, vmx_guest_cpl(), vmx_guest_rflags() & RFLAGS_AC).flush);
    return not_stored(v, EXIT_RESUME); /* whatever the verdict is, it comes again if it has to */
}

/* The instruction at RIP cannot be carried out here. */
static enum exit_result give_up(struct vcpu *v, gva_t gva, gpa_t gpa, bool traced)
{
    counter_one(&v->stats.emulate_unknown);
    if (!traced) {
        const u8 *c = v->access.code;
        vm_fail(
            v,
            "device access at 0x%lx by an instruction that cannot be emulated: %02x %02x %02x %02x %02x %02x",
            gpa.v, c[0], c[1], c[2], c[3], c[4], c[5]);
        return EXIT_YIELD;
    }
    vcpu_flush(v, shadow_give_up(&v->shadow, gpa));
    return without_trace(v, gva);
}

/* A REP that fills or copies over a good part of a page: it becomes something else. */
static bool rewrites_page(const struct vcpu *v, const struct insn *insn)
{
    u64 count = v->vmx.gpr[VMX_RCX] & (insn->addr_size == 8 ? ~0ull : BIT(8 * insn->addr_size) - 1);

    return insn->rep != INSN_REP_NONE && (insn->op == INSN_STOS || insn->op == INSN_MOVS) &&
           count >= SHADOW_REWRITE_BYTES / insn->op_size;
}

static enum exit_result emulate(struct vcpu *v, gva_t gva, gpa_t gpa, bool traced)
{
    const struct insn *insn;
    struct emulate_state st;
    enum emulate_status status = access_fetch(v);

    counter_one(&v->stats.emulated);
    if (unlikely(status == EMULATE_FAULT))
        return not_stored(v, exit_inject_found(v));
    if (unlikely(status != EMULATE_OK))
        return give_up(v, gva, gpa, traced);
    enum err decoded = decode_cached(&v->access.decoded, vmx_guest_rip(&v->vmx), v->access.window,
                                     v->access.fetch_bytes, (enum cpu_mode)v->access.code_bits, &insn);
    if (unlikely(decoded == ERR_TRUNCATED && v->access.fault_vector))
        return not_stored(v, exit_inject_found(v)); /* its second page cannot be fetched */
    if (unlikely(decoded != ERR_OK))
        return give_up(v, gva, gpa, traced);
    if (unlikely(insn->rep) && traced && rewrites_page(v, insn)) {
        vcpu_flush(v, shadow_rewrite(&v->shadow, gpa));
        return without_trace(v, gva);
    }
    access_state_load(v, insn, &st);
    status = emulate_insn(insn, &st);
    switch (status) {
    case EMULATE_OK:
    case EMULATE_PARTIAL: access_state_store(v, insn, &st, status); return EXIT_RESUME;
    case EMULATE_FAULT:
        st.debug_trap = false;
        access_state_store(v, insn, &st, EMULATE_PARTIAL);
        return not_stored(v, exit_inject_found(v));
    case EMULATE_RETRY: return not_stored(v, EXIT_RESUME);
    case EMULATE_UNKNOWN: break;
    }
    return give_up(v, gva, gpa, traced);
}

/* An access to the device at gpa. */
static enum exit_result device_access(struct vcpu *v, gva_t gva, gpa_t gpa, bool write)
{
    if (unlikely(vmx_event_armed(&v->vmx))) {
        vm_fail(v, "stack or descriptor table in device memory at 0x%lx", gpa.v);
        return EXIT_YIELD;
    }
    access_begin(v, vmx_guest_cpl(), vmx_guest_rflags());
    access_hint_device(v, gva, gpa, write);
    return emulate(v, gva, gpa, false);
}

static inline __attribute__((always_inline)) enum exit_result shadow_faulted(struct vcpu *v, gva_t gva,
                                                                             u32 error)
{
    /* AC counts with SMAP only, and CPL with AC only: most faults are over without a look at either */
    bool ac = (v->shadow.paging.cr4 & CR4_SMAP) && (vmx_guest_rflags() & RFLAGS_AC);
    struct shadow_fault f = shadow_fault(&v->shadow, gva, error, ac ? vmx_guest_cpl() : 0, ac);

    vcpu_flush(v, f.flush);
    switch (f.verdict) {
    case SHADOW_RESUME: return EXIT_RESUME;
    case SHADOW_TRACED_WRITE:
        /* The CPU itself was writing, to deliver an event: RIP is not at the writer. */
        if (unlikely(vmx_event_armed(&v->vmx)))
            return give_up(v, gva, f.gpa, true);
        access_begin(v, vmx_guest_cpl(), vmx_guest_rflags());
        access_hint(v, gva, f.gpa);
        return emulate(v, gva, f.gpa, true);
    case SHADOW_MMIO: return device_access(v, gva, f.gpa, error & GWALK_WRITE);
    case SHADOW_GUEST_FAULT:
    case SHADOW_EMPTY_PAGE:
    case SHADOW_RO_PAGE: return exit_inject_page_fault(v, f.error, gva);
    }
    return EXIT_RESUME;
}

enum exit_result exit_page_fault(struct vcpu *v, u32 error)
{
    return shadow_faulted(v, GVA(vmx_exit_qualification(&v->vmx)), error);
}

/*
 * The CPU wanted to read one of the guest's page tables, or to set A or D in it, and may not: the table is not in RAM, or
 * in RAM that is read-only. By the walk of our own the one reads as not present, and the other keeps its A and D; so the
 * instruction is emulated, and gets its fault or has its effect.
 */
static enum exit_result table_access(struct vcpu *v, gva_t gva, gpa_t gpa)
{
    if (vmx_event_armed(&v->vmx))
        return exit_inject_page_fault(v, PF_W, gva);
    access_begin(v, vmx_guest_cpl(), vmx_guest_rflags());
    return emulate(v, gva, gpa, false);
}

/* The guest's tables permit the access, as the CPU has found before it looked at the EPT; a page of that type does not. */
static enum exit_result page_access(struct vcpu *v, enum p2m_type type, u64 q, gva_t gva, gpa_t gpa)
{
    bool write = q & VMX_EPT_WRITE, user = vmx_guest_cpl() == 3 && !vmx_event_armed(&v->vmx);
    u32 access =
        (write ? GWALK_WRITE : 0) | (user ? GWALK_USER : 0) | (q & VMX_EPT_EXECUTE ? GWALK_FETCH : 0);

    if (type == P2M_NONE)
        return device_access(v, gva, gpa, write);
    return exit_inject_page_fault(
        v, gwalk_access_bits(&v->shadow.paging, access) | (type == P2M_EMPTY ? 0 : PF_P), gva);
}

/* The access is right as it is: the page came meanwhile, or is the first code in 2 MiB of data (mm/ept.h). What the CPU
 * had cached of that address has gone with the violation (28.3.3.1). */
static bool is_permitted(enum p2m_type type, u64 q)
{
    return type == P2M_RAM_RW || (type == P2M_RAM_RO && !(q & VMX_EPT_WRITE) && q & VMX_EPT_AFTER_WALK);
}

enum exit_result exit_ept_violation(struct vcpu *v)
{
    u64 q = vmx_exit_qualification(&v->vmx);
    gpa_t gpa = vmx_exit_gpa();

    vmx_exit_recover(&v->vmx, 0);
    if (v->shadow.ept_root) /* physical addresses are linear ones */
        return shadow_faulted(v, GVA(gpa.v), q & VMX_EPT_WRITE ? (u32)PF_W : 0);
    enum p2m_type type = p2m_entry_type(p2m_get(&v->vm->p2m, gpa.v >> PAGE_SHIFT));
    if (is_permitted(type, q)) {
        paging_page_changed(v->vm, gpa.v >> PAGE_SHIFT);
        return EXIT_RESUME;
    }
    paging_sync(v);
    if (unlikely(!(q & VMX_EPT_LINEAR_VALID)))
        return exit_inject_gp(v); /* MOV CR3 wanted PDPTEs from what is not RAM (SDM Vol 3C table 27-7) */
    if (unlikely(!(q & VMX_EPT_AFTER_WALK)))
        return table_access(v, vmx_exit_linear(), gpa);
    return page_access(v, type, q, vmx_exit_linear(), gpa);
}

enum exit_result exit_ept_misconfiguration(struct vcpu *v)
{
    vmx_exit_recover(&v->vmx, 0);
    vm_fail(v, "the hypervisor's EPT is misconfigured at 0x%lx", vmx_exit_gpa().v);
    return EXIT_YIELD;
}
