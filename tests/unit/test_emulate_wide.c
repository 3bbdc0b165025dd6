/* links: vmm/emulate_alu.c vmm/emulate_alu_wide.c */
/*
 * test_emulate_wide.c - multiplication, division, double shifts, bit scans and checksums of the emulator
 * against the processor that the test runs on; those it lacks (or cannot be asked without a trap) against
 * plain arithmetic.
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

/* rax, rdx, rcx and flags in and out. The red zone is stepped over. */
struct native {
    u64 a, d, c, flags;
};
typedef void (*native_fn)(struct native *n);
#define NATIVE(name, text)                                                    \
    static void name(struct native *n)                                        \
    {                                                                         \
        __asm__ volatile("lea -256(%%rsp), %%rsp; push %3; popf;" text        \
                         "; pushf; pop %3; lea 256(%%rsp), %%rsp"             \
                         : "+a"(n->a), "+d"(n->d), "+c"(n->c), "+b"(n->flags) \
                         :                                                    \
                         : "cc", "memory");                                   \
    }
/* Destination rax, memory operand rdx, count rcx. */
#define SIZES(op, b, w, l, q) \
    NATIVE(op##_1, b)         \
    NATIVE(op##_2, w)         \
    NATIVE(op##_4, l)         \
    NATIVE(op##_8, q)
#define WIDE(op) SIZES(native_##op, #op "b %%cl", #op "w %%cx", #op "l %%ecx", #op "q %%rcx")
#define LOAD(op) SIZES(native_##op, "", #op " %%dx, %%ax", #op " %%edx, %%eax", #op " %%rdx, %%rax")
#define DOUBLE(op) \
    SIZES(native_##op, "", #op " %%cl, %%dx, %%ax", #op " %%cl, %%edx, %%eax", #op " %%cl, %%rdx, %%rax")
WIDE(mul)
WIDE(imul)
WIDE(div)
WIDE(idiv)
SIZES(native_imul2, "", "imul %%dx, %%ax", "imul %%edx, %%eax", "imul %%rdx, %%rax")
LOAD(bsf)
LOAD(bsr)
LOAD(tzcnt)
LOAD(lzcnt)
LOAD(popcnt)
DOUBLE(shld)
DOUBLE(shrd)
SIZES(native_crc32, "crc32b %%dl, %%eax", "crc32w %%dx, %%eax", "crc32l %%edx, %%eax", "crc32q %%rdx, %%rax")

#define ALL_SIZES(op)                                                      \
    {                                                                      \
        native_##op##_1, native_##op##_2, native_##op##_4, native_##op##_8 \
    }

static u64 awkward(struct gen *g)
{
    static const u64 values[] = {0,      1,          0x7f,       0x80,  0xff,      0x7fff,
                                 0x8000, 0x7fffffff, 0x80000000, ~0ull, 1ull << 63};
    if (gen_chance(g, 40))
        return values[gen_below(g, ARRAY_SIZE(values))] + gen_below(g, 3) - 1;
    return gen_chance(g, 50) ? gen_u64(g) : gen_u64(g) >> gen_below(g, 64);
}

static u64 random_flags(struct gen *g)
{
    return (gen_u64(g) & STATUS_FLAGS) | RFLAGS_FIXED1 | RFLAGS_IF;
}

static void products_are_those_of_the_processor(void **state)
{
    (void)state;
    static const native_fn native[2][4] = {ALL_SIZES(mul), ALL_SIZES(imul)};
    struct gen g = gen_start(200000);

    for (u64 i = 0; i < g.steps; i++) {
        unsigned log = gen_below(&g, 4), size = 1u << log;
        bool is_signed = gen_chance(&g, 50);
        struct native n = {.a = awkward(&g), .c = awkward(&g), .flags = random_flags(&g)};
        struct alu_wide r = alu_multiply(is_signed, size, n.a, n.c, n.flags);

        native[is_signed][log](&n);
        u64 hi = size == 1 ? n.a >> 8 : n.d, mask = alu_mask(size), checked = RFLAGS_CF | RFLAGS_OF;
        if (r.lo != (n.a & mask) || r.hi != (hi & mask) || (r.rflags & checked) != (n.flags & checked))
            fail_msg("size %u signed %d PB_SEED=%llu step %llu", size, is_signed, (unsigned long long)g.seed,
                     (unsigned long long)i);
    }
}

/* Does the quotient fit? By the widest arithmetic there is. */
static bool divides(bool is_signed, unsigned size, u64 hi, u64 lo, u64 divisor)
{
    unsigned bits = 8 * size, unused = 128 - 2 * bits;
    unsigned __int128 n = (unsigned __int128)(hi & alu_mask(size)) << bits | (lo & alu_mask(size));
    s64 d = (s64)(divisor << (64 - bits)) >> (64 - bits);

    if (!(divisor & alu_mask(size)))
        return false;
    if (!is_signed)
        return n / (divisor & alu_mask(size)) <= alu_mask(size);
    __int128 s = (__int128)(n << unused) >> unused;
    if (d == -1 && s == (__int128)((unsigned __int128)1 << 127))
        return false;
    __int128 q = s / d;
    return q >= -((__int128)1 << (bits - 1)) && q < (__int128)1 << (bits - 1);
}

static void quotients_are_those_of_the_processor(void **state)
{
    (void)state;
    static const native_fn native[2][4] = {ALL_SIZES(div), ALL_SIZES(idiv)};
    struct gen g = gen_start(400000);
    u64 done = 0;

    for (u64 i = 0; i < g.steps; i++) {
        unsigned log = gen_below(&g, 4), size = 1u << log;
        bool is_signed = gen_chance(&g, 50);
        u64 divisor = awkward(&g), mask = alu_mask(size), hi = awkward(&g) & mask, lo = awkward(&g) & mask;
        if (gen_chance(&g, 60))
            hi = is_signed && gen_chance(&g, 50) ? mask : gen_below(&g, 4);
        bool fits = divides(is_signed, size, hi, lo, divisor);
        struct native n = {
            .a = size == 1 ? hi << 8 | lo : lo, .d = hi, .c = divisor, .flags = random_flags(&g)};

        if (alu_divide(is_signed, size, &hi, &lo, divisor & mask) != fits)
            fail_msg("fits: size %u signed %d PB_SEED=%llu step %llu", size, is_signed,
                     (unsigned long long)g.seed, (unsigned long long)i);
        if (!fits)
            continue;
        native[is_signed][log](&n);
        u64 rest = size == 1 ? n.a >> 8 : n.d;
        if (lo != (n.a & mask) || hi != (rest & mask))
            fail_msg("size %u signed %d PB_SEED=%llu step %llu", size, is_signed, (unsigned long long)g.seed,
                     (unsigned long long)i);
        done++;
    }
    assert_true(done > g.steps / 4);
}

struct load_row {
    u8 op;
    const char *name;
    native_fn native[4];
    u64 defined;
    bool there;
};

static void loads_that_compute_do_as_the_processor(void **state)
{
    (void)state;
    __builtin_cpu_init();
    const struct load_row rows[] = {
        {INSN_IMUL, "imul", ALL_SIZES(imul2), RFLAGS_CF | RFLAGS_OF, true},
        {INSN_BSF, "bsf", ALL_SIZES(bsf), RFLAGS_ZF, true},
        {INSN_BSR, "bsr", ALL_SIZES(bsr), RFLAGS_ZF, true},
        {INSN_TZCNT, "tzcnt", ALL_SIZES(tzcnt), RFLAGS_ZF | RFLAGS_CF, __builtin_cpu_supports("bmi")},
        {INSN_LZCNT, "lzcnt", ALL_SIZES(lzcnt), RFLAGS_ZF | RFLAGS_CF, __builtin_cpu_supports("lzcnt")},
        {INSN_POPCNT, "popcnt", ALL_SIZES(popcnt), STATUS_FLAGS, __builtin_cpu_supports("popcnt")},
        {INSN_CRC32, "crc32", ALL_SIZES(crc32), STATUS_FLAGS, __builtin_cpu_supports("sse4.2")},
    };
    struct gen g = gen_start(300000);

    for (u64 i = 0; i < g.steps; i++) {
        const struct load_row *row = &rows[i % ARRAY_SIZE(rows)];
        unsigned log = row->op == INSN_CRC32 ? gen_below(&g, 4) : 1 + gen_below(&g, 3), size = 1u << log;
        u64 mask = row->op == INSN_CRC32 ? UINT32_MAX : alu_mask(size);
        struct native n = {.a = awkward(&g), .d = awkward(&g), .flags = random_flags(&g)};
        struct alu_result r = alu_compute_load(row->op, size, n.a & mask, n.d & alu_mask(size), n.flags);

        if (!row->there)
            continue;
        row->native[log](&n);
        if ((r.value & mask) != (n.a & mask) || (r.rflags & row->defined) != (n.flags & row->defined))
            fail_msg("%s size %u: %llx, not %llx PB_SEED=%llu step %llu", row->name, size,
                     (unsigned long long)r.value, (unsigned long long)(n.a & mask),
                     (unsigned long long)g.seed, (unsigned long long)i);
    }
}

static void double_shifts_are_those_of_the_processor(void **state)
{
    (void)state;
    static const native_fn native[2][4] = {ALL_SIZES(shrd), ALL_SIZES(shld)};
    struct gen g = gen_start(300000);

    for (u64 i = 0; i < g.steps; i++) {
        unsigned log = 1 + gen_below(&g, 3), size = 1u << log, left = gen_below(&g, 2);
        struct native n = {
            .a = awkward(&g), .d = awkward(&g), .c = gen_below(&g, 256), .flags = random_flags(&g)};
        unsigned count = n.c & (size == 8 ? 63 : 31);
        struct alu_result r = alu_shift_double(left, size, n.a, n.d, n.c, n.flags);
        u64 defined = STATUS_FLAGS & ~((count ? RFLAGS_AF : 0) | (count > 1 ? RFLAGS_OF : 0));

        if (count > 8 * size) /* undefined, flags and all */
            continue;
        native[left][log](&n);
        if (r.value != (n.a & alu_mask(size)) || (r.rflags & defined) != (n.flags & defined))
            fail_msg("%s size %u count %u: %llx, not %llx, flags %llx, not %llx PB_SEED=%llu step %llu",
                     left ? "shld" : "shrd", size, count, (unsigned long long)r.value,
                     (unsigned long long)n.a, (unsigned long long)r.rflags, (unsigned long long)n.flags,
                     (unsigned long long)g.seed, (unsigned long long)i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_those_of_the_processor),
        cmocka_unit_test(quotients_are_those_of_the_processor),
        cmocka_unit_test(loads_that_compute_do_as_the_processor),
        cmocka_unit_test(double_shifts_are_those_of_the_processor),
    };
    return cmocka_run_group_tests_name("emulated wide arithmetic", tests, NULL, NULL);
}
