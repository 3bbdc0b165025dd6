/*
 * access.c - guest memory by linear address, as the guest itself would reach it now.
 *
 *   gva --canonical?--> gwalk (sets A and D) --> gpa --> RAM    read, write, compare-and-exchange, report the write
 *                                                        none   the virtual platform
 *                                                        empty  #PF, the page is away
 *
 * A write is done only when both pages it touches can be written.
 */
#include "vmm/access.h"

#include "arch/string.h"
#include "vmx/bits.h"

#define WORD      8u
/* Iterations at one exit: a long fill of a page table soon ends its trace, and the CPU does the rest. */
#define REP_LIMIT 32u

static enum emulate_status fault(struct vcpu *v, u8 vector, u32 error, gva_t address)
{
    v->access.fault_vector = vector;
    v->access.fault_error = error;
    v->access.fault_address = address;
    return EMULATE_FAULT;
}

void access_begin(struct vcpu *v, gva_t write_to, gpa_t gpa, bool translated)
{
    struct vcpu_access *a = &v->access;

    a->user = vmx_guest_cpl() == 3 ? GWALK_USER : 0;
    if (vmx_guest_rflags() & RFLAGS_AC)
        a->user |= GWALK_AC;
    a->fault_vector = 0;
    a->hint_page = translated ? ALIGN_DOWN(write_to.v, PAGE_SIZE) | 1 : 0;
    a->hint_gpa = GPA(ALIGN_DOWN(gpa.v, PAGE_SIZE));
}

/* Where a byte of the guest's address space is; the page has the rights that access needs. */
static enum emulate_status translate(struct vcpu *v, gva_t gva, u32 access, gpa_t *gpa)
{
    struct vcpu_access *a = &v->access;
    struct gwalk walk;

    if ((access & GWALK_WRITE) && a->hint_page == (ALIGN_DOWN(gva.v, PAGE_SIZE) | 1)) {
        *gpa = GPA(a->hint_gpa.v | (gva.v & PAGE_MASK));
        return EMULATE_OK;
    }
    if (!linear_is_canonical(gva.v))
        return fault(v, VECTOR_GP, 0, gva);
    if (!gwalk(&v->vm->p2m, &v->shadow.paging, gva, access | a->user | GWALK_SET_AD, &walk))
        return fault(v, VECTOR_PF, walk.error, gva);
    *gpa = walk.gpa;
    enum p2m_type type = p2m_entry_type(p2m_get(&v->vm->p2m, gpa->v >> PAGE_SHIFT));
    u32 code = (u32)((access & GWALK_WRITE ? PF_W : 0) | (a->user & GWALK_USER ? PF_U : 0));
    if (type == P2M_EMPTY)
        return fault(v, VECTOR_PF, code, gva);
    if (type == P2M_RAM_RO && (access & GWALK_WRITE))
        return fault(v, VECTOR_PF, (u32)PF_P | code, gva);
    return EMULATE_OK;
}

/* One access that may cross a page, as at most two pieces. */
struct pieces {
    gpa_t gpa[2];
    unsigned size[2];
};

static enum emulate_status translate_range(struct vcpu *v, gva_t gva, unsigned size, u32 access,
                                           struct pieces *p)
{
    unsigned room = (unsigned)(PAGE_SIZE - (gva.v & PAGE_MASK));
    enum emulate_status s = translate(v, gva, access, &p->gpa[0]);

    p->size[0] = MIN(size, room);
    p->size[1] = size - p->size[0];
    if (s == EMULATE_OK && p->size[1])
        s = translate(v, GVA(gva.v + p->size[0]), access, &p->gpa[1]);
    return s;
}

enum emulate_status access_check_write(struct vcpu *v, gva_t gva, unsigned size)
{
    struct pieces p;

    return translate_range(v, gva, size, GWALK_WRITE, &p);
}

static bool is_ram(const struct vcpu *v, gpa_t gpa)
{
    return p2m_entry_is_ram(p2m_get(&v->vm->p2m, gpa.v >> PAGE_SHIFT));
}

/* Device access of any size within a page, split at 8-byte words. */
static void device(struct vcpu *v, gpa_t gpa, unsigned size, bool write, u8 *bytes)
{
    u64 now = tsc_read();

    while (size) {
        unsigned n = MIN(size, WORD - (unsigned)(gpa.v % WORD));
        u64 value = 0;
        if (write)
            memcpy(&value, bytes, n);
        vplat_mmio(&v->vm->platform, v->index, now, gpa, n, write, &value);
        if (!write)
            memcpy(bytes, &value, n);
        gpa.v += n;
        bytes += n;
        size -= n;
    }
    atomic_fetch_or_explicit(&v->requests, REQUEST_EVENTS, memory_order_relaxed);
}

/* A store that may hit a page table. */
static enum err write_ram(struct vcpu *v, gpa_t gpa, const void *from, unsigned size)
{
    shadow_write_begin(&v->shadow, gpa, size);
    enum err e = guest_mem_write(&v->vm->p2m, gpa, from, size);
    vcpu_flush(v, shadow_write_done(&v->shadow, gpa, size));
    return e;
}

enum emulate_status access_read(struct vcpu *v, gva_t gva, void *to, unsigned size)
{
    struct pieces p;
    u8 *bytes = to;
    enum emulate_status s = translate_range(v, gva, size, 0, &p);

    for (unsigned i = 0; s == EMULATE_OK && i < 2 && p.size[i]; i++) {
        if (!is_ram(v, p.gpa[i]))
            device(v, p.gpa[i], p.size[i], false, bytes);
        else if (guest_mem_read(&v->vm->p2m, p.gpa[i], bytes, p.size[i]) != ERR_OK)
            s = EMULATE_RETRY; /* the page left between the look and the read */
        bytes += p.size[i];
    }
    return s;
}

enum emulate_status access_write(struct vcpu *v, gva_t gva, const void *from, unsigned size)
{
    struct pieces p;
    u8 bytes[16];
    u8 *at = bytes;
    enum emulate_status s = translate_range(v, gva, size, GWALK_WRITE, &p);

    memcpy(bytes, from, size);
    for (unsigned i = 0; s == EMULATE_OK && i < 2 && p.size[i]; i++) {
        if (!is_ram(v, p.gpa[i]))
            device(v, p.gpa[i], p.size[i], true, at);
        else if (write_ram(v, p.gpa[i], at, p.size[i]) != ERR_OK)
            s = EMULATE_RETRY;
        at += p.size[i];
    }
    return s;
}

static enum emulate_status read_op(void *ctx, gva_t gva, unsigned size, bool for_write, u64 value[2])
{
    struct vcpu *v = ctx;
    struct pieces p;

    value[0] = value[1] = 0;
    if (for_write) {
        enum emulate_status s = translate_range(v, gva, size, GWALK_WRITE, &p);
        if (s != EMULATE_OK)
            return s;
    }
    return access_read(v, gva, value, size);
}

static enum emulate_status write_op(void *ctx, gva_t gva, unsigned size, const u64 value[2])
{
    return access_write(ctx, gva, value, size);
}

/* Not aligned, or 16 bytes: no single compare-and-exchange of ours does it; without its trace the page lets
 * the CPU. */
static enum emulate_status cmpxchg_op(void *ctx, gva_t gva, unsigned size, const u64 expected[2],
                                      const u64 desired[2], u64 seen[2])
{
    struct vcpu *v = ctx;
    gpa_t gpa;
    enum emulate_status s = translate(v, gva, GWALK_WRITE, &gpa);

    if (s != EMULATE_OK)
        return s;
    seen[0] = expected[0];
    seen[1] = expected[1];
    if (!is_ram(v, gpa))
        return access_write(v, gva, desired, size);
    if (size > WORD || gva.v % size)
        return EMULATE_UNKNOWN;
    shadow_write_begin(&v->shadow, gpa, size);
    enum err e = guest_mem_cmpxchg(&v->vm->p2m, gpa, size, &seen[0], desired[0]);
    vcpu_flush(v, shadow_write_done(&v->shadow, gpa, size));
    return e == ERR_OK ? EMULATE_OK : EMULATE_RETRY;
}

/* FXSAVE image (SDM Vol 1 table 10-2): XMM n at 160 + 16 n. */
struct fx_image {
    u8 head[160];
    u64 xmm[16][2];
    u8 tail[96];
} aligned_to(16);
_Static_assert(sizeof(struct fx_image) == 512, "SDM Vol 1 10.5");

static void xmm_read_op(void *ctx, unsigned reg, u64 value[2])
{
    struct fx_image image;

    (void)ctx;
    cpu_fxsave(&image);
    value[0] = image.xmm[reg][0];
    value[1] = image.xmm[reg][1];
}

static void xmm_write_op(void *ctx, unsigned reg, const u64 value[2])
{
    struct fx_image image;

    (void)ctx;
    cpu_fxsave(&image);
    image.xmm[reg][0] = value[0];
    image.xmm[reg][1] = value[1];
    cpu_fxrstor(&image);
}

const struct emulate_ops access_ops = {read_op, write_op, cmpxchg_op, xmm_read_op, xmm_write_op};

enum emulate_status access_fetch(struct vcpu *v)
{
    struct vcpu_access *a = &v->access;
    gva_t at = GVA(vmx_guest_rip(&v->vmx));
    unsigned got = 0;

    if (vmx_guest_code_bits(&v->vmx) != 64)
        at = GVA((u32)(at.v + vmx_segment_base(VMX_SEG_CS)));
    while (got < INSN_MAX_LENGTH) {
        unsigned n = MIN(INSN_MAX_LENGTH - got, (unsigned)(PAGE_SIZE - (at.v & PAGE_MASK)));
        gpa_t gpa;
        enum emulate_status s = translate(v, at, GWALK_FETCH, &gpa);
        if (s == EMULATE_OK && guest_mem_read(&v->vm->p2m, gpa, a->code + got, n) != ERR_OK)
            s = EMULATE_UNKNOWN; /* code in device memory */
        if (s != EMULATE_OK) {
            if (!got)
                return s;
            break;
        }
        got += n;
        at.v += n;
    }
    a->fetch_bytes = got; /* a fault found behind them counts if they are not a whole instruction */
    return EMULATE_OK;
}

void access_state_load(struct vcpu *v, const struct insn *insn, struct emulate_state *st)
{
    static const enum vmx_segment number[INSN_SEG_COUNT] = {
        [INSN_SEG_ES] = VMX_SEG_ES, [INSN_SEG_CS] = VMX_SEG_CS, [INSN_SEG_SS] = VMX_SEG_SS,
        [INSN_SEG_DS] = VMX_SEG_DS, [INSN_SEG_FS] = VMX_SEG_FS, [INSN_SEG_GS] = VMX_SEG_GS,
    };
    u32 segments = insn_segments(insn);

    st->gpr = v->vmx.gpr;
    st->rip = vmx_guest_rip(&v->vmx);
    st->rflags = vmx_guest_rflags();
    st->ops = &access_ops;
    st->ctx = v;
    st->rep_limit = st->rflags & RFLAGS_TF ? 1 : REP_LIMIT; /* a single step is one iteration */
    st->stack_size = 0;
    if (insn_uses_rsp(insn)) {
        v->vmx.gpr[VMX_RSP] = vmcs_read(VMCS_GUEST_RSP);
        st->stack_size = vmx_segment_access(VMX_SEG_SS) & VMX_AR_DB ? 4 : 2;
    }
    for (unsigned s = 0; segments; s++, segments >>= 1)
        if (segments & 1)
            st->seg_base[s] = vmx_segment_base(number[s]);
}

void access_state_store(struct vcpu *v, const struct insn *insn, struct emulate_state *st,
                        enum emulate_status status)
{
    if (insn_uses_rsp(insn))
        vmcs_write(VMCS_GUEST_RSP, v->vmx.gpr[VMX_RSP]);
    vmcs_write(VMCS_GUEST_RFLAGS, st->rflags);
    if (status != EMULATE_OK) {
        if (status == EMULATE_PARTIAL && st->debug_trap)
            vmcs_write(VMCS_GUEST_PENDING_DEBUG, vmcs_read(VMCS_GUEST_PENDING_DEBUG) | VMX_PENDING_DEBUG_BS);
        return;
    }
    u64 next = st->rip;
    vmx_guest_skip_bytes(&v->vmx, insn->length);
    if (next != vmx_guest_rip(&v->vmx))
        vmx_guest_set_rip(&v->vmx, next);
}
