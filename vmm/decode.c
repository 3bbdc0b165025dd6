/*
 * decode.c - see decode.h. The opcode tables come from decode.def; the code here reads bytes in the order in
 * which hardware does (SDM Vol. 2 chapter 2) and fills in the operands of the forms without a ModRM byte.
 */
#include "vmm/decode.h"

#include "vmm/decode_fetch.h"

/* Instructions that accept LOCK, if their destination is memory (SDM Vol. 2A, LOCK). */
static const u64 lockable = BIT(INSN_ADD) | BIT(INSN_OR) | BIT(INSN_ADC) | BIT(INSN_SBB) | BIT(INSN_AND) |
                            BIT(INSN_SUB) | BIT(INSN_XOR) | BIT(INSN_NOT) | BIT(INSN_NEG) | BIT(INSN_INC) |
                            BIT(INSN_DEC) | BIT(INSN_BTS) | BIT(INSN_BTR) | BIT(INSN_BTC) | BIT(INSN_XCHG) |
                            BIT(INSN_XADD) | BIT(INSN_CMPXCHG) | BIT(INSN_CMPXCHG8B);

static void note_prefix(struct decoder *d, u8 form)
{
    switch (form) {
    case FORM_OPERAND_SIZE: d->operand_size = true; break;
    case FORM_ADDRESS_SIZE: d->address_size = true; break;
    case FORM_LOCK: d->lock = true; break;
    case FORM_REPNE: d->rep = INSN_REP_REPNE; break;
    case FORM_REP: d->rep = INSN_REP_REP; break;
    default:
        /* SDM Vol. 1 section 3.3.7.1: 64-bit code ignores the other four overrides. */
        if (d->mode != CPU_MODE_64 || form >= FORM_SEG_FS)
            d->seg = form - FORM_SEG_ES + INSN_SEG_ES;
        break;
    }
}

/* Reads prefixes and opcode bytes. A REX counts only directly before the opcode (SDM Vol. 2A section 2.2.1).
 */
static enum err fetch_opcode(struct decoder *d, struct opcode *out)
{
    for (;;) {
        if (!decode_fetch_byte(d, &d->opcode))
            return d->exhausted;
        *out = decode_map_one[d->opcode];
        if (out->form > FORM_LAST_PREFIX)
            break;
        if (out->form == FORM_UNKNOWN)
            return ERR_UNSUPPORTED;
        d->rex_present = out->form == FORM_REX;
        d->rex = d->rex_present ? d->opcode : 0;
        if (!d->rex_present)
            note_prefix(d, out->form);
        else if (d->mode != CPU_MODE_64)
            return ERR_UNSUPPORTED;
    }
    if (out->form == FORM_ESCAPE) {
        if (!decode_fetch_byte(d, &d->opcode))
            return d->exhausted;
        *out = decode_map_two[d->opcode];
    }
    return out->form == FORM_UNKNOWN ? ERR_UNSUPPORTED : ERR_OK;
}

/* STOS, MOVS, LODS, CMPS, SCAS: implied registers, SDM Vol. 1 section 7.3.9. */
static enum err fill_string(const struct decoder *d, struct insn *in)
{
    u8 source_seg = d->seg != SEG_NONE ? d->seg : INSN_SEG_DS;

    in->mem = (struct insn_mem){.base = REG_DI, .index = INSN_NO_REG, .seg = INSN_SEG_ES};
    in->dst = INSN_OPERAND_MEM;
    in->src = INSN_OPERAND_REG;
    in->mem_size = in->op_size;
    if (in->op == INSN_MOVS || in->op == INSN_CMPS) {
        in->src = INSN_OPERAND_MEM;
        in->src_seg = source_seg;
    } else {
        if (in->op == INSN_LODS) {
            in->mem.base = REG_SI;
            in->mem.seg = source_seg;
        }
        if (in->op != INSN_STOS) {
            in->dst = INSN_OPERAND_REG;
            in->src = INSN_OPERAND_MEM;
        }
    }
    return ERR_OK;
}

static enum err fill_moffs(struct decoder *d, u8 form, struct insn *in)
{
    in->mem = (struct insn_mem){.base = INSN_NO_REG, .index = INSN_NO_REG, .seg = INSN_SEG_DS};
    if (d->seg != SEG_NONE)
        in->mem.seg = d->seg;
    in->mem_size = in->op_size;
    in->dst = form == FORM_MOFFS_LOAD ? INSN_OPERAND_REG : INSN_OPERAND_MEM;
    in->src = form == FORM_MOFFS_LOAD ? INSN_OPERAND_MEM : INSN_OPERAND_REG;
    return decode_fetch_signed(d, in->addr_size, &in->mem.disp) ? ERR_OK : d->exhausted;
}

/* A table of bytes at rBX, indexed by AL. */
static enum err fill_xlat(const struct decoder *d, struct insn *in)
{
    in->op_size = in->mem_size = 1;
    in->mem = (struct insn_mem){.base = REG_BX, .index = INSN_NO_REG, .seg = INSN_SEG_DS};
    if (d->seg != SEG_NONE)
        in->mem.seg = d->seg;
    in->dst = INSN_OPERAND_REG;
    in->src = INSN_OPERAND_MEM;
    return ERR_OK;
}

/* The register that the opcode names: source of PUSH, destination of POP. */
static enum err fill_opcode_reg(const struct decoder *d, u8 form, struct insn *in)
{
    u8 operand = form == FORM_SEG ? INSN_OPERAND_SEG : INSN_OPERAND_REG;

    if (form == FORM_SEG)
        in->reg = (d->opcode >> REG_SHIFT) & FIELD_MASK;
    else
        in->reg = (d->opcode & FIELD_MASK) | (d->rex & REX_B ? EXTENDED : 0);
    if (form == FORM_SEG && d->mode == CPU_MODE_64 && in->reg < INSN_SEG_FS)
        return ERR_UNSUPPORTED;
    if (in->op == INSN_PUSH)
        in->src = operand;
    else
        in->dst = operand;
    return ERR_OK;
}

/* MOVBE m, r and r, m: 0F 38 F0 and F1; with F2 they are CRC32. */
static enum err decode_movbe(struct decoder *d, struct insn *in)
{
    enum { MOVBE_LOAD = 0xF0, MOVBE_STORE = 0xF1 };

    if (!decode_fetch_byte(d, &d->opcode))
        return d->exhausted;
    if ((d->opcode != MOVBE_LOAD && d->opcode != MOVBE_STORE) || d->rep == INSN_REP_REP)
        return ERR_UNSUPPORTED;
    struct opcode oc = {INSN_MOVBE, d->opcode == MOVBE_LOAD ? FORM_RM : FORM_MR};
    if (d->rep == INSN_REP_REPNE)
        oc = (struct opcode){INSN_CRC32, FORM_CRC32};
    return decode_modrm(d, oc, in);
}

/* RET imm16, ENTER imm16, imm8. */
static enum err fill_imm16(struct decoder *d, u8 form, struct insn *in)
{
    u64 bytes, level = 0;

    if (!decode_fetch_signed(d, 2, &bytes) || (form == FORM_ENTER && !decode_fetch_signed(d, 1, &level)))
        return d->exhausted;
    in->imm = (u16)bytes | (u64)(u8)level << 16;
    return ERR_OK;
}

/* The forms without a ModRM byte. */
static enum err decode_implied(struct decoder *d, struct opcode oc, struct insn *in)
{
    u8 form = oc.form & FORM_MASK;

    if (form == FORM_MOVBE)
        return decode_movbe(d, in);
    in->op = oc.op;
    in->op_size = decode_operand_size(d, oc, in->op);
    if ((in->op == INSN_RET || in->op == INSN_CALL) && !decode_near_ok(d))
        return ERR_UNSUPPORTED;
    switch (form) {
    case FORM_REG:
    case FORM_SEG: return fill_opcode_reg(d, form, in);
    case FORM_PUSH_IMM8: return decode_fetch_imm(d, in, 1) ? ERR_OK : d->exhausted;
    case FORM_IMPLIED_32: return d->mode == CPU_MODE_64 ? ERR_UNSUPPORTED : ERR_OK;
    case FORM_IMPLIED: return ERR_OK;
    case FORM_IMM16:
    case FORM_ENTER: return fill_imm16(d, form, in);
    case FORM_PUSH_IMM:
    case FORM_CALL: return decode_fetch_imm(d, in, decode_imm_size(in)) ? ERR_OK : d->exhausted;
    case FORM_XLAT: return fill_xlat(d, in);
    case FORM_MOFFS_LOAD:
    case FORM_MOFFS_STORE: return fill_moffs(d, form, in);
    case FORM_STRING: return fill_string(d, in);
    default: return ERR_UNSUPPORTED;
    }
}

/* See enum insn_quick. */
static enum insn_quick quick_kind(const struct insn *in)
{
    bool load = in->dst == INSN_OPERAND_REG, eight = in->mem_size == 8;
    u8 other = load ? in->src : in->dst;

    if (in->mode != CPU_MODE_64 || in->addr_size != 8 || in->mem.base == INSN_NO_REG ||
        in->mem.seg >= INSN_SEG_FS || in->mem.bit_offset || other != INSN_OPERAND_MEM ||
        (!eight && in->mem_size != 4) || in->op_size != in->mem_size)
        return INSN_NOT_QUICK;
    if (in->op == INSN_MOV)
        return load ? INSN_QUICK_LOAD : INSN_QUICK_STORE;
    if (load || !eight)
        return INSN_NOT_QUICK;
    switch (in->op) {
    case INSN_XCHG: return INSN_QUICK_XCHG;
    case INSN_CMPXCHG: return INSN_QUICK_CMPXCHG;
    case INSN_AND:
    case INSN_OR:
    case INSN_XOR: return INSN_QUICK_LOGIC;
    case INSN_BTS:
    case INSN_BTR:
    case INSN_BTC: return INSN_QUICK_BIT;
    default: return INSN_NOT_QUICK;
    }
}

/* What emulation needs to load: see insn_uses_rsp() and insn_segments(). */
static void note_needs(struct insn *in)
{
    bool stack = insn_op_is_stack(in->op);
    bool has_reg = in->dst == INSN_OPERAND_REG || in->src == INSN_OPERAND_REG;
    u32 mask = (in->mem_size ? BIT(in->mem.seg) : 0) | (stack ? BIT(INSN_SEG_SS) : 0);

    in->rsp = stack || in->mem.base == REG_SP || (has_reg && in->reg == REG_SP && !in->high8);
    if (in->op == INSN_MOVS || in->op == INSN_CMPS)
        mask |= BIT(in->src_seg);
    in->segments = (u8)(in->mode == CPU_MODE_64 ? mask & (BIT(INSN_SEG_FS) | BIT(INSN_SEG_GS)) : mask);
}

enum err decode_insn(const u8 *bytes, size_t n, enum cpu_mode mode, struct insn *out)
{
    struct decoder d = {
        .bytes = bytes,
        .limit = MIN(n, INSN_MAX_LENGTH),
        .exhausted = n < INSN_MAX_LENGTH ? ERR_TRUNCATED : ERR_UNSUPPORTED,
        .mode = mode,
        .seg = SEG_NONE,
    };
    struct opcode oc;
    enum err e = fetch_opcode(&d, &oc);
    if (e != ERR_OK)
        return e;

    *out = (struct insn){.mode = mode, .lock = d.lock, .rep = d.rep};
    out->addr_size = mode == CPU_MODE_64                       ? (d.address_size ? 4 : 8)
                     : (mode == CPU_MODE_16) != d.address_size ? 2
                                                               : 4;
    e = (oc.form & FORM_MASK) >= FORM_FIRST_MODRM ? decode_modrm(&d, oc, out) : decode_implied(&d, oc, out);
    if (e != ERR_OK)
        return e;
    if (d.lock && (out->op > INSN_CMPXCHG8B || !(BIT(out->op) & lockable) || out->dst != INSN_OPERAND_MEM))
        return ERR_UNSUPPORTED;
    out->length = d.at;
    note_needs(out);
    out->quick = quick_kind(out);
    return ERR_OK;
}
