/* emulate_string.c - STOS, MOVS, LODS, CMPS and SCAS, alone and repeated. */
#include "arch/regs.h"
#include "vmm/emulate_io.h"

static void advance(const struct insn *in, struct emulate_state *st, unsigned reg)
{
    u64 step = st->rflags & RFLAGS_DF ? -(u64)in->mem_size : in->mem_size;

    emulate_reg_write(st, reg, false, in->addr_size, st->gpr[reg] + step);
}

/* One element; moves RSI and RDI on (SDM Vol. 1 section 7.3.9.1). */
static enum emulate_status element(const struct insn *in, struct emulate_state *st)
{
    bool uses_source = in->op == INSN_MOVS || in->op == INSN_CMPS || in->op == INSN_LODS;
    bool stores = in->op == INSN_STOS || in->op == INSN_MOVS;
    u8 source_seg = in->op == INSN_LODS ? in->mem.seg : in->src_seg;
    u64 a[2] = {emulate_cut(st->gpr[RAX], in->op_size), 0}, b[2];
    gva_t gva;
    enum emulate_status s = EMULATE_OK;

    if (uses_source) {
        s = emulate_check(in, st, source_seg, emulate_cut(st->gpr[RSI], in->addr_size), in->mem_size, false,
                          &gva);
        if (s == EMULATE_OK)
            s = emulate_load(st, gva, in->mem_size, false, a);
    }
    if (s == EMULATE_OK && in->op != INSN_LODS) {
        s = emulate_check(in, st, INSN_SEG_ES, emulate_cut(st->gpr[RDI], in->addr_size), in->mem_size, stores,
                          &gva);
        if (s == EMULATE_OK)
            s = stores ? emulate_store(st, gva, in->mem_size, a[0])
                       : emulate_load(st, gva, in->mem_size, false, b);
    }
    if (s != EMULATE_OK)
        return s;
    if (in->op == INSN_LODS)
        emulate_reg_write(st, RAX, false, in->op_size, a[0]);
    else if (!stores)
        st->rflags = alu_compute(INSN_CMP, in->op_size, a[0], b[0], st->rflags).rflags;
    if (uses_source)
        advance(in, st, RSI);
    if (in->op != INSN_LODS)
        advance(in, st, RDI);
    return EMULATE_OK;
}

/* REPE and REPNE of the comparing ones end by ZF too; for the others both prefixes are REP. */
static bool goes_on(const struct insn *in, const struct emulate_state *st)
{
    if (in->op != INSN_CMPS && in->op != INSN_SCAS)
        return true;
    return (in->rep == INSN_REP_REP) == !!(st->rflags & RFLAGS_ZF);
}

/*
 * A REP stops after rep_limit elements, or after one when single-stepping, with RF set as an interrupt
 * between iterations would find it (SDM Vol. 3B section 17.3.1.1).
 */
enum emulate_status emulate_string(const struct insn *in, struct emulate_state *st)
{
    if (in->rep == INSN_REP_NONE)
        return element(in, st);

    u64 left = emulate_cut(st->gpr[RCX], in->addr_size);
    u32 budget = st->rflags & RFLAGS_TF || st->rep_limit == 0 ? 1 : st->rep_limit;
    bool more = left > 0;
    for (; more && budget > 0; budget--) {
        enum emulate_status s = element(in, st);
        if (s != EMULATE_OK)
            return s;
        emulate_reg_write(st, RCX, false, in->addr_size, --left);
        more = left > 0 && goes_on(in, st);
        st->rflags = more ? st->rflags | RFLAGS_RF : st->rflags;
    }
    return more ? EMULATE_PARTIAL : EMULATE_OK;
}
