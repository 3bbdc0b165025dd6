/*
 * emulate_io.h - inside the emulator: registers, operands and memory of the instruction being emulated.
 */
#pragma once
#include "vmm/emulate.h"
#include "vmm/emulate_alu.h"

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI };
enum { HIGH8_SHIFT = 8, LINEAR_BITS = 48, XMM_SIZE = 16, XMM_ALIGN_MASK = 15 };

static inline u64 emulate_cut(u64 v, unsigned size)
{
    return v & alu_mask(size);
}

static inline bool emulate_is_canonical(u64 address)
{
    unsigned unused_bits = 64 - LINEAR_BITS;
    return (u64)((s64)(address << unused_bits) >> unused_bits) == address;
}

static inline u64 emulate_reg_read(const struct emulate_state *st, unsigned reg, bool high8, unsigned size)
{
    return emulate_cut(st->gpr[reg] >> (high8 ? HIGH8_SHIFT : 0), size);
}

/* SDM Vol. 1 section 3.4.1.1: 32-bit results zero the upper half, 8- and 16-bit results keep the rest.
 * high8: bits 15:8 (AH..BH). */
static inline void emulate_reg_write(struct emulate_state *st, unsigned reg, bool high8, unsigned size, u64 v)
{
    unsigned at = high8 ? HIGH8_SHIFT : 0;

    if (likely(size >= 4))
        st->gpr[reg] = emulate_cut(v, size);
    else
        st->gpr[reg] = (st->gpr[reg] & ~(alu_mask(size) << at)) | emulate_cut(v, size) << at;
}

/* Bytes of the stack pointer that count. */
static inline unsigned emulate_stack_width(const struct insn *in, const struct emulate_state *st)
{
    return in->mode == CPU_MODE_64 ? 8 : st->stack_size ? st->stack_size : in->mode / 8;
}

/* Segment base plus offset, as the mode has it. */
static inline gva_t emulate_linear(const struct insn *in, const struct emulate_state *st, unsigned seg,
                                   u64 offset)
{
    if (likely(in->mode == CPU_MODE_64))
        return GVA(unlikely(seg >= INSN_SEG_FS) ? offset + st->seg_base[seg] : offset);
    return GVA((u32)(offset + st->seg_base[seg]));
}

/* BT family with a register: the bit number is signed and reaches beyond the operand (SDM Vol. 2, BT). */
static inline u64 emulate_bit_offset(const struct insn *in, const struct emulate_state *st)
{
    unsigned unused_bits = 64 - 8 * in->op_size;
    s64 bit = (s64)(st->gpr[in->reg] << unused_bits) >> unused_bits;

    return (u64)(bit >> (3 + __builtin_ctz(in->op_size))) * in->op_size;
}

/* Of the memory operand within its segment. */
static inline u64 emulate_offset(const struct insn *in, const struct emulate_state *st)
{
    const struct insn_mem *m = &in->mem;
    u64 offset = m->disp;

    if (likely(m->base != INSN_NO_REG))
        offset += st->gpr[m->base];
    if (m->index != INSN_NO_REG)
        offset += st->gpr[m->index] << m->scale;
    if (unlikely(m->rip_relative))
        offset += st->rip + in->length;
    if (unlikely(m->bit_offset))
        offset += emulate_bit_offset(in, st);
    if (unlikely(in->op == INSN_XLAT))
        offset += (u8)st->gpr[RAX];
    return likely(in->addr_size == 8) ? offset : emulate_cut(offset, in->addr_size);
}

static inline gva_t emulate_address(const struct insn *in, const struct emulate_state *st)
{
    return emulate_linear(in, st, in->mem.seg, emulate_offset(in, st));
}

/* The callbacks, for values cut to size. */
static inline enum emulate_status emulate_load(struct emulate_state *st, gva_t gva, unsigned size,
                                               bool for_write, u64 v[2])
{
    enum emulate_status s = st->ops->read(st->ctx, gva, size, for_write, v);

    if (size < 8)
        v[0] = emulate_cut(v[0], size);
    return s;
}

static inline enum emulate_status emulate_store(struct emulate_state *st, gva_t gva, unsigned size, u64 value)
{
    u64 v[2] = {emulate_cut(value, size), 0};

    return st->ops->write(st->ctx, gva, size, v);
}

static inline enum emulate_status emulate_fault(struct emulate_state *st, unsigned vector, u32 error)
{
    return st->ops->fault(st->ctx, vector, error);
}

/*
 * Address of an operand that the CPU has not come to when it exited: canonical, or within the segment's limit
 * and rights, else #SS or #GP. *gva is meaningful with OK.
 */
enum emulate_status emulate_check(const struct insn *in, struct emulate_state *st, unsigned seg, u64 offset,
                                  unsigned size, bool write, gva_t *gva);

/* The source operand when it is not memory. */
u64 emulate_source(const struct insn *in, const struct emulate_state *st);

/* emulate.c: any instruction; and the rest of a read-modify-write whose read found old. */
enum emulate_status emulate_any(const struct insn *in, struct emulate_state *st);
enum emulate_status emulate_modify_from(const struct insn *in, struct emulate_state *st, gva_t gva, u64 old);

/* emulate_string.c */
enum emulate_status emulate_string(const struct insn *in, struct emulate_state *st);

/* emulate_stack.c: PUSH to RET_FAR, JMP, JMP_FAR. Gives the RIP that follows. */
enum emulate_status emulate_stack(const struct insn *in, struct emulate_state *st, u64 *next_rip);

/* emulate_segment.c: from LOAD_SEG to SMSW. */
enum emulate_status emulate_system(const struct insn *in, struct emulate_state *st);
/* Loads a segment register but CS. */
enum emulate_status emulate_load_segment(const struct insn *in, struct emulate_state *st, unsigned seg,
                                         u16 selector);
/* Checks a far transfer of the same privilege level to selector:target and gives the CS it leads to; the
 * caller then loads it. returns: it is a far return. */
enum emulate_status emulate_far_target(struct emulate_state *st, u16 selector, u64 target, bool returns,
                                       struct vmx_seg *cs);
