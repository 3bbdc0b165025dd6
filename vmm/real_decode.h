/* real_decode.h - inside real mode, pure: an instruction of real.def taken apart. */
#pragma once
#include "vmm/real_insn.h"

enum real_operand {
    REAL_OPERAND_NONE,
    REAL_OPERAND_MODRM,
    REAL_OPERAND_IMM8,
    REAL_OPERAND_IMM16,
    REAL_OPERAND_FAR
};

enum real_action {
    REAL_POP_SEGMENT,
    REAL_MOV_SEGMENT,
    REAL_LOAD_POINTER,
    REAL_CALL_FAR,
    REAL_JMP_FAR,
    REAL_RET_FAR,
    REAL_GROUP_FF,
    REAL_PUSHF,
    REAL_POPF,
    REAL_INT,
    REAL_IRET,
    REAL_INTERRUPTS,
    REAL_UNDEFINED,
    REAL_GROUP_01,
    REAL_FIRST_EXIT, /* from here on: real_exit_of() */
    REAL_INS = REAL_FIRST_EXIT,
    REAL_OUTS,
    REAL_IO,
    REAL_HLT,
    REAL_CLTS,
    REAL_INVD,
    REAL_WBINVD,
    REAL_MOV_CR,
    REAL_MOV_DR,
    REAL_WRMSR,
    REAL_RDMSR,
    REAL_RDPMC,
};

struct real_insn {
    struct real_cpu *cpu; /* its EIP is still that of the instruction while it is decoded, then behind it */
    struct real_exit *exit;
    u8 action, argument;
    u8 op_size, addr_size; /* 2 or 4 */
    u8 length;
    bool wide; /* bit 0 of the opcode: not a byte operation */
    bool lock, rep, has_imm;
    bool is_register; /* the ModRM operand is register rm */
    u8 reg, rm;
    u8 seg;     /* of the memory operand; OUTS: of the source */
    u32 offset; /* of the memory operand, cut to the address size */
    u32 imm[2]; /* FAR: offset, selector */
};

/* OTHER: not in real.def. FAULT: it is too long. */
must_check enum real_outcome real_decode(const u8 *bytes, size_t n, struct real_insn *in);

/* The ModRM operand: size (1, 2 or 4) bytes, `at` bytes into it. */
enum real_outcome real_operand_read(struct real_insn *in, u32 at, unsigned size, u32 *value);
enum real_outcome real_operand_write(struct real_insn *in, u32 at, unsigned size, u32 value);

/* size 2 leaves the rest of the register alone. */
void real_reg_write(struct real_cpu *c, unsigned reg, unsigned size, u32 value);

/* real_exits.c */
enum real_outcome real_exit_of(struct real_insn *in);
enum real_outcome real_group_01(struct real_insn *in);
