/*
 * test_decode_gen.h - random instructions for the tests of decoder and emulator: seed and number of steps
 * from PB_SEED and PB_STEPS, a small random generator, and encodings that are mostly, not always, ones we
 * know.
 */
#pragma once
#include <stdlib.h>
#include <string.h>

#include "vmm/decode.h"

struct gen {
    u64 seed; /* printed on failure: PB_SEED=seed repeats the run */
    u64 state;
    u64 steps;
};

/* splitmix64 */
static inline u64 gen_u64(struct gen *g)
{
    u64 z = (g->state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static inline u32 gen_below(struct gen *g, u32 n)
{
    return (u32)(gen_u64(g) >> 32) % n;
}

/* True in percent of 100 cases. */
static inline bool gen_chance(struct gen *g, u32 percent)
{
    return gen_below(g, 100) < percent;
}

static inline struct gen gen_start(u64 default_steps)
{
    const char *seed = getenv("PB_SEED");
    const char *steps = getenv("PB_STEPS");
    u64 s = seed ? strtoull(seed, NULL, 0) : 1;

    return (struct gen){.seed = s, .state = s, .steps = steps ? strtoull(steps, NULL, 0) : default_steps};
}

/* Rows of decode.def as flat lists of opcodes, so that a row that is added is tested without more ado. */
struct gen_row {
    u8 map, first, last;
};
enum { GEN_MAP_ONE, GEN_MAP_TWO };
static const struct gen_row gen_rows[] = {
#define OPCODE(map, first, last, op, form) {GEN_MAP_##map, first, last},
#define GROUPED(map, first, last, group)   {GEN_MAP_##map, first, last},
#include "vmm/decode.def"
};
static const u8 gen_prefixes[] = {
#define PREFIX(opcode, form) opcode,
#include "vmm/decode.def"
};

/* Fills bytes[15]; with structured, prefixes and opcode are sensible and the operand is mostly memory. */
static inline void gen_insn(struct gen *g, enum cpu_mode mode, bool structured, u8 bytes[INSN_MAX_LENGTH])
{
    for (unsigned i = 0; i < INSN_MAX_LENGTH; i++)
        bytes[i] = (u8)gen_u64(g);
    if (!structured)
        return;
    unsigned at = 0;
    for (unsigned n = gen_chance(g, 55) ? 0 : 1 + gen_below(g, 4); n > 0; n--)
        bytes[at++] = gen_prefixes[gen_below(g, ARRAY_SIZE(gen_prefixes))];
    if (mode == CPU_MODE_64 && gen_chance(g, 50))
        bytes[at++] = 0x40 | gen_below(g, 16);
    const struct gen_row *row = &gen_rows[gen_below(g, ARRAY_SIZE(gen_rows))];
    u8 opcode = row->first + gen_below(g, row->last - row->first + 1u);
    if (row->map == GEN_MAP_TWO)
        bytes[at++] = 0x0f;
    bytes[at++] = opcode;
    if (row->map == GEN_MAP_TWO && opcode == 0x38)
        bytes[at++] = 0xf0 | gen_below(g, 2);
    if (gen_chance(g, 90) && bytes[at] >= 0xc0)
        bytes[at] &= 0xbf;
}

/* For messages: the bytes in hex. */
static inline const char *gen_hex(const u8 *bytes, unsigned n, char out[3 * INSN_MAX_LENGTH + 1])
{
    static const char digits[] = "0123456789abcdef";
    unsigned at = 0;
    for (unsigned i = 0; i < n && i < INSN_MAX_LENGTH; i++) {
        out[at++] = digits[bytes[i] >> 4];
        out[at++] = digits[bytes[i] & 15];
        out[at++] = ' ';
    }
    out[at] = 0;
    return out;
}
