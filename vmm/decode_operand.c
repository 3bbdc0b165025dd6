/*
 * decode_operand.c - inside the decoder: operand sizes, and the operands of the forms with a ModRM byte.
 */
#include "vmm/decode_fetch.h"

/* SDM Vol. 1 section 3.6: byte opcodes, REX.W, stack instructions of 64-bit code, then mode and prefix. */
unsigned decode_operand_size(const struct decoder *d, struct opcode oc, u8 op)
{
    bool eight = (insn_op_is_stack(op) && op < INSN_CALL_FAR) || op == INSN_JMP;

    if ((oc.form & FORM_W) && !(d->opcode & 1))
        return 1;
    if (d->rex & REX_W)
        return 8;
    if (d->mode == CPU_MODE_64 && eight)
        return d->operand_size ? 2 : 8;
    return (d->mode == CPU_MODE_16) != d->operand_size ? 2 : 4;
}

static void set_reg(const struct decoder *d, struct insn *in, unsigned reg)
{
    in->reg = reg;
    in->high8 = in->op_size == 1 && !d->rex_present && reg >= HIGH8_FIRST;
    if (in->high8)
        in->reg -= HIGH8_FIRST;
}

bool decode_fetch_imm(struct decoder *d, struct insn *in, unsigned size)
{
    in->src = INSN_OPERAND_IMM;
    return decode_fetch_signed(d, size, &in->imm);
}

/* SSE moves: the mandatory prefix selects the row; F2 and F3 come before 66. */
static bool find_sse(const struct decoder *d, struct insn *in)
{
    u8 prefix = d->rep == INSN_REP_REP     ? SSE_PREFIX_F3
                : d->rep == INSN_REP_REPNE ? SSE_PREFIX_F2
                : d->operand_size          ? SSE_PREFIX_66
                                           : SSE_PREFIX_NONE;
    const struct sse_row *row = decode_map_find_sse(d->opcode, prefix);

    if (!row)
        return false;
    in->op = row->op;
    in->op_size = 16;
    in->mem_size = row->size ? row->size : d->rex & REX_W ? 8 : 4;
    in->aligned = row->aligned;
    in->dst = row->direction == SSE_LOAD ? INSN_OPERAND_XMM : INSN_OPERAND_MEM;
    in->src = row->direction == SSE_LOAD ? INSN_OPERAND_MEM : INSN_OPERAND_XMM;
    return true;
}

/* SLDT, STR, LLDT, LTR, SMSW, SGDT, SIDT, LGDT, LIDT. */
static void fill_system(const struct decoder *d, u8 form, struct insn *in)
{
    bool loads = in->op == INSN_LLDT || in->op == INSN_LTR || in->op == INSN_LGDT || in->op == INSN_LIDT;

    if (form == FORM_M16)
        in->op_size = in->mem_size = 2;
    else
        in->mem_size = d->mode == CPU_MODE_64 ? 10 : 6;
    in->dst = loads ? INSN_OPERAND_NONE : INSN_OPERAND_MEM;
    in->src = loads ? INSN_OPERAND_MEM : INSN_OPERAND_NONE;
}

/* The forms that move segment registers. False: #UD. */
static bool fill_segment(const struct decoder *d, u8 form, unsigned field, struct insn *in)
{
    enum { LES = 0xC4, LDS = 0xC5 };

    if (form == FORM_FAR_LOAD) {
        bool one_byte = d->opcode == LES || d->opcode == LDS;
        in->src_seg = d->opcode == LES   ? INSN_SEG_ES
                      : d->opcode == LDS ? INSN_SEG_DS
                                         : d->opcode & FIELD_MASK;
        in->mem_size = in->op_size + 2;
        in->dst = INSN_OPERAND_REG;
        in->src = INSN_OPERAND_MEM;
        return !one_byte || d->mode != CPU_MODE_64;
    }
    in->op_size = in->mem_size = 2;
    in->reg = field;
    in->dst = in->op == INSN_MOV ? INSN_OPERAND_MEM : INSN_OPERAND_SEG;
    in->src = in->op == INSN_MOV ? INSN_OPERAND_SEG : INSN_OPERAND_MEM;
    return field < INSN_SEG_COUNT && (in->op == INSN_MOV || field != INSN_SEG_CS);
}

/* BSF, BSR, and with F3 TZCNT, LZCNT; POPCNT has it always. */
static bool fill_scan(const struct decoder *d, struct insn *in)
{
    bool f3 = d->rep == INSN_REP_REP;

    if (f3 && in->op != INSN_POPCNT)
        in->op += INSN_TZCNT - INSN_BSF;
    return f3 || in->op != INSN_POPCNT;
}

/* The forms that load a register from memory but for RM. False: #UD. */
static bool fill_load(struct decoder *d, u8 form, unsigned reg, struct insn *in)
{
    in->dst = INSN_OPERAND_REG;
    in->src = INSN_OPERAND_MEM;
    set_reg(d, in, reg);
    switch (form) {
    case FORM_EXTEND: in->mem_size = 1 + (d->opcode & 1); return true;
    case FORM_MOVSXD: in->mem_size = 4; return d->mode == CPU_MODE_64 && in->op_size != 2;
    case FORM_SCAN: return fill_scan(d, in);
    case FORM_CRC32:
        in->mem_size = d->opcode & 1 ? in->op_size : 1;
        in->op_size = d->rex & REX_W ? 8 : 4;
        return true;
    default: return true;
    }
}

/* The forms with a ModRM memory operand that are rarer than MR, RM and MI. False: not one of ours, or #UD. */
static bool fill_rare_form(struct decoder *d, u8 form, unsigned reg, struct insn *in)
{
    bool plain = !d->operand_size && d->rep == INSN_REP_NONE; /* no prefix that could be a mandatory one */

    in->dst = INSN_OPERAND_MEM;
    switch (form) {
    case FORM_M:
    case FORM_POP: return true;
    case FORM_M1:
        in->src = INSN_OPERAND_IMM;
        in->imm = 1;
        return true;
    case FORM_MCL: in->src = INSN_OPERAND_CL; return true;
    case FORM_MOVNTI:
        in->op_size = in->mem_size = d->rex & REX_W ? 8 : 4;
        in->src = INSN_OPERAND_REG;
        in->reg = reg;
        return plain;
    case FORM_SETCC: in->op_size = in->mem_size = 1; return true;
    case FORM_CMPXCHG8B:
        in->op_size = d->rex & REX_W ? 8 : 4;
        in->mem_size = 2 * in->op_size;
        in->aligned = in->mem_size == XMM_BYTES;
        return true;
    case FORM_CLFLUSH: in->op_size = in->mem_size = 1; return d->rep == INSN_REP_NONE;
    case FORM_FAR_M: in->mem_size = in->op_size + 2; break;
    case FORM_NEAR_RM:
        if (!decode_near_ok(d))
            return false;
        break;
    case FORM_PUSH_RM: break;
    case FORM_M16:
    case FORM_TABLE: fill_system(d, form, in); return true;
    case FORM_MOV_SEG: return fill_segment(d, form, reg & FIELD_MASK, in);
    case FORM_FAR_LOAD: in->reg = reg; return fill_segment(d, form, 0, in);
    case FORM_SSE: in->reg = reg; return find_sse(d, in);
    case FORM_EXTEND:
    case FORM_MOVSXD:
    case FORM_SCAN:
    case FORM_CRC32: return fill_load(d, form, reg, in);
    default: return false;
    }
    in->dst = INSN_OPERAND_NONE; /* PUSH, CALL, JMP */
    in->src = INSN_OPERAND_MEM;
    return true;
}

/* Operands of a form with ModRM; *imm_bytes: an immediate follows. False: not one of ours, or #UD. */
static bool fill_form(struct decoder *d, u8 form, unsigned reg, struct insn *in, unsigned *imm_bytes)
{
    switch (form) {
    case FORM_MRI8: *imm_bytes = 1;                 /* fall through */
    case FORM_MRCL: in->imm_cl = form == FORM_MRCL; /* fall through */
    case FORM_MR:
        in->dst = INSN_OPERAND_MEM;
        in->src = INSN_OPERAND_REG;
        set_reg(d, in, reg);
        return true;
    case FORM_RMI:
    case FORM_RMI8: *imm_bytes = form == FORM_RMI8 ? 1 : decode_imm_size(in); /* fall through */
    case FORM_RM:
        in->dst = INSN_OPERAND_REG;
        in->src = INSN_OPERAND_MEM;
        set_reg(d, in, reg);
        return true;
    case FORM_MI:
    case FORM_MI8:
        in->dst = INSN_OPERAND_MEM;
        in->src = INSN_OPERAND_IMM;
        *imm_bytes = form == FORM_MI8 ? 1 : decode_imm_size(in);
        return true;
    default: return fill_rare_form(d, form, reg, in);
    }
}

enum err decode_modrm(struct decoder *d, struct opcode oc, struct insn *in)
{
    u8 modrm;
    if (!decode_fetch_byte(d, &modrm))
        return d->exhausted;
    unsigned field = (modrm >> REG_SHIFT) & FIELD_MASK;
    unsigned reg = field | (d->rex & REX_R ? EXTENDED : 0);
    if ((oc.form & FORM_MASK) == FORM_GROUP)
        oc = decode_groups[oc.op][field];
    u8 form = oc.form & FORM_MASK;
    in->op = oc.op + (oc.form & FORM_BYREG ? field : 0);
    in->op_size = decode_operand_size(d, oc, in->op);
    in->mem_size = in->op_size;
    if (in->op == INSN_SETCC || in->op == INSN_CMOVCC)
        in->cond = d->opcode & CONDITION_MASK;

    unsigned imm_bytes = 0;
    if (!fill_form(d, form, reg, in, &imm_bytes))
        return ERR_UNSUPPORTED;
    if (modrm >> MOD_SHIFT == MOD_REGISTER) {
        /* No memory operand: cannot fault on one, except for what PUSH and CALL write to the stack. */
        if (in->op != INSN_PUSH && in->op != INSN_CALL)
            return ERR_UNSUPPORTED;
        in->src = INSN_OPERAND_REG;
        in->mem_size = 0;
        in->reg = (modrm & FIELD_MASK) | (d->rex & REX_B ? EXTENDED : 0);
    } else {
        bool ok = decode_fetch_address(d, modrm, in->addr_size, &in->mem);
        if (!ok)
            return d->exhausted;
        if (d->seg != SEG_NONE)
            in->mem.seg = d->seg;
    }
    in->mem.bit_offset = in->src == INSN_OPERAND_REG && in->op >= INSN_BT && in->op <= INSN_BTC;
    if (imm_bytes && !decode_fetch_signed(d, imm_bytes, &in->imm))
        return d->exhausted;
    return ERR_OK;
}
