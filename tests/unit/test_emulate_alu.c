/* links: vmm/emulate_alu.c */
/*
 * test_emulate_alu.c - arithmetic of the emulator against the processor that the test runs on: every
 * operation, every size, random and awkward operands; value and all defined flags.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "arch/regs.h"
#include "tests/unit/test_decode_gen.h"
#include "vmm/emulate_alu.h"

#define STATUS_FLAGS (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)

typedef void (*native_fn)(u64 *value, u64 b, u64 *rflags);

/* One function per operation and size: flags in, instruction, flags out. The red zone is stepped over. */
#define NATIVE(name, text)                                             \
    static void name(u64 *value, u64 b, u64 *rflags)                   \
    {                                                                  \
        u64 v = *value, f = *rflags;                                   \
        __asm__ volatile("lea -256(%%rsp), %%rsp; push %1; popf;" text \
                         "; pushf; pop %1; lea 256(%%rsp), %%rsp"      \
                         : "+a"(v), "+d"(f)                            \
                         : "c"(b)                                      \
                         : "cc", "memory");                            \
        *value = v;                                                    \
        *rflags = f;                                                   \
    }
#define BINARY(op)                                \
    NATIVE(native_##op##_1, #op "b %%cl, %%al")   \
    NATIVE(native_##op##_2, #op "w %%cx, %%ax")   \
    NATIVE(native_##op##_4, #op "l %%ecx, %%eax") \
    NATIVE(native_##op##_8, #op "q %%rcx, %%rax")
#define SHIFT(op)                                \
    NATIVE(native_##op##_1, #op "b %%cl, %%al")  \
    NATIVE(native_##op##_2, #op "w %%cl, %%ax")  \
    NATIVE(native_##op##_4, #op "l %%cl, %%eax") \
    NATIVE(native_##op##_8, #op "q %%cl, %%rax")
#define UNARY(op)                          \
    NATIVE(native_##op##_1, #op "b %%al")  \
    NATIVE(native_##op##_2, #op "w %%ax")  \
    NATIVE(native_##op##_4, #op "l %%eax") \
    NATIVE(native_##op##_8, #op "q %%rax")
#define BITS(op)                                  \
    NATIVE(native_##op##_2, #op "w %%cx, %%ax")   \
    NATIVE(native_##op##_4, #op "l %%ecx, %%eax") \
    NATIVE(native_##op##_8, #op "q %%rcx, %%rax")

BINARY(add)
BINARY(or)
BINARY(adc)
BINARY(sbb)
BINARY(and)
BINARY(sub)
BINARY(xor)
BINARY(cmp)
BINARY(test)
SHIFT(rol)
SHIFT(ror)
SHIFT(rcl)
SHIFT(rcr)
SHIFT(shl)
SHIFT(shr)
SHIFT(sar)
UNARY(not )
UNARY(neg)
UNARY(inc)
UNARY(dec)
BITS(bt)
BITS(bts)
BITS(btr)
BITS(btc)

enum undefined {
    NONE_UNDEFINED,
    LOGIC_UNDEFINED,
    ROTATE_UNDEFINED,
    SHIFT_UNDEFINED,
    SAR_UNDEFINED,
    BIT_UNDEFINED
};

#define ROW(op, mnemonic, undefined)                                                                   \
    {                                                                                                  \
        op, undefined, #mnemonic,                                                                      \
        {                                                                                              \
            native_##mnemonic##_1, native_##mnemonic##_2, native_##mnemonic##_4, native_##mnemonic##_8 \
        }                                                                                              \
    }
#define BIT_ROW(op, mnemonic)                                                         \
    {                                                                                 \
        op, BIT_UNDEFINED, #mnemonic,                                                 \
        {                                                                             \
            NULL, native_##mnemonic##_2, native_##mnemonic##_4, native_##mnemonic##_8 \
        }                                                                             \
    }

static const struct row {
    u8 op;
    enum undefined undefined;
    const char *name;
    native_fn native[4];
} rows[] = {
    ROW(INSN_ADD, add, NONE_UNDEFINED),
    ROW(INSN_OR, or, LOGIC_UNDEFINED),
    ROW(INSN_ADC, adc, NONE_UNDEFINED),
    ROW(INSN_SBB, sbb, NONE_UNDEFINED),
    ROW(INSN_AND, and, LOGIC_UNDEFINED),
    ROW(INSN_SUB, sub, NONE_UNDEFINED),
    ROW(INSN_XOR, xor, LOGIC_UNDEFINED),
    ROW(INSN_CMP, cmp, NONE_UNDEFINED),
    ROW(INSN_TEST, test, LOGIC_UNDEFINED),
    ROW(INSN_ROL, rol, ROTATE_UNDEFINED),
    ROW(INSN_ROR, ror, ROTATE_UNDEFINED),
    ROW(INSN_RCL, rcl, ROTATE_UNDEFINED),
    ROW(INSN_RCR, rcr, ROTATE_UNDEFINED),
    ROW(INSN_SHL, shl, SHIFT_UNDEFINED),
    ROW(INSN_SAL, shl, SHIFT_UNDEFINED),
    ROW(INSN_SHR, shr, SHIFT_UNDEFINED),
    ROW(INSN_SAR, sar, SAR_UNDEFINED),
    ROW(INSN_NOT, not, NONE_UNDEFINED),
    ROW(INSN_NEG, neg, NONE_UNDEFINED),
    ROW(INSN_INC, inc, NONE_UNDEFINED),
    ROW(INSN_DEC, dec, NONE_UNDEFINED),
    BIT_ROW(INSN_BT, bt),
    BIT_ROW(INSN_BTS, bts),
    BIT_ROW(INSN_BTR, btr),
    BIT_ROW(INSN_BTC, btc),
};

/* The flags that the SDM leaves undefined. */
static u64 undefined_flags(enum undefined kind, unsigned size, u64 b)
{
    unsigned count = b & (size == 8 ? 63 : 31);
    u64 after_shift = (count ? RFLAGS_AF : 0) | (count > 1 ? RFLAGS_OF : 0);

    switch (kind) {
    case LOGIC_UNDEFINED: return RFLAGS_AF;
    case ROTATE_UNDEFINED: return count > 1 ? RFLAGS_OF : 0;
    case SHIFT_UNDEFINED: return after_shift | (count >= 8 * size ? RFLAGS_CF : 0);
    case SAR_UNDEFINED: return after_shift;
    case BIT_UNDEFINED: return RFLAGS_OF | RFLAGS_SF | RFLAGS_AF | RFLAGS_PF;
    default: return 0;
    }
}

static u64 awkward(struct gen *g)
{
    static const u64 values[] = {0,      1,          0x7f,       0x80,  0xff,      0x7fff,
                                 0x8000, 0x7fffffff, 0x80000000, ~0ull, 1ull << 63};
    if (gen_chance(g, 40))
        return values[gen_below(g, ARRAY_SIZE(values))] + gen_below(g, 3) - 1;
    return gen_chance(g, 50) ? gen_u64(g) : gen_below(g, 80);
}

static void arithmetic_is_that_of_the_processor(void **state)
{
    (void)state;
    struct gen g = gen_start(400000);

    for (u64 i = 0; i < g.steps; i++) {
        const struct row *row = &rows[i % ARRAY_SIZE(rows)];
        unsigned log = gen_below(&g, 4), size = 1u << log;
        u64 a = awkward(&g), b = awkward(&g);
        u64 before = (gen_u64(&g) & STATUS_FLAGS) | RFLAGS_FIXED1 | RFLAGS_IF;
        u64 value = a, flags = before;

        if (!row->native[log])
            continue;
        row->native[log](&value, b, &flags);
        struct alu_result r = alu_compute(row->op, size, a, b, before);
        u64 mask = STATUS_FLAGS & ~undefined_flags(row->undefined, size, b);
        bool stores = row->op != INSN_CMP && row->op != INSN_TEST;
        if ((stores && r.value != (value & alu_mask(size))) || (r.rflags & mask) != (flags & mask) ||
            (r.rflags & ~STATUS_FLAGS) != (before & ~STATUS_FLAGS))
            fail_msg(
                "%s size %u: %llx, %llx, flags %llx: value %llx flags %llx, not %llx and %llx PB_SEED=%llu",
                row->name, size, (unsigned long long)a, (unsigned long long)b, (unsigned long long)before,
                (unsigned long long)r.value, (unsigned long long)(r.rflags & mask),
                (unsigned long long)(value & alu_mask(size)), (unsigned long long)(flags & mask),
                (unsigned long long)g.seed);
    }
}

/* SETcc of the processor, one function per condition. */
#define CONDITION(name) NATIVE(native_set##name, "mov $0, %%eax; set" #name " %%al")
CONDITION(o)
CONDITION(no)
CONDITION(b)
CONDITION(ae)
CONDITION(e)
CONDITION(ne)
CONDITION(be)
CONDITION(a)
CONDITION(s)
CONDITION(ns)
CONDITION(p)
CONDITION(np)
CONDITION(l)
CONDITION(ge)
CONDITION(le)
CONDITION(g)

static void conditions_are_those_of_the_processor(void **state)
{
    (void)state;
    static const native_fn native[16] = {native_seto, native_setno, native_setb,  native_setae,
                                         native_sete, native_setne, native_setbe, native_seta,
                                         native_sets, native_setns, native_setp,  native_setnp,
                                         native_setl, native_setge, native_setle, native_setg};
    for (u64 flags = 0; flags <= STATUS_FLAGS; flags++) {
        if (flags & ~STATUS_FLAGS)
            continue;
        for (unsigned cond = 0; cond < 16; cond++) {
            u64 value = 0, f = flags | RFLAGS_FIXED1 | RFLAGS_IF;
            native[cond](&value, 0, &f);
            assert_int_equal(alu_condition(cond, flags), value & 1);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arithmetic_is_that_of_the_processor),
        cmocka_unit_test(conditions_are_those_of_the_processor),
    };
    return cmocka_run_group_tests_name("emulated arithmetic", tests, NULL, NULL);
}
