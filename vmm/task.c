/* task.c - hardware task switches: SDM Vol 3A 7.2 (structures) and 7.3 (the steps and their checks). */
#include "vmm/task.h"
#include "arch/regs.h"
#include "arch/string.h"
#include "vmm/descriptor.h"
#include "vmx/bits.h"

#define DESCRIPTOR_INDEX   7u
#define TYPE_BUSY          2u
#define TYPE_32BIT         8u
#define TYPE_TSS16_FREE    1u
#define TYPE_TSS32_FREE    9u
#define SELECTOR_INDEX_TI  0xFFFCu
#define ERROR_EXT          1u
#define CPL_USER           3u
#define VM86_ACCESS        0xF3u
#define LIMIT_16BIT        0xFFFFu
#define PLACEHOLDER_ACCESS (VMX_AR_P | VMX_AR_S | VMX_AR_CODE | VMX_AR_WRITABLE | VMX_AR_ACCESSED)
#define EFLAGS_DEFINED     0x3F7FD5u
#define SEGMENTS           6u /* ES, CS, SS, DS, FS, GS: the order of enum vmx_segment, and of a TSS */

/* Where things are in a TSS: SDM Vol 3A figures 7-2 and 7-10. */
struct layout {
    u8 cr3, eip, ldt, trap; /* cr3, trap 0: none; from eip on: eflags, 8 registers, the selectors */
    u8 width;               /* of a slot */
    u8 segments;            /* selectors there are */
    u8 size;                /* the smallest */
};
static const struct layout layout32 = {28, 32, 96, 100, 4, SEGMENTS, TASK_TSS_SIZE};
static const struct layout layout16 = {0, 14, 42, 0, 2, 4, 44};
#define SAVED_GPRS     2u /* slots before them */
#define SAVED_SEGMENTS (SAVED_GPRS + TASK_GPRS)

/* One switch. */
struct switching {
    struct task_regs *r;
    const struct task_request *q;
    const struct task_ops *ops;
    void *ctx;
    const struct layout *old, *new;
    u32 old_base, old_descriptor, new_descriptor; /* linear */
    struct vmx_seg tss;                           /* the new one */
    u8 image[TASK_TSS_SIZE];
    unsigned cpl;
    struct task_result result;
};

static bool fault(struct switching *s, u8 vector, u32 selector)
{
    s->result.status = EMULATE_FAULT;
    s->result.vector = vector;
    s->result.error = (selector & SELECTOR_INDEX_TI) | (s->q->external ? ERROR_EXT : 0);
    return false;
}

/* A callback's answer. */
static bool done(struct switching *s, enum emulate_status status)
{
    s->result.status = status;
    s->result.vector = status == EMULATE_FAULT ? TASK_FAULT_RECORDED : 0;
    return status == EMULATE_OK;
}

static u32 slot(const u8 *tss, unsigned offset, unsigned width)
{
    u32 value = 0;

    memcpy(&value, tss + offset, width);
    return value;
}

static struct vmx_seg decode(u16 selector, u64 d)
{
    struct vmx_seg seg = descriptor_decode(selector, d);

    seg.access &= ~VMX_AR_L; /* means nothing outside IA-32e mode */
    return seg;
}

/* ------------------------------------------------------------------ checks: still the old task */

static bool check_new_tss(struct switching *s)
{
    bool back = s->q->source == VMX_TASK_IRET;
    u16 sel = s->q->selector;
    u8 wrong = back ? VECTOR_TS : VECTOR_GP;
    u64 d;

    if ((sel & SELECTOR_TI) || (sel | DESCRIPTOR_INDEX) > s->r->gdt_limit)
        return fault(s, wrong, sel);
    s->new_descriptor = (u32)(s->r->gdt_base + (sel & ~DESCRIPTOR_INDEX));
    if (!done(s, s->ops->read(s->ctx, s->new_descriptor, &d, DESCRIPTOR_SIZE)))
        return false;
    s->tss = decode(sel & ~SELECTOR_RPL, d);
    u32 type = s->tss.access & VMX_AR_TYPE_MASK, free = type & ~TYPE_BUSY;
    if ((s->tss.access & VMX_AR_S) || (free != TYPE_TSS16_FREE && free != TYPE_TSS32_FREE) ||
        !(type & TYPE_BUSY) == back)
        return fault(s, wrong, sel);
    if (!(s->tss.access & VMX_AR_P))
        return fault(s, VECTOR_NP, sel);
    s->new = type &TYPE_32BIT ? &layout32 : &layout16;
    if (s->tss.limit < s->new->size - 1u)
        return fault(s, VECTOR_TS, sel);
    return done(s, s->ops->read(s->ctx, (u32)s->tss.base, s->image, s->new->size));
}

static u32 saved_size(const struct layout *l)
{
    return (SAVED_SEGMENTS + l->segments) * l->width;
}

/* Everything that will be written can be. */
static bool check_writes(struct switching *s)
{
    const struct vmx_seg *tr = &s->r->seg[VMX_SEG_TR];
    enum vmx_task_source from = s->q->source;

    s->old = (tr->access & VMX_AR_TYPE_MASK) & TYPE_32BIT ? &layout32 : &layout16;
    s->old_base = (u32)tr->base;
    s->old_descriptor = (u32)(s->r->gdt_base + (tr->selector & ~DESCRIPTOR_INDEX));
    if (tr->limit < s->old->size - 1u)
        return fault(s, VECTOR_TS, tr->selector);
    if (!done(s, s->ops->check_write(s->ctx, s->old_base + s->old->eip, saved_size(s->old))))
        return false;
    if ((from == VMX_TASK_CALL || from == VMX_TASK_GATE) &&
        !done(s, s->ops->check_write(s->ctx, (u32)s->tss.base, sizeof(u16))))
        return false;
    if ((from == VMX_TASK_JMP || from == VMX_TASK_IRET) &&
        !done(s, s->ops->check_write(s->ctx, s->old_descriptor, DESCRIPTOR_SIZE)))
        return false;
    return from == VMX_TASK_IRET || done(s, s->ops->check_write(s->ctx, s->new_descriptor, DESCRIPTOR_SIZE));
}

/* ------------------------------------------------------------------ commit */

static bool save_old(struct switching *s)
{
    u8 saved[TASK_TSS_SIZE] = {0};
    const struct layout *l = s->old;
    u32 eflags = s->r->eflags, eip = s->r->eip + s->q->length;
    unsigned at = 0;

    if (s->q->source == VMX_TASK_IRET)
        eflags &= ~(u32)RFLAGS_NT;
    memcpy(saved, &eip, l->width);
    memcpy(saved + l->width, &eflags, l->width);
    at = SAVED_GPRS * l->width;
    for (unsigned i = 0; i < TASK_GPRS; i++, at += l->width)
        memcpy(saved + at, &s->r->gpr[i], l->width);
    for (unsigned i = 0; i < l->segments; i++, at += l->width)
        memcpy(saved + at, &s->r->seg[i].selector, sizeof(u16));
    return done(s, s->ops->write(s->ctx, s->old_base + l->eip, saved, at, false));
}

static bool set_busy(struct switching *s, u32 descriptor, bool busy)
{
    u8 access;

    if (!done(s, s->ops->read(s->ctx, descriptor + DESCRIPTOR_ACCESS_BYTE, &access, 1)))
        return false;
    access = (u8)(busy ? access | TYPE_BUSY : access & ~TYPE_BUSY);
    return done(s, s->ops->write(s->ctx, descriptor + DESCRIPTOR_ACCESS_BYTE, &access, 1, false));
}

static bool commit_memory(struct switching *s)
{
    enum vmx_task_source from = s->q->source;
    u16 link = s->r->seg[VMX_SEG_TR].selector;

    if (!save_old(s))
        return false;
    if ((from == VMX_TASK_JMP || from == VMX_TASK_IRET) && !set_busy(s, s->old_descriptor, false))
        return false;
    if ((from == VMX_TASK_CALL || from == VMX_TASK_GATE) &&
        !done(s, s->ops->write(s->ctx, (u32)s->tss.base, &link, sizeof(link), false)))
        return false;
    return from == VMX_TASK_IRET || set_busy(s, s->new_descriptor, true);
}

static void load_vm86(struct task_regs *r)
{
    for (unsigned i = 0; i < SEGMENTS; i++)
        r->seg[i] = (struct vmx_seg){
            .selector = r->seg[i].selector,
            .limit = LIMIT_16BIT,
            .access = VM86_ACCESS,
            .base = (u32)r->seg[i].selector << 4,
        };
}

/* Registers and selectors; the segments are not usable yet, but such that an exception can be delivered. */
static void load_registers(struct switching *s)
{
    const struct layout *l = s->new;
    const u8 *from = s->image + l->eip;
    struct task_regs *r = s->r;
    bool nested = s->q->source == VMX_TASK_CALL || s->q->source == VMX_TASK_GATE;

    r->eip = slot(from, 0, l->width);
    r->eflags = (slot(from, l->width, l->width) & EFLAGS_DEFINED) | (u32)RFLAGS_FIXED1;
    if (nested)
        r->eflags |= (u32)RFLAGS_NT;
    for (unsigned i = 0; i < TASK_GPRS; i++)
        r->gpr[i] = slot(from, (SAVED_GPRS + i) * l->width, l->width);
    for (unsigned i = 0; i < SEGMENTS; i++) {
        u16 sel = i < l->segments ? (u16)slot(from, (SAVED_SEGMENTS + i) * l->width, sizeof(u16)) : 0;
        r->seg[i] = (struct vmx_seg){.selector = sel, .access = VMX_AR_UNUSABLE};
    }
    r->seg[VMX_SEG_TR] = s->tss;
    r->seg[VMX_SEG_TR].access |= TYPE_BUSY;
    r->seg[VMX_SEG_LDTR] =
        (struct vmx_seg){.selector = (u16)slot(s->image, l->ldt, sizeof(u16)), .access = VMX_AR_UNUSABLE};
    if (r->eflags & RFLAGS_VM) {
        s->cpl = CPL_USER;
        load_vm86(r);
        return;
    }
    s->cpl = r->seg[VMX_SEG_CS].selector & SELECTOR_RPL;
    r->seg[VMX_SEG_CS].access = PLACEHOLDER_ACCESS | s->cpl << VMX_AR_DPL_SHIFT;
    r->seg[VMX_SEG_SS].access |= s->cpl << VMX_AR_DPL_SHIFT;
}

/* ------------------------------------------------------------------ the new task's segments */

static bool read_descriptor(struct switching *s, u16 sel, u32 *at, u64 *d)
{
    const struct vmx_seg *ldt = &s->r->seg[VMX_SEG_LDTR];
    bool local = sel & SELECTOR_TI;

    if (local && (ldt->access & VMX_AR_UNUSABLE))
        return fault(s, VECTOR_TS, sel);
    if ((sel | DESCRIPTOR_INDEX) > (local ? ldt->limit : s->r->gdt_limit))
        return fault(s, VECTOR_TS, sel);
    *at = (u32)((local ? ldt->base : s->r->gdt_base) + (sel & ~DESCRIPTOR_INDEX));
    return done(s, s->ops->read(s->ctx, *at, d, DESCRIPTOR_SIZE));
}

static bool load_ldt(struct switching *s)
{
    u16 sel = s->r->seg[VMX_SEG_LDTR].selector;
    u32 at;
    u64 d;

    if (!(sel & SELECTOR_INDEX_TI))
        return true;
    if (sel & SELECTOR_TI)
        return fault(s, VECTOR_TS, sel);
    if (!read_descriptor(s, sel, &at, &d))
        return false;
    struct vmx_seg seg = decode(sel, d);
    if ((seg.access & VMX_AR_S) || (seg.access & VMX_AR_TYPE_MASK) != VMX_TYPE_LDT ||
        !(seg.access & VMX_AR_P))
        return fault(s, VECTOR_TS, sel);
    s->r->seg[VMX_SEG_LDTR] = seg;
    return true;
}

/* SDM Vol 3A table 7-1. */
static bool code_fits(const struct vmx_seg *seg, unsigned cpl)
{
    unsigned dpl = vmx_access_dpl(seg->access);
    bool conforming = seg->access & VMX_AR_EXPAND_DOWN;

    return (seg->access & VMX_AR_S) && (seg->access & VMX_AR_CODE) && (conforming ? dpl <= cpl : dpl == cpl);
}

static bool load_segment(struct switching *s, unsigned which)
{
    u16 sel = s->r->seg[which].selector;
    bool must = which == VMX_SEG_CS || which == VMX_SEG_SS;
    u32 at;
    u64 d;

    if (!(sel & SELECTOR_INDEX_TI))
        return must ? fault(s, VECTOR_TS, sel) : true;
    if (!read_descriptor(s, sel, &at, &d))
        return false;
    struct vmx_seg seg = decode(sel, d);
    if (which == VMX_SEG_CS ? !code_fits(&seg, s->cpl)
                            : !descriptor_fits_data(&seg, which == VMX_SEG_SS, s->cpl))
        return fault(s, VECTOR_TS, sel);
    if (!(seg.access & VMX_AR_P))
        return fault(s, which == VMX_SEG_SS ? VECTOR_SS : VECTOR_NP, sel);
    if (!(seg.access & VMX_AR_ACCESSED)) {
        u8 access = (u8)(seg.access |= VMX_AR_ACCESSED);
        if (!done(s, s->ops->write(s->ctx, at + DESCRIPTOR_ACCESS_BYTE, &access, 1, false)))
            return false;
    }
    s->r->seg[which] = seg;
    return true;
}

static bool load_segments(struct switching *s)
{
    static const u8 order[SEGMENTS] = {VMX_SEG_CS, VMX_SEG_SS, VMX_SEG_ES,
                                       VMX_SEG_DS, VMX_SEG_FS, VMX_SEG_GS};

    if (!load_ldt(s))
        return false;
    if (s->r->eflags & RFLAGS_VM)
        return true;
    for (unsigned i = 0; i < SEGMENTS; i++)
        if (!load_segment(s, order[i]))
            return false;
    return true;
}

/* The stack has to have room: SDM Vol 3A 5.3. */
static bool inside(const struct vmx_seg *ss, u32 at, u32 size)
{
    u32 last = at + size - 1, top = ss->access & VMX_AR_DB ? ~0u : LIMIT_16BIT;

    if (last < at || last > top)
        return false;
    return ss->access & VMX_AR_EXPAND_DOWN ? at > ss->limit : last <= ss->limit;
}

static bool push_error(struct switching *s)
{
    const struct vmx_seg *ss = &s->r->seg[VMX_SEG_SS];
    u32 width = s->new->width, mask = ss->access &VMX_AR_DB ? ~0u : LIMIT_16BIT;
    u32 *esp = &s->r->gpr[TASK_ESP], at = (*esp - width) & mask;

    if (!inside(ss, at, width))
        return fault(s, VECTOR_SS, 0);
    if (!done(s, s->ops->write(s->ctx, (u32)ss->base + at, &s->q->error, width, s->cpl == CPL_USER)))
        return false;
    *esp = (*esp & ~mask) | at;
    return true;
}

struct task_result task_switch(struct task_regs *r, const struct task_request *request,
                               const struct task_ops *ops, void *ctx)
{
    struct switching s = {.r = r, .q = request, .ops = ops, .ctx = ctx};

    if (!check_new_tss(&s) || !check_writes(&s) || !commit_memory(&s))
        return s.result;
    load_registers(&s);
    s.result.switched = true;
    s.result.trap = s.new->trap && (s.image[s.new->trap] & 1);
    if (s.new->cr3 && !ops->load_cr3(ctx, slot(s.image, s.new->cr3, sizeof(u32))))
        fault(&s, VECTOR_GP, 0);
    else if (load_segments(&s) && request->has_error)
        push_error(&s);
    /* Not usable, its RPL still has to be the privilege level for a VM entry (SDM Vol 3C 26.3.1.2). */
    if (r->seg[VMX_SEG_SS].access & VMX_AR_UNUSABLE)
        r->seg[VMX_SEG_SS].selector = (u16)((r->seg[VMX_SEG_SS].selector & SELECTOR_INDEX_TI) | s.cpl);
    return s.result;
}
