/* decode_map.h - inside the decoder: the opcode maps, built from decode.def. */
#pragma once
#include "vmm/decode.h"

enum { DECODE_MAP_SIZE = 256, DECODE_GROUP_SIZE = 8 };

/*
 * Forms: where the operands are. All up to the last prefix are prefixes, all from the first ModRM form on
 * are followed by a ModRM byte. Two flags may be added, see decode.def.
 */
enum form {
    FORM_UNKNOWN,
    FORM_SEG_ES, /* the six in the order of enum insn_segment */
    FORM_SEG_CS,
    FORM_SEG_SS,
    FORM_SEG_DS,
    FORM_SEG_FS,
    FORM_SEG_GS,
    FORM_OPERAND_SIZE,
    FORM_ADDRESS_SIZE,
    FORM_LOCK,
    FORM_REPNE,
    FORM_REP,
    FORM_REX,
    FORM_LAST_PREFIX = FORM_REX,
    FORM_ESCAPE,
    FORM_MOVBE, /* the 0F 38 map, of which only MOVBE and CRC32 are known */
    FORM_REG,   /* register in the opcode: PUSH, POP */
    FORM_SEG,   /* segment register in the opcode: PUSH, POP */
    FORM_PUSH_IMM,
    FORM_PUSH_IMM8,
    FORM_IMPLIED,
    FORM_IMPLIED_32, /* not in 64-bit code */
    FORM_IMM16,      /* RET */
    FORM_ENTER,
    FORM_CALL,
    FORM_XLAT,
    FORM_MOFFS_LOAD,
    FORM_MOFFS_STORE,
    FORM_STRING,
    FORM_GROUP, /* op is an enum group */
    FORM_FIRST_MODRM = FORM_GROUP,
    FORM_MR,
    FORM_RM,
    FORM_MI,
    FORM_MI8,
    FORM_RMI,
    FORM_RMI8,
    FORM_MRI8,
    FORM_MRCL,
    FORM_M,
    FORM_M1,
    FORM_MCL,
    FORM_EXTEND,
    FORM_MOVSXD,
    FORM_MOVNTI,
    FORM_SETCC,
    FORM_CMPXCHG8B,
    FORM_CLFLUSH,
    FORM_POP,
    FORM_PUSH_RM,
    FORM_NEAR_RM, /* CALL, JMP */
    FORM_FAR_M,   /* CALL, JMP to selector and offset in memory */
    FORM_FAR_LOAD,
    FORM_MOV_SEG, /* 8C and 8E */
    FORM_SCAN,    /* BSF, BSR; with F3 one of the next three */
    FORM_M16,     /* two bytes of memory: system segments, SMSW */
    FORM_TABLE,   /* GDTR, IDTR */
    FORM_CRC32,
    FORM_SSE,
    FORM_MASK = 63,
    FORM_W = 64,
    FORM_BYREG = 128,
};
_Static_assert((int)FORM_SSE < (int)FORM_MASK, "forms and flags share a byte");

enum group {
    GROUP_8F,
    GROUP_C6,
    GROUP_F6,
    GROUP_FE,
    GROUP_FF,
    GROUP_00,
    GROUP_01,
    GROUP_AE,
    GROUP_BA,
    GROUP_C7,
    GROUP_COUNT
};

struct opcode {
    u8 op;
    u8 form;
};

enum sse_prefix { SSE_PREFIX_NONE, SSE_PREFIX_66, SSE_PREFIX_F3, SSE_PREFIX_F2 };
enum sse_direction { SSE_LOAD, SSE_STORE };

struct sse_row {
    u8 opcode;
    u8 prefix; /* enum sse_prefix */
    u8 op;
    u8 direction; /* enum sse_direction */
    u8 size;
    bool aligned;
};

extern const struct opcode decode_map_one[DECODE_MAP_SIZE];
extern const struct opcode decode_map_two[DECODE_MAP_SIZE];
extern const struct opcode decode_groups[GROUP_COUNT][DECODE_GROUP_SIZE];

/* The row of an SSE opcode of map TWO, NULL if there is none. */
const struct sse_row *decode_map_find_sse(u8 opcode, enum sse_prefix prefix);
