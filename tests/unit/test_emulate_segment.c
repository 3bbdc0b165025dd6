/* links: vmm/decode.c vmm/decode_fetch.c vmm/decode_map.c vmm/decode_operand.c vmm/emulate.c
 * vmm/emulate_alu.c vmm/emulate_alu_wide.c vmm/emulate_io.c vmm/emulate_quick.c vmm/descriptor.c
 * vmm/emulate_segment.c vmm/emulate_stack.c vmm/emulate_string.c */
/*
 * test_emulate_segment.c - segment registers, descriptor tables, far transfers and limits in the emulator:
 * what the SDM asks of a descriptor, which exception says no, and what is in the registers after a yes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/test_emulate_model.h"

enum { GDT = 0x10000, LDT = 0x11000, OPERAND = 0x2000, STACK = 0x8000, START = 0x400000 };
enum { CODE0 = 0x08, DATA0 = 0x10, CODE3 = 0x18, DATA3 = 0x20, RO0 = 0x28, ABSENT = 0x30, TSS = 0x38 };
enum { CONFORMING = 0x48, CODE32 = 0x50, GATE = 0x58, LAST = 0x60, IN_LDT = 0x0c };

#define TYPE_BYTE 5
#define ACCESSED  1
#define BUSY      2

static u64 descriptor(u32 base, u32 limit20, unsigned access, unsigned flags)
{
    return (limit20 & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)access << 40 |
           (u64)(limit20 >> 16) << 48 | (u64)flags << 52 | (u64)(base >> 24) << 56;
}

static void poke(struct model *m, u64 at, unsigned size, u64 v)
{
    memcpy(m->memory + at, &v, size);
}

static u64 peek(const struct model *m, u64 at, unsigned size)
{
    u64 v = 0;
    memcpy(&v, m->memory + at, size);
    return v;
}

static struct model *model_new(enum cpu_mode mode, unsigned cpl)
{
    bool wide = mode == CPU_MODE_64;
    struct model *m = calloc(1, sizeof *m);

    m->memory = calloc(1, MODEL_MEMORY);
    model_start(m);
    m->long_mode = wide;
    m->st.cpl = cpl;
    m->st.stack_size = 4;
    m->st.rip = START;
    m->st.rflags = RFLAGS_FIXED1;
    m->gpr[4] = STACK;
    m->gpr[7] = OPERAND;
    m->seg[EMULATE_GDTR] = (struct vmx_seg){.base = GDT, .limit = LAST - 1};
    m->seg[EMULATE_LDTR] = (struct vmx_seg){.base = LDT, .limit = 15, .access = 0x82};
    poke(m, GDT + CODE0, 8, descriptor(0, 0xfffff, 0x9a, wide ? 0xa : 0xc));
    poke(m, GDT + DATA0, 8, descriptor(0x1000, 0xfffff, 0x92, 0xc));
    poke(m, GDT + CODE3, 8, descriptor(0, 0xfffff, 0xfa, 0xa));
    poke(m, GDT + DATA3, 8, descriptor(0, 0xfffff, 0xf2, 0xc));
    poke(m, GDT + RO0, 8, descriptor(0, 0x12345, 0x90, 0x4));
    poke(m, GDT + ABSENT, 8, descriptor(0, 0xfffff, 0x12, 0xc));
    poke(m, GDT + TSS, 8, descriptor(0x5000, 0x67, 0x89, 0));
    poke(m, GDT + TSS + 8, 8, wide ? 0xffff8000 : 0);
    poke(m, GDT + CONFORMING, 8, descriptor(0, 0xfffff, 0x9e, 0xa));
    poke(m, GDT + CODE32, 8, descriptor(0, 0xff, 0x9a, 0x4));
    poke(m, GDT + GATE, 8, descriptor(0, 0, 0x8c, 0));
    poke(m, LDT + 8, 8, descriptor(0x7000, 0xfff, 0x92, 0x4));
    return m;
}

static void model_free(struct model *m)
{
    free(m->memory);
    free(m);
}

static enum emulate_status run(struct model *m, enum cpu_mode mode, const char *bytes, unsigned n)
{
    struct insn in;

    assert_int_equal(decode_insn((const u8 *)bytes, n, mode, &in), ERR_OK);
    assert_int_equal(in.length, n);
    m->accesses = 0;
    m->st.rip = START;
    m->fault_vector = MODEL_NEVER;
    return emulate_insn(&in, &m->st);
}
#define RUN64(m, text) run(m, CPU_MODE_64, text, sizeof(text) - 1)
#define RUN32(m, text) run(m, CPU_MODE_32, text, sizeof(text) - 1)

#define FAULTS(m, expression, vector, error)         \
    do {                                             \
        assert_int_equal(expression, EMULATE_FAULT); \
        assert_int_equal((m)->fault_vector, vector); \
        assert_int_equal((m)->fault_error, error);   \
        assert_int_equal((m)->st.rip, START);        \
    } while (0)

#define MOV_SS "\x8e\x17"
#define MOV_DS "\x8e\x1f"
#define MOV_FS "\x8e\x27"

static void segments_are_loaded_as_their_descriptors_say(void **state)
{
    (void)state;
    struct model *m = model_new(CPU_MODE_64, 0);

    poke(m, OPERAND, 2, DATA0);
    assert_int_equal(RUN64(m, MOV_DS), EMULATE_OK);
    assert_int_equal(m->seg[INSN_SEG_DS].selector, DATA0);
    assert_int_equal(m->seg[INSN_SEG_DS].base, 0x1000);
    assert_int_equal(m->seg[INSN_SEG_DS].limit, 0xffffffff);
    assert_int_equal(m->seg[INSN_SEG_DS].access, 0xc093);
    assert_int_equal(peek(m, GDT + DATA0 + TYPE_BYTE, 1), 0x92 | ACCESSED);
    /* the operand as the guest, the table as the CPU; the mark is atomic */
    assert_int_equal(m->accesses, 4);
    assert_false(m->log[0].implicit);
    for (unsigned i = 1; i < 4; i++)
        assert_true(m->log[i].implicit);
    assert_int_equal(m->log[3].kind, MODEL_CMPXCHG);
    assert_false(m->implicit);
    assert_int_equal(RUN64(m, MOV_DS), EMULATE_OK); /* marked already */
    assert_int_equal(m->accesses, 2);
    poke(m, OPERAND, 2, IN_LDT);
    assert_int_equal(RUN64(m, MOV_FS), EMULATE_OK);
    assert_int_equal(m->seg[INSN_SEG_FS].base, 0x7000);
    assert_false(m->st.loaded_ss);
    poke(m, OPERAND, 2, DATA0);
    assert_int_equal(RUN64(m, MOV_SS), EMULATE_OK);
    assert_true(m->st.loaded_ss);
    poke(m, OPERAND, 2, 3); /* null */
    assert_int_equal(RUN64(m, MOV_FS), EMULATE_OK);
    assert_int_equal(m->seg[INSN_SEG_FS].selector, 3);
    assert_int_equal(m->seg[INSN_SEG_FS].base, 0);
    assert_true(m->seg[INSN_SEG_FS].access & VMX_AR_UNUSABLE);
    model_free(m);
}

static void segments_that_may_not_be_loaded_fault(void **state)
{
    (void)state;
    static const struct {
        u16 selector;
        u8 cpl;
        bool ss;
        u8 vector;
        u16 error;
    } cases[] = {
        {LAST, 0, false, VECTOR_GP, LAST},   {LAST | 3, 0, false, VECTOR_GP, LAST},
        {0x14, 0, false, VECTOR_GP, 0x14},   {DATA0 | 3, 0, false, VECTOR_GP, DATA0},
        {DATA0, 3, false, VECTOR_GP, DATA0}, {ABSENT, 0, false, VECTOR_NP, ABSENT},
        {TSS, 0, false, VECTOR_GP, TSS},     {ABSENT, 0, true, VECTOR_SS, ABSENT},
        {RO0, 0, true, VECTOR_GP, RO0},      {CODE0, 0, true, VECTOR_GP, CODE0},
        {DATA3, 0, true, VECTOR_GP, DATA3},  {DATA0 | 3, 0, true, VECTOR_GP, DATA0},
        {0, 3, true, VECTOR_GP, 0},          {3, 0, true, VECTOR_GP, 0},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct model *m = model_new(CPU_MODE_64, cases[i].cpl);
        struct vmx_seg before = m->seg[cases[i].ss ? INSN_SEG_SS : INSN_SEG_DS];
        poke(m, OPERAND, 2, cases[i].selector);
        FAULTS(m, cases[i].ss ? RUN64(m, MOV_SS) : RUN64(m, MOV_DS), cases[i].vector, cases[i].error);
        assert_int_equal(m->seg[cases[i].ss ? INSN_SEG_SS : INSN_SEG_DS].selector, before.selector);
        model_free(m);
    }
    /* Null is no stack outside 64-bit code, but in it below level 3. */
    struct model *m = model_new(CPU_MODE_32, 0);
    FAULTS(m, RUN32(m, MOV_SS), VECTOR_GP, 0);
    model_free(m);
    m = model_new(CPU_MODE_64, 0);
    assert_int_equal(RUN64(m, MOV_SS), EMULATE_OK);
    assert_true(m->seg[INSN_SEG_SS].access & VMX_AR_UNUSABLE);
    model_free(m);
}

static void real_mode_selectors_are_bases(void **state)
{
    (void)state;
    struct model *m = model_new(CPU_MODE_16, 0);

    m->cr0 = 0;
    m->st.stack_size = 2;
    poke(m, OPERAND, 2, 0x1234);
    assert_int_equal(run(m, CPU_MODE_16, "\x8e\x1d", 2), EMULATE_OK); /* mov (%di),%ds */
    assert_int_equal(m->seg[INSN_SEG_DS].base, 0x12340);
    assert_int_equal(m->accesses, 1);
    model_free(m);
}

#define LJMP_RDI  "\x48\xff\x2f"
#define LCALL_RDI "\x48\xff\x1f"
#define LJMP32    "\xff\x2f"

static void far_jumps_and_calls_check_where_they_go(void **state)
{
    (void)state;
    struct model *m = model_new(CPU_MODE_64, 0);

    poke(m, OPERAND, 8, 0xffff800000001000);
    poke(m, OPERAND + 8, 2, CODE0 | 0);
    assert_int_equal(RUN64(m, LJMP_RDI), EMULATE_OK);
    assert_int_equal(m->st.rip, 0xffff800000001000);
    assert_int_equal(m->seg[INSN_SEG_CS].selector, CODE0);
    assert_int_equal(m->seg[INSN_SEG_CS].access, 0xa09b);
    m->seg[INSN_SEG_CS].selector = 0x77;
    assert_int_equal(RUN64(m, LCALL_RDI), EMULATE_OK);
    assert_int_equal(m->gpr[4], STACK - 16);
    assert_int_equal(peek(m, STACK - 8, 8), 0x77);
    assert_int_equal(peek(m, STACK - 16, 8), START + 3);
    m->gpr[4] = STACK - 16; /* and back: lretq */
    poke(m, STACK - 8, 8, CODE0);
    assert_int_equal(RUN64(m, "\x48\xcb"), EMULATE_OK);
    assert_int_equal(m->st.rip, START + 3);
    assert_int_equal(m->gpr[4], STACK);
    poke(m, OPERAND, 8, 0x0000800000000000);
    FAULTS(m, RUN64(m, LJMP_RDI), VECTOR_GP, 0);
    poke(m, OPERAND, 8, 0x100);
    poke(m, OPERAND + 8, 2, CODE32);
    FAULTS(m, RUN64(m, LJMP_RDI), VECTOR_GP, 0); /* beyond the limit */
    poke(m, OPERAND, 8, 0xff);
    assert_int_equal(RUN64(m, LJMP_RDI), EMULATE_OK);
    poke(m, OPERAND + 8, 2, 0);
    FAULTS(m, RUN64(m, LJMP_RDI), VECTOR_GP, 0);
    poke(m, OPERAND + 8, 2, DATA0);
    FAULTS(m, RUN64(m, LJMP_RDI), VECTOR_GP, DATA0);
    poke(m, OPERAND + 8, 2, CODE3 | 3);
    FAULTS(m, RUN64(m, LJMP_RDI), VECTOR_GP, CODE3);
    poke(m, OPERAND + 8, 2, GATE);
    assert_int_equal(RUN64(m, LJMP_RDI), EMULATE_UNKNOWN);
    m->st.cpl = 3; /* conforming code is run at the level of its caller */
    poke(m, OPERAND + 8, 2, CONFORMING);
    assert_int_equal(RUN64(m, LJMP_RDI), EMULATE_OK);
    assert_int_equal(m->seg[INSN_SEG_CS].selector, CONFORMING | 3);
    m->gpr[4] = STACK - 16; /* returns do not lead to an inner level, whatever the descriptor permits */
    poke(m, STACK - 8, 8, CODE3);
    FAULTS(m, RUN64(m, "\x48\xcb"), VECTOR_GP, CODE3);
    model_free(m);
}

static void system_registers_are_loaded_and_stored(void **state)
{
    (void)state;
    struct model *m = model_new(CPU_MODE_64, 0);

    poke(m, OPERAND, 2, TSS);
    assert_int_equal(RUN64(m, "\x0f\x00\x1f"), EMULATE_OK); /* ltr */
    assert_int_equal(m->seg[EMULATE_TR].base, 0xffff800000005000);
    assert_int_equal(m->seg[EMULATE_TR].access & 0x1f, VMX_TYPE_TSS);
    assert_int_equal(peek(m, GDT + TSS + TYPE_BYTE, 1), 0x89 | BUSY);
    FAULTS(m, RUN64(m, "\x0f\x00\x1f"), VECTOR_GP, TSS); /* busy now */
    poke(m, GDT + TSS, 8, descriptor(0x5000, 0x67, 0x89, 0));
    poke(m, GDT + TSS + 8, 8, 0x1200ffff8000); /* bits 12:8 of the last word are a type, and have to be 0 */
    FAULTS(m, RUN64(m, "\x0f\x00\x1f"), VECTOR_GP, TSS);
    poke(m, GDT + TSS + 8, 8, 0xffff8000);
    m->competitors = 1; /* another vCPU changes the type meanwhile: not what was looked at */
    assert_int_equal(RUN64(m, "\x0f\x00\x1f"), EMULATE_RETRY);
    poke(m, OPERAND, 2, 0);
    FAULTS(m, RUN64(m, "\x0f\x00\x1f"), VECTOR_GP, 0);
    assert_int_equal(RUN64(m, "\x0f\x00\x0f"), EMULATE_OK); /* str */
    assert_int_equal(peek(m, OPERAND, 2), TSS);
    poke(m, OPERAND, 2, 0);
    assert_int_equal(RUN64(m, "\x0f\x00\x17"), EMULATE_OK); /* lldt of null */
    assert_true(m->seg[EMULATE_LDTR].access & VMX_AR_UNUSABLE);
    poke(m, OPERAND, 2, IN_LDT);
    FAULTS(m, RUN64(m, MOV_DS), VECTOR_GP, IN_LDT);
    poke(m, OPERAND, 2, 0x1234);
    poke(m, OPERAND + 2, 8, 0xffff800012345678);
    assert_int_equal(RUN64(m, "\x0f\x01\x17"), EMULATE_OK); /* lgdt */
    assert_int_equal(m->seg[EMULATE_GDTR].limit, 0x1234);
    assert_int_equal(m->seg[EMULATE_GDTR].base, 0xffff800012345678);
    poke(m, OPERAND + 2, 8, 0x0123800012345678);
    FAULTS(m, RUN64(m, "\x0f\x01\x1f"), VECTOR_GP, 0);      /* lidt: not canonical */
    assert_int_equal(RUN64(m, "\x0f\x01\x07"), EMULATE_OK); /* sgdt */
    assert_int_equal(peek(m, OPERAND + 2, 8), 0xffff800012345678);
    poke(m, OPERAND, 8, ~0ull);
    assert_int_equal(RUN64(m, "\x0f\x01\x27"), EMULATE_OK); /* smsw: two bytes */
    assert_int_equal(peek(m, OPERAND, 8), 0xffffffffffff0000 | (u16)m->cr0);
    model_free(m);
}

/* Operands after the first one, which the CPU has checked. */
static void limits_and_canonical_addresses_count(void **state)
{
    (void)state;
    struct model *m = model_new(CPU_MODE_32, 0);

    m->seg[INSN_SEG_SS].limit = STACK - 1;
    m->gpr[4] = STACK;
    assert_int_equal(RUN32(m, "\x50"), EMULATE_OK);
    m->gpr[4] = STACK + 1;
    FAULTS(m, RUN32(m, "\x50"), VECTOR_SS, 0);
    m->gpr[4] = STACK - 2;
    FAULTS(m, RUN32(m, "\x58"), VECTOR_SS, 0);
    m->seg[INSN_SEG_SS].access |= VMX_AR_EXPAND_DOWN;
    m->gpr[4] = STACK + 4;
    assert_int_equal(RUN32(m, "\x50"), EMULATE_OK);
    m->gpr[4] = STACK + 3;
    FAULTS(m, RUN32(m, "\x50"), VECTOR_SS, 0);
    m->seg[INSN_SEG_ES].access |= VMX_AR_CODE;
    m->gpr[6] = 0x3000;
    FAULTS(m, RUN32(m, "\xa4"), VECTOR_GP, 0); /* movsb to a code segment, which nothing makes writable */
    m->seg[INSN_SEG_ES].access &= ~VMX_AR_CODE;
    m->seg[INSN_SEG_ES].access &= ~VMX_AR_WRITABLE;
    m->gpr[6] = 0x3000;
    FAULTS(m, RUN32(m, "\xa4"), VECTOR_GP, 0);      /* movsb to a read-only segment */
    assert_int_equal(RUN32(m, "\xa6"), EMULATE_OK); /* cmpsb only reads it */
    m->seg[INSN_SEG_DS].access = VMX_AR_UNUSABLE;
    FAULTS(m, RUN32(m, "\xa6"), VECTOR_GP, 0);
    model_free(m);

    m = model_new(CPU_MODE_64, 0);
    m->gpr[4] = 0x0000800000000004;
    FAULTS(m, RUN64(m, "\xff\x37"), VECTOR_SS, 0); /* push (%rdi) to a stack across the hole */
    m->gpr[7] = 0x0000800000000000;
    m->gpr[6] = 0x3000;
    FAULTS(m, RUN64(m, "\xa4"), VECTOR_GP, 0);
    m->gpr[7] = OPERAND;
    poke(m, OPERAND, 8, 0x0000800000000000);
    FAULTS(m, RUN64(m, "\xff\x27"), VECTOR_GP, 0); /* jmp *(%rdi) */
    m->gpr[4] = OPERAND;
    FAULTS(m, RUN64(m, "\xc3"), VECTOR_GP, 0);
    assert_int_equal(m->gpr[4], OPERAND);
    poke(m, OPERAND, 8, 0);
    FAULTS(m, RUN64(m, "\x48\xf7\x37"), VECTOR_DE, 0); /* divq */
    model_free(m);
}

static void popf_changes_what_the_privilege_allows(void **state)
{
    (void)state;
    struct model *m = model_new(CPU_MODE_64, 3);
    u64 all = RFLAGS_IF | RFLAGS_IOPL_MASK | RFLAGS_CF | RFLAGS_DF | RFLAGS_VM | RFLAGS_AC | RFLAGS_RF;

    poke(m, STACK, 8, all);
    assert_int_equal(RUN64(m, "\x9d"), EMULATE_OK);
    assert_int_equal(m->st.rflags, RFLAGS_FIXED1 | RFLAGS_CF | RFLAGS_DF | RFLAGS_AC);
    m->st.cpl = 0, m->gpr[4] = STACK;
    assert_int_equal(RUN64(m, "\x9d"), EMULATE_OK);
    assert_int_equal(m->st.rflags, RFLAGS_FIXED1 | (all & ~(RFLAGS_VM | RFLAGS_RF)));
    m->gpr[4] = STACK;
    poke(m, STACK, 8, 0);
    assert_int_equal(RUN64(m, "\x66\x9d"), EMULATE_OK); /* 16 bits: AC stays */
    assert_int_equal(m->st.rflags, RFLAGS_FIXED1 | RFLAGS_AC);
    assert_int_equal(m->gpr[4], STACK + 2);
    model_free(m);
}

/*
 * The CPU has refused these before it came to their operand, so another vCPU has put them in the place of the
 * instruction that made the exit: they are the CPU's to refuse.
 */
static void what_the_cpu_refuses_is_left_to_it(void **state)
{
    (void)state;
    static const char loads[][4] = {"\x0f\x00\x17", "\x0f\x00\x1f", "\x0f\x01\x17", "\x0f\x01\x1f"};
    static const char vectors[][4] = {"\x0f\x28\x07", "\x0f\x29\x07", "\x0f\x6f\x07", "\x0f\x7f\x07"};
    struct model *m = model_new(CPU_MODE_64, 3);

    poke(m, OPERAND, 8, TSS);
    for (unsigned i = 0; i < ARRAY_SIZE(loads); i++) {
        struct vmx_seg before[EMULATE_IDTR + 1];
        memcpy(before, m->seg, sizeof before);
        assert_int_equal(run(m, CPU_MODE_64, loads[i], 3), EMULATE_RETRY); /* LLDT, LTR, LGDT, LIDT */
        assert_int_equal(m->accesses, 0);
        assert_memory_equal(before, m->seg, sizeof before);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(vectors); i++) { /* MOVAPS, MOVQ */
        assert_int_equal(run(m, CPU_MODE_64, vectors[i], 3), EMULATE_OK);
        m->cr0 |= CR0_TS; /* the registers are another task's */
        assert_int_equal(run(m, CPU_MODE_64, vectors[i], 3), EMULATE_RETRY);
        assert_int_equal(m->accesses, 0);
        m->cr0 ^= CR0_TS | CR0_EM;
        assert_int_equal(run(m, CPU_MODE_64, vectors[i], 3), EMULATE_RETRY);
        m->cr0 ^= CR0_EM;
    }
    model_free(m);
}

/* SGDT, SIDT, SLDT, STR, SMSW at CPL 3 with CR4.UMIP: likewise. Not in real mode, whatever CPL stands in for its 0. */
static void umip_is_left_to_the_cpu(void **state)
{
    (void)state;
    static const char stores[][4] = {"\x0f\x01\x07", "\x0f\x01\x0f", "\x0f\x00\x07", "\x0f\x00\x0f",
                                     "\x0f\x01\x27"};
    struct model *m = model_new(CPU_MODE_64, 3);

    for (unsigned i = 0; i < ARRAY_SIZE(stores); i++) {
        m->cr0 = CR0_PE;
        m->cr4 = 0;
        assert_int_equal(run(m, CPU_MODE_64, stores[i], 3), EMULATE_OK);
        m->cr4 = CR4_UMIP;
        assert_int_equal(run(m, CPU_MODE_64, stores[i], 3), EMULATE_RETRY);
        assert_int_equal(m->accesses, 0);
        m->st.cpl = 0;
        assert_int_equal(run(m, CPU_MODE_64, stores[i], 3), EMULATE_OK);
        m->st.cpl = 3;
        m->cr0 = 0;
        assert_int_equal(run(m, CPU_MODE_64, stores[i], 3), EMULATE_OK);
    }
    model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_cpu_refuses_is_left_to_it),
        cmocka_unit_test(umip_is_left_to_the_cpu),
        cmocka_unit_test(segments_are_loaded_as_their_descriptors_say),
        cmocka_unit_test(segments_that_may_not_be_loaded_fault),
        cmocka_unit_test(real_mode_selectors_are_bases),
        cmocka_unit_test(far_jumps_and_calls_check_where_they_go),
        cmocka_unit_test(system_registers_are_loaded_and_stored),
        cmocka_unit_test(limits_and_canonical_addresses_count),
        cmocka_unit_test(popf_changes_what_the_privilege_allows),
    };
    return cmocka_run_group_tests_name("emulated segments", tests, NULL, NULL);
}
