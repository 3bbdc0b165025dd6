/*
 * emulate_quick.c - the few instructions that compilers make to read and write page tables and device registers
 * (enum insn_quick), in few steps; and the way to all others.
 */
#include "arch/regs.h"
#include "vmm/emulate_io.h"

static inline gva_t quick_address(const struct insn *in, const struct emulate_state *st)
{
    u64 at = st->gpr[in->mem.base] + in->mem.disp;

    return GVA(unlikely(in->mem.index != INSN_NO_REG) ? at + (st->gpr[in->mem.index] << in->mem.scale) : at);
}

static inline u64 quick_source(const struct insn *in, const struct emulate_state *st)
{
    return in->src == INSN_OPERAND_IMM ? in->imm : st->gpr[in->reg];
}

/* Quick loads and read-modify-writes. Flags of CMPXCHG are those of a comparison of equals. */
static __attribute__((noinline)) enum emulate_status quick_read(const struct insn *in,
                                                                struct emulate_state *st)
{
    gva_t gva = quick_address(in, st);
    bool load = in->quick == INSN_QUICK_LOAD;
    u64 old[2], desired[2], seen[2], source, rflags = st->rflags;
    enum emulate_status s = st->ops->read(st->ctx, gva, in->mem_size, !load, old);

    if (unlikely(s != EMULATE_OK))
        return s;
    if (load) {
        st->gpr[in->reg] = in->mem_size == 8 ? old[0] : (u32)old[0];
        return EMULATE_OK;
    }
    source = desired[0] = quick_source(in, st);
    if (in->quick == INSN_QUICK_CMPXCHG) {
        if (old[0] != st->gpr[RAX])
            return emulate_modify_from(in, st, gva, old[0]);
        rflags = alu_logic_flags8(0, rflags);
    } else if (in->quick == INSN_QUICK_LOGIC) {
        desired[0] = in->op == INSN_AND  ? old[0] & source
                     : in->op == INSN_OR ? old[0] | source
                                         : old[0] ^ source;
        rflags = alu_logic_flags8(desired[0], rflags);
    } else if (in->quick == INSN_QUICK_BIT) {
        u64 bit = BIT(source & 63);
        desired[0] = in->op == INSN_BTS ? old[0] | bit : in->op == INSN_BTR ? old[0] & ~bit : old[0] ^ bit;
        rflags = old[0] & bit ? rflags | RFLAGS_CF : rflags & ~RFLAGS_CF;
    }
    old[1] = desired[1] = 0;
    s = st->ops->cmpxchg(st->ctx, gva, 8, old, desired, seen);
    if (unlikely(s != EMULATE_OK))
        return s;
    if (unlikely(seen[0] != old[0]))
        return emulate_modify_from(in, st, gva, seen[0]);
    st->rflags = rflags;
    if (in->quick == INSN_QUICK_XCHG)
        st->gpr[in->reg] = old[0];
    return EMULATE_OK;
}

static inline enum emulate_status quick_store(const struct insn *in, struct emulate_state *st)
{
    u64 source = quick_source(in, st);
    u64 v[2] = {likely(in->mem_size == 8) ? source : (u32)source, 0};

    return st->ops->write(st->ctx, quick_address(in, st), in->mem_size, v);
}

enum emulate_status emulate_insn(const struct insn *in, struct emulate_state *st)
{
    enum emulate_status s;

    st->debug_trap = st->loaded_ss = false;
    if (unlikely(!in->quick))
        return emulate_any(in, st);
    s = in->quick == INSN_QUICK_STORE ? quick_store(in, st) : quick_read(in, st);
    if (likely(s == EMULATE_OK)) {
        st->rip += in->length;
        st->debug_trap = st->rflags & RFLAGS_TF;
        st->rflags &= ~RFLAGS_RF;
    }
    return s;
}
