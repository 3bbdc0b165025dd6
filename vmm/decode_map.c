/* decode_map.c - see decode_map.h. */
#include "vmm/decode_map.h"

#define W     FORM_W
#define BYREG FORM_BYREG

const struct opcode decode_map_one[DECODE_MAP_SIZE] = {
#define ROW_ONE(first, last, op, form) [first... last] = {op, form},
#define ROW_TWO(first, last, op, form)
#define PREFIX(opcode, form)               ROW_ONE(opcode, opcode, INSN_NONE, FORM_##form)
#define OPCODE(map, first, last, op, form) ROW_##map(first, last, INSN_##op, FORM_##form)
#define GROUPED(map, first, last, group)   ROW_##map(first, last, GROUP_##group, FORM_GROUP)
#include "vmm/decode.def"
#undef ROW_ONE
#undef ROW_TWO
};

const struct opcode decode_map_two[DECODE_MAP_SIZE] = {
#define ROW_ONE(first, last, op, form)
#define ROW_TWO(first, last, op, form)     [first... last] = {op, form},
#define OPCODE(map, first, last, op, form) ROW_##map(first, last, INSN_##op, FORM_##form)
#define GROUPED(map, first, last, group)   ROW_##map(first, last, GROUP_##group, FORM_GROUP)
#include "vmm/decode.def"
#undef ROW_ONE
#undef ROW_TWO
};

const struct opcode decode_groups[GROUP_COUNT][DECODE_GROUP_SIZE] = {
#define GROUP(group, reg, op, form) [GROUP_##group][reg] = {INSN_##op, FORM_##form},
#include "vmm/decode.def"
};

static const struct sse_row sse_rows[] = {
#define SSE(opcode, prefix, op, direction, bytes, aligned) \
    {opcode, SSE_PREFIX_##prefix, INSN_##op, SSE_##direction, bytes, aligned},
#include "vmm/decode.def"
};

#undef W
#undef BYREG

const struct sse_row *decode_map_find_sse(u8 opcode, enum sse_prefix prefix)
{
    for (size_t i = 0; i < ARRAY_SIZE(sse_rows); i++)
        if (sse_rows[i].opcode == opcode && sse_rows[i].prefix == prefix)
            return &sse_rows[i];
    return NULL;
}
