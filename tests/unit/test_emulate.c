/* links: vmm/decode.c vmm/decode_fetch.c vmm/decode_map.c vmm/decode_operand.c vmm/emulate.c
 * vmm/emulate_alu.c vmm/emulate_alu_wide.c vmm/emulate_io.c vmm/emulate_quick.c vmm/descriptor.c
 * vmm/emulate_segment.c vmm/emulate_stack.c vmm/emulate_string.c */
/*
 * test_emulate.c - what the emulator promises beyond the effect of an instruction (that is
 * test_emulate_unicorn.c): nothing changes when an access fails, a stopped REP continues correctly, accesses
 * have the whole size, locked operations survive competitors, and the cases that Unicorn cannot show.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "arch/regs.h"
#include "tests/unit/test_emulate_model.h"

#define STATUS_FLAGS (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)

static struct model *model_new(void)
{
    struct model *m = calloc(1, sizeof *m);
    m->memory = calloc(1, MODEL_MEMORY);
    model_start(m);
    m->st.rip = 0x400000;
    m->st.rflags = RFLAGS_FIXED1;
    return m;
}

static void model_free(struct model *m)
{
    free(m->memory);
    free(m);
}

/* Decodes and emulates; the bytes must be of ours and whole. */
static enum emulate_status run_mode(struct model *m, enum cpu_mode mode, const char *bytes, unsigned n)
{
    struct insn in;
    assert_int_equal(decode_insn((const u8 *)bytes, n, mode, &in), ERR_OK);
    assert_int_equal(in.length, n);
    m->accesses = 0;
    return emulate_insn(&in, &m->st);
}
#define RUN64(m, text) run_mode(m, CPU_MODE_64, text, sizeof(text) - 1)
#define RUN32(m, text) run_mode(m, CPU_MODE_32, text, sizeof(text) - 1)
#define RUN16(m, text) run_mode(m, CPU_MODE_16, text, sizeof(text) - 1)

static u64 peek(const struct model *m, u64 at, unsigned size)
{
    u64 v = 0;
    memcpy(&v, m->memory + at, size);
    return v;
}

static void poke(struct model *m, u64 at, unsigned size, u64 v)
{
    memcpy(m->memory + at, &v, size);
}

struct registers {
    u64 gpr[16], vector[EMULATE_MMX + 8][2], rip, rflags;
};

/* Kept apart: segment registers are loaded by instructions that change them at their very end. */
struct segments {
    struct vmx_seg seg[EMULATE_IDTR + 1];
    u64 base[INSN_SEG_COUNT];
};

static struct segments save_segments(const struct model *m)
{
    struct segments s;
    memcpy(s.seg, m->seg, sizeof s.seg);
    memcpy(s.base, m->st.seg_base, sizeof s.base);
    return s;
}

static void load_segments(struct model *m, const struct segments *s)
{
    memcpy(m->seg, s->seg, sizeof s->seg);
    memcpy(m->st.seg_base, s->base, sizeof s->base);
}

static void save(const struct model *m, struct registers *r)
{
    memcpy(r->gpr, m->gpr, sizeof r->gpr);
    memcpy(r->vector, m->vector, sizeof r->vector);
    r->rip = m->st.rip;
    r->rflags = m->st.rflags;
}

static void load_registers(struct model *m, const struct registers *r)
{
    memcpy(m->gpr, r->gpr, sizeof r->gpr);
    memcpy(m->vector, r->vector, sizeof r->vector);
    m->st.rip = r->rip;
    m->st.rflags = r->rflags;
}

static bool same(const struct registers *a, const struct registers *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

/* Puts the accessed parts of memory back to what they were. */
static void restore_memory(struct model *m, const u8 *original)
{
    for (unsigned i = 0; i < m->accesses && i < MODEL_LOG; i++)
        if (m->log[i].gva <= MODEL_MEMORY - 16)
            memcpy(m->memory + m->log[i].gva, original + m->log[i].gva, m->log[i].size);
}

/* A random instruction of ours with registers that aim into memory. */
static bool random_case(struct gen *g, struct model *m, struct insn *in, u8 *bytes)
{
    static const enum cpu_mode modes[] = {CPU_MODE_16, CPU_MODE_32, CPU_MODE_64, CPU_MODE_64};
    enum cpu_mode mode = modes[gen_below(g, ARRAY_SIZE(modes))];

    gen_insn(g, mode, true, bytes);
    if (decode_insn(bytes, INSN_MAX_LENGTH, mode, in) != ERR_OK)
        return false;
    model_start(m);
    m->st.rip = mode == CPU_MODE_16 ? 0xf000 : 0x400000;
    m->st.rflags = (gen_u64(g) & (STATUS_FLAGS | RFLAGS_DF | RFLAGS_RF)) | RFLAGS_FIXED1;
    m->st.rep_limit = 1000;
    m->st.stack_size = mode / 8;
    for (unsigned s = 0; s < INSN_SEG_COUNT; s++)
        m->st.seg_base[s] = gen_below(g, 0x8000) * 16ull;
    return model_aim(g, m, bytes, in);
}

static void a_failed_access_changes_nothing(void **state)
{
    (void)state;
    static const enum emulate_status failures[] = {EMULATE_FAULT, EMULATE_RETRY, EMULATE_UNKNOWN};
    struct gen g = gen_start(150000);
    struct model *m = model_new();
    u8 *original = malloc(MODEL_MEMORY);
    u64 checked = 0;

    for (unsigned i = 0; i < MODEL_MEMORY / 8; i++)
        poke(m, 8ull * i, 8, gen_u64(&g));
    memcpy(original, m->memory, MODEL_MEMORY);
    for (u64 i = 0; i < g.steps; i++) {
        struct registers start, whole, now;
        struct insn in;
        u8 bytes[INSN_MAX_LENGTH];
        if (!random_case(&g, m, &in, bytes))
            continue;
        save(m, &start);
        struct segments segments = save_segments(m);
        enum emulate_status s = emulate_insn(&in, &m->st);
        save(m, &whole);
        load_segments(m, &segments);
        unsigned accesses = m->accesses;
        restore_memory(m, original);
        if (s != EMULATE_OK || accesses == 0 || accesses > MODEL_LOG)
            continue;

        load_registers(m, &start);
        m->accesses = 0;
        m->fail_at = gen_below(&g, accesses);
        m->fail_with = failures[gen_below(&g, 3)];
        s = emulate_insn(&in, &m->st);
        save(m, &now);
        bool ok =
            s == m->fail_with && (insn_op_is_string(in.op) || same(&now, &start)) && now.rip == start.rip;
        m->fail_at = MODEL_NEVER;
        m->st.rflags = (m->st.rflags & ~RFLAGS_RF) | (start.rflags & RFLAGS_RF);
        /* Entering the guest again finishes what was begun. */
        ok &= emulate_insn(&in, &m->st) == EMULATE_OK;
        save(m, &now);
        ok &= same(&now, &whole);
        restore_memory(m, original);
        if (!ok) {
            char hex[3 * INSN_MAX_LENGTH + 1];
            fail_msg("%d-bit code %s: fails at access %u of %u PB_SEED=%llu", in.mode,
                     gen_hex(bytes, INSN_MAX_LENGTH, hex), m->fail_at, accesses, (unsigned long long)g.seed);
        }
        checked++;
    }
    assert_memory_equal(original, m->memory, MODEL_MEMORY);
    assert_true(checked > g.steps / 4);
    free(original);
    model_free(m);
}

/* Stores are one access of the whole operand; a read-modify-write is a read and one exchange of the same
 * place. */
static void accesses_have_the_size_of_the_operand(void **state)
{
    (void)state;
    struct gen g = gen_start(100000);
    struct model *m = model_new();

    for (u64 i = 0; i < g.steps; i++) {
        struct insn in;
        u8 bytes[INSN_MAX_LENGTH];
        if (!random_case(&g, m, &in, bytes) || (in.op >= INSN_STOS && in.op <= INSN_SMSW) ||
            in.op == INSN_CLFLUSH)
            continue;
        u64 at = insn_effective_address(&in, &m->st).v;
        if (emulate_insn(&in, &m->st) != EMULATE_OK)
            continue;
        bool stores = m->log[m->accesses - 1].kind != MODEL_READ;
        bool ok = m->accesses <= 2;
        for (unsigned a = 0; a < m->accesses; a++)
            ok &= m->log[a].gva == at && m->log[a].size == in.mem_size;
        if (m->accesses == 2)
            ok &= m->log[0].kind == MODEL_READ_FOR_WRITE && m->log[1].kind == MODEL_CMPXCHG;
        else
            ok &= m->log[0].kind == (in.dst == INSN_OPERAND_MEM && stores ? MODEL_WRITE : MODEL_READ);
        ok &= !in.lock || m->accesses == 2;
        if (!ok) {
            char hex[3 * INSN_MAX_LENGTH + 1];
            fail_msg("%d-bit code %s PB_SEED=%llu", in.mode, gen_hex(bytes, INSN_MAX_LENGTH, hex),
                     (unsigned long long)g.seed);
        }
    }
    model_free(m);
}

/* The same instruction with and without the short way gives the same registers, memory and accesses, with
 * competitors and failures too. */
static void quick_instructions_do_as_all_others(void **state)
{
    (void)state;
    struct gen g = gen_start(400000);
    struct model *m = model_new();
    u8 *original = calloc(1, MODEL_MEMORY), *after = malloc(MODEL_LOG);
    u64 seen[INSN_QUICK_BIT + 1] = {0};

    for (u64 i = 0; i < g.steps; i++) {
        struct registers start, quick, slow;
        struct model_access log[8];
        struct insn in;
        u8 bytes[INSN_MAX_LENGTH];
        if (!random_case(&g, m, &in, bytes) || !in.quick)
            continue;
        u64 at = insn_effective_address(&in, &m->st).v;
        if (in.op == INSN_CMPXCHG && gen_chance(&g, 50)) /* memory is zero */
            m->gpr[0] = 0;
        save(m, &start);
        m->fail_at = gen_chance(&g, 20) ? gen_below(&g, 2) : MODEL_NEVER;
        m->fail_with = EMULATE_RETRY;
        u32 competitors = m->competitors = gen_chance(&g, 20) ? gen_below(&g, 3) : 0;
        enum emulate_status s = emulate_insn(&in, &m->st);
        save(m, &quick);
        bool trap = m->st.debug_trap;
        unsigned accesses = m->accesses;
        memcpy(log, m->log, sizeof log);
        memcpy(after, m->memory + at, 8);
        restore_memory(m, original);
        load_registers(m, &start);
        m->accesses = 0;
        m->competitors = competitors;
        seen[in.quick]++;
        in.quick = INSN_NOT_QUICK;
        bool ok = emulate_insn(&in, &m->st) == s && m->accesses == accesses && m->st.debug_trap == trap;
        save(m, &slow);
        ok &= same(&quick, &slow) && memcmp(after, m->memory + at, 8) == 0;
        for (unsigned a = 0; ok && a < MIN(accesses, 8u); a++)
            ok =
                log[a].kind == m->log[a].kind && log[a].gva == m->log[a].gva && log[a].size == m->log[a].size;
        restore_memory(m, original);
        if (!ok) {
            char hex[3 * INSN_MAX_LENGTH + 1];
            fail_msg("%s PB_SEED=%llu", gen_hex(bytes, INSN_MAX_LENGTH, hex), (unsigned long long)g.seed);
        }
    }
    for (unsigned kind = INSN_QUICK_STORE; kind <= INSN_QUICK_BIT; kind++)
        assert_true(seen[kind] > 20);
    free(after);
    free(original);
    model_free(m);
}

static void locked_operations_survive_competitors(void **state)
{
    (void)state;
    struct model *m = model_new();
    m->gpr[7] = 0x2000;
    m->gpr[0] = 100;
    poke(m, 0x2000, 8, 5);
    m->competitors = 3;
    assert_int_equal(RUN64(m, "\xf0\x48\x0f\xc1\x07"), EMULATE_OK); /* lock xadd %rax,(%rdi) */
    assert_int_equal(peek(m, 0x2000, 8), 108);
    assert_int_equal(m->gpr[0], 8);

    m->competitors = 2;
    assert_int_equal(RUN64(m, "\x48\x87\x07"), EMULATE_OK); /* xchg %rax,(%rdi): locks without the prefix */
    assert_int_equal(peek(m, 0x2000, 8), 8);
    assert_int_equal(m->gpr[0], 110);

    m->gpr[0] = 9, m->gpr[2] = 0, m->gpr[3] = 77, m->gpr[1] = 1;
    m->competitors = 1;
    assert_int_equal(RUN64(m, "\xf0\x0f\xc7\x0f"),
                     EMULATE_OK); /* lock cmpxchg8b (%rdi): 8 becomes 9, then equal */
    assert_int_equal(peek(m, 0x2000, 8), 77 | 1ull << 32);
    assert_true(m->st.rflags & RFLAGS_ZF);

    m->competitors = 1000000;
    struct registers before, after;
    save(m, &before);
    assert_int_equal(RUN64(m, "\xf0\x48\x83\x07\x01"), EMULATE_RETRY); /* lock addq $1,(%rdi) never gets it */
    save(m, &after);
    assert_true(same(&before, &after));
    model_free(m);
}

static void cmpxchg_that_fails_writes_back_and_loads_the_accumulator(void **state)
{
    (void)state;
    struct model *m = model_new();
    m->gpr[7] = 0x2000;
    m->gpr[0] = 0xaaaaaaaa00000001;
    m->gpr[1] = 0x55;
    poke(m, 0x2000, 8, 0x1111111122222222);
    assert_int_equal(RUN64(m, "\x0f\xb1\x0f"), EMULATE_OK); /* cmpxchg %ecx,(%rdi) */
    assert_int_equal(m->log[1].kind, MODEL_CMPXCHG);
    assert_int_equal(m->gpr[0], 0x22222222);
    assert_false(m->st.rflags & RFLAGS_ZF);
    m->gpr[0] |= 0xaaaaaaaa00000000;
    assert_int_equal(RUN64(m, "\x0f\xb1\x0f"), EMULATE_OK);
    assert_int_equal(peek(m, 0x2000, 8), 0x1111111100000055);
    assert_int_equal(m->gpr[0], 0xaaaaaaaa22222222); /* not written when equal */
    assert_true(m->st.rflags & RFLAGS_ZF);

    poke(m, 0x2000, 8, 1), poke(m, 0x2008, 8, 2);
    m->gpr[0] = 1, m->gpr[2] = 3;
    assert_int_equal(RUN64(m, "\x48\x0f\xc7\x0f"), EMULATE_OK); /* cmpxchg16b (%rdi) */
    assert_int_equal(m->gpr[2], 2);
    m->gpr[3] = 30, m->gpr[1] = 10;
    assert_int_equal(RUN64(m, "\x48\x0f\xc7\x0f"), EMULATE_OK);
    assert_int_equal(peek(m, 0x2000, 8), 30);
    assert_int_equal(peek(m, 0x2008, 8), 10);
    m->gpr[7] = 0x2004;
    assert_int_equal(RUN64(m, "\x48\x0f\xc7\x0f"), EMULATE_FAULT); /* misaligned */
    assert_int_equal(m->fault_vector, VECTOR_GP);
    assert_int_equal(m->accesses, 0);
    model_free(m);
}

static void a_bounded_rep_continues_where_it_stopped(void **state)
{
    (void)state;
    struct model *m = model_new();
    m->gpr[0] = 0x1122334455667788;
    m->gpr[1] = 10;
    m->gpr[7] = 0x3000;
    m->st.rep_limit = 4;
    assert_int_equal(RUN64(m, "\xf3\x48\xab"), EMULATE_PARTIAL); /* rep stosq */
    assert_int_equal(m->gpr[1], 6);
    assert_int_equal(m->gpr[7], 0x3020);
    assert_int_equal(m->st.rip, 0x400000);
    assert_true(m->st.rflags & RFLAGS_RF);
    assert_int_equal(RUN64(m, "\xf3\x48\xab"), EMULATE_PARTIAL);
    assert_int_equal(RUN64(m, "\xf3\x48\xab"), EMULATE_OK);
    assert_int_equal(m->gpr[1], 0);
    assert_int_equal(m->st.rip, 0x400003);
    assert_false(m->st.rflags & RFLAGS_RF);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(peek(m, 0x3000 + 8 * i, 8), 0x1122334455667788);
    assert_int_equal(peek(m, 0x3050, 8), 0);

    /* A count of zero does nothing, and ends. */
    assert_int_equal(RUN64(m, "\xf3\x48\xab"), EMULATE_OK);
    assert_int_equal(m->accesses, 0);

    /* Downwards, and a fault at the third element. */
    m->st.rflags |= RFLAGS_DF;
    m->gpr[1] = 5, m->gpr[6] = 0x3010, m->gpr[7] = 0x4010;
    m->st.rep_limit = 100;
    m->fail_at = 5, m->fail_with = EMULATE_FAULT;
    m->st.rip = 0x400000;
    assert_int_equal(RUN64(m, "\xf3\xa5"), EMULATE_FAULT); /* rep movsd */
    assert_int_equal(m->gpr[1], 3);
    assert_int_equal(m->gpr[6], 0x3008);
    assert_int_equal(m->gpr[7], 0x4008);
    assert_int_equal(m->st.rip, 0x400000);
    model_free(m);
}

static void single_stepping_is_reported(void **state)
{
    (void)state;
    struct model *m = model_new();
    m->gpr[7] = 0x2000;
    assert_int_equal(RUN64(m, "\x48\x89\x07"), EMULATE_OK);
    assert_false(m->st.debug_trap);
    m->st.rflags |= RFLAGS_TF | RFLAGS_RF;
    assert_int_equal(RUN64(m, "\x48\x89\x07"), EMULATE_OK);
    assert_true(m->st.debug_trap);
    assert_false(m->st.rflags & RFLAGS_RF);
    /* One iteration at a time. */
    m->gpr[1] = 3;
    m->st.rep_limit = 100;
    assert_int_equal(RUN64(m, "\xf3\xaa"), EMULATE_PARTIAL);
    assert_true(m->st.debug_trap);
    assert_int_equal(m->gpr[1], 2);
    m->fail_at = 0, m->fail_with = EMULATE_FAULT;
    assert_int_equal(RUN64(m, "\x48\x89\x07"), EMULATE_FAULT);
    assert_false(m->st.debug_trap);
    model_free(m);
}

static void segment_bases_count_and_addresses_wrap_outside_64_bit_code(void **state)
{
    (void)state;
    struct model *m = model_new();
    for (unsigned s = 0; s < INSN_SEG_COUNT; s++)
        m->st.seg_base[s] = 0x10000 * (s + 1);
    m->gpr[0] = 0x42, m->gpr[3] = 0x100, m->gpr[5] = 0x200, m->gpr[6] = 0x300, m->gpr[7] = 0x400;
    m->gpr[4] = 0x500;
    static const struct {
        const char *bytes;
        unsigned n;
        u64 at;
    } cases[] = {
        {"\x89\x03", 2, 0x40100},     /* mov %eax,(%ebx): DS */
        {"\x89\x45\x00", 3, 0x30200}, /* (%ebp): SS */
        {"\x89\x04\x24", 3, 0x30500}, /* (%esp): SS */
        {"\x26\x89\x03", 3, 0x10100},
        {"\x2e\x89\x03", 3, 0x20100},
        {"\x64\x89\x03", 3, 0x50100},
        {"\x65\x89\x03", 3, 0x60100},
        {"\xab", 1, 0x10400},                 /* stos: ES */
        {"\x64\xaa", 2, 0x10401 + 3},         /* and no override; EDI has moved */
        {"\xa3\x10\x00\x00\x00", 5, 0x40010}, /* moffs */
        {"\x67\x89\x42\x10", 4, 0x30510},     /* 16-bit (%bp,%si)+16: SS */
        {"\x50", 1, 0x304fc},                 /* push: SS */
    };
    m->st.stack_size = 4;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_int_equal(run_mode(m, CPU_MODE_32, cases[i].bytes, cases[i].n), EMULATE_OK);
        assert_int_equal(m->log[0].gva, cases[i].at);
    }
    /* Linear addresses wrap at 4 GiB, 16-bit offsets at 64 KiB. */
    m->st.seg_base[INSN_SEG_DS] = 0xfffff000;
    m->gpr[3] = 0x2000;
    assert_int_equal(RUN32(m, "\x89\x03"), EMULATE_OK);
    assert_int_equal(m->log[0].gva, 0x1000);
    m->st.seg_base[INSN_SEG_DS] = 0x20000;
    m->gpr[3] = 0xffff, m->gpr[6] = 0x11;
    assert_int_equal(RUN16(m, "\x88\x00"), EMULATE_OK); /* mov %al,(%bx,%si) */
    assert_int_equal(m->log[0].gva, 0x20010);
    m->gpr[4] = 0xabcd0000;
    m->st.stack_size = 2;
    assert_int_equal(RUN16(m, "\x50"), EMULATE_OK);
    assert_int_equal(m->log[0].gva, 0x3fffe);
    assert_int_equal(m->gpr[4], 0xabcdfffe);
    /* 64-bit code knows FS and GS only. */
    m->gpr[3] = 0x100;
    assert_int_equal(RUN64(m, "\x89\x03"), EMULATE_OK);
    assert_int_equal(m->log[0].gva, 0x100);
    assert_int_equal(RUN64(m, "\x65\x89\x03"), EMULATE_OK);
    assert_int_equal(m->log[0].gva, 0x60100);
    model_free(m);
}

static void bit_offsets_move_the_address(void **state)
{
    (void)state;
    struct model *m = model_new();
    m->gpr[7] = 0x2000;
    m->gpr[0] = (u64)-65;
    assert_int_equal(RUN64(m, "\x48\x0f\xab\x07"), EMULATE_OK); /* bts %rax,(%rdi) */
    assert_int_equal(m->log[0].gva, 0x1ff0);
    assert_int_equal(peek(m, 0x1ff0, 8), 1ull << 63);
    assert_int_equal(RUN64(m, "\x0f\xa3\x07"), EMULATE_OK); /* bt %eax,(%rdi): -65 too */
    assert_int_equal(m->log[0].gva, 0x2000 - 12);
    assert_int_equal(m->accesses, 1);
    assert_int_equal(RUN64(m, "\x48\x0f\xba\x2f\x7f"),
                     EMULATE_OK); /* bts $127: an immediate does not move it */
    assert_int_equal(m->log[0].gva, 0x2000);
    assert_int_equal(peek(m, 0x2000, 8), 1ull << 63);
    model_free(m);
}

static void stack_instructions_write_where_hardware_does(void **state)
{
    (void)state;
    struct model *m = model_new();
    m->gpr[4] = 0x8000;
    assert_int_equal(RUN64(m, "\x54"), EMULATE_OK); /* push %rsp: the value before */
    assert_int_equal(peek(m, 0x7ff8, 8), 0x8000);
    assert_int_equal(m->gpr[4], 0x7ff8);
    assert_int_equal(RUN64(m, "\x8f\x44\x24\x08"), EMULATE_OK); /* popq 8(%rsp): RSP after the pop */
    assert_int_equal(peek(m, 0x8008, 8), 0x8000);
    assert_int_equal(m->gpr[4], 0x8000);
    assert_int_equal(RUN64(m, "\x6a\x80"), EMULATE_OK);
    assert_int_equal(peek(m, 0x7ff8, 8), 0xffffffffffffff80);
    m->st.rip = 0x400000;
    assert_int_equal(RUN64(m, "\xe8\xfb\xff\xff\xff"), EMULATE_OK); /* call to itself */
    assert_int_equal(m->st.rip, 0x400000);
    assert_int_equal(peek(m, 0x7ff0, 8), 0x400005);
    m->gpr[0] = 0xffff800000001000;
    assert_int_equal(RUN64(m, "\xff\xd0"), EMULATE_OK); /* call *%rax */
    assert_int_equal(m->st.rip, 0xffff800000001000);
    assert_int_equal(peek(m, 0x7fe8, 8), 0x400002);
    poke(m, 0x100, 8, 0x0000800000000000);
    m->gpr[7] = 0x100;
    struct registers before, after;
    save(m, &before);
    assert_int_equal(RUN64(m, "\xff\x17"), EMULATE_FAULT); /* call *(%rdi): not canonical */
    assert_int_equal(m->fault_vector, VECTOR_GP);
    assert_int_equal(m->fault_error, 0);
    save(m, &after);
    assert_true(same(&before, &after));
    m->st.rflags |= RFLAGS_RF | RFLAGS_ZF;
    assert_int_equal(RUN64(m, "\x9c"), EMULATE_OK);
    assert_int_equal(peek(m, 0x7fe0, 8), RFLAGS_FIXED1 | RFLAGS_ZF);
    model_free(m);
}

static void movbe_swaps_bytes(void **state)
{
    (void)state;
    struct model *m = model_new();
    m->gpr[7] = 0x2000;
    m->gpr[0] = 0x0102030405060708;
    assert_int_equal(RUN64(m, "\x48\x0f\x38\xf1\x07"), EMULATE_OK);
    assert_int_equal(peek(m, 0x2000, 8), 0x0807060504030201);
    assert_int_equal(RUN64(m, "\x0f\x38\xf0\x0f"), EMULATE_OK); /* movbe (%rdi),%ecx */
    assert_int_equal(m->gpr[1], 0x01020304);
    assert_int_equal(RUN64(m, "\x66\x0f\x38\xf1\x07"), EMULATE_OK);
    assert_int_equal(peek(m, 0x2000, 8), 0x0807060504030807);
    model_free(m);
}

static void misaligned_sse_is_a_general_protection_fault(void **state)
{
    (void)state;
    struct model *m = model_new();
    m->gpr[7] = 0x2008;
    m->vector[1][0] = 1, m->vector[1][1] = 2;
    assert_int_equal(RUN64(m, "\x0f\x29\x0f"), EMULATE_FAULT); /* movaps */
    assert_int_equal(m->fault_vector, VECTOR_GP);
    assert_int_equal(m->accesses, 0);
    assert_int_equal(RUN64(m, "\x0f\x11\x0f"), EMULATE_OK); /* movups */
    assert_int_equal(m->log[0].size, 16);
    assert_int_equal(peek(m, 0x2010, 8), 2);
    model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failed_access_changes_nothing),
        cmocka_unit_test(accesses_have_the_size_of_the_operand),
        cmocka_unit_test(quick_instructions_do_as_all_others),
        cmocka_unit_test(locked_operations_survive_competitors),
        cmocka_unit_test(cmpxchg_that_fails_writes_back_and_loads_the_accumulator),
        cmocka_unit_test(a_bounded_rep_continues_where_it_stopped),
        cmocka_unit_test(single_stepping_is_reported),
        cmocka_unit_test(segment_bases_count_and_addresses_wrap_outside_64_bit_code),
        cmocka_unit_test(bit_offsets_move_the_address),
        cmocka_unit_test(stack_instructions_write_where_hardware_does),
        cmocka_unit_test(movbe_swaps_bytes),
        cmocka_unit_test(misaligned_sse_is_a_general_protection_fault),
    };
    return cmocka_run_group_tests_name("emulate", tests, NULL, NULL);
}
