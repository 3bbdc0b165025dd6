/*
 * emulate_segment.c - segment registers and descriptor tables, when an operand of theirs is in memory that is
 * emulated (SDM Vol. 3A chapters 3 and 5). Transfers through gates and to other privilege levels are unknown.
 */
#include "arch/regs.h"
#include "vmm/descriptor.h"
#include "vmm/emulate_io.h"
#include "vmx/bits.h"

enum { SELECTOR_OFFSET = 0xFFF8, SELECTOR_ERROR = 0xFFFC };
enum { REAL_SHIFT = 4, MSW_SIZE = 2 };

enum { DESC_ACCESSED = 1, DESC_BUSY = 2 }; /* in the type byte */
enum { TYPE_TSS16_FREE = 1, TYPE_TSS_FREE = 9 };

#define BASE24_MASK 0xFFFFFFu
#define UPPER_TYPE  0x1F00u /* bits 12:8 of the last four bytes of a long descriptor */

struct descriptor {
    struct vmx_seg segment;
    gva_t at;
    u32 upper; /* last four bytes of a long one */
};

static unsigned type_of(u32 access)
{
    return access & (VMX_AR_TYPE_MASK | VMX_AR_S);
}

static enum emulate_status bad_selector(struct emulate_state *st, unsigned vector, u16 selector)
{
    return emulate_fault(st, vector, selector & SELECTOR_ERROR);
}

/* Real mode and virtual-8086 mode: a selector is a base. */
static bool is_real(const struct emulate_state *st)
{
    return (st->rflags & RFLAGS_VM) || !(st->ops->cr0_read(st->ctx) & CR0_PE);
}

/* Reads the descriptor of a selector that is not null; `system`: one that is 16 bytes in long mode. */
static enum emulate_status read_descriptor(struct emulate_state *st, u16 selector, bool system,
                                           struct descriptor *out)
{
    struct vmx_seg table;
    bool ldt = selector & SELECTOR_TI, long_mode = st->ops->long_mode(st->ctx);
    u32 offset = selector & SELECTOR_OFFSET, size = system && long_mode ? 16 : 8;
    u64 low[2], high[2] = {0, 0};

    st->ops->segment_read(st->ctx, ldt ? EMULATE_LDTR : EMULATE_GDTR, &table);
    if ((ldt && table.access & VMX_AR_UNUSABLE) || offset + size - 1 > table.limit)
        return bad_selector(st, VECTOR_GP, selector);
    out->at = GVA(long_mode ? table.base + offset : (u32)(table.base + offset));
    st->ops->implicit(st->ctx, true);
    enum emulate_status e = emulate_load(st, out->at, 8, false, low);
    if (e == EMULATE_OK && size > 8)
        e = emulate_load(st, GVA(out->at.v + 8), 8, false, high);
    st->ops->implicit(st->ctx, false);
    if (e != EMULATE_OK)
        return e;

    out->segment = descriptor_decode(selector, low[0]);
    out->segment.base |= (u64)(u32)high[0] << 32;
    out->upper = high[0] >> 32;
    return EMULATE_OK;
}

/* Sets a bit of the type, here and in the table. */
static enum emulate_status mark(struct emulate_state *st, struct descriptor *d, u8 bit)
{
    gva_t at = GVA(d->at.v + DESCRIPTOR_ACCESS_BYTE);
    u64 old[2] = {0, 0}, seen[2] = {0, 0};

    if (d->segment.access & bit)
        return EMULATE_OK;
    st->ops->implicit(st->ctx, true);
    enum emulate_status e = emulate_load(st, at, 1, true, old);
    if (e == EMULATE_OK) {
        u64 desired[2] = {old[0] | bit, 0};
        e = st->ops->cmpxchg(st->ctx, at, 1, old, desired, seen);
    }
    st->ops->implicit(st->ctx, false);
    if (e == EMULATE_OK && (u8)seen[0] != old[0])
        return EMULATE_RETRY;
    d->segment.access |= bit;
    return e;
}

/* Vol. 2, MOV: what it asks of a descriptor. */
static enum emulate_status check_data(struct emulate_state *st, unsigned seg, const struct vmx_seg *segment)
{
    bool stack = seg == INSN_SEG_SS;

    if (!descriptor_fits_data(segment, stack, st->cpl))
        return bad_selector(st, VECTOR_GP, segment->selector);
    if (!(segment->access & VMX_AR_P))
        return bad_selector(st, stack ? VECTOR_SS : VECTOR_NP, segment->selector);
    return EMULATE_OK;
}

enum emulate_status emulate_load_segment(const struct insn *in, struct emulate_state *st, unsigned seg,
                                         u16 selector)
{
    struct descriptor d = {.segment = {.selector = selector}};
    enum emulate_status e = EMULATE_OK;

    if (is_real(st)) {
        st->ops->segment_read(st->ctx, seg, &d.segment);
        d.segment.selector = selector;
        d.segment.base = (u64)selector << REAL_SHIFT;
    } else if (!(selector & ~SELECTOR_RPL)) {
        bool ss_ok = in->mode == CPU_MODE_64 && st->cpl < 3 && selector == st->cpl;
        if (seg == INSN_SEG_SS && !ss_ok)
            return emulate_fault(st, VECTOR_GP, 0);
        d.segment.access = VMX_AR_UNUSABLE | (seg == INSN_SEG_SS ? (u32)st->cpl << VMX_AR_DPL_SHIFT : 0);
    } else {
        e = read_descriptor(st, selector, false, &d);
        if (e == EMULATE_OK)
            e = check_data(st, seg, &d.segment);
        if (e == EMULATE_OK)
            e = mark(st, &d, DESC_ACCESSED);
    }
    if (e == EMULATE_OK)
        st->ops->segment_write(st->ctx, seg, &d.segment);
    return e;
}

/* Vol. 2: JMP, CALL, RET, what they ask of the code segment. */
static enum emulate_status check_code(struct emulate_state *st, u16 selector, u32 access, bool returns)
{
    unsigned dpl = vmx_access_dpl(access), rpl = selector & SELECTOR_RPL;
    bool conforming = access & VMX_AR_EXPAND_DOWN;
    bool ok = conforming ? dpl <= st->cpl : dpl == st->cpl && (returns || rpl <= st->cpl);

    if (returns && rpl > st->cpl)
        return EMULATE_UNKNOWN; /* to an outer level */
    if (!(access & VMX_AR_S) && !returns)
        return EMULATE_UNKNOWN; /* a gate or a task */
    if (!(access & VMX_AR_S) || !(access & VMX_AR_CODE) || !ok || (returns && rpl < st->cpl) ||
        (st->ops->long_mode(st->ctx) && access & VMX_AR_L && access & VMX_AR_DB))
        return bad_selector(st, VECTOR_GP, selector);
    return access & VMX_AR_P ? EMULATE_OK : bad_selector(st, VECTOR_NP, selector);
}

enum emulate_status emulate_far_target(struct emulate_state *st, u16 selector, u64 target, bool returns,
                                       struct vmx_seg *cs)
{
    struct descriptor d;
    enum emulate_status e = EMULATE_OK;

    if (is_real(st)) {
        st->ops->segment_read(st->ctx, INSN_SEG_CS, cs);
        cs->selector = selector;
        cs->base = (u64)selector << REAL_SHIFT;
        return target <= cs->limit ? EMULATE_OK : emulate_fault(st, VECTOR_GP, 0);
    }
    if (!(selector & ~SELECTOR_RPL))
        return emulate_fault(st, VECTOR_GP, 0);
    e = read_descriptor(st, selector, false, &d);
    if (e == EMULATE_OK)
        e = check_code(st, selector, d.segment.access, returns);
    if (e != EMULATE_OK)
        return e;
    bool wide = st->ops->long_mode(st->ctx) && d.segment.access & VMX_AR_L;
    if (wide ? !emulate_is_canonical(target) : target > d.segment.limit)
        return emulate_fault(st, VECTOR_GP, 0);
    e = mark(st, &d, DESC_ACCESSED);
    d.segment.selector = (u16)((selector & ~SELECTOR_RPL) | st->cpl);
    *cs = d.segment;
    return e;
}

/* LLDT and LTR. */
static enum emulate_status load_system(struct emulate_state *st, bool task, u16 selector)
{
    struct descriptor d = {.segment = {.selector = selector, .access = VMX_AR_UNUSABLE}};
    bool null = !(selector & ~SELECTOR_RPL);

    if (null && task)
        return emulate_fault(st, VECTOR_GP, 0);
    if (!null) {
        if (selector & SELECTOR_TI)
            return bad_selector(st, VECTOR_GP, selector);
        enum emulate_status e = read_descriptor(st, selector, true, &d);
        if (e != EMULATE_OK)
            return e;
        unsigned type = type_of(d.segment.access);
        bool long_mode = st->ops->long_mode(st->ctx);
        bool ok =
            task ? type == TYPE_TSS_FREE || (type == TYPE_TSS16_FREE && !long_mode) : type == VMX_TYPE_LDT;
        if (!ok || d.upper & UPPER_TYPE || !emulate_is_canonical(d.segment.base))
            return bad_selector(st, VECTOR_GP, selector);
        if (!(d.segment.access & VMX_AR_P))
            return bad_selector(st, VECTOR_NP, selector);
        if (task)
            e = mark(st, &d, DESC_BUSY);
        if (e != EMULATE_OK)
            return e;
    }
    st->ops->segment_write(st->ctx, task ? EMULATE_TR : EMULATE_LDTR, &d.segment);
    return EMULATE_OK;
}

/* SGDT, SIDT, LGDT, LIDT: two bytes of limit, then the base. */
static enum emulate_status move_table(const struct insn *in, struct emulate_state *st, gva_t at, bool loads)
{
    struct vmx_seg table = {0};
    bool idt = in->op == INSN_SIDT || in->op == INSN_LIDT;
    unsigned base_size = in->mem_size - 2u, seg = idt ? EMULATE_IDTR : EMULATE_GDTR;
    gva_t base_at = GVA(at.v + 2);
    u64 limit[2], base[2];
    enum emulate_status e;

    if (!loads) {
        st->ops->segment_read(st->ctx, seg, &table);
        e = emulate_store(st, at, 2, table.limit);
        return e == EMULATE_OK ? emulate_store(st, base_at, base_size, table.base) : e;
    }
    e = emulate_load(st, at, 2, false, limit);
    if (e == EMULATE_OK)
        e = emulate_load(st, base_at, base_size, false, base);
    if (e != EMULATE_OK)
        return e;
    if (!emulate_is_canonical(base[0]))
        return emulate_fault(st, VECTOR_GP, 0);
    table.limit = (u32)limit[0];
    table.base = in->mode != CPU_MODE_64 && in->op_size == 2 ? base[0] & BASE24_MASK : base[0];
    st->ops->segment_write(st->ctx, seg, &table);
    return EMULATE_OK;
}

/* LES, LDS, LSS, LFS, LGS: the offset, then the selector. */
static enum emulate_status load_far(const struct insn *in, struct emulate_state *st, gva_t at)
{
    u64 offset[2], selector[2];
    enum emulate_status e = emulate_load(st, at, in->op_size, false, offset);

    if (e == EMULATE_OK)
        e = emulate_load(st, GVA(at.v + in->op_size), 2, false, selector);
    if (e == EMULATE_OK)
        e = emulate_load_segment(in, st, in->src_seg, (u16)selector[0]);
    if (e == EMULATE_OK)
        emulate_reg_write(st, in->reg, false, in->op_size, offset[0]);
    return e;
}

/* Not for users: loads never, stores not with UMIP. Real mode, which may have CPL 3 here, is none, and its loads do not come
 * here. */
static bool is_privileged(const struct emulate_state *st, enum insn_op op)
{
    switch (op) {
    case INSN_LLDT:
    case INSN_LTR:
    case INSN_LGDT:
    case INSN_LIDT: return true;
    case INSN_SGDT:
    case INSN_SIDT:
    case INSN_SLDT:
    case INSN_STR:
    case INSN_SMSW: return (st->ops->cr4_read(st->ctx) & CR4_UMIP) && (st->ops->cr0_read(st->ctx) & CR0_PE);
    default: return false;
    }
}

enum emulate_status emulate_system(const struct insn *in, struct emulate_state *st)
{
    gva_t at = emulate_address(in, st);
    struct vmx_seg s;
    u64 v[2];
    enum emulate_status e;

    /* The CPU did not come as far as to exit for it: another vCPU has put it there since. Now it will refuse it. */
    if (st->cpl && is_privileged(st, in->op))
        return EMULATE_RETRY;
    switch (in->op) {
    case INSN_LOAD_FAR: return load_far(in, st, at);
    case INSN_SGDT:
    case INSN_SIDT: return move_table(in, st, at, false);
    case INSN_LGDT:
    case INSN_LIDT: return move_table(in, st, at, true);
    case INSN_SMSW: return emulate_store(st, at, MSW_SIZE, st->ops->cr0_read(st->ctx));
    case INSN_SLDT:
    case INSN_STR:
        st->ops->segment_read(st->ctx, in->op == INSN_STR ? EMULATE_TR : EMULATE_LDTR, &s);
        return emulate_store(st, at, in->mem_size, s.selector);
    default: break;
    }
    e = emulate_load(st, at, 2, false, v);
    if (e != EMULATE_OK)
        return e;
    if (in->op != INSN_LOAD_SEG)
        return load_system(st, in->op == INSN_LTR, (u16)v[0]);
    e = emulate_load_segment(in, st, in->reg, (u16)v[0]);
    st->loaded_ss = e == EMULATE_OK && in->reg == INSN_SEG_SS;
    return e;
}
