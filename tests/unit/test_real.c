/* links: vmm/real_insn.c vmm/real_exits.c vmm/real_decode.c vmm/real_deliver.c vmm/real_memory.c vmm/real_shape.c
 * vmm/decode_fetch.c vmm/decode_map.c vmx/event.c */
/* libs: -lunicorn */
/*
 * test_real.c - instructions of real mode by vmm/real_insn.c, compared with Unicorn (QEMU's translator) in 16-bit
 * mode: registers, segments, descriptor tables, flags and memory after each of many random ones. Unicorn knows no
 * segment limits and delivers nothing, so limits, the vector table and exits are checked by hand.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <unicorn/unicorn.h>

#include "arch/regs.h"
#include "vmm/real_cpu.h"
#include "vmx/exit.h"

/* Unicorn 2.0 leaks when it is closed. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libunicorn";
}

enum { AX, CX, DX, BX, SP, BP, SI, DI };
enum { ES, CS, SS, DS, FS, GS };
enum { MEMORY = 0x120000, PLACES = 64, DEFAULT_STEPS = 20000, OPCODE_HLT = 0xF4 };
/* Each instruction has a place of its own, or Unicorn would run an old translation. */
enum { INSN_ROOM = 16, CODE_START = 0xE0000, CODE_END = 0xE1000 };

#define FLAGS_COMPARED ((u32)(0x7FD5 | RFLAGS_AC | RFLAGS_ID))

static u8 memory[MEMORY] aligned_to(4096), other[MEMORY] aligned_to(4096);
static u64 seed;

static u64 random_64(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static u32 below(u32 n)
{
    return (u32)(random_64() % n);
}

/* ---- memory of the machine under test ---- */

static u32 fault_at = UINT32_MAX;
static bool rehearsal; /* writes are lost */
/* Pages from which Unicorn may have translated: an instruction that writes there begins again in it. */
static bool has_code[MEMORY / 4096], writes_code;

static enum emulate_status read_op(void *ctx, u32 linear, unsigned size, u32 *value)
{
    (void)ctx;
    *value = 0;
    if (linear == fault_at)
        return EMULATE_FAULT;
    assert_true(linear + size <= MEMORY);
    memcpy(value, memory + linear, size);
    return EMULATE_OK;
}

static enum emulate_status write_op(void *ctx, u32 linear, unsigned size, u32 value)
{
    (void)ctx;
    if (linear == fault_at)
        return EMULATE_FAULT;
    assert_true(linear + size <= MEMORY);
    writes_code |= has_code[linear / 4096] || has_code[(linear + size - 1) / 4096];
    if (!rehearsal)
        memcpy(memory + linear, &value, size);
    return EMULATE_OK;
}

static const struct real_ops ops = {read_op, write_op};

static struct real_cpu fresh(void)
{
    struct real_cpu c = {
        .eip = 0x100,
        .eflags = RFLAGS_FIXED1,
        .gdtr = {0, 0xFFFF},
        .idtr = {0, 0x3FF},
        .ops = &ops,
    };

    for (u32 s = 0; s < REAL_SEGS; s++)
        c.seg[s] = (struct vmx_seg){0, 0xFFFF, 0x93, 0};
    c.gpr[SP] = 0x8000;
    return c;
}

static void put16(u32 at, u16 value)
{
    memcpy(memory + at, &value, sizeof(value));
}

static u16 get16(u32 at)
{
    u16 value;

    memcpy(&value, memory + at, sizeof(value));
    return value;
}

static enum real_outcome run(struct real_cpu *c, const char *bytes, size_t n, struct real_exit *exit)
{
    return real_execute((const u8 *)bytes, n, c, exit);
}
#define RUN(c, bytes, exit) run(c, bytes, sizeof(bytes) - 1, exit)

/* ---- against Unicorn ---- */

static const int gpr_id[] = {UC_X86_REG_EAX, UC_X86_REG_ECX, UC_X86_REG_EDX, UC_X86_REG_EBX,
                             UC_X86_REG_ESP, UC_X86_REG_EBP, UC_X86_REG_ESI, UC_X86_REG_EDI};
static const int seg_id[] = {UC_X86_REG_ES, UC_X86_REG_CS, UC_X86_REG_SS,
                             UC_X86_REG_DS, UC_X86_REG_FS, UC_X86_REG_GS};

/* Instructions without and with a ModRM byte, and how many bytes of anything follow. */
static const struct form {
    u8 bytes[2], length, modrm, more;
    int8_t reg; /* of ModRM; -1: any */
} forms[] = {
    {{0x07}, 1, 0, 0, 0},        {{0x17}, 1, 0, 0, 0},        {{0x1F}, 1, 0, 0, 0},
    {{0x0F, 0xA1}, 2, 0, 0, 0},  {{0x0F, 0xA9}, 2, 0, 0, 0},  {{0x9C}, 1, 0, 0, 0},
    {{0x9D}, 1, 0, 0, 0},        {{0xCF}, 1, 0, 0, 0},        {{0xCB}, 1, 0, 0, 0},
    {{0xCA}, 1, 0, 2, 0},        {{0xFA}, 1, 0, 0, 0},        {{0xFB}, 1, 0, 0, 0},
    {{0x9A}, 1, 0, 6, 0},        {{0xEA}, 1, 0, 6, 0},        {{0x8E}, 1, 1, 6, -1},
    {{0xC4}, 1, 1, 6, -1},       {{0xC5}, 1, 1, 6, -1},       {{0x0F, 0xB2}, 2, 1, 6, -1},
    {{0x0F, 0xB4}, 2, 1, 6, -1}, {{0x0F, 0xB5}, 2, 1, 6, -1}, {{0xFF}, 1, 1, 6, 3},
    {{0xFF}, 1, 1, 6, 5},        {{0x0F, 0x01}, 2, 1, 6, 0},  {{0x0F, 0x01}, 2, 1, 6, 1},
    {{0x0F, 0x01}, 2, 1, 6, 2},  {{0x0F, 0x01}, 2, 1, 6, 3},
};
static const u8 segment_prefixes[] = {0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65};

static void make_instruction(u8 *at)
{
    const struct form *f = &forms[below(ARRAY_SIZE(forms))];
    size_t n = 0;

    if (below(3) == 0)
        at[n++] = 0x66;
    if (below(3) == 0)
        at[n++] = 0x67;
    if (below(3) == 0)
        at[n++] = segment_prefixes[below(ARRAY_SIZE(segment_prefixes))];
    for (u8 i = 0; i < f->length; i++)
        at[n++] = f->bytes[i];
    if (f->modrm)
        at[n++] = (u8)(f->reg < 0 ? random_64() : (random_64() & ~0x38ull) | (u64)f->reg << 3);
    for (u8 i = 0; i < f->more; i++)
        at[n++] = (u8)random_64();
}

static struct real_cpu random_cpu(u32 code)
{
    struct real_cpu c = fresh();

    for (u32 i = 0; i < ARRAY_SIZE(c.gpr); i++)
        c.gpr[i] = below(2) ? random_64() & 0xFFFF : (u32)random_64();
    for (u32 s = 0; s < REAL_SEGS; s++)
        real_load_segment(&c.seg[s], (u16)random_64());
    c.gpr[SP] = (random_64() & 0xFFFF0000u) | (random_64() & 0xFFFE);
    real_load_segment(&c.seg[CS], (u16)(code / 16 - below(MIN(code / 16, 0xFF0u) + 1)));
    c.eip = code - (u32)c.seg[CS].base;
    c.eflags = (u32)((random_64() & 0x7CD5) | RFLAGS_FIXED1);
    /* QEMU stores 24 bits of a base with 16-bit operands, CPUs all of it */
    c.gdtr = (struct real_table){random_64() & 0xFFFFFF, (u16)random_64()};
    c.idtr = (struct real_table){random_64() & 0xFFFFFF, (u16)random_64()};
    return c;
}

static void give(uc_engine *uc, const struct real_cpu *c)
{
    uc_x86_mmr gdtr = {.base = c->gdtr.base, .limit = c->gdtr.limit};
    uc_x86_mmr idtr = {.base = c->idtr.base, .limit = c->idtr.limit};

    for (u32 i = 0; i < ARRAY_SIZE(gpr_id); i++)
        uc_reg_write(uc, gpr_id[i], &c->gpr[i]);
    for (u32 s = 0; s < REAL_SEGS; s++)
        uc_reg_write(uc, seg_id[s], &c->seg[s].selector);
    uc_reg_write(uc, UC_X86_REG_EFLAGS, &c->eflags);
    uc_reg_write(uc, UC_X86_REG_GDTR, &gdtr);
    uc_reg_write(uc, UC_X86_REG_IDTR, &idtr);
}

static void compare(uc_engine *uc, const struct real_cpu *c, const u8 *code)
{
    uc_x86_mmr gdtr, idtr;
    char where[64];

    snprintf(where, sizeof(where), "%02x %02x %02x %02x %02x %02x %02x", code[0], code[1], code[2], code[3],
             code[4], code[5], code[6]);
    for (u32 i = 0; i < ARRAY_SIZE(gpr_id); i++) {
        u32 value = 0;
        uc_reg_read(uc, gpr_id[i], &value);
        if (value != (u32)c->gpr[i])
            fail_msg("%s: register %u is %x, should be %x", where, i, (u32)c->gpr[i], value);
    }
    for (u32 s = 0; s < REAL_SEGS; s++) {
        u16 value = 0;
        uc_reg_read(uc, seg_id[s], &value);
        if (value != c->seg[s].selector || c->seg[s].base != (u64)value << 4)
            fail_msg("%s: segment %u is %x, should be %x", where, s, c->seg[s].selector, value);
    }
    u32 eip = 0, eflags = 0;
    uc_reg_read(uc, UC_X86_REG_EIP, &eip);
    uc_reg_read(uc, UC_X86_REG_EFLAGS, &eflags);
    if (eip == c->eip + c->seg[CS].base)
        eip = c->eip; /* where it stops between two instructions Unicorn gives a linear address */
    if (eip != c->eip || ((eflags ^ c->eflags) & FLAGS_COMPARED))
        fail_msg("%s: EIP %x EFLAGS %x, should be %x %x", where, c->eip, c->eflags, eip, eflags);
    uc_reg_read(uc, UC_X86_REG_GDTR, &gdtr);
    uc_reg_read(uc, UC_X86_REG_IDTR, &idtr);
    if (gdtr.base != c->gdtr.base || gdtr.limit != c->gdtr.limit || idtr.base != c->idtr.base ||
        idtr.limit != c->idtr.limit)
        fail_msg("%s: GDTR %lx IDTR %lx, should be %lx %lx", where, c->gdtr.base, c->idtr.base, gdtr.base,
                 idtr.base);
}

/* Writes of instructions stay near the places they start from. */
static void compare_all_memory(const u8 *code)
{
    if (memcmp(memory, other, MEMORY))
        for (u32 i = 0; i < MEMORY; i++)
            if (memory[i] != other[i])
                fail_msg("%02x %02x %02x: memory at %x is %02x, should be %02x", code[0], code[1], code[2], i,
                         memory[i], other[i]);
}

static void put_code(u32 at, const u8 *code)
{
    memcpy(memory + at, code, INSN_MAX_LENGTH);
    memcpy(other + at, code, INSN_MAX_LENGTH);
    has_code[at / 4096] = has_code[(at + INSN_MAX_LENGTH - 1) / 4096] = true;
}

/* Sees to it that what follows the instruction is harmless, there and where it leads: Unicorn translates that too, and
 * does not survive everything that random bytes may mean. False: the instruction is of no use. */
static bool rehearse(struct real_cpu c, u8 *code)
{
    struct real_cpu once = c, again = c;
    u32 at = (u32)c.seg[CS].base + c.eip;
    struct real_exit exit;
    u8 halts[INSN_MAX_LENGTH];

    memset(halts, OPCODE_HLT, sizeof(halts));
    rehearsal = true;
    writes_code = false;
    bool good = real_execute(memory + at, INSN_MAX_LENGTH, &once, &exit) == REAL_DONE;
    if (good) {
        memset(code + exit.length, OPCODE_HLT, INSN_MAX_LENGTH - exit.length);
        put_code(at, code);
    }
    u32 to = (u32)once.seg[CS].base + once.eip;
    if (good && to - at >= INSN_MAX_LENGTH) {
        if (to > CODE_START - INSN_MAX_LENGTH && to < CODE_END)
            good = false;
        else
            put_code(to, halts);
    }
    if (good) {
        good = real_execute(memory + at, INSN_MAX_LENGTH, &again, &exit) == REAL_DONE &&
               again.seg[CS].base == once.seg[CS].base && again.eip == once.eip;
    }
    rehearsal = false;
    return good && !writes_code;
}

/* A new engine, for it may run old translations of places whose code has changed. */
static void restart(uc_engine **uc, uc_context **start)
{
    memset(has_code, 0, sizeof(has_code));
    if (*uc) {
        uc_context_free(*start);
        uc_close(*uc);
    }
    assert_int_equal(uc_open(UC_ARCH_X86, UC_MODE_16, uc), UC_ERR_OK);
    assert_int_equal(uc_mem_map_ptr(*uc, 0, MEMORY, UC_PROT_ALL, other), UC_ERR_OK);
    assert_int_equal(uc_context_alloc(*uc, start), UC_ERR_OK);
    assert_int_equal(uc_context_save(*uc, *start), UC_ERR_OK);
}

static void it_does_what_qemu_does(void **state)
{
    u64 steps = getenv("PB_STEPS") ? strtoull(getenv("PB_STEPS"), NULL, 0) : DEFAULT_STEPS;
    u32 compared = 0;
    uc_engine *uc = NULL;
    uc_context *start = NULL;

    (void)state;
    seed = getenv("PB_SEED") ? strtoull(getenv("PB_SEED"), NULL, 0) : 20261121;
    for (u32 i = 0; i < MEMORY; i++)
        memory[i] = other[i] = (u8)random_64();
    for (u64 n = 0; n < steps; n++) {
        u32 at = (u32)(CODE_START + n * INSN_ROOM % (CODE_END - CODE_START));
        struct real_cpu c = random_cpu(at);
        u8 code[INSN_MAX_LENGTH];
        struct real_exit exit;

        if (at == CODE_START)
            restart(&uc, &start);
        memset(code, OPCODE_HLT, sizeof(code));
        make_instruction(code);
        put_code(at, code);
        if (!rehearse(c, code))
            continue;                  /* #UD, beyond a limit; or near calls and jumps of FF */
        uc_context_restore(uc, start); /* blocking of interrupts and the like */
        give(uc, &c);
        assert_int_equal(real_execute(memory + at, INSN_MAX_LENGTH, &c, &exit), REAL_DONE);
        uc_err e = uc_emu_start(uc, at, UINT32_MAX, 0, 1);
        if (e != UC_ERR_OK)
            fail_msg("%02x %02x %02x %02x: %s", code[0], code[1], code[2], code[3], uc_strerror(e));
        compare(uc, &c, code);
        if (compared++ % PLACES == 0)
            compare_all_memory(code);
    }
    compare_all_memory(memory);
    uc_context_free(start);
    uc_close(uc);
    assert_true(compared > steps / 3);
    printf("compared %u of %lu\n", compared, steps);
}

/* ---- the vector table ---- */

static void an_interrupt_goes_through_the_table(void **state)
{
    struct real_cpu c = fresh();
    struct real_exit exit;

    (void)state;
    real_load_segment(&c.seg[CS], 0x1234);
    c.eflags |= RFLAGS_IF | RFLAGS_TF | RFLAGS_AC | RFLAGS_CF;
    put16(0x21 * 4, 0x5678);
    put16(0x21 * 4 + 2, 0x2000);
    assert_int_equal(RUN(&c, "\xCD\x21", &exit), REAL_DONE);
    assert_int_equal(c.seg[CS].selector, 0x2000);
    assert_int_equal(c.seg[CS].base, 0x20000);
    assert_int_equal(c.eip, 0x5678);
    assert_int_equal(c.gpr[SP], 0x7FFA);
    assert_int_equal(get16(0x7FFA), 0x102);
    assert_int_equal(get16(0x7FFC), 0x1234);
    assert_int_equal(get16(0x7FFE), RFLAGS_IF | RFLAGS_TF | RFLAGS_CF | RFLAGS_FIXED1);
    assert_int_equal(c.eflags, RFLAGS_CF | RFLAGS_FIXED1);
    assert_true(c.no_step);
    assert_int_equal(RUN(&c, "\xCF", &exit), REAL_DONE);
    assert_int_equal(c.eip, 0x102);
    assert_int_equal(c.seg[CS].selector, 0x1234);
    assert_true(c.eflags & RFLAGS_IF);
    assert_true(c.iret);
}

static void what_the_table_does_not_reach_is_gp_then_df_then_shutdown(void **state)
{
    struct real_cpu c = fresh(), before;
    struct real_exit exit;

    (void)state;
    put16(13 * 4, 0x1300);
    put16(13 * 4 + 2, 0);
    put16(8 * 4, 0x0800);
    put16(8 * 4 + 2, 0);
    c.idtr.limit = 13 * 4 + 3;
    assert_int_equal(RUN(&c, "\xCD\x0E", &exit), REAL_FAULT);
    assert_int_equal(c.fault, VECTOR_GP);
    assert_int_equal(c.eip, 0x100);
    assert_int_equal(real_deliver(&c, 14, false), REAL_DONE); /* an interrupt: #GP instead */
    assert_int_equal(c.eip, 0x1300);
    c = fresh();
    c.idtr.limit = 8 * 4 + 3;
    assert_int_equal(real_deliver(&c, VECTOR_GP, true), REAL_DONE); /* an exception and #GP: #DF */
    assert_int_equal(c.eip, 0x800);
    c = before = fresh();
    before.idtr.limit = c.idtr.limit = 8 * 4 + 2;
    assert_int_equal(real_deliver(&c, VECTOR_GP, true), REAL_FAULT);
    assert_int_equal(c.eip, before.eip);
    assert_int_equal(c.gpr[SP], before.gpr[SP]);
    c = fresh();
    c.gpr[SP] = 1; /* no room: #SS, which finds none either */
    assert_int_equal(RUN(&c, "\xCD\x0E", &exit), REAL_FAULT);
    assert_int_equal(c.fault, VECTOR_SS);
    assert_int_equal(real_deliver(&c, VECTOR_SS, true), REAL_FAULT);
    c = fresh();
    c.idtr.base = 0x500;
    fault_at = 0x500 + 9 * 4;
    assert_int_equal(real_vector(&c, 9), REAL_FAULT);
    assert_int_equal(c.fault, VECTOR_PF);
    fault_at = UINT32_MAX;
}

/* ---- limits ---- */

static void limits_are_kept(void **state)
{
    struct real_cpu c = fresh();
    struct real_exit exit;

    (void)state;
    c.gpr[SP] = 0xFFFF;
    assert_int_equal(RUN(&c, "\x9D", &exit), REAL_FAULT); /* POPF across the end */
    assert_int_equal(c.fault, VECTOR_SS);
    c.gpr[SP] = 0;
    assert_int_equal(RUN(&c, "\x9C", &exit), REAL_DONE); /* PUSHF wraps */
    assert_int_equal(c.gpr[SP], 0xFFFE);
    c = fresh();
    assert_int_equal(RUN(&c, "\x8E\x06\xFF\xFF", &exit), REAL_FAULT); /* MOV ES, [FFFF] */
    assert_int_equal(c.fault, VECTOR_GP);
    assert_int_equal(RUN(&c, "\x36\x8E\x06\xFF\xFF", &exit), REAL_FAULT); /* the same in SS */
    assert_int_equal(c.fault, VECTOR_SS);
    assert_int_equal(RUN(&c, "\x66\xEA\x00\x00\x01\x00\x00\x00", &exit), REAL_FAULT); /* JMP FAR beyond CS */
    assert_int_equal(c.fault, VECTOR_GP);
    c.seg[DS].limit = UINT32_MAX; /* "unreal" */
    put16(0x10010, 0x4321);
    assert_int_equal(RUN(&c, "\x67\x8E\x05\x10\x00\x01\x00", &exit), REAL_DONE); /* MOV ES, [00010010] */
    assert_int_equal(c.seg[ES].selector, 0x4321);
    assert_int_equal(c.seg[ES].limit, 0xFFFF);
    c.seg[DS] = (struct vmx_seg){0, 0xFFF, 0x97, 0}; /* expand-down: above the limit only */
    assert_false(real_in_limit(&c.seg[DS], 0xFFF, 1));
    assert_true(real_in_limit(&c.seg[DS], 0x1000, 4));
    assert_false(real_in_limit(&c.seg[DS], 0xFFFD, 4));
}

static void blocking_is_told(void **state)
{
    struct real_cpu c = fresh();
    struct real_exit exit;

    (void)state;
    assert_int_equal(RUN(&c, "\xFB", &exit), REAL_DONE);
    assert_true(c.sti && (c.eflags & RFLAGS_IF));
    assert_int_equal(RUN(&c, "\xFB", &exit), REAL_DONE);
    assert_false(c.sti); /* it was on already */
    assert_int_equal(RUN(&c, "\x17", &exit), REAL_DONE);
    assert_true(c.ss);
    assert_int_equal(RUN(&c, "\xF0\xFA", &exit), REAL_FAULT); /* LOCK CLI */
    assert_int_equal(c.fault, VECTOR_UD);
    assert_int_equal(RUN(&c, "\x8E\xC8", &exit), REAL_FAULT); /* MOV CS, AX */
    assert_int_equal(c.fault, VECTOR_UD);
    assert_int_equal(RUN(&c, "\x0F\x00\xD8", &exit), REAL_FAULT); /* LTR AX */
    assert_int_equal(c.fault, VECTOR_UD);
    assert_int_equal(RUN(&c, "\x89\x07", &exit), REAL_OTHER); /* MOV [BX], AX */
    assert_int_equal(RUN(&c, "\xEA\x00", &exit), REAL_OTHER); /* its end cannot be fetched */
}

/* ---- exits ---- */

static void others_become_exits(void **state)
{
    static const struct {
        const char *bytes;
        u32 length, reason;
        u64 qualification;
    } rows[] = {
        {"\xF4", 1, VMX_EXIT_HLT, 0},
        {"\xE4\x60", 2, VMX_EXIT_IO, 0x600008},
        {"\xE7\x70", 2, VMX_EXIT_IO, 0x700001},
        {"\xEC", 1, VMX_EXIT_IO, 0x3F80008},
        {"\x66\xEF", 2, VMX_EXIT_IO, 0x3F80003},
        {"\x6C", 1, VMX_EXIT_IO, 0x3F80018},
        {"\xF3\x66\x6F", 3, VMX_EXIT_IO, 0x3F80033},
        {"\x0F\x20\xC3", 3, VMX_EXIT_CR_ACCESS, 0x310},
        {"\x0F\x22\xD8", 3, VMX_EXIT_CR_ACCESS, 0x3},
        {"\x0F\x22\x18", 3, VMX_EXIT_CR_ACCESS, 0x3}, /* mod is ignored */
        {"\x0F\x21\xFA", 3, VMX_EXIT_MOV_DR, 0x217},
        {"\x0F\x23\xC1", 3, VMX_EXIT_MOV_DR, 0x100},
        {"\x0F\x01\xF0", 3, VMX_EXIT_CR_ACCESS, 0x10030}, /* LMSW AX */
        {"\x0F\x06", 2, VMX_EXIT_CR_ACCESS, 0x20},
        {"\x0F\x01\x3E\x34\x12", 5, VMX_EXIT_INVLPG, 0x1234},
        {"\x0F\x01\xD1", 3, VMX_EXIT_XSETBV, 0},
        {"\x0F\x08", 2, VMX_EXIT_INVD, 0},
        {"\x0F\x09", 2, VMX_EXIT_WBINVD, 0},
        {"\x0F\x30", 2, VMX_EXIT_WRMSR, 0},
        {"\x0F\x32", 2, VMX_EXIT_RDMSR, 0},
        {"\x0F\x33", 2, VMX_EXIT_RDPMC, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct real_cpu c = fresh();
        struct real_exit exit = {0};
        c.gpr[AX] = 1;
        c.gpr[DX] = 0x3F8;
        assert_int_equal(run(&c, rows[i].bytes, rows[i].length, &exit), REAL_EXIT);
        assert_int_equal(exit.reason, rows[i].reason);
        assert_int_equal(exit.qualification, rows[i].qualification);
        assert_int_equal(exit.length, rows[i].length);
        assert_int_equal(c.eip, 0x100);
    }
}

static void string_io_stays_in_its_segment(void **state)
{
    struct real_cpu c = fresh();
    struct real_exit exit;

    (void)state;
    real_load_segment(&c.seg[ES], 0x1000);
    c.gpr[DI] = 0xFFFC;
    c.gpr[CX] = 100;
    assert_int_equal(RUN(&c, "\xF3\x6D", &exit), REAL_EXIT);
    assert_int_equal(exit.linear, 0x1FFFC);
    assert_int_equal(exit.elements, 2);
    c.gpr[DI] = 0xFFFF;
    assert_int_equal(RUN(&c, "\xF3\x6D", &exit), REAL_FAULT);
    assert_int_equal(c.fault, VECTOR_GP);
    c.gpr[CX] = 0;
    assert_int_equal(RUN(&c, "\xF3\x6D", &exit), REAL_EXIT); /* nothing to do */
    c.gpr[CX] = 100;
    c.gpr[SI] = 4;
    c.eflags |= RFLAGS_DF;
    assert_int_equal(RUN(&c, "\xF3\x26\x6F", &exit), REAL_EXIT); /* OUTSW from ES, downwards */
    assert_int_equal(exit.linear, 0x10004);
    assert_int_equal(exit.elements, 3);
}

/* ---- shapes ---- */

static void segments_choose_the_shape(void **state)
{
    struct real_cpu c = fresh();
    struct vmx_seg out[REAL_SEGS];

    (void)state;
    real_load_segment(&c.seg[CS], 0x9F00);
    assert_int_equal(real_shape_of(c.seg, 0x100), REAL_VM86);
    assert_false(real_is_unreal(c.seg));
    assert_int_equal(real_shape_of(c.seg, 0x10000), REAL_HELD);
    c.seg[GS] = (struct vmx_seg){0x10, UINT32_MAX, 0xC093, 0}; /* loaded in protected mode: flat */
    assert_int_equal(real_shape_of(c.seg, 0x100), REAL_VM86);
    assert_true(real_is_unreal(c.seg));
    real_shape_segments(c.seg, REAL_VM86, out);
    assert_int_equal(out[GS].selector, 0);
    assert_int_equal(out[CS].selector, 0x9F00);
    for (u32 s = 0; s < REAL_SEGS; s++) {
        assert_int_equal(out[s].base, out[s].selector * 16);
        assert_int_equal(out[s].limit, 0xFFFF);
        assert_int_equal(out[s].access, 0xF3);
    }
    c.seg[GS].base = 0x12345;
    assert_int_equal(real_shape_of(c.seg, 0x100), REAL_HELD);
    c = fresh();
    c.seg[CS] = (struct vmx_seg){0x8, 0xFFFF, 0x9B, 0}; /* before the far jump */
    assert_int_equal(real_shape_of(c.seg, 0x100), REAL_HELD);
    real_shape_segments(c.seg, REAL_HELD, out);
    assert_int_equal(out[CS].selector, 0xB);
    assert_int_equal(out[CS].access, 0xFB);
    assert_int_equal(out[SS].selector, 3);
    assert_int_equal(out[SS].access, 0xF3);
    c.seg[DS].limit = UINT32_MAX;
    real_shape_segments(c.seg, REAL_OFF, out);
    assert_int_equal(out[CS].selector, 8);
    assert_int_equal(out[CS].access, 0x9B);
    assert_int_equal(out[DS].access, 0x80F3);
    c.seg[FS] = (struct vmx_seg){0x3, 0, VMX_AR_UNUSABLE, 0};
    real_adopt_segment(&c.seg[FS]);
    assert_int_equal(c.seg[FS].base, 0x30);
    assert_int_equal(c.seg[FS].limit, 0xFFFF);
    c.seg[CS].access |= VMX_AR_DB;
    assert_int_equal(real_shape_of(c.seg, 0x100), REAL_HELD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_does_what_qemu_does),
        cmocka_unit_test(an_interrupt_goes_through_the_table),
        cmocka_unit_test(what_the_table_does_not_reach_is_gp_then_df_then_shutdown),
        cmocka_unit_test(limits_are_kept),
        cmocka_unit_test(blocking_is_told),
        cmocka_unit_test(others_become_exits),
        cmocka_unit_test(string_io_stays_in_its_segment),
        cmocka_unit_test(segments_choose_the_shape),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
