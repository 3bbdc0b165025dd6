/* emulate_io.c - see emulate_io.h. */
#include "vmm/emulate_io.h"

/* SDM Vol. 1 section 3.4.1.1: 32-bit results zero the upper half, 8- and 16-bit results keep the rest. */
void emulate_reg_write(struct emulate_state *st, unsigned reg, bool high8, unsigned size, u64 v)
{
    unsigned at = high8 ? HIGH8_SHIFT : 0;

    if (size >= 4)
        st->gpr[reg] = emulate_cut(v, size);
    else
        st->gpr[reg] = (st->gpr[reg] & ~(alu_mask(size) << at)) | emulate_cut(v, size) << at;
}

gva_t emulate_linear(const struct insn *in, const struct emulate_state *st, unsigned seg, u64 offset)
{
    if (in->mode == CPU_MODE_64)
        return GVA(seg == INSN_SEG_FS || seg == INSN_SEG_GS ? offset + st->seg_base[seg] : offset);
    return GVA((u32)(offset + st->seg_base[seg]));
}

/* BT family with a register: the bit number is signed and reaches beyond the operand (SDM Vol. 2, BT). */
static u64 bit_offset_bytes(const struct insn *in, const struct emulate_state *st)
{
    unsigned unused_bits = 64 - 8 * in->op_size;
    s64 bit = (s64)(st->gpr[in->reg] << unused_bits) >> unused_bits;

    return (u64)(bit >> (3 + __builtin_ctz(in->op_size))) * in->op_size;
}

gva_t insn_effective_address(const struct insn *in, const struct emulate_state *st)
{
    const struct insn_mem *m = &in->mem;

    if (unlikely(in->mem_size == 0)) {
        unsigned width = emulate_stack_width(in, st);
        return emulate_linear(in, st, INSN_SEG_SS, emulate_cut(st->gpr[RSP] - in->op_size, width));
    }
    u64 offset = m->disp;
    if (m->base != INSN_NO_REG)
        offset += st->gpr[m->base];
    if (m->index != INSN_NO_REG)
        offset += st->gpr[m->index] << m->scale;
    if (m->rip_relative)
        offset += st->rip + in->length;
    if (m->bit_offset)
        offset += bit_offset_bytes(in, st);
    return emulate_linear(in, st, m->seg, emulate_cut(offset, in->addr_size));
}

enum emulate_status emulate_load(struct emulate_state *st, gva_t gva, unsigned size, bool for_write, u64 v[2])
{
    enum emulate_status s = st->ops->read(st->ctx, gva, size, for_write, v);

    if (size < 8)
        v[0] = emulate_cut(v[0], size);
    return s;
}

enum emulate_status emulate_store(struct emulate_state *st, gva_t gva, unsigned size, u64 value)
{
    u64 v[2] = {emulate_cut(value, size), 0};

    return st->ops->write(st->ctx, gva, size, v);
}

u64 emulate_source(const struct insn *in, const struct emulate_state *st)
{
    switch (in->src) {
    case INSN_OPERAND_REG: return emulate_reg_read(st, in->reg, in->high8, in->op_size);
    case INSN_OPERAND_IMM: return emulate_cut(in->imm, in->op_size);
    case INSN_OPERAND_CL: return (u8)st->gpr[RCX];
    default: return 0;
    }
}
