/*
 * emulate.c - see emulate.h. Each function computes everything first, does its memory accesses, and changes
 * registers only when the last of them has succeeded.
 */
#include "vmm/emulate.h"

#include "arch/regs.h"
#include "vmm/emulate_io.h"

/* How often a locked operation is tried again when other CPUs change its operand, before the guest is
 * re-entered. */
enum { CMPXCHG_TRIES = 64 };

static u64 swap_bytes(u64 v, unsigned size)
{
    return __builtin_bswap64(v) >> (64 - 8 * size);
}

/* MOV and its relatives: one load or one store. */
static enum emulate_status emulate_move(const struct insn *in, struct emulate_state *st, gva_t gva)
{
    u64 v[2];

    if (in->dst == INSN_OPERAND_MEM) {
        u64 value = in->op == INSN_SETCC ? alu_condition(in->cond, st->rflags) : emulate_source(in, st);
        return emulate_store(st, gva, in->mem_size,
                             in->op == INSN_MOVBE ? swap_bytes(value, in->mem_size) : value);
    }
    enum emulate_status s = emulate_load(st, gva, in->mem_size, false, v);
    if (s != EMULATE_OK)
        return s;
    if (in->op == INSN_MOVSX) {
        unsigned unused_bits = 64 - 8 * in->mem_size;
        v[0] = (u64)((s64)(v[0] << unused_bits) >> unused_bits);
    } else if (in->op == INSN_MOVBE) {
        v[0] = swap_bytes(v[0], in->mem_size);
    } else if (in->op == INSN_CMOVCC && !alu_condition(in->cond, st->rflags)) {
        v[0] = st->gpr[in->reg]; /* a 32-bit CMOVcc zeroes the upper half even if it does not move */
    }
    emulate_reg_write(st, in->reg, in->high8, in->op_size, v[0]);
    return EMULATE_OK;
}

/* Arithmetic that only reads memory: register destination, or CMP, TEST and BT. */
static enum emulate_status emulate_compare(const struct insn *in, struct emulate_state *st, gva_t gva)
{
    bool to_reg = in->dst == INSN_OPERAND_REG;
    u64 v[2];
    enum emulate_status s = emulate_load(st, gva, in->mem_size, false, v);

    if (s != EMULATE_OK)
        return s;
    u64 a = to_reg ? emulate_reg_read(st, in->reg, in->high8, in->op_size) : v[0];
    u64 b = to_reg ? v[0] : emulate_source(in, st);
    struct alu_result r = alu_compute(in->op, in->op_size, a, b, st->rflags);
    st->rflags = r.rflags;
    if (to_reg && in->op != INSN_CMP)
        emulate_reg_write(st, in->reg, in->high8, in->op_size, r.value);
    return EMULATE_OK;
}

/* One step of a read-modify-write: from the old value to what is to be stored and the new flags. */
static struct alu_result modify(const struct insn *in, const struct emulate_state *st, u64 old)
{
    struct alu_result r;

    switch (in->op) {
    case INSN_XCHG: return (struct alu_result){emulate_source(in, st), st->rflags};
    case INSN_XADD: return alu_compute(INSN_ADD, in->op_size, old, emulate_source(in, st), st->rflags);
    case INSN_CMPXCHG:
        r = alu_compute(INSN_CMP, in->op_size, st->gpr[RAX], old, st->rflags);
        r.value = r.rflags & RFLAGS_ZF ? emulate_source(in, st) : old;
        return r;
    default: return alu_compute(in->op, in->op_size, old, emulate_source(in, st), st->rflags);
    }
}

static enum emulate_status emulate_modify(const struct insn *in, struct emulate_state *st, gva_t gva)
{
    u64 old[2];
    enum emulate_status s = emulate_load(st, gva, in->mem_size, true, old);

    for (unsigned i = 0; s == EMULATE_OK; i++) {
        struct alu_result r = modify(in, st, old[0]);
        u64 desired[2] = {r.value, 0};
        u64 seen[2];

        if (i == CMPXCHG_TRIES)
            return EMULATE_RETRY;
        old[1] = 0;
        s = st->ops->cmpxchg(st->ctx, gva, in->mem_size, old, desired, seen);
        if (s != EMULATE_OK)
            return s;
        u64 now = emulate_cut(seen[0], in->mem_size);
        if (now != old[0]) {
            old[0] = now;
            continue;
        }
        st->rflags = r.rflags;
        if (in->op == INSN_XCHG || in->op == INSN_XADD)
            emulate_reg_write(st, in->reg, in->high8, in->op_size, old[0]);
        else if (in->op == INSN_CMPXCHG && !(r.rflags & RFLAGS_ZF))
            emulate_reg_write(st, RAX, false, in->op_size, old[0]);
        return EMULATE_OK;
    }
    return s;
}

/* CMPXCHG8B and CMPXCHG16B: the only two-register operands. */
static enum emulate_status emulate_cmpxchg8b(const struct insn *in, struct emulate_state *st, gva_t gva)
{
    unsigned half = in->op_size;
    bool wide = half == 8;
    u64 lo = emulate_cut(st->gpr[RAX], half), hi = emulate_cut(st->gpr[RDX], half);
    u64 new_lo = emulate_cut(st->gpr[RBX], half), new_hi = emulate_cut(st->gpr[RCX], half);
    u64 match[2] = {wide ? lo : lo | hi << 32, wide ? hi : 0};
    u64 replace[2] = {wide ? new_lo : new_lo | new_hi << 32, wide ? new_hi : 0};
    u64 old[2] = {0, 0}, seen[2] = {0, 0};
    enum emulate_status s = emulate_load(st, gva, in->mem_size, true, old);

    for (unsigned i = 0; s == EMULATE_OK; i++) {
        if (i == CMPXCHG_TRIES)
            return EMULATE_RETRY;
        if (!wide)
            old[1] = 0;
        bool equal = old[0] == match[0] && old[1] == match[1];
        s = st->ops->cmpxchg(st->ctx, gva, in->mem_size, old, equal ? replace : old, seen);
        if (s != EMULATE_OK)
            return s;
        if (seen[0] != old[0] || (wide && seen[1] != old[1])) {
            old[0] = seen[0];
            old[1] = seen[1];
            continue;
        }
        st->rflags = equal ? st->rflags | RFLAGS_ZF : st->rflags & ~RFLAGS_ZF;
        if (!equal) {
            st->gpr[RAX] = wide ? old[0] : (u32)old[0];
            st->gpr[RDX] = wide ? old[1] : old[0] >> 32;
        }
        return EMULATE_OK;
    }
    return s;
}

static enum emulate_status emulate_sse(const struct insn *in, struct emulate_state *st, gva_t gva)
{
    u64 xmm[2], v[2] = {0, 0};

    if (in->dst == INSN_OPERAND_MEM) {
        st->ops->xmm_read(st->ctx, in->reg, xmm);
        if (in->mem_size != XMM_SIZE)
            return emulate_store(st, gva, in->mem_size, in->op == INSN_SSE_HIGH ? xmm[1] : xmm[0]);
        return st->ops->write(st->ctx, gva, XMM_SIZE, xmm);
    }
    enum emulate_status s = emulate_load(st, gva, in->mem_size, false, v);
    if (s != EMULATE_OK)
        return s;
    if (in->op == INSN_SSE_MOV) {
        xmm[0] = v[0];
        xmm[1] = in->mem_size == XMM_SIZE ? v[1] : 0;
    } else {
        st->ops->xmm_read(st->ctx, in->reg, xmm);
        xmm[in->op == INSN_SSE_HIGH] = v[0];
    }
    st->ops->xmm_write(st->ctx, in->reg, xmm);
    return EMULATE_OK;
}

/* One element of STOS, MOVS or LODS; moves RSI and RDI on (SDM Vol. 1 section 7.3.9.1). */
static enum emulate_status string_element(const struct insn *in, struct emulate_state *st)
{
    u64 step = st->rflags & RFLAGS_DF ? -(u64)in->mem_size : in->mem_size;
    gva_t at = insn_effective_address(in, st);
    u64 v[2] = {st->gpr[RAX], 0};
    enum emulate_status s = EMULATE_OK;

    if (in->op == INSN_LODS)
        s = emulate_load(st, at, in->mem_size, false, v);
    else if (in->op == INSN_MOVS)
        s = emulate_load(st, emulate_linear(in, st, in->src_seg, emulate_cut(st->gpr[RSI], in->addr_size)),
                         in->mem_size, false, v);
    if (s == EMULATE_OK && in->op != INSN_LODS)
        s = emulate_store(st, at, in->mem_size, v[0]);
    if (s != EMULATE_OK)
        return s;
    if (in->op == INSN_LODS)
        emulate_reg_write(st, RAX, false, in->op_size, v[0]);
    if (in->op != INSN_STOS)
        emulate_reg_write(st, RSI, false, in->addr_size, st->gpr[RSI] + step);
    if (in->op != INSN_LODS)
        emulate_reg_write(st, RDI, false, in->addr_size, st->gpr[RDI] + step);
    return EMULATE_OK;
}

/*
 * A REP stops after rep_limit elements, or after one when single-stepping, with RF set as an interrupt
 * between iterations would find it (SDM Vol. 3B section 17.3.1.1).
 */
static enum emulate_status emulate_string(const struct insn *in, struct emulate_state *st)
{
    if (in->rep == INSN_REP_NONE)
        return string_element(in, st);

    u64 left = emulate_cut(st->gpr[RCX], in->addr_size);
    u32 budget = st->rflags & RFLAGS_TF || st->rep_limit == 0 ? 1 : st->rep_limit;
    for (; left > 0 && budget > 0; budget--) {
        enum emulate_status s = string_element(in, st);
        if (s != EMULATE_OK)
            return s;
        emulate_reg_write(st, RCX, false, in->addr_size, --left);
        st->rflags = left ? st->rflags | RFLAGS_RF : st->rflags;
    }
    return left ? EMULATE_PARTIAL : EMULATE_OK;
}

/* Stores value below the stack pointer and moves it there. */
static enum emulate_status push(const struct insn *in, struct emulate_state *st, u64 value)
{
    unsigned width = emulate_stack_width(in, st);
    u64 sp = emulate_cut(st->gpr[RSP] - in->op_size, width);
    enum emulate_status s = emulate_store(st, emulate_linear(in, st, INSN_SEG_SS, sp), in->op_size, value);

    if (s == EMULATE_OK)
        emulate_reg_write(st, RSP, false, width, sp);
    return s;
}

/* POP to memory: an address based on RSP is that after the pop (SDM Vol. 2, POP). */
static enum emulate_status emulate_pop(const struct insn *in, struct emulate_state *st)
{
    unsigned width = emulate_stack_width(in, st);
    gva_t stack = emulate_linear(in, st, INSN_SEG_SS, emulate_cut(st->gpr[RSP], width));
    struct insn after = *in;
    u64 v[2];

    if (in->mem.base == RSP) {
        if (width != in->addr_size)
            return EMULATE_UNKNOWN;
        after.mem.disp += in->op_size;
    }
    enum emulate_status s = emulate_load(st, stack, in->op_size, false, v);
    if (s == EMULATE_OK)
        s = emulate_store(st, insn_effective_address(&after, st), in->op_size, v[0]);
    if (s == EMULATE_OK)
        emulate_reg_write(st, RSP, false, width, st->gpr[RSP] + in->op_size);
    return s;
}

/* PUSH, PUSHF, CALL. Gives the RIP that follows. */
static enum emulate_status emulate_push(const struct insn *in, struct emulate_state *st, u64 *next_rip)
{
    u64 v[2] = {emulate_source(in, st), 0};
    enum emulate_status s = EMULATE_OK;

    if (in->src == INSN_OPERAND_MEM)
        s = emulate_load(st, insn_effective_address(in, st), in->mem_size, false, v);
    if (s != EMULATE_OK)
        return s;
    if (in->op == INSN_PUSH)
        return push(in, st, v[0]);
    if (in->op == INSN_PUSHF) {
        if (st->rflags & RFLAGS_VM)
            return EMULATE_UNKNOWN;
        return push(in, st, st->rflags & ~RFLAGS_RF);
    }
    u64 target = in->src == INSN_OPERAND_IMM ? *next_rip + v[0] : v[0];
    unsigned unused_bits = 64 - LINEAR_BITS;
    if ((u64)((s64)(target << unused_bits) >> unused_bits) != target)
        return EMULATE_UNKNOWN; /* #GP before anything is pushed */
    s = push(in, st, *next_rip);
    *next_rip = target;
    return s;
}

static __attribute__((noinline)) enum emulate_status dispatch(const struct insn *in, struct emulate_state *st,
                                                              u64 *next_rip)
{
    gva_t gva;

    switch (in->op) {
    case INSN_STOS:
    case INSN_MOVS:
    case INSN_LODS: return emulate_string(in, st);
    case INSN_PUSH:
    case INSN_PUSHF:
    case INSN_CALL: return emulate_push(in, st, next_rip);
    case INSN_POP: return emulate_pop(in, st);
    case INSN_CLFLUSH: return EMULATE_OK; /* nothing of ours is cached in a way a guest could see */
    default: break;
    }
    gva = insn_effective_address(in, st);
    if (in->aligned && (gva.v & XMM_ALIGN_MASK))
        return EMULATE_UNKNOWN; /* #GP, which hardware raises before any page fault */
    switch (in->op) {
    case INSN_MOV:
    case INSN_MOVZX:
    case INSN_MOVSX:
    case INSN_MOVBE:
    case INSN_SETCC:
    case INSN_CMOVCC: return emulate_move(in, st, gva);
    case INSN_CMPXCHG8B: return emulate_cmpxchg8b(in, st, gva);
    case INSN_SSE_MOV:
    case INSN_SSE_LOW:
    case INSN_SSE_HIGH: return emulate_sse(in, st, gva);
    case INSN_CMP:
    case INSN_TEST:
    case INSN_BT: return emulate_compare(in, st, gva);
    case INSN_NONE: return EMULATE_UNKNOWN;
    default: return in->dst == INSN_OPERAND_REG ? emulate_compare(in, st, gva) : emulate_modify(in, st, gva);
    }
}

/* See struct insn.plain: what emulate_move() does, without its choices. */
static inline enum emulate_status emulate_plain_mov(const struct insn *in, struct emulate_state *st)
{
    gva_t gva = GVA(st->gpr[in->mem.base] + in->mem.disp);
    u64 *reg = &st->gpr[in->reg];
    u64 v[2] = {in->op_size == 8 ? *reg : (u32)*reg, 0};

    if (likely(in->dst == INSN_OPERAND_MEM))
        return st->ops->write(st->ctx, gva, in->op_size, v);
    enum emulate_status s = st->ops->read(st->ctx, gva, in->op_size, false, v);
    if (s == EMULATE_OK)
        *reg = in->op_size == 8 ? v[0] : (u32)v[0];
    return s;
}

enum emulate_status emulate_insn(const struct insn *in, struct emulate_state *st)
{
    bool trap = st->rflags & RFLAGS_TF;
    u64 next_rip = st->rip + in->length;
    enum emulate_status s;

    st->debug_trap = false;
    if (in->mode != CPU_MODE_64)
        next_rip = (u32)next_rip;
    if (likely(in->plain))
        s = emulate_plain_mov(in, st);
    else
        s = dispatch(in, st, &next_rip);
    if (s == EMULATE_OK) {
        st->rip = next_rip;
        st->rflags &= ~RFLAGS_RF;
        st->debug_trap = trap;
    } else if (s == EMULATE_PARTIAL) {
        st->debug_trap = trap;
    }
    return s;
}
