/* real.c - see real.h: into and out of real mode, and the VMCS in between. */
#include "vmm/real.h"

#include "arch/cpu.h"
#include "arch/string.h"
#include "vmm/guest_regs.h"
#include "vmm/paging.h"
#include "vmm/real_vcpu.h"
#include "vmx/bits.h"

#define EXCEPTIONS_ALL 0xFFFFFFFFu

static const struct vmx_seg busy_tss = {0, 0, VMX_AR_P | VMX_TYPE_TSS, 0}; /* no room for an I/O bitmap */
static const struct vmx_seg no_ldt = {0, 0, VMX_AR_UNUSABLE, 0};

static void put_table(enum vmcs_field base, enum vmcs_field limit, u64 b, u32 l)
{
    vmcs_write(base, b);
    vmcs_write(limit, l);
}

/* The segments in their present shape into the VMCS. HELD has no descriptor tables: loads fault. */
static void put_segments(struct vcpu *v)
{
    struct real_state *r = &v->real;
    struct vmx_seg out[REAL_SEGS];
    bool tables = r->shape != REAL_HELD;

    real_shape_segments(r->seg, (enum real_shape)r->shape, out);
    for (u32 s = 0; s < REAL_SEGS; s++) {
        vmx_segment_write((enum vmx_segment)s, &out[s]);
        r->given[s] = out[s].selector;
    }
    put_table(VMCS_GUEST_GDTR_BASE, VMCS_GUEST_GDTR_LIMIT, r->gdtr.base, tables ? r->gdtr.limit : 0);
    put_table(VMCS_GUEST_IDTR_BASE, VMCS_GUEST_IDTR_LIMIT, r->idtr.base, tables ? r->idtr.limit : 0);
}

/* The CPU's flags for the guest's. In HELD, IOPL 3 lets CLI, STI, PUSHF and POPF work at CPL 3. */
static void put_flags(struct vcpu *v, u32 eflags)
{
    struct real_state *r = &v->real;

    r->iopl = eflags & RFLAGS_IOPL_MASK;
    eflags &= ~(u32)RFLAGS_IOPL_MASK;
    if (r->shape == REAL_VM86)
        eflags |= RFLAGS_VM;
    else
        eflags |= RFLAGS_IOPL_MASK;
    if (r->stepping) {
        r->step_tf = eflags & RFLAGS_TF;
        eflags |= RFLAGS_TF;
    }
    vmcs_write(VMCS_GUEST_RFLAGS, eflags);
}

u32 real_flags(const struct vcpu *v)
{
    const struct real_state *r = &v->real;
    u32 eflags = (u32)vmx_guest_rflags() & ~(u32)(RFLAGS_VM | RFLAGS_IOPL_MASK);

    if (r->stepping && !r->step_tf)
        eflags &= ~(u32)RFLAGS_TF;
    return eflags | r->iopl;
}

void real_put(struct vcpu *v, enum real_shape shape, bool stepping)
{
    u32 eflags = real_flags(v);

    v->real.shape = shape;
    v->real.stepping = stepping;
    put_segments(v);
    put_flags(v, eflags);
    if (stepping) /* TF of ours does not go with blocking: 26.3.1.5 wants a pending trap then */
        vmcs_write(VMCS_GUEST_INTERRUPTIBILITY,
                   vmcs_read(VMCS_GUEST_INTERRUPTIBILITY) & ~(u64)(VMX_BLOCKING_STI | VMX_BLOCKING_MOV_SS));
}

bool real_sync(struct vcpu *v)
{
    struct real_state *r = &v->real;
    bool null = false;

    for (u32 s = 0; s < REAL_SEGS; s++) {
        u16 selector = (u16)vmcs_read(vmcs_segment_field(VMCS_GUEST_ES_SELECTOR, s));
        bool unusable = r->shape == REAL_HELD && vmx_segment_access((enum vmx_segment)s) & VMX_AR_UNUSABLE;
        if (selector != r->given[s] || unusable)
            real_load_segment(&r->seg[s], selector);
        r->given[s] = selector;
        null |= unusable;
    }
    return null;
}

struct vmx_seg real_segment_read(struct vcpu *v, u32 seg)
{
    real_sync(v);
    return v->real.seg[seg];
}

void real_segment_load(struct vcpu *v, u32 seg, u16 selector)
{
    real_sync(v);
    real_load_segment(&v->real.seg[seg], selector);
    real_put(v, real_shape_of(v->real.seg, (u32)vmx_guest_rip(&v->vmx)), false);
}

/* ---- the registers as a value ---- */

static enum emulate_status read_op(void *ctx, u32 linear, unsigned size, u32 *value)
{
    *value = 0;
    return access_read(ctx, GVA(linear), value, size);
}

static enum emulate_status write_op(void *ctx, u32 linear, unsigned size, u32 value)
{
    return access_write(ctx, GVA(linear), &value, size);
}

static const struct real_ops vcpu_memory = {read_op, write_op};

void real_cpu_load(struct vcpu *v, struct real_cpu *cpu)
{
    const struct real_state *r = &v->real;

    access_begin(v, 0, vmx_guest_rflags());
    *cpu = (struct real_cpu){
        .eip = (u32)vmx_guest_rip(&v->vmx),
        .eflags = real_flags(v),
        .gdtr = r->gdtr,
        .idtr = r->idtr,
        .ops = &vcpu_memory,
        .ctx = v,
    };
    for (u32 i = 0; i < ARRAY_SIZE(cpu->gpr); i++)
        cpu->gpr[i] = vmx_gpr_read(&v->vmx, i);
    memcpy(cpu->seg, r->seg, sizeof(cpu->seg));
}

/* An instruction or a delivery has ended: blocking by STI and MOV SS, NMIs, a single step. */
static void put_interruptibility(const struct vcpu *v, const struct real_cpu *cpu, bool step)
{
    u64 old = vmcs_read(VMCS_GUEST_INTERRUPTIBILITY), new = old;

    new &= ~(u64)(VMX_BLOCKING_STI | VMX_BLOCKING_MOV_SS);
    if (cpu->sti)
        new |= VMX_BLOCKING_STI;
    else if (cpu->ss)
        new |= VMX_BLOCKING_MOV_SS;
    if (cpu->iret && v->vmx.virtual_nmis)
        new &= ~(u64)VMX_BLOCKING_NMI;
    if (new != old)
        vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, new);
    if (step)
        vmcs_write(VMCS_GUEST_PENDING_DEBUG, vmcs_read(VMCS_GUEST_PENDING_DEBUG) | VMX_PENDING_DEBUG_BS);
}

static bool differ(const struct real_table *a, const struct real_table *b)
{
    return a->base != b->base || a->limit != b->limit;
}

/* Limits and rights stay as they are. */
static bool segments_differ(const struct vmx_seg a[REAL_SEGS], const struct vmx_seg b[REAL_SEGS])
{
    for (u32 s = 0; s < REAL_SEGS; s++)
        if (a[s].selector != b[s].selector || a[s].base != b[s].base)
            return true;
    return false;
}

void real_cpu_store(struct vcpu *v, const struct real_cpu *cpu)
{
    struct real_state *r = &v->real;
    enum real_shape shape = real_shape_of(cpu->seg, cpu->eip);
    bool step = (real_flags(v) & RFLAGS_TF) && !cpu->no_step;
    bool changed = shape != r->shape || r->stepping || segments_differ(cpu->seg, r->seg) ||
                   differ(&cpu->gdtr, &r->gdtr) || differ(&cpu->idtr, &r->idtr);

    for (u32 i = 0; i < ARRAY_SIZE(cpu->gpr); i++)
        vmx_gpr_write(&v->vmx, i, cpu->gpr[i]);
    vmx_guest_set_rip(&v->vmx, cpu->eip);
    if (changed) {
        memcpy(r->seg, cpu->seg, sizeof(r->seg));
        r->gdtr = cpu->gdtr;
        r->idtr = cpu->idtr;
        r->shape = shape;
        r->stepping = false;
        put_segments(v);
    }
    put_flags(v, cpu->eflags);
    put_interruptibility(v, cpu, step);
}

/* ---- in and out ---- */

/* v->real holds segments, tables and IOPL: the VMCS becomes that of a guest in real mode. */
static void begin(struct vcpu *v, u32 eflags)
{
    struct real_state *r = &v->real;

    r->sysenter_cs = (u32)vmcs_read(VMCS_GUEST_SYSENTER_CS);
    vmcs_write(VMCS_GUEST_SYSENTER_CS, 0); /* SYSENTER is #GP in real mode */
    vcpu_set_exceptions(v, EXCEPTIONS_ALL);
    vmx_segment_write(VMX_SEG_TR, &busy_tss);
    vmx_segment_write(VMX_SEG_LDTR, &no_ldt);
    for (u32 s = 0; s < REAL_SEGS; s++)
        real_adopt_segment(&r->seg[s]);
    r->shape = real_shape_of(r->seg, (u32)vmx_guest_rip(&v->vmx));
    r->stepping = false;
    put_segments(v);
    put_flags(v, eflags);
}

static void enter(struct vcpu *v)
{
    struct real_state *r = &v->real;

    for (u32 s = 0; s < REAL_SEGS; s++) {
        struct vmx_seg now = vmx_segment_read((enum vmx_segment)s);
        /* not loaded since real mode was left: there may be another RPL in its place */
        if (now.selector == r->given[s] && now.base == r->seg[s].base)
            now.selector = r->seg[s].selector;
        r->seg[s] = now;
    }
    r->tr = vmx_segment_read(VMX_SEG_TR);
    r->ldtr = vmx_segment_read(VMX_SEG_LDTR);
    r->gdtr = (struct real_table){vmcs_read(VMCS_GUEST_GDTR_BASE), (u32)vmcs_read(VMCS_GUEST_GDTR_LIMIT)};
    r->idtr = (struct real_table){vmcs_read(VMCS_GUEST_IDTR_BASE), (u32)vmcs_read(VMCS_GUEST_IDTR_LIMIT)};
    begin(v, (u32)vmx_guest_rflags());
}

static void leave(struct vcpu *v)
{
    struct real_state *r = &v->real;
    u32 eflags;

    real_sync(v);
    eflags = real_flags(v);
    r->shape = REAL_OFF;
    r->stepping = false;
    put_segments(v);
    vmcs_write(VMCS_GUEST_RFLAGS, eflags);
    vmx_segment_write(VMX_SEG_TR, &r->tr);
    vmx_segment_write(VMX_SEG_LDTR, &r->ldtr);
    vmcs_write(VMCS_GUEST_SYSENTER_CS, r->sysenter_cs);
    vcpu_set_exceptions(v, VCPU_EXITING_VECTORS);
}

void real_switch(struct vcpu *v, bool real)
{
    if (real && !paging_has_real_mode(v->vm))
        enter(v);
    else if (real_active(v))
        leave(v);
}

/* Family, model and stepping */
static u32 signature(const struct vcpu *v)
{
    const struct vcpuid_state none = {0};
    struct cpuid_regs r;

    vcpuid_query(&v->vm->platform.cpuid, &none, 1, 0, &r);
    return r.eax;
}

void real_reset(struct vcpu *v)
{
    struct real_state *r = &v->real;
    struct vmx_guest_init init;
    u64 sysenter[] = {vmcs_read(VMCS_GUEST_SYSENTER_CS), vmcs_read(VMCS_GUEST_SYSENTER_ESP),
                      vmcs_read(VMCS_GUEST_SYSENTER_EIP)};

    if (real_active(v))
        sysenter[0] = r->sysenter_cs;
    vmx_guest_init_reset(&init);
    paging_choose(v, init.cr0);
    /* INIT leaves the caches on or off (table 9-1, note 2) */
    init.cr0 = CR0_ET | (v->shadow.paging.cr0 & (CR0_CD | CR0_NW));
    vmx_guest_write(&v->vmx, &init);
    vmcs_write(VMCS_GUEST_SYSENTER_CS, sysenter[0]);
    vmcs_write(VMCS_GUEST_SYSENTER_ESP, sysenter[1]);
    vmcs_write(VMCS_GUEST_SYSENTER_EIP, sysenter[2]);
    memset(v->vmx.gpr, 0, sizeof(v->vmx.gpr));
    v->vmx.gpr[VMX_RDX] = signature(v);
    cr2_write(0);
    dr0_write(0);
    dr1_write(0);
    dr2_write(0);
    dr3_write(0);
    dr6_write(DR6_INIT);

    struct paging_state paging = {.cr0 = init.cr0, .maxphyaddr = v->shadow.maxphyaddr};
    paging_set(v, &paging);
    *r = (struct real_state){.shape = REAL_OFF}; /* no selectors of an earlier session */
    if (!paging_has_real_mode(v->vm))
        enter(v);
    guest_regs_follow_paging(v);
}

void real_start(struct vcpu *v, u8 vector)
{
    struct real_cpu cpu;

    if (!real_active(v)) {
        struct vmx_seg cs = vmx_segment_read(VMX_SEG_CS);
        real_load_segment(&cs, (u16)(vector << 8));
        vmx_segment_write(VMX_SEG_CS, &cs);
        vmx_guest_set_rip(&v->vmx, 0);
        return;
    }
    real_sync(v);
    real_cpu_load(v, &cpu);
    real_load_segment(&cpu.seg[VMX_SEG_CS], (u16)(vector << 8));
    cpu.eip = 0;
    real_cpu_store(v, &cpu);
}

/* ---- events ---- */

/* Through the vector table. False: the guest has shut down. */
static bool deliver(struct vcpu *v, u8 vector, bool exception)
{
    struct real_cpu cpu;
    enum real_outcome outcome;

    real_sync(v);
    do {
        real_cpu_load(v, &cpu);
        outcome = real_deliver(&cpu, vector, exception);
    } while (outcome == REAL_RETRY);
    if (outcome != REAL_DONE)
        return false;
    cpu.no_step = true;
    real_cpu_store(v, &cpu);
    return true;
}

/* A single step that is due goes first (SDM Vol 3A table 6-2). */
static bool deliver_event(struct vcpu *v, u8 vector)
{
    u64 pending = vmcs_read(VMCS_GUEST_PENDING_DEBUG);

    if (pending & VMX_PENDING_DEBUG_BS) {
        vmcs_write(VMCS_GUEST_PENDING_DEBUG, pending & ~(u64)VMX_PENDING_DEBUG_BS);
        dr6_write(dr6_read() | DR6_BS);
        if (!deliver(v, VECTOR_DB, true))
            return false;
    }
    return deliver(v, vector, false);
}

void real_or_inject_interrupt(struct vcpu *v, u8 vector)
{
    if (likely(!real_active(v)))
        vmx_inject_interrupt(&v->vmx, vector);
    else if (!deliver_event(v, vector))
        exit_triple_fault(v);
}

void real_or_inject_nmi(struct vcpu *v)
{
    if (likely(!real_active(v))) {
        vmx_inject_nmi(&v->vmx);
        return;
    }
    if (!deliver_event(v, VECTOR_NMI))
        exit_triple_fault(v);
    else if (v->vmx.virtual_nmis)
        vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, vmcs_read(VMCS_GUEST_INTERRUPTIBILITY) | VMX_BLOCKING_NMI);
}

enum exit_result real_inject_exception(struct vcpu *v, u8 vector)
{
    return deliver(v, vector, true) ? EXIT_RESUME : exit_triple_fault(v);
}
