/*
 * emulate_stack.c - instructions that use the stack, and jumps through memory. The stack pointer moves in a
 * struct stack and becomes RSP when everything has succeeded.
 */
#include "arch/regs.h"
#include "vmm/emulate_io.h"

enum { ENTER_LEVEL_SHIFT = 16, ENTER_LEVEL_MASK = 31, GENERAL_REGISTERS = 8 };

#define POPF_ALWAYS                                                                                  \
    (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_TF | RFLAGS_DF | RFLAGS_OF | \
     RFLAGS_NT | RFLAGS_AC | RFLAGS_ID)
#define IOPL_SHIFT 12

struct stack {
    const struct insn *in;
    struct emulate_state *st;
    u64 sp;
    unsigned width; /* bytes of the pointer */
};

static struct stack stack_begin(const struct insn *in, struct emulate_state *st)
{
    unsigned width = emulate_stack_width(in, st);

    return (struct stack){in, st, emulate_cut(st->gpr[RSP], width), width};
}

static void stack_end(struct stack *s)
{
    emulate_reg_write(s->st, RSP, false, s->width, s->sp);
}

static enum emulate_status push(struct stack *s, u64 value)
{
    unsigned size = s->in->op_size;
    u64 sp = emulate_cut(s->sp - size, s->width);
    gva_t gva;
    enum emulate_status e = emulate_check(s->in, s->st, INSN_SEG_SS, sp, size, true, &gva);

    if (e == EMULATE_OK)
        e = emulate_store(s->st, gva, size, value);
    if (e == EMULATE_OK)
        s->sp = sp;
    return e;
}

static enum emulate_status pop(struct stack *s, u64 *value)
{
    unsigned size = s->in->op_size;
    u64 v[2];
    gva_t gva;
    enum emulate_status e = emulate_check(s->in, s->st, INSN_SEG_SS, s->sp, size, false, &gva);

    if (e == EMULATE_OK)
        e = emulate_load(s->st, gva, size, false, v);
    if (e == EMULATE_OK) {
        s->sp = emulate_cut(s->sp + size, s->width);
        *value = v[0];
    }
    return e;
}

/* The memory operand, size bytes of it from `at` on. */
static enum emulate_status load_operand(const struct insn *in, struct emulate_state *st, unsigned at,
                                        unsigned size, u64 *value)
{
    u64 v[2];
    enum emulate_status e = emulate_load(st, GVA(emulate_address(in, st).v + at), size, false, v);

    *value = v[0];
    return e;
}

/* Virtual-8086 mode with IOPL below 3 is left to the CPU. */
static bool flags_are_ours(const struct emulate_state *st)
{
    return !(st->rflags & RFLAGS_VM) || (st->rflags & RFLAGS_IOPL_MASK) == RFLAGS_IOPL_MASK;
}

static enum emulate_status emulate_push(const struct insn *in, struct emulate_state *st)
{
    struct stack s = stack_begin(in, st);
    u64 value = 0;
    enum emulate_status e = EMULATE_OK;

    if (in->op == INSN_PUSHF) {
        if (!flags_are_ours(st))
            return EMULATE_UNKNOWN;
        value = st->rflags & ~(RFLAGS_RF | RFLAGS_VM);
    } else if (in->src == INSN_OPERAND_MEM) {
        e = load_operand(in, st, 0, in->mem_size, &value);
    } else {
        value = emulate_source(in, st);
    }
    if (e == EMULATE_OK)
        e = push(&s, value);
    if (e == EMULATE_OK)
        stack_end(&s);
    return e;
}

static enum emulate_status emulate_pusha(const struct insn *in, struct emulate_state *st)
{
    struct stack s = stack_begin(in, st);
    enum emulate_status e = EMULATE_OK;

    for (unsigned i = 0; e == EMULATE_OK && i < GENERAL_REGISTERS; i++)
        e = push(&s, st->gpr[i]);
    if (e == EMULATE_OK)
        stack_end(&s);
    return e;
}

static enum emulate_status emulate_popa(const struct insn *in, struct emulate_state *st)
{
    struct stack s = stack_begin(in, st);
    u64 value[GENERAL_REGISTERS];
    enum emulate_status e = EMULATE_OK;

    for (unsigned i = GENERAL_REGISTERS; e == EMULATE_OK && i-- > 0;)
        e = pop(&s, &value[i]);
    if (e != EMULATE_OK)
        return e;
    for (unsigned i = 0; i < GENERAL_REGISTERS; i++)
        if (i != RSP)
            emulate_reg_write(st, i, false, in->op_size, value[i]);
    stack_end(&s);
    return EMULATE_OK;
}

static enum emulate_status emulate_pop(const struct insn *in, struct emulate_state *st)
{
    struct stack s = stack_begin(in, st);
    u64 value, old_rsp = st->gpr[RSP];
    enum emulate_status e = pop(&s, &value);

    if (e != EMULATE_OK)
        return e;
    if (in->dst == INSN_OPERAND_SEG) {
        e = emulate_load_segment(in, st, in->reg, (u16)value);
        st->loaded_ss = e == EMULATE_OK && in->reg == INSN_SEG_SS;
    }
    if (e == EMULATE_OK)
        stack_end(&s);
    if (in->dst == INSN_OPERAND_REG)
        emulate_reg_write(st, in->reg, false, in->op_size, value);
    if (in->dst == INSN_OPERAND_MEM) { /* an address based on RSP is that after the pop (SDM Vol. 2, POP) */
        gva_t gva;
        e = emulate_check(in, st, in->mem.seg, emulate_offset(in, st), in->op_size, true, &gva);
        if (e == EMULATE_OK)
            e = emulate_store(st, gva, in->op_size, value);
        if (e != EMULATE_OK)
            st->gpr[RSP] = old_rsp;
    }
    return e;
}

static enum emulate_status emulate_popf(const struct insn *in, struct emulate_state *st)
{
    struct stack s = stack_begin(in, st);
    unsigned iopl = (st->rflags & RFLAGS_IOPL_MASK) >> IOPL_SHIFT;
    u64 value, may = POPF_ALWAYS;

    if (!flags_are_ours(st))
        return EMULATE_UNKNOWN;
    enum emulate_status e = pop(&s, &value);
    if (e != EMULATE_OK)
        return e;
    if (st->cpl <= iopl)
        may |= RFLAGS_IF;
    if (st->cpl == 0)
        may |= RFLAGS_IOPL_MASK;
    may = emulate_cut(may, in->op_size);
    st->rflags = (st->rflags & ~may) | (value & may);
    stack_end(&s);
    return EMULATE_OK;
}

static enum emulate_status emulate_enter(const struct insn *in, struct emulate_state *st)
{
    struct stack s = stack_begin(in, st);
    struct stack frames = s; /* reads the frame pointers of the outer levels */
    unsigned level = in->imm >> ENTER_LEVEL_SHIFT & ENTER_LEVEL_MASK;
    enum emulate_status e = push(&s, st->gpr[RBP]);
    u64 frame = s.sp, value;

    frames.sp = st->gpr[RBP];
    for (unsigned i = 1; e == EMULATE_OK && i < level; i++) {
        frames.sp = emulate_cut(frames.sp - in->op_size, frames.width);
        u64 at = frames.sp;
        e = pop(&frames, &value);
        frames.sp = at;
        if (e == EMULATE_OK)
            e = push(&s, value);
    }
    if (e == EMULATE_OK && level)
        e = push(&s, frame);
    if (e != EMULATE_OK)
        return e;
    s.sp = emulate_cut(s.sp - (u16)in->imm, s.width);
    stack_end(&s);
    emulate_reg_write(st, RBP, false, in->op_size, frame);
    return EMULATE_OK;
}

static enum emulate_status emulate_leave(const struct insn *in, struct emulate_state *st)
{
    struct stack s = stack_begin(in, st);
    u64 value;

    s.sp = emulate_cut(st->gpr[RBP], s.width);
    enum emulate_status e = pop(&s, &value);
    if (e != EMULATE_OK)
        return e;
    stack_end(&s);
    emulate_reg_write(st, RBP, false, in->op_size, value);
    return EMULATE_OK;
}

/* Near branches: #GP if the target cannot be run. */
static enum emulate_status check_near(const struct insn *in, struct emulate_state *st, u64 target)
{
    struct vmx_seg cs;

    if (in->mode == CPU_MODE_64)
        return emulate_is_canonical(target) ? EMULATE_OK : emulate_fault(st, VECTOR_GP, 0);
    st->ops->segment_read(st->ctx, INSN_SEG_CS, &cs);
    return target <= cs.limit ? EMULATE_OK : emulate_fault(st, VECTOR_GP, 0);
}

/* CALL and JMP. */
static enum emulate_status emulate_branch(const struct insn *in, struct emulate_state *st, u64 *next_rip)
{
    struct stack s = stack_begin(in, st);
    u64 target;
    enum emulate_status e = EMULATE_OK;

    if (in->src == INSN_OPERAND_MEM)
        e = load_operand(in, st, 0, in->mem_size, &target);
    else
        target = emulate_source(in, st) + (in->src == INSN_OPERAND_IMM ? *next_rip : 0);
    if (e == EMULATE_OK) {
        target = emulate_cut(target, in->op_size);
        e = check_near(in, st, target);
    }
    if (e == EMULATE_OK && in->op == INSN_CALL) {
        e = push(&s, *next_rip);
        if (e == EMULATE_OK)
            stack_end(&s);
    }
    if (e == EMULATE_OK)
        *next_rip = target;
    return e;
}

static enum emulate_status emulate_ret(const struct insn *in, struct emulate_state *st, u64 *next_rip)
{
    struct stack s = stack_begin(in, st);
    u64 target;
    enum emulate_status e = pop(&s, &target);

    if (e == EMULATE_OK)
        e = check_near(in, st, target);
    if (e != EMULATE_OK)
        return e;
    s.sp = emulate_cut(s.sp + in->imm, s.width);
    stack_end(&s);
    *next_rip = target;
    return EMULATE_OK;
}

/* JMP and CALL through a far pointer in memory, and RET FAR, all at the same privilege level. */
static enum emulate_status emulate_far(const struct insn *in, struct emulate_state *st, u64 *next_rip)
{
    struct stack s = stack_begin(in, st);
    struct vmx_seg old, cs;
    u64 target, selector;
    bool returns = in->op == INSN_RET_FAR;
    enum emulate_status e = returns ? pop(&s, &target) : load_operand(in, st, 0, in->op_size, &target);

    if (e == EMULATE_OK)
        e = returns ? pop(&s, &selector) : load_operand(in, st, in->op_size, 2, &selector);
    if (e == EMULATE_OK)
        e = emulate_far_target(st, (u16)selector, target, returns, &cs);
    if (e == EMULATE_OK && in->op == INSN_CALL_FAR) {
        st->ops->segment_read(st->ctx, INSN_SEG_CS, &old);
        e = push(&s, old.selector);
        if (e == EMULATE_OK)
            e = push(&s, *next_rip);
    }
    if (e != EMULATE_OK)
        return e;
    if (returns)
        s.sp = emulate_cut(s.sp + in->imm, s.width);
    if (in->op != INSN_JMP_FAR)
        stack_end(&s);
    st->ops->segment_write(st->ctx, INSN_SEG_CS, &cs);
    *next_rip = target;
    return EMULATE_OK;
}

enum emulate_status emulate_stack(const struct insn *in, struct emulate_state *st, u64 *next_rip)
{
    switch (in->op) {
    case INSN_PUSH:
    case INSN_PUSHF: return emulate_push(in, st);
    case INSN_PUSHA: return emulate_pusha(in, st);
    case INSN_POP: return emulate_pop(in, st);
    case INSN_POPF: return emulate_popf(in, st);
    case INSN_POPA: return emulate_popa(in, st);
    case INSN_ENTER: return emulate_enter(in, st);
    case INSN_LEAVE: return emulate_leave(in, st);
    case INSN_CALL:
    case INSN_JMP: return emulate_branch(in, st, next_rip);
    case INSN_RET: return emulate_ret(in, st, next_rip);
    default: return emulate_far(in, st, next_rip);
    }
}
