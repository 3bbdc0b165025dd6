/*
 * exit_memory.c - page faults of the guest: the shadow decides what they mean (mm/shadow.h), here is what follows.
 *
 *   RESUME         the shadow was filled: again
 *   GUEST_FAULT    the guest's own: inject
 *   TRACED_WRITE   a store to one of its page tables: carry it out and post patches;
 *                  if it cannot be, the table loses its trace and the CPU does it
 *   MMIO           a device of the virtual platform
 *   EMPTY, RO      a page that is away, or shared in read-only: the guest's own fault too
 */
#include "vmm/access.h"
#include "vmm/exit.h"

/* The page has lost its trace: the CPU carries out the store itself, and should not fault for it once more. */
static enum exit_result without_trace(struct vcpu *v, gva_t gva)
{
    u32 error = (u32)(PF_P | PF_W | (vmx_guest_cpl() == 3 ? PF_U : 0));

    vcpu_flush(v,
               shadow_fault(&v->shadow, gva, error, vmx_guest_cpl(), vmx_guest_rflags() & RFLAGS_AC).flush);
    return EXIT_RESUME; /* whatever the verdict is, it comes again if it has to */
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
        return exit_inject_found(v);
    if (unlikely(status != EMULATE_OK))
        return give_up(v, gva, gpa, traced);
    enum err decoded = decode_cached(&v->access.decoded, vmx_guest_rip(&v->vmx), v->access.window,
                                     v->access.fetch_bytes, (enum cpu_mode)v->access.code_bits, &insn);
    if (unlikely(decoded == ERR_TRUNCATED && v->access.fault_vector))
        return exit_inject_found(v); /* its second page cannot be fetched */
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
        return exit_inject_found(v);
    case EMULATE_RETRY: return EXIT_RESUME;
    case EMULATE_UNKNOWN: break;
    }
    return give_up(v, gva, gpa, traced);
}

enum exit_result exit_page_fault(struct vcpu *v, u32 error)
{
    gva_t gva = GVA(vmx_exit_qualification(&v->vmx));
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
    case SHADOW_MMIO:
        if (unlikely(vmx_event_armed(&v->vmx))) {
            vm_fail(v, "stack or descriptor table in device memory at 0x%lx", f.gpa.v);
            return EXIT_YIELD;
        }
        access_begin(v, vmx_guest_cpl(), vmx_guest_rflags());
        access_hint_device(v, gva, f.gpa, error & GWALK_WRITE);
        return emulate(v, gva, f.gpa, false);
    case SHADOW_GUEST_FAULT:
    case SHADOW_EMPTY_PAGE:
    case SHADOW_RO_PAGE: return exit_inject_page_fault(v, f.error, gva);
    }
    return EXIT_RESUME;
}
