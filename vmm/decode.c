/*
 * decode.c - see decode.h. The opcode tables come from decode.def; the code here reads bytes in the order in
 * which hardware does (SDM Vol. 2 chapter 2) and fills in the operands that the opcode's form calls for.
 */
#include "vmm/decode.h"

#include "vmm/decode_fetch.h"

/* Instructions that accept LOCK, if their destination is memory (SDM Vol. 2A, LOCK). */
static const u64 lockable = BIT(INSN_ADD) | BIT(INSN_OR) | BIT(INSN_ADC) | BIT(INSN_SBB) | BIT(INSN_AND) |
                            BIT(INSN_SUB) | BIT(INSN_XOR) | BIT(INSN_NOT) | BIT(INSN_NEG) | BIT(INSN_INC) |
                            BIT(INSN_DEC) | BIT(INSN_BTS) | BIT(INSN_BTR) | BIT(INSN_BTC) | BIT(INSN_XCHG) |
                            BIT(INSN_XADD) | BIT(INSN_CMPXCHG) | BIT(INSN_CMPXCHG8B);
/* Instructions whose op_size in 64-bit code is 8 without REX.W. */
static const u64 stack_ops = BIT(INSN_PUSH) | BIT(INSN_PUSHF) | BIT(INSN_POP) | BIT(INSN_CALL);

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

/* SDM Vol. 1 section 3.6: byte opcodes, REX.W, stack instructions of 64-bit code, then mode and prefix. */
static unsigned operand_size(const struct decoder *d, struct opcode oc, u8 op)
{
    if ((oc.form & FORM_W) && !(d->opcode & 1))
        return 1;
    if (d->rex & REX_W)
        return 8;
    if (d->mode == CPU_MODE_64 && (BIT(op) & stack_ops))
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

static bool fetch_imm(struct decoder *d, struct insn *in, unsigned size)
{
    in->src = INSN_OPERAND_IMM;
    return decode_fetch_signed(d, size, &in->imm);
}

static unsigned imm_size(const struct insn *in)
{
    return in->op_size == 8 ? 4 : in->op_size;
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

/* The forms with a ModRM memory operand that are rarer than MR, RM and MI. */
static enum err fill_rare_form(struct decoder *d, u8 form, unsigned reg, struct insn *in)
{
    bool plain = !d->operand_size && d->rep == INSN_REP_NONE; /* no prefix that could be a mandatory one */

    in->dst = INSN_OPERAND_MEM;
    switch (form) {
    case FORM_M:
    case FORM_POP: break;
    case FORM_M1:
        in->src = INSN_OPERAND_IMM;
        in->imm = 1;
        break;
    case FORM_MCL: in->src = INSN_OPERAND_CL; break;
    case FORM_EXTEND:
    case FORM_MOVSXD:
        if (form == FORM_MOVSXD && (d->mode != CPU_MODE_64 || in->op_size == 2))
            return ERR_UNSUPPORTED;
        in->mem_size = form == FORM_MOVSXD ? 4 : 1 + (d->opcode & 1);
        in->dst = INSN_OPERAND_REG;
        in->src = INSN_OPERAND_MEM;
        in->reg = reg;
        break;
    case FORM_MOVNTI:
        if (!plain)
            return ERR_UNSUPPORTED;
        in->op_size = in->mem_size = d->rex & REX_W ? 8 : 4;
        in->src = INSN_OPERAND_REG;
        in->reg = reg;
        break;
    case FORM_SETCC: in->op_size = in->mem_size = 1; break;
    case FORM_CMPXCHG8B:
        in->op_size = d->rex & REX_W ? 8 : 4;
        in->mem_size = 2 * in->op_size;
        in->aligned = in->mem_size == 16;
        break;
    case FORM_CLFLUSH:
        in->op_size = in->mem_size = 1;
        return d->rep == INSN_REP_NONE ? ERR_OK : ERR_UNSUPPORTED;
    case FORM_CALL_RM:
        if (d->mode != CPU_MODE_64 || d->operand_size)
            return ERR_UNSUPPORTED;
        /* fall through */
    case FORM_PUSH_RM:
        in->dst = INSN_OPERAND_NONE;
        in->src = INSN_OPERAND_MEM;
        break;
    case FORM_SSE: in->reg = reg; return find_sse(d, in) ? ERR_OK : ERR_UNSUPPORTED;
    default: return ERR_UNSUPPORTED;
    }
    return ERR_OK;
}

static enum err decode_modrm(struct decoder *d, struct opcode oc, struct insn *in)
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
    in->op_size = operand_size(d, oc, in->op);
    in->mem_size = in->op_size;
    if (in->op == INSN_SETCC || in->op == INSN_CMOVCC)
        in->cond = d->opcode & CONDITION_MASK;

    unsigned imm_bytes = 0;
    switch (form) {
    case FORM_MR:
        in->dst = INSN_OPERAND_MEM;
        in->src = INSN_OPERAND_REG;
        set_reg(d, in, reg);
        break;
    case FORM_RM:
        in->dst = INSN_OPERAND_REG;
        in->src = INSN_OPERAND_MEM;
        set_reg(d, in, reg);
        break;
    case FORM_MI:
    case FORM_MI8:
        in->dst = INSN_OPERAND_MEM;
        imm_bytes = form == FORM_MI8 ? 1 : imm_size(in);
        break;
    default: {
        enum err e = fill_rare_form(d, form, reg, in);
        if (e != ERR_OK)
            return e;
    }
    }

    if (modrm >> MOD_SHIFT == MOD_REGISTER) {
        /* No memory operand: cannot fault on one, except for what PUSH and CALL write to the stack. */
        if (form != FORM_PUSH_RM && form != FORM_CALL_RM)
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
    if (imm_bytes && !fetch_imm(d, in, imm_bytes))
        return d->exhausted;
    return ERR_OK;
}

/* STOS, MOVS, LODS: implied registers, SDM Vol. 1 section 7.3.9. */
static enum err fill_string(const struct decoder *d, struct insn *in)
{
    u8 source_seg = d->seg != SEG_NONE ? d->seg : INSN_SEG_DS;

    if (d->rep == INSN_REP_REPNE)
        return ERR_UNSUPPORTED; /* the SDM does not say what it does */
    in->mem = (struct insn_mem){.base = REG_DI, .index = INSN_NO_REG, .seg = INSN_SEG_ES};
    in->dst = INSN_OPERAND_MEM;
    in->src = INSN_OPERAND_REG;
    in->mem_size = in->op_size;
    if (in->op == INSN_MOVS) {
        in->src = INSN_OPERAND_MEM;
        in->src_seg = source_seg;
    } else if (in->op == INSN_LODS) {
        in->mem.base = REG_SI;
        in->mem.seg = source_seg;
        in->dst = INSN_OPERAND_REG;
        in->src = INSN_OPERAND_MEM;
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

/* MOVBE m, r and r, m: 0F 38 F0 and F1 (with F2 they are CRC32). */
static enum err decode_movbe(struct decoder *d, struct insn *in)
{
    enum { MOVBE_LOAD = 0xF0, MOVBE_STORE = 0xF1 };

    if (!decode_fetch_byte(d, &d->opcode))
        return d->exhausted;
    if ((d->opcode != MOVBE_LOAD && d->opcode != MOVBE_STORE) || d->rep != INSN_REP_NONE)
        return ERR_UNSUPPORTED;
    struct opcode oc = {INSN_MOVBE, d->opcode == MOVBE_LOAD ? FORM_RM : FORM_MR};
    return decode_modrm(d, oc, in);
}

/* The forms without a ModRM byte. */
static enum err decode_implied(struct decoder *d, struct opcode oc, struct insn *in)
{
    u8 form = oc.form & FORM_MASK;

    if (form == FORM_MOVBE)
        return decode_movbe(d, in);
    in->op = oc.op;
    in->op_size = operand_size(d, oc, in->op);
    switch (form) {
    case FORM_PUSH_REG:
        in->src = INSN_OPERAND_REG;
        in->reg = (d->opcode & FIELD_MASK) | (d->rex & REX_B ? EXTENDED : 0);
        return ERR_OK;
    case FORM_PUSH_IMM: return fetch_imm(d, in, imm_size(in)) ? ERR_OK : d->exhausted;
    case FORM_PUSH_IMM8: return fetch_imm(d, in, 1) ? ERR_OK : d->exhausted;
    case FORM_PUSHF: return ERR_OK;
    case FORM_CALL:
        if (d->mode != CPU_MODE_64 || d->operand_size)
            return ERR_UNSUPPORTED;
        return fetch_imm(d, in, imm_size(in)) ? ERR_OK : d->exhausted;
    case FORM_MOFFS_LOAD:
    case FORM_MOFFS_STORE: return fill_moffs(d, form, in);
    case FORM_STRING: return fill_string(d, in);
    default: return ERR_UNSUPPORTED;
    }
}

/* Every instruction. Kept out of line so that the fast path saves no registers for it. */
static __attribute__((noinline)) enum err decode_any(const u8 *bytes, size_t n, enum cpu_mode mode,
                                                     struct insn *out)
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
    if (d.lock && (!(BIT(out->op) & lockable) || out->dst != INSN_OPERAND_MEM))
        return ERR_UNSUPPORTED;
    out->length = d.at;
    return ERR_OK;
}

/* The usual page-table write, in few instructions: see struct insn.plain. False: *out is untouched, ask
 * decode_any(). */
static inline bool decode_plain_mov(const u8 *bytes, size_t n, struct insn *out)
{
    enum { REX_MASK = 0xF0, REX = 0x40, MOV_STORE = 0x89, MOV_LOAD = 0x8B, LONGEST = 7 };

    if (n < LONGEST)
        return false;
    unsigned rex = (bytes[0] & REX_MASK) == REX ? bytes[0] : 0;
    const u8 *p = bytes + (rex != 0);
    unsigned modrm = p[1], mod = modrm >> MOD_SHIFT, rm = modrm & FIELD_MASK;
    if ((p[0] != MOV_STORE && p[0] != MOV_LOAD) || mod == MOD_REGISTER || rm == RM_SIB ||
        (mod == MOD_DISP0 && rm == RM_DISP_ONLY))
        return false;

    unsigned size = rex & REX_W ? 8 : 4;
    unsigned length = (unsigned)(p + 2 - bytes);
    s64 disp = 0;
    if (mod == MOD_DISP8) {
        disp = (s64)((u64)p[2] << 56) >> 56;
        length += 1;
    } else if (mod == MOD_DISP) {
        int32_t disp32;
        __builtin_memcpy(&disp32, p + 2, sizeof disp32);
        disp = disp32;
        length += sizeof disp32;
    }
    bool store = p[0] == MOV_STORE;
    unsigned base = rm | (rex & REX_B ? EXTENDED : 0);
    *out = (struct insn){
        .length = length,
        .mode = CPU_MODE_64,
        .op = INSN_MOV,
        .op_size = size,
        .mem_size = size,
        .addr_size = 8,
        .dst = store ? INSN_OPERAND_MEM : INSN_OPERAND_REG,
        .src = store ? INSN_OPERAND_REG : INSN_OPERAND_MEM,
        .reg = ((modrm >> REG_SHIFT) & FIELD_MASK) | (rex & REX_R ? EXTENDED : 0),
        .plain = true,
        .mem = {.base = base,
                .index = INSN_NO_REG,
                .seg = base == REG_BP ? INSN_SEG_SS : INSN_SEG_DS,
                .disp = (u64)disp},
    };
    return true;
}

enum err decode_insn(const u8 *bytes, size_t n, enum cpu_mode mode, struct insn *out)
{
    if (mode == CPU_MODE_64 && decode_plain_mov(bytes, n, out))
        return ERR_OK;
    return decode_any(bytes, n, mode, out);
}

bool insn_uses_rsp(const struct insn *insn)
{
    bool has_reg = insn->dst == INSN_OPERAND_REG || insn->src == INSN_OPERAND_REG;
    return (BIT(insn->op) & stack_ops) != 0 || insn->mem.base == REG_SP ||
           (has_reg && insn->reg == REG_SP && !insn->high8);
}

u32 insn_segments(const struct insn *insn)
{
    u32 mask = insn->mem_size ? BIT(insn->mem.seg) : 0;

    if (insn->op == INSN_MOVS)
        mask |= BIT(insn->src_seg);
    if (BIT(insn->op) & stack_ops)
        mask |= BIT(INSN_SEG_SS);
    return insn->mode == CPU_MODE_64 ? mask & (BIT(INSN_SEG_FS) | BIT(INSN_SEG_GS)) : mask;
}
