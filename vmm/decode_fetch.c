/* decode_fetch.c - see decode_fetch.h. */
#include "vmm/decode_fetch.h"

bool decode_fetch_signed(struct decoder *d, unsigned size, u64 *out)
{
    u64 v = 0;
    if (d->limit - d->at < size)
        return false;
    for (unsigned i = 0; i < size; i++)
        v |= (u64)d->bytes[d->at + i] << (8 * i);
    d->at += size;
    unsigned unused_bits = 64 - 8 * size;
    *out = size ? (u64)((s64)(v << unused_bits) >> unused_bits) : 0;
    return true;
}

/* 16-bit addressing, SDM Vol. 2A table 2-1. */
static bool address16(struct decoder *d, u8 modrm, struct insn_mem *mem)
{
    static const struct {
        u8 base, index;
    } rows[] = {
        {REG_BX, REG_SI},      {REG_BX, REG_DI},      {REG_BP, REG_SI},      {REG_BP, REG_DI},
        {REG_SI, INSN_NO_REG}, {REG_DI, INSN_NO_REG}, {REG_BP, INSN_NO_REG}, {REG_BX, INSN_NO_REG},
    };
    unsigned mod = modrm >> MOD_SHIFT;
    unsigned rm = modrm & FIELD_MASK;
    unsigned disp_size = mod == MOD_DISP8 ? 1 : mod == MOD_DISP ? 2 : 0;

    mem->base = rows[rm].base;
    mem->index = rows[rm].index;
    if (mod == MOD_DISP0 && rm == RM16_DISP_ONLY) {
        mem->base = INSN_NO_REG;
        disp_size = 2;
    }
    mem->seg = mem->base == REG_BP ? INSN_SEG_SS : INSN_SEG_DS;
    return decode_fetch_signed(d, disp_size, &mem->disp);
}

/* 32- and 64-bit addressing, SDM Vol. 2A tables 2-2 and 2-3, section 2.2.1.6 for RIP-relative. */
static bool address32(struct decoder *d, u8 modrm, struct insn_mem *mem)
{
    unsigned mod = modrm >> MOD_SHIFT;
    unsigned base = modrm & FIELD_MASK;
    unsigned disp_size = mod == MOD_DISP8 ? 1 : mod == MOD_DISP ? 4 : 0;
    bool has_sib = base == RM_SIB;

    mem->index = INSN_NO_REG;
    if (has_sib) {
        u8 sib;
        if (!decode_fetch_byte(d, &sib))
            return false;
        base = sib & FIELD_MASK;
        unsigned index = ((sib >> REG_SHIFT) & FIELD_MASK) | (d->rex & REX_X ? EXTENDED : 0);
        if (index != SIB_NO_INDEX) {
            mem->index = index;
            mem->scale = sib >> MOD_SHIFT;
        }
    }
    if (mod == MOD_DISP0 && base == RM_DISP_ONLY) {
        mem->base = INSN_NO_REG;
        mem->rip_relative = !has_sib && d->mode == CPU_MODE_64;
        mem->seg = INSN_SEG_DS;
        disp_size = 4;
    } else {
        mem->base = base | (d->rex & REX_B ? EXTENDED : 0);
        mem->seg = mem->base == REG_SP || mem->base == REG_BP ? INSN_SEG_SS : INSN_SEG_DS;
    }
    return disp_size == 0 || decode_fetch_signed(d, disp_size, &mem->disp);
}

bool decode_fetch_address(struct decoder *d, u8 modrm, unsigned addr_size, struct insn_mem *mem)
{
    return addr_size == 2 ? address16(d, modrm, mem) : address32(d, modrm, mem);
}
