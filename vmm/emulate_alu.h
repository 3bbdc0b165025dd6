/* emulate_alu.h - the arithmetic of the emulated instructions: values and flags in, values and flags out. */
#pragma once
#include "arch/regs.h"
#include "vmm/decode.h"

struct alu_result {
    u64 value;  /* cut to the operand size */
    u64 rflags; /* rflags given, with the status flags changed as the operation does */
};

/* All ones in the low size bytes; size is 1, 2, 4 or 8. */
static inline u64 alu_mask(unsigned size)
{
    return ~0ull >> ((64 - 8 * size) & 63);
}

/*
 * Does INSN_ADD..INSN_BTC on size-byte operands: a is the destination, b the source, shift count or bit
 * number. For CMP, TEST and BT value is not stored by the instruction. See emulate.h for flags that the SDM
 * leaves undefined.
 */
struct alu_result alu_compute(enum insn_op op, unsigned size, u64 a, u64 b, u64 rflags);

/* SF, ZF and PF of an 8-byte result; CF, OF and AF are clear: AND, OR, XOR. */
static inline u64 alu_logic_flags8(u64 value, u64 rflags)
{
    u64 status = RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF;

    /* without branches: SF is bit 7, ZF bit 6, PF bit 2 */
    return (rflags & ~status) | (value >> 56 & RFLAGS_SF) | (u64)(value == 0) << 6 |
           (u64)!__builtin_parity((u8)value) << 2;
}

/* Product of two operands of size bytes: 2 * size bytes in hi:lo. CF and OF: it does not fit into lo; the SDM
 * leaves the others undefined, they stay. */
struct alu_wide {
    u64 lo, hi, rflags;
};
struct alu_wide alu_multiply(bool is_signed, unsigned size, u64 a, u64 b, u64 rflags);

/* Divides hi:lo: quotient in lo, remainder in hi. False: #DE, and both are spoiled. Flags (undefined) stay. */
bool must_check alu_divide(bool is_signed, unsigned size, u64 *hi, u64 *lo, u64 divisor);

/* SHLD and SHRD. OF after more than one step is that of the last, AF is cleared. */
struct alu_result alu_shift_double(bool left, unsigned size, u64 a, u64 b, u64 count, u64 rflags);

/*
 * IMUL, IMUL3, POPCNT, CRC32, BSF, BSR, TZCNT, LZCNT: a is the destination register (IMUL3: the immediate), b
 * the memory operand of size bytes. BSF and BSR of zero leave a as it is; undefined flags stay.
 */
struct alu_result alu_compute_load(enum insn_op op, unsigned size, u64 a, u64 b, u64 rflags);

/* True if the condition (low four bits of Jcc, SETcc, CMOVcc opcodes; SDM Vol. 1 appendix B.1) holds. */
bool alu_condition(unsigned cond, u64 rflags);
