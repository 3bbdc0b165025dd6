/*
 * decode_fetch.h - inside the decoder: the bytes being decoded, and what is read from them piece by piece.
 */
#pragma once
#include "vmm/decode_map.h"

/* REX bits: SDM Vol. 2A section 2.2.1.2. ModRM and SIB fields: section 2.1.3. */
enum { REX_B = 1, REX_X = 2, REX_R = 4, REX_W = 8 };
enum { FIELD_MASK = 7, EXTENDED = 8, MOD_SHIFT = 6, REG_SHIFT = 3 };
enum { MOD_DISP0, MOD_DISP8, MOD_DISP, MOD_REGISTER };
enum { RM_SIB = 4, RM_DISP_ONLY = 5, RM16_DISP_ONLY = 6, SIB_NO_INDEX = 4 };
enum { REG_AX, REG_CX, REG_DX, REG_BX, REG_SP, REG_BP, REG_SI, REG_DI };
enum { HIGH8_FIRST = 4, CONDITION_MASK = 15, XMM_BYTES = 16, SEG_NONE = INSN_SEG_COUNT };

struct decoder {
    const u8 *bytes;
    u32 at;
    u32 limit;
    enum err
        exhausted; /* what it means when bytes run out: more are needed, or the instruction is too long */
    u8 mode;
    u8 opcode;
    u8 rex;
    bool rex_present;
    bool operand_size;
    bool address_size;
    bool lock;
    u8 rep;
    u8 seg; /* enum insn_segment or SEG_NONE */
};

static inline bool decode_fetch_byte(struct decoder *d, u8 *out)
{
    if (unlikely(d->at >= d->limit))
        return false;
    *out = d->bytes[d->at++];
    return true;
}

/* Fetches size bytes (0..8), sign-extended. False if there are too few. */
bool decode_fetch_signed(struct decoder *d, unsigned size, u64 *out);

/*
 * Reads SIB and displacement and fills in mem, with the default segment; addr_size is 2, 4 or 8. ModRM names
 * memory, not a register. False if bytes run out.
 */
bool decode_fetch_address(struct decoder *d, u8 modrm, unsigned addr_size, struct insn_mem *mem);

/* decode_operand.c */
unsigned decode_operand_size(const struct decoder *d, struct opcode oc, u8 op);
enum err decode_modrm(struct decoder *d, struct opcode oc, struct insn *in);
/* An immediate source of size bytes. False if bytes run out. */
bool decode_fetch_imm(struct decoder *d, struct insn *in, unsigned size);

static inline unsigned decode_imm_size(const struct insn *in)
{
    return in->op_size == 8 ? 4 : in->op_size;
}

/* Near branches in 64-bit code: with an operand size prefix vendors differ. */
static inline bool decode_near_ok(const struct decoder *d)
{
    return d->mode != CPU_MODE_64 || !d->operand_size;
}
