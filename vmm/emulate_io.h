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

static inline u64 emulate_reg_read(const struct emulate_state *st, unsigned reg, bool high8, unsigned size)
{
    return emulate_cut(st->gpr[reg] >> (high8 ? HIGH8_SHIFT : 0), size);
}

/* Bytes of the stack pointer that count. */
static inline unsigned emulate_stack_width(const struct insn *in, const struct emulate_state *st)
{
    return in->mode == CPU_MODE_64 ? 8 : st->stack_size ? st->stack_size : in->mode / 8;
}

/* high8: bits 15:8 (AH..BH). A 4-byte value zeroes the upper half of the register. */
void emulate_reg_write(struct emulate_state *st, unsigned reg, bool high8, unsigned size, u64 v);

/* Segment base plus offset, as the mode has it. */
gva_t emulate_linear(const struct insn *in, const struct emulate_state *st, unsigned seg, u64 offset);

/* The callbacks, for values cut to size. */
enum emulate_status emulate_load(struct emulate_state *st, gva_t gva, unsigned size, bool for_write,
                                 u64 v[2]);
enum emulate_status emulate_store(struct emulate_state *st, gva_t gva, unsigned size, u64 value);

/* The source operand when it is not memory. */
u64 emulate_source(const struct insn *in, const struct emulate_state *st);
