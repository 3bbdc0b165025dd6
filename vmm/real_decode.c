/* real_decode.c - see real_decode.h. */
#include "vmm/real_decode.h"

#include "arch/regs.h"
#include "vmm/decode_fetch.h"

struct row {
    u8 first, last, operand, action, argument;
    bool two;
};

enum map { MAP_ONE, MAP_TWO };

static const struct row rows[] = {
#define REAL(map, first, last, operand, action, argument) \
    {first, last, REAL_OPERAND_##operand, REAL_##action, argument, MAP_##map == MAP_TWO},
#include "vmm/real.def"
};

static const struct row *find(u8 opcode, bool two)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (rows[i].two == two && opcode >= rows[i].first && opcode <= rows[i].last)
            return &rows[i];
    return NULL;
}

/* Prefixes and opcode. False: bytes are missing. */
static bool fetch_opcode(struct decoder *d, bool *two)
{
    *two = false;
    for (;;) {
        if (!decode_fetch_byte(d, &d->opcode))
            return false;
        u8 form = decode_map_one[d->opcode].form;
        switch (form) {
        case FORM_OPERAND_SIZE: d->operand_size = true; continue;
        case FORM_ADDRESS_SIZE: d->address_size = true; continue;
        case FORM_LOCK: d->lock = true; continue;
        case FORM_REPNE:
        case FORM_REP: d->rep = form; continue;
        case FORM_ESCAPE: *two = true; return decode_fetch_byte(d, &d->opcode);
        default: break;
        }
        if (form < FORM_SEG_ES || form > FORM_SEG_GS)
            return true;
        d->seg = form - FORM_SEG_ES + INSN_SEG_ES;
    }
}

static u32 reg_value(const struct real_cpu *c, u8 reg)
{
    return reg == INSN_NO_REG ? 0 : (u32)c->gpr[reg];
}

static bool fetch_modrm(struct decoder *d, struct real_insn *in)
{
    struct insn_mem mem = {.index = INSN_NO_REG};
    u8 modrm;

    if (!decode_fetch_byte(d, &modrm))
        return false;
    in->reg = (modrm >> REG_SHIFT) & FIELD_MASK;
    in->rm = modrm & FIELD_MASK;
    in->is_register = modrm >> MOD_SHIFT == MOD_REGISTER;
    if (in->action == REAL_MOV_CR || in->action == REAL_MOV_DR)
        in->is_register = true; /* whatever mod says (SDM Vol 2, MOV) */
    if (in->is_register)
        return true;
    if (!decode_fetch_address(d, modrm, in->addr_size, &mem))
        return false;
    in->seg = d->seg == SEG_NONE ? mem.seg : d->seg;
    in->offset = reg_value(in->cpu, mem.base) + (reg_value(in->cpu, mem.index) << mem.scale) + (u32)mem.disp;
    if (in->addr_size == 2)
        in->offset = (u16)in->offset;
    return true;
}

static bool fetch_imm(struct decoder *d, struct real_insn *in, u32 i, unsigned size)
{
    u64 value = 0;
    bool ok = decode_fetch_signed(d, size, &value);

    in->imm[i] = (u32)value & (u32)(BIT(8 * size) - 1);
    in->has_imm = true;
    return ok;
}

static bool fetch_operand(struct decoder *d, u8 operand, struct real_insn *in)
{
    switch (operand) {
    case REAL_OPERAND_MODRM: return fetch_modrm(d, in);
    case REAL_OPERAND_IMM8: return fetch_imm(d, in, 0, sizeof(u8));
    case REAL_OPERAND_IMM16: return fetch_imm(d, in, 0, sizeof(u16));
    case REAL_OPERAND_FAR: return fetch_imm(d, in, 0, in->op_size) && fetch_imm(d, in, 1, sizeof(u16));
    }
    return true;
}

enum real_outcome real_decode(const u8 *bytes, size_t n, struct real_insn *in)
{
    bool two, code32 = in->cpu->seg[VMX_SEG_CS].access & VMX_AR_DB;
    struct decoder d = {
        .bytes = bytes,
        .limit = (u32)MIN(n, INSN_MAX_LENGTH),
        .mode = code32 ? CPU_MODE_32 : CPU_MODE_16,
        .seg = SEG_NONE,
    };
    const struct row *row = fetch_opcode(&d, &two) ? find(d.opcode, two) : NULL;

    if (!row)
        return REAL_OTHER;
    in->action = row->action;
    in->argument = row->argument;
    in->op_size = code32 != d.operand_size ? 4 : 2;
    in->addr_size = code32 != d.address_size ? 4 : 2;
    in->wide = d.opcode & 1;
    in->lock = d.lock;
    in->rep = d.rep;
    in->seg = d.seg == SEG_NONE ? INSN_SEG_DS : d.seg;
    if (!fetch_operand(&d, row->operand, in))
        return REAL_OTHER;
    in->length = (u8)d.at;
    return REAL_DONE;
}

enum real_outcome real_operand_read(struct real_insn *in, u32 at, unsigned size, u32 *value)
{
    if (!in->is_register)
        return real_read(in->cpu, in->seg, in->offset + at, size, value);
    *value = (u32)in->cpu->gpr[in->rm] & (u32)(BIT(8 * size) - 1);
    return REAL_DONE;
}

enum real_outcome real_operand_write(struct real_insn *in, u32 at, unsigned size, u32 value)
{
    return real_write(in->cpu, in->seg, in->offset + at, size, value);
}

void real_reg_write(struct real_cpu *c, unsigned reg, unsigned size, u32 value)
{
    c->gpr[reg] = size == 2 ? (c->gpr[reg] & ~(u64)UINT16_MAX) | (u16)value : value;
}
