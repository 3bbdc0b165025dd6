/* links: vmm/decode.c vmm/decode_fetch.c vmm/decode_map.c vmm/decode_operand.c vmm/emulate.c
 * vmm/emulate_alu.c vmm/emulate_alu_wide.c vmm/emulate_io.c vmm/emulate_quick.c vmm/descriptor.c
 * vmm/emulate_segment.c vmm/emulate_stack.c vmm/emulate_string.c */
/* libs: -lunicorn */
/*
 * test_emulate_unicorn.c - the effect of every instruction we emulate, compared with Unicorn (QEMU's
 * translator): all general registers, RIP, XMM registers, defined flags and memory, in 64-, 32- and 16-bit
 * code with random operands. PB_STEPS and PB_SEED scale and repeat it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <unicorn/unicorn.h>

#include "arch/regs.h"
#include "tests/unit/test_emulate_model.h"

#define STATUS_FLAGS (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)
#define ALL_FLAGS    (STATUS_FLAGS | RFLAGS_DF | RFLAGS_FIXED1)

/* Unicorn 2.0 leaks when it is closed. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libunicorn";
}

/* Compared after every step: this much before and after each access; after every ALL_STEPS steps: everything.
 */
enum { CODE_SIZE = 0x10000, NEARBY = 32, ALL_STEPS = 1024 };

struct machine {
    uc_engine *uc;
    enum cpu_mode mode;
    u8 *memory;    /* Unicorn's, MODEL_MEMORY bytes at 0 */
    u64 code;      /* where the next instruction goes */
    u64 code_base; /* CODE_SIZE bytes of code */
};

static const int gpr_id[16] = {UC_X86_REG_RAX, UC_X86_REG_RCX, UC_X86_REG_RDX, UC_X86_REG_RBX,
                               UC_X86_REG_RSP, UC_X86_REG_RBP, UC_X86_REG_RSI, UC_X86_REG_RDI,
                               UC_X86_REG_R8,  UC_X86_REG_R9,  UC_X86_REG_R10, UC_X86_REG_R11,
                               UC_X86_REG_R12, UC_X86_REG_R13, UC_X86_REG_R14, UC_X86_REG_R15};
static const int gpr32_id[8] = {UC_X86_REG_EAX, UC_X86_REG_ECX, UC_X86_REG_EDX, UC_X86_REG_EBX,
                                UC_X86_REG_ESP, UC_X86_REG_EBP, UC_X86_REG_ESI, UC_X86_REG_EDI};

static void machine_start(struct machine *mc, enum cpu_mode mode)
{
    uc_mode m = mode == CPU_MODE_64 ? UC_MODE_64 : mode == CPU_MODE_32 ? UC_MODE_32 : UC_MODE_16;

    mc->mode = mode;
    mc->memory = aligned_alloc(4096, MODEL_MEMORY);
    assert_int_equal(uc_open(UC_ARCH_X86, m, &mc->uc), UC_ERR_OK);
    assert_int_equal(uc_ctl_set_cpu_model(mc->uc, UC_CPU_X86_HASWELL), UC_ERR_OK);
    assert_int_equal(uc_mem_map_ptr(mc->uc, 0, MODEL_MEMORY, UC_PROT_ALL, mc->memory), UC_ERR_OK);
    /* 16-bit code lives at the end of low memory, the rest above all data. */
    mc->code_base = mode == CPU_MODE_16 ? 0xf000 : 0x400000;
    if (mode != CPU_MODE_16)
        assert_int_equal(uc_mem_map(mc->uc, mc->code_base, CODE_SIZE, UC_PROT_ALL), UC_ERR_OK);
    mc->code = mc->code_base;
    u64 cr4 = (mode == CPU_MODE_64 ? CR4_PAE : 0) | CR4_OSFXSR | CR4_OSXMMEXCPT;
    assert_int_equal(uc_reg_write(mc->uc, UC_X86_REG_CR4, &cr4), UC_ERR_OK);
}

static void machine_stop(struct machine *mc)
{
    uc_close(mc->uc);
    free(mc->memory);
}

/* A fresh place for code, so that no translation of old code is run. */
static u64 next_code(struct machine *mc)
{
    u64 size = mc->mode == CPU_MODE_16 ? 0x800 : CODE_SIZE;
    mc->code += 16;
    if (mc->code + 32 > mc->code_base + size) {
        uc_ctl_remove_cache(mc->uc, mc->code_base, mc->code_base + size);
        mc->code = mc->code_base;
    }
    return mc->code;
}

static int flags_id(const struct machine *mc)
{
    return mc->mode == CPU_MODE_64 ? UC_X86_REG_RFLAGS : UC_X86_REG_EFLAGS;
}

static void write_gpr(struct machine *mc, unsigned i, u64 v)
{
    uc_reg_write(mc->uc, mc->mode == CPU_MODE_64 ? gpr_id[i] : gpr32_id[i], &v);
}

static u64 read_gpr(struct machine *mc, unsigned i)
{
    u64 v = 0;
    uc_reg_read(mc->uc, mc->mode == CPU_MODE_64 ? gpr_id[i] : gpr32_id[i], &v);
    return v;
}

/* The flags that the SDM leaves undefined after in, given the registers before it. */
static u64 undefined_flags(const struct insn *in, const u64 *gpr)
{
    unsigned bits = 8 * in->op_size;
    u64 b = in->src == INSN_OPERAND_CL ? gpr[1] : in->imm;
    if (in->imm_cl)
        b = gpr[1];
    unsigned count = b & (in->op_size == 8 ? 63 : 31);

    switch (in->op) {
    case INSN_AND:
    case INSN_OR:
    case INSN_XOR:
    case INSN_TEST: return RFLAGS_AF;
    case INSN_BT:
    case INSN_BTS:
    case INSN_BTR:
    case INSN_BTC: return RFLAGS_OF | RFLAGS_SF | RFLAGS_AF | RFLAGS_PF;
    case INSN_ROL:
    case INSN_ROR:
    case INSN_RCL:
    case INSN_RCR: return count > 1 ? RFLAGS_OF : 0;
    case INSN_SHL:
    case INSN_SAL:
    case INSN_SHR:
        return (count ? RFLAGS_AF : 0) | (count > 1 ? RFLAGS_OF : 0) | (count >= bits ? RFLAGS_CF : 0);
    case INSN_SHLD:
    case INSN_SHRD: return (count ? RFLAGS_AF : 0) | (count > 1 ? RFLAGS_OF : 0);
    case INSN_IMUL:
    case INSN_IMUL3:
    case INSN_MUL:
    case INSN_IMUL1: return RFLAGS_SF | RFLAGS_ZF | RFLAGS_AF | RFLAGS_PF;
    case INSN_DIV:
    case INSN_IDIV: return STATUS_FLAGS;
    case INSN_BSF:
    case INSN_BSR: return STATUS_FLAGS & ~RFLAGS_ZF;
    case INSN_TZCNT:
    case INSN_LZCNT: return RFLAGS_OF | RFLAGS_SF | RFLAGS_AF | RFLAGS_PF;
    case INSN_SAR: return (count ? RFLAGS_AF : 0) | (count > 1 ? RFLAGS_OF : 0);
    default: return 0;
    }
}

/* Loads registers and code of m into Unicorn. */
static void machine_load(struct machine *mc, const struct model *m, const u8 *bytes)
{
    u64 flags = m->st.rflags;

    for (unsigned i = 0; i < (mc->mode == CPU_MODE_64 ? 16 : 8); i++)
        write_gpr(mc, i, m->gpr[i]);
    for (unsigned i = 0; i < (mc->mode == CPU_MODE_64 ? 16 : 8); i++)
        uc_reg_write(mc->uc, UC_X86_REG_XMM0 + (int)i, m->vector[i]);
    for (unsigned i = 0; i < 8; i++)
        uc_reg_write(mc->uc, UC_X86_REG_FP0 + (int)i, m->vector[EMULATE_MMX + i]); /* MMn is its low part */
    uc_reg_write(mc->uc, flags_id(mc), &flags);
    if (mc->mode == CPU_MODE_16) {
        static const int seg_id[] = {UC_X86_REG_ES, UC_X86_REG_CS, UC_X86_REG_SS,
                                     UC_X86_REG_DS, UC_X86_REG_FS, UC_X86_REG_GS};
        for (unsigned s = 0; s < INSN_SEG_COUNT; s++) {
            u64 selector = m->st.seg_base[s] >> 4;
            if (s != INSN_SEG_CS)
                uc_reg_write(mc->uc, seg_id[s], &selector);
        }
    } else if (mc->mode == CPU_MODE_64) {
        uc_reg_write(mc->uc, UC_X86_REG_FS_BASE, &m->st.seg_base[INSN_SEG_FS]);
        uc_reg_write(mc->uc, UC_X86_REG_GS_BASE, &m->st.seg_base[INSN_SEG_GS]);
    }
    uc_mem_write(mc->uc, m->st.rip, bytes, INSN_MAX_LENGTH);
}

static const char *compare(struct machine *mc, struct model *m, u64 undefined, char *text, size_t size)
{
    u64 flags = 0, rip = 0;

    for (unsigned i = 0; i < (mc->mode == CPU_MODE_64 ? 16 : 8); i++) {
        u64 want = read_gpr(mc, i), xmm[2];
        u64 have = mc->mode == CPU_MODE_64 ? m->gpr[i] : (u32)m->gpr[i];
        if (want != have) {
            snprintf(text, size, "register %u is %llx, not %llx", i, (unsigned long long)have,
                     (unsigned long long)want);
            return text;
        }
        uc_reg_read(mc->uc, UC_X86_REG_XMM0 + (int)i, xmm);
        if (memcmp(xmm, m->vector[i], 16) != 0)
            return "XMM register";
        uc_reg_read(mc->uc, UC_X86_REG_FP0 + (int)(i & 7), xmm);
        if (xmm[0] != m->vector[EMULATE_MMX + (i & 7)][0])
            return "MMX register";
    }
    uc_reg_read(mc->uc, flags_id(mc), &flags);
    u64 mask = ALL_FLAGS & ~undefined;
    if ((flags & mask) != (m->st.rflags & mask)) {
        snprintf(text, size, "flags are %llx, not %llx", (unsigned long long)(m->st.rflags & mask),
                 (unsigned long long)(flags & mask));
        return text;
    }
    uc_reg_read(mc->uc, mc->mode == CPU_MODE_64 ? UC_X86_REG_RIP : UC_X86_REG_EIP, &rip);
    if (rip != m->st.rip) {
        snprintf(text, size, "rip is %llx, not %llx", (unsigned long long)m->st.rip, (unsigned long long)rip);
        return text;
    }
    for (unsigned i = 0; i < m->accesses && i < MODEL_LOG; i++) {
        u64 at = m->log[i].gva > NEARBY ? m->log[i].gva - NEARBY : 0;
        if (memcmp(mc->memory + at, m->memory + at, MIN(3 * NEARBY, MODEL_MEMORY - at)) != 0)
            return "memory";
    }
    return NULL;
}

/* The code page of 16-bit code is inside memory: no operand may come near it. */
static bool touches_code(const struct machine *mc, const struct model *m)
{
    for (unsigned i = 0; i < m->accesses && i < MODEL_LOG; i++)
        if (mc->mode == CPU_MODE_16 && m->log[i].gva + 64 > mc->code_base &&
            m->log[i].gva < mc->code_base + 0x1000)
            return true;
    return false;
}

static bool is_prefix(u8 b)
{
    for (size_t i = 0; i < ARRAY_SIZE(gen_prefixes); i++)
        if (gen_prefixes[i] == b)
            return true;
    return false;
}

/*
 * What Unicorn 2.0.1 does wrong or not at all, and who says so. (It also spoils flags of shifts by CL and
 * others when a UC_HOOK_MEM_WRITE is installed: we install none.)
 */
static bool unicorn_is_wrong(const struct insn *in, const u8 *bytes)
{
    bool fs_or_gs = false, cancelled = false, f2 = false, f3 = false, size = false;
    bool early_rex = false; /* a REX that is not directly before the opcode */
    unsigned at = 0;

    for (; is_prefix(bytes[at]) || (in->mode == CPU_MODE_64 && (bytes[at] & 0xf0) == 0x40); at++) {
        u8 b = bytes[at];
        fs_or_gs |= b == 0x64 || b == 0x65;
        cancelled |= fs_or_gs && (b == 0x26 || b == 0x2e || b == 0x36 || b == 0x3e);
        f2 |= b == 0xf2;
        f3 |= b == 0xf3;
        size |= b == 0x66;
        early_rex |= at > 0 && !is_prefix(bytes[at - 1]);
    }
    /* ES, CS, SS or DS after FS or GS cancels it in 64-bit code: SDM Vol. 1 section 3.3.7.1 has it ignored;
     * Zydis too. */
    if (in->mode == CPU_MODE_64 && cancelled)
        return true;
    /* An early REX counts: SDM Vol. 2A section 2.2.1 and Zydis have it ignored. */
    if (early_rex)
        return true;
    switch (in->op) {
    case INSN_POPCNT: return true; /* likewise; test_emulate_alu.c has the CPU's */
    case INSN_CRC32:
        return (f2 && f3) || in->mode == CPU_MODE_16; /* takes four bytes for two; Zydis does not */
    case INSN_SHLD:
    case INSN_SHRD: return in->mem.rip_relative && !in->imm_cl; /* forgets that the immediate follows */
    case INSN_RET: return in->imm >> 15; /* sign-extended: SDM Vol. 2, RET has it unsigned */
    case INSN_CMPS:
    case INSN_SCAS:
    case INSN_BSF:
    case INSN_BSR:
    case INSN_TZCNT:
    case INSN_LZCNT: return f2 && f3; /* the last counts: Zydis */
    case INSN_MOVBE: return true;     /* invalid instruction on all processor models */
    case INSN_TEST:
        return (bytes[at] & 0xfe) == 0xf6 && (bytes[at + 1] >> 3 & 7) == 1; /* F6 /1, F7 /1: invalid */
    case INSN_MOV: /* C6 and C7 with REX.R: invalid, where the CPU and Zydis ignore the bit */
        return in->mode == CPU_MODE_64 && at > 0 && (bytes[at] & 0xfe) == 0xc6 &&
               (bytes[at - 1] & 0xf4) == 0x44;
    case INSN_NEG: return in->lock; /* wrong flags with LOCK: test_emulate_alu.c has the CPU's */
    case INSN_CLFLUSH: return size; /* CLFLUSHOPT is invalid on this model */
    case INSN_SSE_MOV:
    case INSN_SSE_LOW:
    case INSN_SSE_HIGH:
    case INSN_MMX_MOV:
        /* Of several mandatory prefixes 66 wins, or F3: SDM Vol. 2A section 2.1.2 and Zydis: the last of F2,
         * F3. */
        return size + f2 + f3 > 1 || in->mode == CPU_MODE_16; /* and real mode has no SSE there */
    default: return false;
    }
}

/* Segments and tables, which Unicorn has none of here, and branches to what random memory says. A double shift
 * by more bits than the operand has is undefined. */
static bool is_tested_by_hand(const struct insn *in)
{
    if (in->op >= INSN_CALL_FAR && in->op <= INSN_SMSW && in->op != INSN_JMP)
        return true;
    if ((in->op == INSN_SHLD || in->op == INSN_SHRD) && in->op_size == 2)
        return in->imm_cl || (in->imm & 31) > 16;
    return in->dst == INSN_OPERAND_SEG || in->src == INSN_OPERAND_SEG ||
           (in->op == INSN_CALL && in->src == INSN_OPERAND_REG);
}

/* The same bytes into both memories. */
static void plant(struct machine *mc, struct model *m, u64 at, const void *bytes, size_t n)
{
    if (at > MODEL_MEMORY - n)
        return;
    memcpy(m->memory + at, bytes, n);
    memcpy(mc->memory + at, bytes, n);
}

/* Targets of branches that can be gone to, and strings with equal parts. */
static void prepare_memory(struct gen *g, struct machine *mc, struct model *m, const struct insn *in)
{
    enum { STRETCH = 160 };
    u8 same[STRETCH];

    if (in->op == INSN_RET || in->op == INSN_JMP || (in->op == INSN_CALL && in->mem_size)) {
        u64 target = mc->code_base + gen_below(g, 0x700);
        u64 at = in->op == INSN_RET
                     ? (mc->mode == CPU_MODE_16 ? m->st.seg_base[INSN_SEG_SS] + (u16)m->gpr[4] : m->gpr[4])
                     : insn_effective_address(in, &m->st).v;
        plant(mc, m, at, &target, in->op_size);
    }
    if ((in->op == INSN_CMPS || in->op == INSN_SCAS) && gen_chance(g, 70)) {
        u64 keep = in->addr_size == 2 ? 0xffff : in->addr_size == 4 ? 0xffffffff : ~0ull;
        u64 di = (m->gpr[7] & keep) + (mc->mode == CPU_MODE_16 ? m->st.seg_base[INSN_SEG_ES] : 0);
        u64 si = (m->gpr[6] & keep) + m->st.seg_base[in->src_seg];
        memset(same, (u8)m->gpr[0], sizeof same);
        same[gen_below(g, STRETCH)] ^= gen_chance(g, 50);
        plant(mc, m, di - STRETCH / 2, same, STRETCH);
        if (in->op == INSN_CMPS)
            plant(mc, m, si - STRETCH / 2, same, STRETCH);
    }
}

/* Unicorn may try to deliver an exception, by tables that are not there. */
static bool went_on(struct machine *mc, u64 next)
{
    u64 rip = 0;

    uc_reg_read(mc->uc, mc->mode == CPU_MODE_64 ? UC_X86_REG_RIP : UC_X86_REG_EIP, &rip);
    return rip == next;
}

/* Runs one random instruction on both. Sets *tested if there was one. */
static const char *step(struct gen *g, struct machine *mc, struct model *m, bool *tested, u8 *bytes,
                        char *text, size_t size)
{
    struct insn in;
    u32 selectors = mc->mode == CPU_MODE_16 ? 0x2000 : 0;

    *tested = false;
    gen_insn(g, mc->mode, true, bytes);
    if (decode_insn(bytes, INSN_MAX_LENGTH, mc->mode, &in) != ERR_OK || unicorn_is_wrong(&in, bytes))
        return NULL;
    model_start(m);
    m->st.rip = next_code(mc);
    m->st.rflags = (gen_u64(g) & (STATUS_FLAGS | RFLAGS_DF)) | RFLAGS_FIXED1;
    m->st.stack_size = mc->mode / 8;
    m->st.rep_limit = 1 + gen_below(g, 30);
    for (unsigned s = 0; s < INSN_SEG_COUNT; s++)
        m->st.seg_base[s] = selectors && s != INSN_SEG_CS                 ? 16ull * gen_below(g, selectors)
                            : mc->mode == CPU_MODE_64 && s >= INSN_SEG_FS ? gen_below(g, 0x80000)
                                                                          : 0;
    for (unsigned i = 0; i < 16; i++)
        m->vector[i][0] = gen_u64(g), m->vector[i][1] = gen_u64(g);
    for (unsigned i = 0; i < 8; i++)
        m->vector[EMULATE_MMX + i][0] = gen_u64(g);
    if (!model_aim(g, m, bytes, &in))
        return NULL;
    bool branch = in.op == INSN_CALL || in.op == INSN_JMP || in.op == INSN_RET;
    if (is_tested_by_hand(&in) ||
        (branch && gen_chance(g, 90))) /* to run one alone, Unicorn forgets all code */
        return NULL;
    prepare_memory(g, mc, m, &in);

    u64 undefined = undefined_flags(&in, m->gpr);
    u64 start = m->st.rip;
    machine_load(mc, m, bytes);

    enum emulate_status s;
    unsigned rounds = 0;
    do {
        s = emulate_insn(&in, &m->st);
    } while (s == EMULATE_PARTIAL && ++rounds < 64);
    bool divides = s == EMULATE_FAULT && m->fault_vector == VECTOR_DE;
    bool skip = (s != EMULATE_OK && !divides) || touches_code(mc, m);
    if (!skip && branch && (m->st.rip >> 32))
        skip = true;
    if (skip) {
        /* Put the two memories together again. */
        for (unsigned i = 0; i < m->accesses && i < MODEL_LOG; i++)
            if (m->log[i].gva <= MODEL_MEMORY - 16)
                memcpy(m->memory + m->log[i].gva, mc->memory + m->log[i].gva, m->log[i].size);
        return NULL;
    }
    *tested = true;
    uc_err e = uc_emu_start(mc->uc, start, divides ? start + in.length : m->st.rip, 0, branch ? 1 : 0);
    if (divides)
        return e == UC_ERR_EXCEPTION || !went_on(mc, start + in.length) ? NULL : "no #DE";
    if (e != UC_ERR_OK && !branch) {
        snprintf(text, size, "Unicorn: %s", uc_strerror(e));
        return text;
    }
    return compare(mc, m, undefined, text, size);
}

static bool same_memory(const struct machine *mc, const struct model *m)
{
    u64 low = mc->mode == CPU_MODE_16 ? mc->code_base : MODEL_MEMORY;
    u64 high = MIN(low + 0x1000, MODEL_MEMORY);
    return memcmp(mc->memory, m->memory, low) == 0 &&
           memcmp(mc->memory + high, m->memory + high, MODEL_MEMORY - high) == 0;
}

static void run(enum cpu_mode mode, u64 default_steps)
{
    struct gen g = gen_start(default_steps);
    struct machine mc = {0};
    static struct model m;
    u64 tested = 0, differences = 0;

    machine_start(&mc, mode);
    m.memory = malloc(MODEL_MEMORY);
    for (unsigned i = 0; i < MODEL_MEMORY / 8; i++)
        ((u64 *)(void *)m.memory)[i] = gen_u64(&g);
    memcpy(mc.memory, m.memory, MODEL_MEMORY);
    for (u64 i = 0; tested < g.steps && differences < 10; i++) {
        u8 bytes[INSN_MAX_LENGTH];
        char text[128], hex[3 * INSN_MAX_LENGTH + 1];
        bool was_tested;
        const char *difference = step(&g, &mc, &m, &was_tested, bytes, text, sizeof text);
        tested += was_tested;
        if (!difference && i % ALL_STEPS == 0 && !same_memory(&mc, &m))
            difference = "memory elsewhere";
        if (difference) {
            print_error("%d-bit code %s: %s (rax %llx, rcx %llx after) PB_SEED=%llu step %llu\n", mode,
                        gen_hex(bytes, INSN_MAX_LENGTH, hex), difference, (unsigned long long)m.gpr[0],
                        (unsigned long long)m.gpr[1], (unsigned long long)g.seed, (unsigned long long)i);
            differences++;
            memcpy(mc.memory, m.memory, MODEL_MEMORY);
        }
    }
    print_message("    %llu effects\n", (unsigned long long)tested);
    assert_int_equal(differences, 0);
    assert_true(same_memory(&mc, &m));
    machine_stop(&mc);
    free(m.memory);
}

static void effects_in_64_bit_code_agree_with_unicorn(void **state)
{
    (void)state;
    run(CPU_MODE_64, 10000);
}

static void effects_in_32_bit_code_agree_with_unicorn(void **state)
{
    (void)state;
    run(CPU_MODE_32, 4000);
}

static void effects_in_16_bit_code_agree_with_unicorn(void **state)
{
    (void)state;
    run(CPU_MODE_16, 4000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(effects_in_64_bit_code_agree_with_unicorn),
        cmocka_unit_test(effects_in_32_bit_code_agree_with_unicorn),
        cmocka_unit_test(effects_in_16_bit_code_agree_with_unicorn),
    };
    return cmocka_run_group_tests_name("emulate against unicorn", tests, NULL, NULL);
}
