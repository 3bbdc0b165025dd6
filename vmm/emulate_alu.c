/* emulate_alu.c - see emulate_alu.h. Flags after SDM Vol. 1 appendix A and the instructions' pages in Vol. 2.
 */
#include "vmm/emulate_alu.h"

#include "arch/regs.h"

#define STATUS_FLAGS (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)
#define SHIFT_FLAGS  (RFLAGS_CF | RFLAGS_PF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)
#define ROTATE_FLAGS (RFLAGS_CF | RFLAGS_OF)

static inline u64 flag_if(bool condition, u64 flag)
{
    return condition ? flag : 0;
}

static inline u64 sign_bit(unsigned size)
{
    return BIT(8 * size - 1);
}

/* SF, ZF, PF of a result. PF counts the low byte only. */
static u64 result_flags(u64 value, unsigned size)
{
    return flag_if(value & sign_bit(size), RFLAGS_SF) | flag_if(value == 0, RFLAGS_ZF) |
           flag_if(!__builtin_parity((u8)value), RFLAGS_PF);
}

/* carries: bit i set when bit i carried (borrowed); overflow has its sign bit set on signed overflow. */
static struct alu_result arithmetic(u64 value, u64 carries, u64 overflow, unsigned size, u64 rflags)
{
    value &= alu_mask(size);
    u64 flags = result_flags(value, size) | flag_if(carries & sign_bit(size), RFLAGS_CF) |
                flag_if(carries & BIT(3), RFLAGS_AF) | flag_if(overflow & sign_bit(size), RFLAGS_OF);
    return (struct alu_result){value, (rflags & ~STATUS_FLAGS) | flags};
}

static struct alu_result add(u64 a, u64 b, u64 carry, unsigned size, u64 rflags)
{
    u64 r = a + b + carry;
    return arithmetic(r, (a & b) | ((a | b) & ~r), (a ^ r) & (b ^ r), size, rflags);
}

static struct alu_result subtract(u64 a, u64 b, u64 borrow, unsigned size, u64 rflags)
{
    u64 r = a - b - borrow;
    return arithmetic(r, (~a & b) | (~(a ^ b) & r), (a ^ b) & (a ^ r), size, rflags);
}

static struct alu_result logic(u64 value, unsigned size, u64 rflags)
{
    return arithmetic(value, 0, 0, size, rflags);
}

/* Through-carry rotation is done bit by bit: a count is at most 63. */
static struct alu_result rotate_carry(bool left, unsigned size, u64 a, unsigned count, u64 rflags)
{
    u64 top = sign_bit(size);
    bool carry = rflags & RFLAGS_CF;

    for (count %= 8 * size + 1; count > 0; count--) {
        bool out = a & (left ? top : 1);
        a = left ? (a << 1 | carry) & alu_mask(size) : a >> 1 | flag_if(carry, top);
        carry = out;
    }
    bool overflow = left ? !!(a & top) != carry : !!(a & top) != !!(a & (top >> 1));
    return (struct alu_result){a, (rflags & ~ROTATE_FLAGS) | flag_if(carry, RFLAGS_CF) |
                                      flag_if(overflow, RFLAGS_OF)};
}

static struct alu_result rotate(bool left, unsigned size, u64 a, unsigned count, u64 rflags)
{
    unsigned bits = 8 * size;
    unsigned by = (left ? count : bits - count % bits) % bits; /* as a rotation to the left */
    u64 top = sign_bit(size);
    u64 r = by ? (a << by | a >> (bits - by)) & alu_mask(size) : a;
    bool carry = r & (left ? 1 : top);
    bool overflow = left ? !!(r & top) != carry : !!(r & top) != !!(r & (top >> 1));

    return (struct alu_result){r, (rflags & ~ROTATE_FLAGS) | flag_if(carry, RFLAGS_CF) |
                                      flag_if(overflow, RFLAGS_OF)};
}

static struct alu_result shift(enum insn_op op, unsigned size, u64 a, unsigned count, u64 rflags)
{
    unsigned bits = 8 * size;
    u64 top = sign_bit(size);
    u64 r;
    bool carry, overflow;

    if (op == INSN_SHR) {
        r = count < bits ? a >> count : 0;
        carry = count <= bits && (a >> (count - 1) & 1);
        overflow = a & top;
    } else if (op == INSN_SAR) {
        s64 wide = (s64)(a << (64 - bits)) >> (64 - bits);
        r = (u64)(wide >> count) & alu_mask(size);
        carry = wide >> (count - 1) & 1;
        overflow = false;
    } else {
        r = count < bits ? (a << count) & alu_mask(size) : 0;
        carry = count <= bits && (a >> (bits - count) & 1);
        overflow = !!(r & top) != carry;
    }
    u64 flags = result_flags(r, size) | flag_if(carry, RFLAGS_CF) | flag_if(overflow, RFLAGS_OF);
    return (struct alu_result){r, (rflags & ~(SHIFT_FLAGS | RFLAGS_AF)) | flags};
}

/* Counts are cut to five bits, with 64-bit operands to six; a count of zero changes no flag. */
static struct alu_result shift_or_rotate(enum insn_op op, unsigned size, u64 a, u64 b, u64 rflags)
{
    unsigned count = b & (size == 8 ? 63 : 31);

    if (count == 0)
        return (struct alu_result){a, rflags};
    switch (op) {
    case INSN_ROL:
    case INSN_ROR: return rotate(op == INSN_ROL, size, a, count, rflags);
    case INSN_RCL:
    case INSN_RCR: return rotate_carry(op == INSN_RCL, size, a, count, rflags);
    default: return shift(op, size, a, count, rflags);
    }
}

static struct alu_result bit_test(enum insn_op op, unsigned size, u64 a, u64 b, u64 rflags)
{
    u64 bit = BIT(b % (8 * size));
    u64 flags = (rflags & ~RFLAGS_CF) | flag_if(a & bit, RFLAGS_CF);

    switch (op) {
    case INSN_BTS: return (struct alu_result){a | bit, flags};
    case INSN_BTR: return (struct alu_result){a & ~bit, flags};
    case INSN_BTC: return (struct alu_result){a ^ bit, flags};
    default: return (struct alu_result){a, flags};
    }
}

struct alu_result alu_compute(enum insn_op op, unsigned size, u64 a, u64 b, u64 rflags)
{
    u64 carry = rflags & RFLAGS_CF ? 1 : 0;
    struct alu_result r;

    a &= alu_mask(size);
    b &= alu_mask(size);
    switch (op) {
    case INSN_ADD: return add(a, b, 0, size, rflags);
    case INSN_ADC: return add(a, b, carry, size, rflags);
    case INSN_CMP:
    case INSN_SUB: return subtract(a, b, 0, size, rflags);
    case INSN_SBB: return subtract(a, b, carry, size, rflags);
    case INSN_OR: return logic(a | b, size, rflags);
    case INSN_TEST:
    case INSN_AND: return logic(a & b, size, rflags);
    case INSN_XOR: return logic(a ^ b, size, rflags);
    case INSN_NOT: return (struct alu_result){~a & alu_mask(size), rflags};
    case INSN_NEG: return subtract(0, a, 0, size, rflags);
    case INSN_INC:
    case INSN_DEC:
        r = op == INSN_INC ? add(a, 1, 0, size, rflags) : subtract(a, 1, 0, size, rflags);
        r.rflags = (r.rflags & ~RFLAGS_CF) | (rflags & RFLAGS_CF);
        return r;
    case INSN_BT:
    case INSN_BTS:
    case INSN_BTR:
    case INSN_BTC: return bit_test(op, size, a, b, rflags);
    default: return shift_or_rotate(op, size, a, b, rflags);
    }
}

bool alu_condition(unsigned cond, u64 rflags)
{
    bool sign_differs = !(rflags & RFLAGS_SF) != !(rflags & RFLAGS_OF);
    bool r = false;

    switch (cond >> 1) {
    case 0: r = rflags & RFLAGS_OF; break;
    case 1: r = rflags & RFLAGS_CF; break;
    case 2: r = rflags & RFLAGS_ZF; break;
    case 3: r = rflags & (RFLAGS_CF | RFLAGS_ZF); break;
    case 4: r = rflags & RFLAGS_SF; break;
    case 5: r = rflags & RFLAGS_PF; break;
    case 6: r = sign_differs; break;
    case 7: r = (rflags & RFLAGS_ZF) || sign_differs; break;
    }
    return r != (cond & 1);
}
