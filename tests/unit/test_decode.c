/* links: vmm/decode.c vmm/decode_cache.c vmm/decode_fetch.c vmm/decode_map.c vmm/decode_operand.c vmm/emulate_io.c */
/* libs: -lZydis */
/*
 * test_decode.c - the decoder against Zydis, in three code sizes and in both directions: what we accept has
 * the length and operands that Zydis sees; what Zydis sees and is in our table, we accept; and every proper
 * prefix of an accepted instruction asks for more bytes. PB_STEPS and PB_SEED scale and repeat it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <Zydis/Zydis.h>

#include "tests/unit/test_decode_gen.h"
#include "vmm/decode_cache.h"
#include "vmm/emulate.h"

struct known {
    ZydisMnemonic mnemonic;
    u8 op;
    u8 cond;
};
#define CONDITIONAL(stem, op)                                                    \
    {ZYDIS_MNEMONIC_##stem##O, op, 0}, {ZYDIS_MNEMONIC_##stem##NO, op, 1},       \
        {ZYDIS_MNEMONIC_##stem##B, op, 2}, {ZYDIS_MNEMONIC_##stem##NB, op, 3},   \
        {ZYDIS_MNEMONIC_##stem##Z, op, 4}, {ZYDIS_MNEMONIC_##stem##NZ, op, 5},   \
        {ZYDIS_MNEMONIC_##stem##BE, op, 6}, {ZYDIS_MNEMONIC_##stem##NBE, op, 7}, \
        {ZYDIS_MNEMONIC_##stem##S, op, 8}, {ZYDIS_MNEMONIC_##stem##NS, op, 9},   \
        {ZYDIS_MNEMONIC_##stem##P, op, 10}, {ZYDIS_MNEMONIC_##stem##NP, op, 11}, \
        {ZYDIS_MNEMONIC_##stem##L, op, 12}, {ZYDIS_MNEMONIC_##stem##NL, op, 13}, \
        {ZYDIS_MNEMONIC_##stem##LE, op, 14},                                     \
    {                                                                            \
        ZYDIS_MNEMONIC_##stem##NLE, op, 15                                       \
    }

static const struct known known[] = {
    {ZYDIS_MNEMONIC_MOV, INSN_MOV, 0},
    {ZYDIS_MNEMONIC_MOVNTI, INSN_MOV, 0},
    {ZYDIS_MNEMONIC_ADD, INSN_ADD, 0},
    {ZYDIS_MNEMONIC_OR, INSN_OR, 0},
    {ZYDIS_MNEMONIC_ADC, INSN_ADC, 0},
    {ZYDIS_MNEMONIC_SBB, INSN_SBB, 0},
    {ZYDIS_MNEMONIC_AND, INSN_AND, 0},
    {ZYDIS_MNEMONIC_SUB, INSN_SUB, 0},
    {ZYDIS_MNEMONIC_XOR, INSN_XOR, 0},
    {ZYDIS_MNEMONIC_CMP, INSN_CMP, 0},
    {ZYDIS_MNEMONIC_ROL, INSN_ROL, 0},
    {ZYDIS_MNEMONIC_ROR, INSN_ROR, 0},
    {ZYDIS_MNEMONIC_RCL, INSN_RCL, 0},
    {ZYDIS_MNEMONIC_RCR, INSN_RCR, 0},
    {ZYDIS_MNEMONIC_SHL, INSN_SHL, 0},
    {ZYDIS_MNEMONIC_SHR, INSN_SHR, 0},
    {ZYDIS_MNEMONIC_SHL, INSN_SAL, 0},
    {ZYDIS_MNEMONIC_SAR, INSN_SAR, 0},
    {ZYDIS_MNEMONIC_TEST, INSN_TEST, 0},
    {ZYDIS_MNEMONIC_NOT, INSN_NOT, 0},
    {ZYDIS_MNEMONIC_NEG, INSN_NEG, 0},
    {ZYDIS_MNEMONIC_INC, INSN_INC, 0},
    {ZYDIS_MNEMONIC_DEC, INSN_DEC, 0},
    {ZYDIS_MNEMONIC_BT, INSN_BT, 0},
    {ZYDIS_MNEMONIC_BTS, INSN_BTS, 0},
    {ZYDIS_MNEMONIC_BTR, INSN_BTR, 0},
    {ZYDIS_MNEMONIC_BTC, INSN_BTC, 0},
    {ZYDIS_MNEMONIC_XCHG, INSN_XCHG, 0},
    {ZYDIS_MNEMONIC_XADD, INSN_XADD, 0},
    {ZYDIS_MNEMONIC_CMPXCHG, INSN_CMPXCHG, 0},
    {ZYDIS_MNEMONIC_CMPXCHG8B, INSN_CMPXCHG8B, 0},
    {ZYDIS_MNEMONIC_CMPXCHG16B, INSN_CMPXCHG8B, 0},
    {ZYDIS_MNEMONIC_MOVZX, INSN_MOVZX, 0},
    {ZYDIS_MNEMONIC_MOVSX, INSN_MOVSX, 0},
    {ZYDIS_MNEMONIC_MOVSXD, INSN_MOVSX, 0},
    {ZYDIS_MNEMONIC_MOVBE, INSN_MOVBE, 0},
    CONDITIONAL(SET, INSN_SETCC),
    CONDITIONAL(CMOV, INSN_CMOVCC),
    {ZYDIS_MNEMONIC_STOSB, INSN_STOS, 0},
    {ZYDIS_MNEMONIC_STOSW, INSN_STOS, 0},
    {ZYDIS_MNEMONIC_STOSD, INSN_STOS, 0},
    {ZYDIS_MNEMONIC_STOSQ, INSN_STOS, 0},
    {ZYDIS_MNEMONIC_MOVSB, INSN_MOVS, 0},
    {ZYDIS_MNEMONIC_MOVSW, INSN_MOVS, 0},
    {ZYDIS_MNEMONIC_MOVSD, INSN_MOVS, 0},
    {ZYDIS_MNEMONIC_MOVSQ, INSN_MOVS, 0},
    {ZYDIS_MNEMONIC_LODSB, INSN_LODS, 0},
    {ZYDIS_MNEMONIC_LODSW, INSN_LODS, 0},
    {ZYDIS_MNEMONIC_LODSD, INSN_LODS, 0},
    {ZYDIS_MNEMONIC_LODSQ, INSN_LODS, 0},
    {ZYDIS_MNEMONIC_PUSH, INSN_PUSH, 0},
    {ZYDIS_MNEMONIC_PUSHF, INSN_PUSHF, 0},
    {ZYDIS_MNEMONIC_PUSHFD, INSN_PUSHF, 0},
    {ZYDIS_MNEMONIC_PUSHFQ, INSN_PUSHF, 0},
    {ZYDIS_MNEMONIC_POP, INSN_POP, 0},
    {ZYDIS_MNEMONIC_CALL, INSN_CALL, 0},
    {ZYDIS_MNEMONIC_CALL, INSN_CALL_FAR, 0},
    {ZYDIS_MNEMONIC_JMP, INSN_JMP, 0},
    {ZYDIS_MNEMONIC_JMP, INSN_JMP_FAR, 0},
    {ZYDIS_MNEMONIC_RET, INSN_RET, 0},
    {ZYDIS_MNEMONIC_RET, INSN_RET_FAR, 0},
    {ZYDIS_MNEMONIC_POPF, INSN_POPF, 0},
    {ZYDIS_MNEMONIC_POPFD, INSN_POPF, 0},
    {ZYDIS_MNEMONIC_POPFQ, INSN_POPF, 0},
    {ZYDIS_MNEMONIC_PUSHA, INSN_PUSHA, 0},
    {ZYDIS_MNEMONIC_PUSHAD, INSN_PUSHA, 0},
    {ZYDIS_MNEMONIC_POPA, INSN_POPA, 0},
    {ZYDIS_MNEMONIC_POPAD, INSN_POPA, 0},
    {ZYDIS_MNEMONIC_ENTER, INSN_ENTER, 0},
    {ZYDIS_MNEMONIC_LEAVE, INSN_LEAVE, 0},
    {ZYDIS_MNEMONIC_XLAT, INSN_XLAT, 0},
    {ZYDIS_MNEMONIC_CMPSB, INSN_CMPS, 0},
    {ZYDIS_MNEMONIC_CMPSW, INSN_CMPS, 0},
    {ZYDIS_MNEMONIC_CMPSD, INSN_CMPS, 0},
    {ZYDIS_MNEMONIC_CMPSQ, INSN_CMPS, 0},
    {ZYDIS_MNEMONIC_SCASB, INSN_SCAS, 0},
    {ZYDIS_MNEMONIC_SCASW, INSN_SCAS, 0},
    {ZYDIS_MNEMONIC_SCASD, INSN_SCAS, 0},
    {ZYDIS_MNEMONIC_SCASQ, INSN_SCAS, 0},
    {ZYDIS_MNEMONIC_SHLD, INSN_SHLD, 0},
    {ZYDIS_MNEMONIC_SHRD, INSN_SHRD, 0},
    {ZYDIS_MNEMONIC_IMUL, INSN_IMUL, 0},
    {ZYDIS_MNEMONIC_IMUL, INSN_IMUL3, 0},
    {ZYDIS_MNEMONIC_IMUL, INSN_IMUL1, 0},
    {ZYDIS_MNEMONIC_MUL, INSN_MUL, 0},
    {ZYDIS_MNEMONIC_DIV, INSN_DIV, 0},
    {ZYDIS_MNEMONIC_IDIV, INSN_IDIV, 0},
    {ZYDIS_MNEMONIC_BSF, INSN_BSF, 0},
    {ZYDIS_MNEMONIC_BSR, INSN_BSR, 0},
    {ZYDIS_MNEMONIC_TZCNT, INSN_TZCNT, 0},
    {ZYDIS_MNEMONIC_LZCNT, INSN_LZCNT, 0},
    {ZYDIS_MNEMONIC_POPCNT, INSN_POPCNT, 0},
    {ZYDIS_MNEMONIC_CRC32, INSN_CRC32, 0},
    {ZYDIS_MNEMONIC_MOV, INSN_LOAD_SEG, 0},
    {ZYDIS_MNEMONIC_LES, INSN_LOAD_FAR, 0},
    {ZYDIS_MNEMONIC_LDS, INSN_LOAD_FAR, 0},
    {ZYDIS_MNEMONIC_LSS, INSN_LOAD_FAR, 0},
    {ZYDIS_MNEMONIC_LFS, INSN_LOAD_FAR, 0},
    {ZYDIS_MNEMONIC_LGS, INSN_LOAD_FAR, 0},
    {ZYDIS_MNEMONIC_SLDT, INSN_SLDT, 0},
    {ZYDIS_MNEMONIC_STR, INSN_STR, 0},
    {ZYDIS_MNEMONIC_LLDT, INSN_LLDT, 0},
    {ZYDIS_MNEMONIC_LTR, INSN_LTR, 0},
    {ZYDIS_MNEMONIC_SGDT, INSN_SGDT, 0},
    {ZYDIS_MNEMONIC_SIDT, INSN_SIDT, 0},
    {ZYDIS_MNEMONIC_LGDT, INSN_LGDT, 0},
    {ZYDIS_MNEMONIC_LIDT, INSN_LIDT, 0},
    {ZYDIS_MNEMONIC_SMSW, INSN_SMSW, 0},
    {ZYDIS_MNEMONIC_MOVD, INSN_MMX_MOV, 0},
    {ZYDIS_MNEMONIC_MOVQ, INSN_MMX_MOV, 0},
    {ZYDIS_MNEMONIC_MOVNTQ, INSN_MMX_MOV, 0},
    {ZYDIS_MNEMONIC_MOVUPS, INSN_SSE_MOV, 0},
    {ZYDIS_MNEMONIC_MOVUPD, INSN_SSE_MOV, 0},
    {ZYDIS_MNEMONIC_MOVSS, INSN_SSE_MOV, 0},
    {ZYDIS_MNEMONIC_MOVSD, INSN_SSE_MOV, 0},
    {ZYDIS_MNEMONIC_MOVAPS, INSN_SSE_MOV, 0},
    {ZYDIS_MNEMONIC_MOVAPD, INSN_SSE_MOV, 0},
    {ZYDIS_MNEMONIC_MOVNTPS, INSN_SSE_MOV, 0},
    {ZYDIS_MNEMONIC_MOVNTPD, INSN_SSE_MOV, 0},
    {ZYDIS_MNEMONIC_MOVD, INSN_SSE_MOV, 0},
    {ZYDIS_MNEMONIC_MOVQ, INSN_SSE_MOV, 0},
    {ZYDIS_MNEMONIC_MOVDQA, INSN_SSE_MOV, 0},
    {ZYDIS_MNEMONIC_MOVDQU, INSN_SSE_MOV, 0},
    {ZYDIS_MNEMONIC_MOVNTDQ, INSN_SSE_MOV, 0},
    {ZYDIS_MNEMONIC_LDDQU, INSN_SSE_MOV, 0},
    {ZYDIS_MNEMONIC_MOVLPS, INSN_SSE_LOW, 0},
    {ZYDIS_MNEMONIC_MOVLPD, INSN_SSE_LOW, 0},
    {ZYDIS_MNEMONIC_MOVHPS, INSN_SSE_HIGH, 0},
    {ZYDIS_MNEMONIC_MOVHPD, INSN_SSE_HIGH, 0},
    {ZYDIS_MNEMONIC_CLFLUSH, INSN_CLFLUSH, 0},
    {ZYDIS_MNEMONIC_CLFLUSHOPT, INSN_CLFLUSH, 0},
};

/* What Zydis makes of the bytes. */
struct oracle {
    bool valid;
    ZydisDecodedInstruction insn;
    ZydisDecodedOperand operand[ZYDIS_MAX_OPERAND_COUNT];
};

static const enum cpu_mode modes[] = {CPU_MODE_16, CPU_MODE_32, CPU_MODE_64};
static ZydisDecoder zydis[ARRAY_SIZE(modes)];

static int set_up(void **state)
{
    (void)state;
    ZydisDecoderInit(&zydis[0], ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
    ZydisDecoderInit(&zydis[1], ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
    ZydisDecoderInit(&zydis[2], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    return 0;
}

static bool op_matches(const struct insn *in, const struct oracle *z)
{
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        if (known[i].mnemonic == z->insn.mnemonic && known[i].op == in->op &&
            ((in->op != INSN_SETCC && in->op != INSN_CMOVCC) || known[i].cond == in->cond))
            return true;
    return false;
}

static ZydisRegister gpr_name(unsigned reg, bool high8, unsigned size)
{
    /* Zydis numbers byte registers AL CL DL BL AH CH DH BH SPL BPL SIL DIL R8B... */
    if (size == 1)
        return ZYDIS_REGISTER_AL + reg + (high8 || reg >= 4 ? 4 : 0);
    ZydisRegister first = size == 2 ? ZYDIS_REGISTER_AX : size == 4 ? ZYDIS_REGISTER_EAX : ZYDIS_REGISTER_RAX;
    return first + reg;
}

static const ZydisRegister segment_names[] = {ZYDIS_REGISTER_ES, ZYDIS_REGISTER_CS, ZYDIS_REGISTER_SS,
                                              ZYDIS_REGISTER_DS, ZYDIS_REGISTER_FS, ZYDIS_REGISTER_GS};

#define CHECK(condition)       \
    do {                       \
        if (!(condition))      \
            return #condition; \
    } while (0)

/* notrack: Zydis knows CET, where 3E before CALL and JMP is no segment override any more. No guest has it. */
static const char *compare_mem(const struct insn *in, const ZydisDecodedOperand *o, unsigned seg,
                               bool notrack)
{
    const struct insn_mem *m = &in->mem;
    bool index_only_row = in->addr_size == 2 && m->index != INSN_NO_REG;

    if (!notrack)
        CHECK(o->mem.segment == segment_names[seg]);
    if (m->rip_relative)
        CHECK(o->mem.base == (in->addr_size == 8 ? ZYDIS_REGISTER_RIP : ZYDIS_REGISTER_EIP));
    else if (m->base == INSN_NO_REG)
        CHECK(o->mem.base == ZYDIS_REGISTER_NONE);
    else
        CHECK(o->mem.base == gpr_name(m->base, false, in->addr_size));
    if (m->index == INSN_NO_REG)
        CHECK(o->mem.index == ZYDIS_REGISTER_NONE);
    else
        CHECK(o->mem.index == gpr_name(m->index, false, in->addr_size));
    if (m->index != INSN_NO_REG && !index_only_row)
        CHECK(o->mem.scale == 1u << m->scale);
    u64 mask = ~0ull >> (64 - 8 * in->addr_size);
    CHECK(((u64)o->mem.disp.value & mask) == (m->disp & mask));
    return NULL;
}

/*
 * Zydis 4.0 shows R13D as the base when a SIB says "no base" (mod 0, base 5) and REX.B and an address size
 * prefix are present; its length is right. SDM Vol. 2A table 2-5: REX.B is not decoded there (objdump
 * agrees).
 */
static bool is_zydis_r13d_defect(const struct oracle *z)
{
    const ZydisDecodedInstructionRaw *raw = &z->insn.raw;
    return z->insn.machine_mode == ZYDIS_MACHINE_MODE_LONG_64 && z->insn.address_width == 32 && raw->rex.B &&
           raw->modrm.mod == 0 && raw->modrm.rm == 4 && raw->sib.base == 5;
}

static bool is_visible(const ZydisDecodedOperand *o)
{
    return o->visibility != ZYDIS_OPERAND_VISIBILITY_HIDDEN;
}

/* The immediates: counts and bit numbers are bytes, the others of the operand's size. */
static const char *compare_immediates(const struct insn *in, const struct oracle *z)
{
    const ZydisDecodedOperand *imm[2] = {NULL, NULL};
    unsigned imms = 0;

    for (unsigned i = 0; i < z->insn.operand_count; i++)
        if (z->operand[i].type == ZYDIS_OPERAND_TYPE_IMMEDIATE && imms < 2)
            imm[imms++] = &z->operand[i];
    if (in->op == INSN_ENTER) {
        CHECK(imms == 2 && imm[0]->imm.value.u == (u16)in->imm && imm[1]->imm.value.u == in->imm >> 16);
    } else if (in->op == INSN_RET || in->op == INSN_RET_FAR) {
        CHECK(in->imm == (imms ? imm[0]->imm.value.u & 0xffff : 0));
    } else if (in->src == INSN_OPERAND_IMM || in->op == INSN_IMUL3 || imms) {
        bool is_count = (in->op >= INSN_ROL && in->op <= INSN_SAR) ||
                        (in->op >= INSN_BT && in->op <= INSN_BTC) || in->op == INSN_SHLD ||
                        in->op == INSN_SHRD;
        u64 mask = is_count ? 0xff : ~0ull >> (64 - 8 * in->op_size);
        CHECK(imms == 1 && !in->imm_cl && (imm[0]->imm.value.u & mask) == (in->imm & mask));
    }
    return NULL;
}

/* The register operand: general, segment, XMM or MMX. */
static const char *compare_register(const struct insn *in, const struct oracle *z)
{
    bool implied = insn_op_is_string(in->op);
    const ZydisDecodedOperand *reg = NULL;
    bool cl = false;

    for (unsigned i = 0; i < z->insn.operand_count; i++) {
        const ZydisDecodedOperand *o = &z->operand[i];
        if (o->type != ZYDIS_OPERAND_TYPE_REGISTER || !is_visible(o))
            continue;
        cl |= o->reg.value == ZYDIS_REGISTER_CL && reg;
        reg = reg ? reg : o;
    }
    if (!implied && (in->dst == INSN_OPERAND_REG || in->src == INSN_OPERAND_REG) && in->op != INSN_XLAT)
        CHECK(reg && reg->reg.value == gpr_name(in->reg, in->high8, in->op_size));
    if (in->dst == INSN_OPERAND_SEG || in->src == INSN_OPERAND_SEG)
        CHECK(reg && reg->reg.value == segment_names[in->reg]);
    if (in->dst == INSN_OPERAND_XMM || in->src == INSN_OPERAND_XMM)
        CHECK(reg &&
              reg->reg.value == (in->op == INSN_MMX_MOV ? ZYDIS_REGISTER_MM0 + (ZydisRegister)(in->reg & 7)
                                                        : ZYDIS_REGISTER_XMM0 + (ZydisRegister)in->reg));
    if (in->src == INSN_OPERAND_CL)
        CHECK(reg && reg->reg.value == ZYDIS_REGISTER_CL);
    CHECK(in->imm_cl == cl);
    return NULL;
}

/* NULL, or what differs. */
static const char *compare_operands(const struct insn *in, const struct oracle *z)
{
    const ZydisDecodedOperand *mem[3] = {NULL, NULL, NULL};
    unsigned mems = 0;
    bool is_string = insn_op_is_string(in->op), two = in->op == INSN_MOVS || in->op == INSN_CMPS;
    const char *difference;

    for (unsigned i = 0; i < z->insn.operand_count; i++) {
        const ZydisDecodedOperand *o = &z->operand[i];
        if ((is_visible(o) || is_string || in->op == INSN_XLAT) && o->type == ZYDIS_OPERAND_TYPE_MEMORY &&
            mems < 2)
            mem[mems++] = o;
    }
    if (in->mem_size) {
        const ZydisDecodedOperand *source = in->op == INSN_CMPS ? mem[0] : mem[1];
        CHECK(mems == (two ? 2 : 1));
        const ZydisDecodedOperand *m = in->op == INSN_CMPS ? mem[1] : mem[0];
        unsigned explicit_size = in->op == INSN_CLFLUSH ? m->size / 8 : in->mem_size;
        CHECK(m->size == 8 * explicit_size);
        difference = in->op == INSN_XLAT
                         ? NULL
                         : compare_mem(in, m, in->mem.seg, z->insn.attributes & ZYDIS_ATTRIB_HAS_NOTRACK);
        if (difference)
            return difference;
        if (two)
            CHECK(source->mem.segment == segment_names[in->src_seg]);
    } else {
        CHECK(mems == 0);
    }
    difference = compare_register(in, z);
    if (!difference)
        difference = compare_immediates(in, z);
    if (difference)
        return difference;
    if (insn_op_is_stack(in->op) || in->op == INSN_JMP || in->op == INSN_JMP_FAR)
        CHECK(in->op_size * 8 == z->insn.operand_width);
    CHECK(in->addr_size * 8 == z->insn.address_width);
    CHECK(in->lock == !!(z->insn.attributes & ZYDIS_ATTRIB_HAS_LOCK) || in->op == INSN_XCHG);
    CHECK(!is_string || (in->rep == INSN_REP_REP) ==
                            !!(z->insn.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE)));
    return NULL;
}

/* The address that Zydis computes from random registers, with segment bases of 0. */
static const char *compare_address(struct gen *g, const struct insn *in, const struct oracle *z)
{
    u64 gpr[16];
    ZydisRegisterContext context;
    struct emulate_state st = {.gpr = gpr, .rip = gen_u64(g), .stack_size = in->mode / 8};

    if (in->mode != CPU_MODE_64)
        st.rip = (u32)st.rip & 0xffff;
    memset(&context, 0, sizeof context);
    for (unsigned i = 0; i < 16; i++) {
        gpr[i] = gen_u64(g);
        context.values[ZYDIS_REGISTER_RAX + i] = gpr[i];
        context.values[ZYDIS_REGISTER_EAX + i] = (u32)gpr[i];
        context.values[ZYDIS_REGISTER_AX + i] = (uint16_t)gpr[i];
    }
    context.values[ZYDIS_REGISTER_RIP] = st.rip + in->length;
    context.values[ZYDIS_REGISTER_EIP] = (u32)(st.rip + in->length);
    for (unsigned i = 0; i < z->insn.operand_count; i++) {
        const ZydisDecodedOperand *o = &z->operand[i];
        ZyanU64 want;
        if (o->type != ZYDIS_OPERAND_TYPE_MEMORY || (in->op == INSN_CMPS && i == 0))
            continue;
        if (!ZYAN_SUCCESS(ZydisCalcAbsoluteAddressEx(&z->insn, o, st.rip, &context, &want)))
            return "Zydis computes no address";
        if (in->addr_size < 8)
            want &= in->addr_size == 4 ? 0xffffffffull : 0xffffull;
        struct insn plain = *in;
        plain.mem.bit_offset = false;
        CHECK(insn_effective_address(&plain, &st).v == want);
        break;
    }
    return NULL;
}

/* Is it one that we have to know? Everything in the list, but what the header rules out. */
static bool should_know(const struct oracle *z, enum cpu_mode mode)
{
    bool listed = false, explicit_mem = false, other = false;

    if (!z->valid || z->insn.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        listed |= known[i].mnemonic == z->insn.mnemonic;
    for (unsigned i = 0; i < z->insn.operand_count; i++) {
        const ZydisDecodedOperand *o = &z->operand[i];
        if (o->type == ZYDIS_OPERAND_TYPE_MEMORY && o->visibility != ZYDIS_OPERAND_VISIBILITY_HIDDEN)
            explicit_mem = true;
        if (o->type == ZYDIS_OPERAND_TYPE_REGISTER && o->visibility != ZYDIS_OPERAND_VISIBILITY_HIDDEN) {
            ZydisRegisterClass c = ZydisRegisterGetClass(o->reg.value);
            other |= c == ZYDIS_REGCLASS_CONTROL || c == ZYDIS_REGCLASS_DEBUG || c == ZYDIS_REGCLASS_TEST;
        }
    }
    if (!listed || other)
        return false;
    bool near = z->insn.meta.branch_type != ZYDIS_BRANCH_TYPE_FAR;
    switch (z->insn.mnemonic) {
    case ZYDIS_MNEMONIC_CALL:
    case ZYDIS_MNEMONIC_JMP:
    case ZYDIS_MNEMONIC_RET:
        if (near && mode == CPU_MODE_64 && z->insn.attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE)
            return false;
        return explicit_mem || z->insn.mnemonic == ZYDIS_MNEMONIC_RET ||
               (z->insn.mnemonic == ZYDIS_MNEMONIC_CALL && near);
    case ZYDIS_MNEMONIC_PUSH:
    case ZYDIS_MNEMONIC_PUSHF:
    case ZYDIS_MNEMONIC_PUSHFD:
    case ZYDIS_MNEMONIC_PUSHFQ:
    case ZYDIS_MNEMONIC_POPF:
    case ZYDIS_MNEMONIC_POPFD:
    case ZYDIS_MNEMONIC_POPFQ:
    case ZYDIS_MNEMONIC_PUSHA:
    case ZYDIS_MNEMONIC_PUSHAD:
    case ZYDIS_MNEMONIC_POPA:
    case ZYDIS_MNEMONIC_POPAD:
    case ZYDIS_MNEMONIC_ENTER:
    case ZYDIS_MNEMONIC_LEAVE:
    case ZYDIS_MNEMONIC_XLAT: return true;
    case ZYDIS_MNEMONIC_POP: return z->insn.opcode != 0x8f || explicit_mem;
    case ZYDIS_MNEMONIC_MOVSXD: return explicit_mem && z->operand[0].size != 16;
    default: break;
    }
    return explicit_mem && z->insn.opcode != 0x82; /* 82: another name of 80, in 32-bit code only */
}

static bool same_insn(const struct insn *a, const struct insn *b)
{
    return a->length == b->length && a->mode == b->mode && a->op == b->op && a->op_size == b->op_size &&
           a->mem_size == b->mem_size && a->addr_size == b->addr_size && a->dst == b->dst &&
           a->src == b->src && a->reg == b->reg && a->cond == b->cond && a->src_seg == b->src_seg &&
           a->rep == b->rep && a->high8 == b->high8 && a->lock == b->lock && a->aligned == b->aligned &&
           a->imm == b->imm && a->mem.base == b->mem.base && a->mem.index == b->mem.index &&
           a->mem.scale == b->mem.scale && a->mem.seg == b->mem.seg &&
           a->mem.rip_relative == b->mem.rip_relative && a->mem.bit_offset == b->mem.bit_offset &&
           a->mem.disp == b->mem.disp && a->rsp == b->rsp && a->segments == b->segments &&
           a->imm_cl == b->imm_cl;
}

static void run(struct gen *g, bool structured, u64 steps)
{
    u64 accepted = 0, valid = 0, differences = 0;

    for (u64 step = 0; step < steps; step++) {
        unsigned m = gen_below(g, 4) < 2 ? 2 : gen_below(g, 2);
        u8 bytes[INSN_MAX_LENGTH];
        struct oracle z;
        struct insn in;
        const char *difference = NULL;

        gen_insn(g, modes[m], structured, bytes);
        z.valid = ZYAN_SUCCESS(ZydisDecoderDecodeFull(&zydis[m], bytes, sizeof bytes, &z.insn, z.operand));
        enum err e = decode_insn(bytes, sizeof bytes, modes[m], &in);
        if (e == ERR_OK && z.valid && in.mem_size && is_zydis_r13d_defect(&z)) {
            difference = in.length == z.insn.length && in.mem.base == INSN_NO_REG ? NULL : "SIB without base";
        } else if (e == ERR_OK) {
            difference = !z.valid                     ? "accepted, Zydis calls it invalid"
                         : in.length != z.insn.length ? "length"
                         : !op_matches(&in, &z)       ? "operation"
                                                      : compare_operands(&in, &z);
            if (!difference && in.mem_size && in.op != INSN_XLAT) /* Zydis leaves AL out */
                difference = compare_address(g, &in, &z);
            struct insn scratch;
            for (unsigned n = 0; !difference && n < in.length; n++)
                if (decode_insn(bytes, n, modes[m], &scratch) != ERR_TRUNCATED)
                    difference = "part of an instruction does not ask for more";
            if (!difference && decode_insn(bytes, in.length, modes[m], &scratch) != ERR_OK)
                difference = "bytes after the instruction were needed";
            if (!difference && !same_insn(&in, &scratch))
                difference = "bytes after the instruction mattered";
            accepted++;
        } else if (should_know(&z, modes[m])) {
            difference = "not accepted";
        }
        valid += z.valid;
        if (difference) {
            char hex[3 * INSN_MAX_LENGTH + 1], text[128] = "invalid";
            ZydisFormatter f;
            ZydisFormatterInit(&f, ZYDIS_FORMATTER_STYLE_INTEL);
            if (z.valid)
                ZydisFormatterFormatInstruction(&f, &z.insn, z.operand, z.insn.operand_count_visible, text,
                                                sizeof text, 0, NULL);
            print_error("%d-bit code %s: %s (Zydis: %s, length %u; ours: %s, length %u, op %u) PB_SEED=%llu "
                        "step %llu\n",
                        modes[m], gen_hex(bytes, INSN_MAX_LENGTH, hex), difference, text,
                        z.valid ? z.insn.length : 0, err_text(e), in.length, in.op,
                        (unsigned long long)g->seed, (unsigned long long)step);
            if (++differences == 10)
                break;
        }
    }
    print_message("    %llu encodings, %llu valid, %llu of ours\n", (unsigned long long)steps,
                  (unsigned long long)valid, (unsigned long long)accepted);
    assert_int_equal(differences, 0);
}

static void structured_encodings_agree_with_zydis(void **state)
{
    (void)state;
    struct gen g = gen_start(200000);
    run(&g, true, g.steps);
}

static void random_bytes_agree_with_zydis(void **state)
{
    (void)state;
    struct gen g = gen_start(100000);
    run(&g, false, g.steps);
}

/* A byte string of a given length that never becomes an instruction. */
static void fifteen_prefixes_are_unknown_and_fewer_ask_for_more(void **state)
{
    (void)state;
    u8 bytes[INSN_MAX_LENGTH + 1];
    struct insn in;

    memset(bytes, 0x66, sizeof bytes);
    for (unsigned n = 0; n < INSN_MAX_LENGTH; n++)
        assert_int_equal(decode_insn(bytes, n, CPU_MODE_64, &in), ERR_TRUNCATED);
    assert_int_equal(decode_insn(bytes, INSN_MAX_LENGTH, CPU_MODE_64, &in), ERR_UNSUPPORTED);
    assert_int_equal(decode_insn(bytes, sizeof bytes, CPU_MODE_64, &in), ERR_UNSUPPORTED);
}

/* What the cache gives is what the decoder says now, whatever it has seen before; slots are shared by many. */
static void cached_instructions_are_decoded_ones(void **state)
{
    (void)state;
    struct gen g = gen_start(200000);
    struct decode_cache *cache = calloc(1, sizeof *cache);
    u8 recent[64][DECODE_WINDOW] = {{0}};
    u64 agreed = 0;

    for (u64 step = 0; step < g.steps; step++) {
        enum cpu_mode mode = modes[gen_below(&g, 3)];
        u8 *bytes = recent[gen_below(&g, 64)];
        size_t n = gen_chance(&g, 80) ? DECODE_WINDOW : gen_below(&g, DECODE_WINDOW);
        const struct insn *have;
        struct insn want;
        u64 window[2];

        if (gen_chance(&g, 20))
            gen_insn(&g, mode, true, bytes);
        else if (gen_chance(&g, 20))
            bytes[gen_below(&g, DECODE_WINDOW)] ^= 1u << gen_below(&g, 8);
        memcpy(window, bytes, sizeof window);
        enum err e = decode_insn(bytes, n, mode, &want);
        if (decode_cached(cache, gen_below(&g, 32), window, n, mode, &have) != e ||
            (e == ERR_OK && !same_insn(&want, have)))
            fail_msg("PB_SEED=%llu step %llu", (unsigned long long)g.seed, (unsigned long long)step);
        agreed += e == ERR_OK;
    }
    assert_true(agreed > g.steps / 10);
    free(cache);
}

struct rsp_case {
    const char *name;
    u8 bytes[8];
    u8 n;
    bool rsp;
    u32 segments;
};

static void says_whether_rsp_and_segment_bases_are_needed(void **state)
{
    (void)state;
    static const struct rsp_case cases[] = {
        {"mov %rax,(%rdi)", {0x48, 0x89, 0x07}, 3, false, 0},
        {"mov %rsp,(%rdi)", {0x48, 0x89, 0x27}, 3, true, 0},
        {"mov %ah,(%rdi)", {0x88, 0x27}, 2, false, 0},
        {"mov %rax,(%rsp)", {0x48, 0x89, 0x04, 0x24}, 4, true, 0},
        {"mov %rax,%gs:(%rdi)", {0x65, 0x48, 0x89, 0x07}, 4, false, BIT(INSN_SEG_GS)},
        {"push %rax", {0x50}, 1, true, 0},
        {"movaps %xmm4,(%rdi)", {0x0f, 0x29, 0x27}, 3, false, 0},
        {"fs movsq", {0x64, 0x48, 0xa5}, 3, false, BIT(INSN_SEG_FS)},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct insn in;
        assert_int_equal(decode_insn(cases[i].bytes, cases[i].n, CPU_MODE_64, &in), ERR_OK);
        if (insn_uses_rsp(&in) != cases[i].rsp || insn_segments(&in) != cases[i].segments)
            fail_msg("%s", cases[i].name);
    }
    struct insn in;
    assert_int_equal(decode_insn((const u8[]){0x26, 0xa5}, 2, CPU_MODE_32, &in), ERR_OK);
    assert_int_equal(insn_segments(&in), BIT(INSN_SEG_ES));
    assert_int_equal(decode_insn((const u8[]){0xff, 0x30}, 2, CPU_MODE_32, &in), ERR_OK);
    assert_int_equal(insn_segments(&in), BIT(INSN_SEG_SS) | BIT(INSN_SEG_DS));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(structured_encodings_agree_with_zydis),
        cmocka_unit_test(random_bytes_agree_with_zydis),
        cmocka_unit_test(fifteen_prefixes_are_unknown_and_fewer_ask_for_more),
        cmocka_unit_test(cached_instructions_are_decoded_ones),
        cmocka_unit_test(says_whether_rsp_and_segment_bases_are_needed),
    };
    return cmocka_run_group_tests_name("decode", tests, set_up, NULL);
}
