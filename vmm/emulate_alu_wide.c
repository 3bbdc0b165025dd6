/* emulate_alu_wide.c - multiplication, division, double shifts, bit scans, checksums: see emulate_alu.h. */
#include "arch/regs.h"
#include "vmm/emulate_alu.h"

#define CRC32C_POLYNOMIAL 0x82F63B78u /* reflected: SDM Vol. 2, CRC32 */
#define STATUS_FLAGS      (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)

static s64 sign_extend(u64 v, unsigned size)
{
    unsigned unused_bits = 64 - 8 * size;
    return (s64)(v << unused_bits) >> unused_bits;
}

static u64 overflow_flags(u64 rflags, bool overflow)
{
    return overflow ? rflags | RFLAGS_CF | RFLAGS_OF : rflags & ~(RFLAGS_CF | RFLAGS_OF);
}

struct alu_wide alu_multiply(bool is_signed, unsigned size, u64 a, u64 b, u64 rflags)
{
    unsigned bits = 8 * size;
    unsigned __int128 r;
    bool overflow;

    if (is_signed) {
        __int128 product = (__int128)sign_extend(a, size) * sign_extend(b, size);
        r = (unsigned __int128)product;
        overflow = product != sign_extend((u64)r, size);
    } else {
        r = (unsigned __int128)(a & alu_mask(size)) * (b & alu_mask(size));
        overflow = (r >> bits) != 0;
    }
    return (struct alu_wide){(u64)r & alu_mask(size), (u64)(r >> bits) & alu_mask(size),
                             overflow_flags(rflags, overflow)};
}

/* hi:lo, hi below the divisor, by long division. Leaves quotient in lo and remainder in hi. */
static void divide(u64 *hi, u64 *lo, u64 divisor, unsigned bits)
{
    u64 top = BIT(bits - 1), mask = top | (top - 1);

    for (unsigned i = 0; i < bits; i++) {
        bool carry = *hi & top;
        *hi = (*hi << 1 & mask) | (*lo & top ? 1 : 0);
        *lo = *lo << 1 & mask;
        if (carry || *hi >= divisor) {
            *hi = (*hi - divisor) & mask;
            *lo |= 1;
        }
    }
}

static void negate(u64 *hi, u64 *lo, u64 mask)
{
    *lo = -*lo & mask;
    *hi = (~*hi + (*lo == 0)) & mask;
}

bool alu_divide(bool is_signed, unsigned size, u64 *hi, u64 *lo, u64 divisor)
{
    u64 mask = alu_mask(size), sign = BIT(8 * size - 1);
    bool negative = is_signed && *hi & sign, by_negative = is_signed && divisor & sign;

    divisor = (by_negative ? -divisor : divisor) & mask;
    if (negative)
        negate(hi, lo, mask);
    if (*hi >= divisor) /* division by zero too */
        return false;
    divide(hi, lo, divisor, 8 * size);
    if (is_signed && *lo > sign - (negative == by_negative))
        return false;
    if (negative != by_negative)
        *lo = -*lo & mask;
    if (negative)
        *hi = -*hi & mask;
    return true;
}

struct alu_result alu_shift_double(bool left, unsigned size, u64 a, u64 b, u64 count, u64 rflags)
{
    unsigned bits = 8 * size, n = count & (size == 8 ? 63 : 31);
    u64 mask = alu_mask(size), top = BIT(bits - 1);

    a &= mask;
    b &= mask;
    if (n == 0)
        return (struct alu_result){a, rflags};
    if (n > bits) { /* 16 bits only; undefined: goes on with the bits of a, as Intel's do */
        u64 first = a;
        a = b;
        b = first;
        n -= bits;
    }
    u64 before = left ? a << (n - 1) : a >> (n - 1); /* all but the last step */
    if (n > 1)
        before |= left ? b >> (bits - n + 1) : b << (bits - n + 1);
    before &= mask;
    u64 r = left ? before << 1 | (b >> (bits - n) & 1) : before >> 1 | (b >> (n - 1) & 1) << (bits - 1);
    r &= mask;
    bool carry = before & (left ? top : 1);
    struct alu_result logic = alu_compute(INSN_OR, size, r, 0, rflags); /* SF, ZF, PF */
    logic.rflags |= (carry ? RFLAGS_CF : 0) | ((r ^ before) & top ? RFLAGS_OF : 0);
    return logic;
}

static struct alu_result scan(enum insn_op op, unsigned size, u64 a, u64 b, u64 rflags)
{
    bool counts = op == INSN_TZCNT || op == INSN_LZCNT;
    u64 value = counts ? 8 * size : a;

    if (b)
        value = op == INSN_BSF || op == INSN_TZCNT ? (u64)__builtin_ctzll(b) : 63u - (u64)__builtin_clzll(b);
    if (b && op == INSN_LZCNT)
        value = 8 * size - 1 - value;
    rflags &= ~(RFLAGS_ZF | (counts ? RFLAGS_CF : 0));
    if (counts)
        rflags |= (b ? 0 : RFLAGS_CF) | (value ? 0 : RFLAGS_ZF);
    else
        rflags |= b ? 0 : RFLAGS_ZF;
    return (struct alu_result){value, rflags};
}

static u64 popcount(u64 v)
{
    u64 n = 0;

    for (; v; v &= v - 1)
        n++;
    return n;
}

static u32 crc32c(u32 crc, u64 v, unsigned size)
{
    for (unsigned i = 0; i < size; i++) {
        crc ^= (u8)(v >> 8 * i);
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? CRC32C_POLYNOMIAL : 0);
    }
    return crc;
}

struct alu_result alu_compute_load(enum insn_op op, unsigned size, u64 a, u64 b, u64 rflags)
{
    struct alu_wide wide;

    switch (op) {
    case INSN_IMUL:
    case INSN_IMUL3:
        wide = alu_multiply(true, size, a, b, rflags);
        return (struct alu_result){wide.lo, wide.rflags};
    case INSN_POPCNT: return (struct alu_result){popcount(b), (rflags & ~STATUS_FLAGS) | (b ? 0 : RFLAGS_ZF)};
    case INSN_CRC32: return (struct alu_result){crc32c((u32)a, b, size), rflags};
    default: return scan(op, size, a, b, rflags);
    }
}
