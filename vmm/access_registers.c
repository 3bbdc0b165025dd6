/* access_registers.c - the guest's registers, as the emulation of its instructions sees and changes them. */
#include "vmm/access.h"
#include "vmm/real.h"
#include "vmx/bits.h"

/* Iterations at one exit: a long fill of a page table soon ends its trace, and the CPU does the rest. */
#define REP_LIMIT 32u

#define FSW_ERROR      BIT(7) /* an unmasked x87 exception is pending, SDM Vol. 1 8.1.3 */
#define MMX_EXPONENT   0xFFFFu
#define MMX_COUNT_MASK 7u
#define BLOCKING_INSN  (VMX_BLOCKING_STI | VMX_BLOCKING_MOV_SS)

/* FXSAVE image (SDM Vol 1 table 10-2): ST(n) and MMn at 32 + 16 n, XMM n at 160 + 16 n. */
struct fx_image {
    u16 fcw, fsw;
    u8 head[28];
    u64 st[8][2];
    u64 xmm[16][2];
    u8 tail[96];
} aligned_to(16);
_Static_assert(sizeof(struct fx_image) == 512, "SDM Vol 1 10.5");

/* The register's place in the image of the CPU's state, which is the guest's. MMX instructions empty the x87
 * stack (SDM Vol. 1 9.5): one is executed for that, if the CPU would not raise #MF. */
static u64 *vector_in(struct fx_image *image, unsigned reg)
{
    image->fsw = 0;
    cpu_fxsave(image);
    if (reg < EMULATE_MMX)
        return image->xmm[reg];
    if (!(image->fsw & FSW_ERROR)) {
        cpu_mmx_begin();
        cpu_fxsave(image);
    }
    return image->st[reg & MMX_COUNT_MASK];
}

void access_vector_read(void *ctx, unsigned reg, u64 value[2])
{
    struct fx_image image;
    const u64 *at = vector_in(&image, reg);

    (void)ctx;
    value[0] = at[0];
    value[1] = at[1];
}

void access_vector_write(void *ctx, unsigned reg, const u64 value[2])
{
    struct fx_image image;
    u64 *at = vector_in(&image, reg);

    (void)ctx;
    at[0] = value[0];
    at[1] = reg < EMULATE_MMX ? value[1] : at[1] | MMX_EXPONENT;
    cpu_fxrstor(&image);
}

enum emulate_status access_fault(void *ctx, unsigned vector, u32 error)
{
    struct vcpu *v = ctx;

    v->access.fault_vector = (u8)vector;
    v->access.fault_error = error;
    return EMULATE_FAULT;
}

_Static_assert((int)EMULATE_LDTR == (int)VMX_SEG_LDTR && (int)EMULATE_TR == (int)VMX_SEG_TR &&
                   (int)INSN_SEG_ES == (int)VMX_SEG_ES && (int)INSN_SEG_GS == (int)VMX_SEG_GS,
               "the emulator numbers segments as the VMCS does");

void access_segment_read(void *ctx, unsigned seg, struct vmx_seg *out)
{
    if (seg <= EMULATE_TR) {
        *out = real_active(ctx) && seg < REAL_SEGS ? real_segment_read(ctx, seg)
                                                   : vmx_segment_read((enum vmx_segment)seg);
        return;
    }
    bool idt = seg == EMULATE_IDTR;
    *out = (struct vmx_seg){.base = vmcs_read(idt ? VMCS_GUEST_IDTR_BASE : VMCS_GUEST_GDTR_BASE),
                            .limit = (u32)vmcs_read(idt ? VMCS_GUEST_IDTR_LIMIT : VMCS_GUEST_GDTR_LIMIT)};
}

void access_segment_write(void *ctx, unsigned seg, const struct vmx_seg *value)
{
    if (seg <= EMULATE_TR) {
        if (real_active(ctx) && seg < REAL_SEGS)
            real_segment_load(ctx, seg, value->selector);
        else
            vmx_segment_write((enum vmx_segment)seg, value);
        return;
    }
    bool idt = seg == EMULATE_IDTR;
    vmcs_write(idt ? VMCS_GUEST_IDTR_BASE : VMCS_GUEST_GDTR_BASE, value->base);
    vmcs_write(idt ? VMCS_GUEST_IDTR_LIMIT : VMCS_GUEST_GDTR_LIMIT, value->limit);
}

void access_implicit(void *ctx, bool on)
{
    struct vcpu_access *a = &((struct vcpu *)ctx)->access;

    a->rights = on ? 0 : a->explicit_rights;
    a->hint_page = a->device_page = 0; /* they hold for the rights at the exit */
}

u64 access_cr0_read(void *ctx)
{
    (void)ctx;
    return vmx_guest_cr0();
}

u64 access_cr4_read(void *ctx)
{
    (void)ctx;
    return vmx_guest_cr4();
}

bool access_long_mode(void *ctx)
{
    return ((struct vcpu *)ctx)->shadow.paging.efer & EFER_LMA;
}

void access_state_load(struct vcpu *v, const struct insn *insn, struct emulate_state *st)
{
    u32 segments = insn_segments(insn);

    st->gpr = v->vmx.gpr;
    st->rip = vmx_guest_rip(&v->vmx);
    st->rflags = v->access.rflags;
    st->ops = &access_ops;
    st->ctx = v;
    st->rep_limit = REP_LIMIT;
    st->cpl = v->access.cpl;
    st->stack_size = 0;
    v->access.locked = insn->lock || insn->op == INSN_XCHG;
    if (unlikely(insn->op == INSN_TZCNT || insn->op == INSN_LZCNT)) {
        st->tzcnt = cpu_has(CPUID_FEATURE_BMI1);
        st->lzcnt = cpu_has(CPUID_FEATURE_LZCNT);
    }
    if (unlikely(insn_uses_rsp(insn))) {
        v->vmx.gpr[VMX_RSP] = vmcs_read(VMCS_GUEST_RSP);
        st->stack_size = vmx_segment_access(VMX_SEG_SS) & VMX_AR_DB ? 4 : 2;
    }
    for (unsigned s = 0; segments; s++, segments >>= 1)
        if (segments & 1)
            st->seg_base[s] = vmx_segment_base((enum vmx_segment)s);
}

/* Branches trap even with BTF (SDM Vol. 3B 17.4.3). */
static void trap(const struct insn *insn)
{
    bool branch = insn->op >= INSN_CALL && insn->op <= INSN_JMP_FAR;

    if (branch || !(vmcs_read(VMCS_GUEST_DEBUGCTL) & DEBUGCTL_BTF))
        vmcs_write(VMCS_GUEST_PENDING_DEBUG, vmcs_read(VMCS_GUEST_PENDING_DEBUG) | VMX_PENDING_DEBUG_BS);
}

void access_state_store(struct vcpu *v, const struct insn *insn, struct emulate_state *st,
                        enum emulate_status status)
{
    if (unlikely(insn_uses_rsp(insn)))
        vmcs_write(VMCS_GUEST_RSP, v->vmx.gpr[VMX_RSP]);
    if (st->rflags != v->access.rflags)
        vmcs_write(VMCS_GUEST_RFLAGS, st->rflags);
    if (likely(status == EMULATE_OK)) {
        u32 blocking = (u32)vmcs_read(VMCS_GUEST_INTERRUPTIBILITY);
        if (unlikely((blocking & BLOCKING_INSN) || st->loaded_ss))
            vmcs_write(VMCS_GUEST_INTERRUPTIBILITY,
                       (blocking & ~BLOCKING_INSN) | (st->loaded_ss ? VMX_BLOCKING_MOV_SS : 0));
        vmx_guest_set_rip(&v->vmx, st->rip);
    }
    if (unlikely(st->debug_trap))
        trap(insn);
}
