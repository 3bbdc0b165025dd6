/*
 * emulate.c - see emulate.h. Each function computes everything first, does its memory accesses, and changes
 * registers only when the last of them has succeeded.
 */
#include "vmm/emulate.h"

#include "arch/regs.h"
#include "vmm/emulate_io.h"

/* How often a locked operation is tried again when other CPUs change its operand, before the guest is
 * re-entered. */
enum { CMPXCHG_TRIES = 64, MMX_MASK = 7 };

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

/* IMUL to CRC32. */
static struct alu_result compute_load(const struct insn *in, const struct emulate_state *st, u64 a, u64 b)
{
    enum insn_op op = in->op;

    if (op == INSN_TZCNT && !st->tzcnt)
        op = INSN_BSF;
    if (op == INSN_LZCNT && !st->lzcnt)
        op = INSN_BSR;
    return alu_compute_load(op, in->mem_size, op == INSN_IMUL3 ? in->imm : a, b, st->rflags);
}

/* MUL, IMUL, DIV, IDIV of rDX:rAX, or AX. */
static enum emulate_status emulate_muldiv(const struct insn *in, struct emulate_state *st, gva_t gva)
{
    unsigned size = in->op_size, high = size == 1 ? RAX : RDX;
    bool is_signed = in->op == INSN_IMUL1 || in->op == INSN_IDIV;
    u64 lo = emulate_cut(st->gpr[RAX], size), hi = emulate_reg_read(st, high, size == 1, size);
    u64 v[2];
    enum emulate_status s = emulate_load(st, gva, size, false, v);

    if (s != EMULATE_OK)
        return s;
    if (in->op == INSN_MUL || in->op == INSN_IMUL1) {
        struct alu_wide r = alu_multiply(is_signed, size, lo, v[0], st->rflags);
        lo = r.lo;
        hi = r.hi;
        st->rflags = r.rflags;
    } else if (!alu_divide(is_signed, size, &hi, &lo, v[0])) {
        return emulate_fault(st, VECTOR_DE, 0);
    }
    emulate_reg_write(st, RAX, false, size, lo);
    emulate_reg_write(st, high, size == 1, size, hi);
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
    struct alu_result r =
        in->op >= INSN_IMUL ? compute_load(in, st, a, b) : alu_compute(in->op, in->op_size, a, b, st->rflags);
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
    case INSN_SHLD:
    case INSN_SHRD:
        return alu_shift_double(in->op == INSN_SHLD, in->op_size, old, emulate_source(in, st),
                                in->imm_cl ? st->gpr[RCX] : in->imm, st->rflags);
    default: return alu_compute(in->op, in->op_size, old, emulate_source(in, st), st->rflags);
    }
}

enum emulate_status emulate_modify_from(const struct insn *in, struct emulate_state *st, gva_t gva, u64 old)
{
    for (unsigned i = 0; i < CMPXCHG_TRIES; i++) {
        struct alu_result r = modify(in, st, old);
        u64 expected[2] = {old, 0}, desired[2] = {r.value, 0}, seen[2];
        enum emulate_status s = st->ops->cmpxchg(st->ctx, gva, in->mem_size, expected, desired, seen);

        if (s != EMULATE_OK)
            return s;
        u64 now = emulate_cut(seen[0], in->mem_size);
        if (now != old) {
            old = now;
            continue;
        }
        st->rflags = r.rflags;
        if (in->op == INSN_XCHG || in->op == INSN_XADD)
            emulate_reg_write(st, in->reg, in->high8, in->op_size, old);
        else if (in->op == INSN_CMPXCHG && !(r.rflags & RFLAGS_ZF))
            emulate_reg_write(st, RAX, false, in->op_size, old);
        return EMULATE_OK;
    }
    return EMULATE_RETRY;
}

static enum emulate_status emulate_modify(const struct insn *in, struct emulate_state *st, gva_t gva)
{
    u64 old[2];
    enum emulate_status s = emulate_load(st, gva, in->mem_size, true, old);

    return s == EMULATE_OK ? emulate_modify_from(in, st, gva, old[0]) : s;
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
    unsigned reg = in->op == INSN_MMX_MOV ? EMULATE_MMX + (in->reg & MMX_MASK) : in->reg;

    if (st->ops->cr0_read(st->ctx) & (CR0_TS | CR0_EM))
        return EMULATE_RETRY; /* not what made the exit, see emulate_system(): the registers may be another task's */
    if (in->dst == INSN_OPERAND_MEM) {
        st->ops->vector_read(st->ctx, reg, xmm);
        if (in->mem_size != XMM_SIZE)
            return emulate_store(st, gva, in->mem_size, in->op == INSN_SSE_HIGH ? xmm[1] : xmm[0]);
        return st->ops->write(st->ctx, gva, XMM_SIZE, xmm);
    }
    enum emulate_status s = emulate_load(st, gva, in->mem_size, false, v);
    if (s != EMULATE_OK)
        return s;
    if (in->op == INSN_SSE_MOV || in->op == INSN_MMX_MOV) {
        xmm[0] = v[0];
        xmm[1] = in->mem_size == XMM_SIZE ? v[1] : 0;
    } else {
        st->ops->vector_read(st->ctx, reg, xmm);
        xmm[in->op == INSN_SSE_HIGH] = v[0];
    }
    st->ops->vector_write(st->ctx, reg, xmm);
    return EMULATE_OK;
}

static enum emulate_status dispatch(const struct insn *in, struct emulate_state *st, u64 *next_rip)
{
    if (in->op >= INSN_STOS) {
        if (insn_op_is_string(in->op))
            return emulate_string(in, st);
        if (in->op <= INSN_JMP_FAR)
            return emulate_stack(in, st, next_rip);
        if (in->op <= INSN_SMSW)
            return emulate_system(in, st);
        if (in->op == INSN_CLFLUSH)
            return EMULATE_OK; /* nothing of ours is cached in a way a guest could see */
    }
    gva_t gva = emulate_address(in, st);
    if (in->aligned && (gva.v & XMM_ALIGN_MASK))
        return emulate_fault(st, VECTOR_GP, 0);
    switch (in->op) {
    case INSN_MOV:
    case INSN_MOVZX:
    case INSN_MOVSX:
    case INSN_MOVBE:
    case INSN_SETCC:
    case INSN_CMOVCC:
    case INSN_XLAT: return emulate_move(in, st, gva);
    case INSN_CMPXCHG8B: return emulate_cmpxchg8b(in, st, gva);
    case INSN_MUL:
    case INSN_IMUL1:
    case INSN_DIV:
    case INSN_IDIV: return emulate_muldiv(in, st, gva);
    case INSN_SSE_MOV:
    case INSN_SSE_LOW:
    case INSN_SSE_HIGH:
    case INSN_MMX_MOV: return emulate_sse(in, st, gva);
    case INSN_CMP:
    case INSN_TEST:
    case INSN_BT: return emulate_compare(in, st, gva);
    case INSN_NONE: return EMULATE_UNKNOWN;
    default: return in->dst == INSN_OPERAND_REG ? emulate_compare(in, st, gva) : emulate_modify(in, st, gva);
    }
}

enum emulate_status emulate_any(const struct insn *in, struct emulate_state *st)
{
    bool trap = st->rflags & RFLAGS_TF;
    u64 next_rip = st->rip + in->length;

    if (in->mode != CPU_MODE_64)
        next_rip = (u32)next_rip;
    enum emulate_status s = dispatch(in, st, &next_rip);
    if (s == EMULATE_OK) {
        st->rip = next_rip;
        st->rflags &= ~RFLAGS_RF;
    }
    st->debug_trap = trap && (s == EMULATE_OK || s == EMULATE_PARTIAL);
    return s;
}
