/*
 * decode.h - the hypervisor's own x86 instruction decoder.
 *
 * Decodes the instructions that write page tables or touch device memory: those a guest can fault on with a
 * *memory operand* (SDM Vol. 2), or with its stack. It is pure: bytes in, struct insn out, no state and no CPU access.
 *
 *   bytes --> prefixes --> opcode map --> ModRM, SIB, displacement --> immediate --> struct insn
 *                          (decode.def)
 *
 * What it does not know it calls unknown, and the caller then gives up the write trace or stops the guest.
 * It never guesses: every encoding it accepts has the length and the operands that hardware sees (checked
 * against Zydis by tests/unit/test_decode.c).
 */
#pragma once
#include "arch/err.h"
#include "arch/types.h"

/* Code segment size: CS.L = 1 is 64, otherwise CS.D chooses 32 or 16. The values are bits. */
enum cpu_mode {
    CPU_MODE_16 = 16,
    CPU_MODE_32 = 32,
    CPU_MODE_64 = 64,
};

/* SDM Vol. 2 section 2.3.11: no instruction is longer. */
#define INSN_MAX_LENGTH 15

/* Segment register numbers as the SDM encodes them (Vol. 2 section 3.1.1.3). */
enum insn_segment {
    INSN_SEG_ES,
    INSN_SEG_CS,
    INSN_SEG_SS,
    INSN_SEG_DS,
    INSN_SEG_FS,
    INSN_SEG_GS,
    INSN_SEG_COUNT,
};

/*
 * What the instruction does. The eight arithmetic operations and the eight shifts stand in the order of the
 * ModRM reg field that selects them.
 */
enum insn_op {
    INSN_NONE,
    INSN_MOV, /* also MOVNTI and MOV with moffs, and from a segment register */
    INSN_ADD,
    INSN_OR,
    INSN_ADC,
    INSN_SBB,
    INSN_AND,
    INSN_SUB,
    INSN_XOR,
    INSN_CMP,
    INSN_ROL,
    INSN_ROR,
    INSN_RCL,
    INSN_RCR,
    INSN_SHL,
    INSN_SHR,
    INSN_SAL, /* reg field 6: the same as SHL */
    INSN_SAR,
    INSN_TEST,
    INSN_NOT,
    INSN_NEG,
    INSN_INC,
    INSN_DEC,
    INSN_BT,
    INSN_BTS,
    INSN_BTR,
    INSN_BTC,
    INSN_XCHG,
    INSN_XADD,
    INSN_CMPXCHG,
    INSN_CMPXCHG8B, /* mem_size 8, or 16 for CMPXCHG16B */
    INSN_SHLD,      /* count in imm, or in CL if imm_cl */
    INSN_SHRD,
    INSN_IMUL,  /* reg = reg * memory */
    INSN_IMUL3, /* reg = memory * imm */
    INSN_BSF,
    INSN_BSR,
    INSN_TZCNT, /* BSF and BSR on a CPU without them */
    INSN_LZCNT,
    INSN_POPCNT,
    INSN_CRC32, /* of mem_size bytes into a register of op_size */
    INSN_MUL,   /* these four in the order of the ModRM reg field: rDX:rAX */
    INSN_IMUL1,
    INSN_DIV,
    INSN_IDIV,
    INSN_MOVZX,
    INSN_MOVSX, /* also MOVSXD */
    INSN_MOVBE,
    INSN_SETCC,
    INSN_CMOVCC,
    INSN_XLAT,
    INSN_STOS, /* the five string instructions */
    INSN_MOVS,
    INSN_LODS,
    INSN_CMPS,
    INSN_SCAS,
    INSN_PUSH, /* from here to RET_FAR: they use the stack */
    INSN_PUSHF,
    INSN_PUSHA,
    INSN_POP,
    INSN_POPF,
    INSN_POPA,
    INSN_ENTER, /* imm: bytes, and in bits 23:16 the nesting level */
    INSN_LEAVE,
    INSN_CALL,
    INSN_RET, /* imm: bytes to drop */
    INSN_CALL_FAR,
    INSN_RET_FAR,
    INSN_JMP,      /* to an address in memory */
    INSN_JMP_FAR,  /* the same, with a selector after the offset */
    INSN_LOAD_SEG, /* MOV to a segment register: its number is in reg */
    INSN_LOAD_FAR, /* LES, LDS, LSS, LFS, LGS: segment src_seg and register reg */
    INSN_SLDT,     /* these four in the order of the ModRM reg field */
    INSN_STR,
    INSN_LLDT,
    INSN_LTR,
    INSN_SGDT, /* these four likewise; mem_size 6, in 64-bit code 10 */
    INSN_SIDT,
    INSN_LGDT,
    INSN_LIDT,
    INSN_SMSW,
    INSN_SSE_MOV,  /* mem_size bytes of an XMM register; a load clears the rest of the register */
    INSN_SSE_LOW,  /* MOVLPS/MOVLPD: bits 63:0, the rest of the register stays */
    INSN_SSE_HIGH, /* MOVHPS/MOVHPD: bits 127:64, the rest of the register stays */
    INSN_MMX_MOV,  /* MOVD, MOVQ: reg numbers an MMX register */
    INSN_CLFLUSH,  /* also CLFLUSHOPT */
};

static inline bool insn_op_is_string(enum insn_op op)
{
    return op >= INSN_STOS && op <= INSN_SCAS;
}
static inline bool insn_op_is_stack(enum insn_op op)
{
    return op >= INSN_PUSH && op <= INSN_RET_FAR;
}

enum insn_operand {
    INSN_OPERAND_NONE,
    INSN_OPERAND_MEM, /* insn.mem */
    INSN_OPERAND_REG, /* insn.reg, op_size bytes of it */
    INSN_OPERAND_IMM, /* insn.imm */
    INSN_OPERAND_XMM, /* insn.reg numbers an XMM register, or MMX */
    INSN_OPERAND_CL,  /* shift count in CL */
    INSN_OPERAND_SEG, /* insn.reg is an enum insn_segment */
};

enum insn_rep {
    INSN_REP_NONE,
    INSN_REP_REPNE, /* prefix F2 */
    INSN_REP_REP,   /* prefix F3 */
};

/* What compilers make to read and write page tables and device registers, and the emulator does in few steps:
 * 64-bit code, registers or an immediate, memory at base + index + displacement without segment. */
enum insn_quick {
    INSN_NOT_QUICK,
    INSN_QUICK_STORE, /* MOV of 4 or 8 bytes */
    INSN_QUICK_LOAD,
    INSN_QUICK_XCHG, /* this and the rest: of 8 bytes */
    INSN_QUICK_CMPXCHG,
    INSN_QUICK_LOGIC, /* AND, OR, XOR */
    INSN_QUICK_BIT,   /* BTS, BTR, BTC with an immediate */
};

/* No base or no index register. */
#define INSN_NO_REG 0xff

/* offset = base + (index << scale) + disp, cut to addr_size; linear address = segment base + offset. */
struct insn_mem {
    u8 base;           /* register number or INSN_NO_REG */
    u8 index;          /* register number or INSN_NO_REG */
    u8 scale;          /* 0..3: factor 1, 2, 4, 8 */
    u8 seg;            /* enum insn_segment, override applied */
    bool rip_relative; /* disp counts from the end of the instruction */
    bool bit_offset;   /* BT family with a register: reg moves the address, SDM Vol. 2 section 3.1.1.9 */
    u64 disp;          /* sign-extended; for moffs the whole offset */
};

/* Sizes are bytes. Fields that the instruction does not use are zero. */
struct insn {
    u8 length;   /* 1..15 */
    u8 mode;     /* enum cpu_mode it was decoded in */
    u8 op;       /* enum insn_op */
    u8 op_size;  /* size of register, immediate and result: 1, 2, 4, 8 (16 for XMM) */
    u8 mem_size; /* size of the memory operand (of one element for string instructions), 0 if there is none */
    u8 addr_size; /* 2, 4, 8 */
    u8 dst;       /* enum insn_operand */
    u8 src;       /* enum insn_operand */
    u8 reg;       /* register number 0..15 */
    u8 cond;      /* SETcc, CMOVcc: condition 0..15 */
    u8 src_seg;   /* MOVS, CMPS: segment of the source at RSI, override applied; LOAD_FAR */
    u8 rep;       /* enum insn_rep: a repeat only for string instructions (for others the last prefix) */
    u8 segments;  /* see insn_segments() */
    bool rsp;     /* see insn_uses_rsp() */
    u8 quick;     /* enum insn_quick */
    bool high8;   /* reg means AH, CH, DH, BH (reg 0..3, bits 15:8) */
    bool lock;    /* LOCK prefix present (XCHG with memory locks without it) */
    bool aligned; /* memory operand must be 16-byte aligned, else #GP */
    bool imm_cl;  /* SHLD, SHRD: the count is in CL */
    struct insn_mem mem;
    u64 imm; /* sign-extended */
};

/*
 * Decodes the instruction at bytes. n is how many bytes may be looked at: fewer than 15 when the instruction
 * stands before a page that cannot be fetched. mode is the code segment's size.
 *
 * ERR_OK           *out is complete
 * ERR_TRUNCATED    what is there is the start of an instruction; more than n bytes are needed
 * ERR_UNSUPPORTED  unknown: not an instruction of ours, a register-only form, or an encoding that is #UD
 * *out is meaningful only with ERR_OK.
 */
must_check enum err decode_insn(const u8 *bytes, size_t n, enum cpu_mode mode, struct insn *out);

/* True if the instruction reads or writes RSP (stack instruction, or RSP in the address or as operand). */
static inline bool insn_uses_rsp(const struct insn *insn)
{
    return insn->rsp;
}

/* Bit mask (BIT(INSN_SEG_x)) of the segment bases that emulation will look at. In 64-bit code only FS and GS.
 */
static inline u32 insn_segments(const struct insn *insn)
{
    return insn->segments;
}
