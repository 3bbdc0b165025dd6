/* links: vmm/real_insn.c vmm/real_exits.c vmm/real_decode.c vmm/real_deliver.c vmm/real_memory.c vmm/real_shape.c
 * vmm/decode_fetch.c vmm/decode_map.c vmx/event.c */
/* libs: -lunicorn */
/*
 * test_real_unicorn.c - instructions of real mode by vmm/real_insn.c, compared with Unicorn (QEMU's translator) in
 * 16-bit mode: registers, segments, descriptor tables, flags and memory after each of many random ones. Unicorn
 * knows no segment limits and delivers nothing: see test_real.c for those.
 */
#include "tests/unit/real_machine.h"

#include <unicorn/unicorn.h>

/* Unicorn 2.0 leaks when it is closed. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libunicorn";
}

enum { PLACES = 64, DEFAULT_STEPS = 20000, OPCODE_HLT = 0xF4 };
/* Each instruction has a place of its own, or Unicorn would run an old translation. */
enum { INSN_ROOM = 16, CODE_START = 0xE0000, CODE_END = 0xE1000 };

#define FLAGS_COMPARED ((u32)(0x7FD5 | RFLAGS_AC | RFLAGS_ID))

static u8 other[MEMORY] aligned_to(4096); /* Unicorn's */
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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(it_does_what_qemu_does)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
