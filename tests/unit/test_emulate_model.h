/*
 * test_emulate_model.h - guest memory and registers for the tests of the emulator: a flat array from address
 * 0, a log of accesses, and on request a failure or a competing write at a chosen access.
 */
#pragma once
#include "arch/regs.h"
#include "tests/unit/test_decode_gen.h"
#include "vmm/emulate.h"
#include "vmx/guest.h"

enum { MODEL_MEMORY = 2 * 1024 * 1024, MODEL_LOG = 256 };

enum model_kind { MODEL_READ, MODEL_READ_FOR_WRITE, MODEL_WRITE, MODEL_CMPXCHG };

struct model_access {
    enum model_kind kind;
    bool implicit;
    u64 gva;
    unsigned size;
};

struct model {
    u8 *memory; /* MODEL_MEMORY bytes */
    u64 gpr[16];
    u64 vector[EMULATE_MMX + 8][2];
    struct vmx_seg seg[EMULATE_IDTR + 1]; /* of the first six, base is st.seg_base */
    u64 cr0, cr4;
    bool long_mode, implicit;
    struct emulate_state st;
    unsigned fault_vector;
    u32 fault_error;
    /* Access number fail_at (from 0) returns fail_with; competitors changes to memory come before the first
     * cmpxchgs. */
    unsigned fail_at;
    enum emulate_status fail_with;
    unsigned competitors;
    unsigned accesses;
    struct model_access log[MODEL_LOG];
};

#define MODEL_NEVER (~0u)

static inline enum emulate_status model_note(struct model *m, enum model_kind kind, gva_t gva, unsigned size)
{
    unsigned n = m->accesses++;
    if (n < MODEL_LOG)
        m->log[n] = (struct model_access){kind, m->implicit, gva.v, size};
    if (n == m->fail_at)
        return m->fail_with;
    return gva.v > MODEL_MEMORY - size ? EMULATE_UNKNOWN : EMULATE_OK;
}

static inline enum emulate_status model_read(void *ctx, gva_t gva, unsigned size, bool for_write, u64 v[2])
{
    struct model *m = ctx;
    enum emulate_status s = model_note(m, for_write ? MODEL_READ_FOR_WRITE : MODEL_READ, gva, size);
    /* What is not read is garbage: the emulator must not depend on it. */
    v[0] = v[1] = 0xdeadbeefcafef00dull;
    if (s == EMULATE_OK)
        memcpy(v, m->memory + gva.v, size);
    return s;
}

static inline enum emulate_status model_write(void *ctx, gva_t gva, unsigned size, const u64 v[2])
{
    struct model *m = ctx;
    enum emulate_status s = model_note(m, MODEL_WRITE, gva, size);
    if (s == EMULATE_OK)
        memcpy(m->memory + gva.v, v, size);
    return s;
}

static inline enum emulate_status model_cmpxchg(void *ctx, gva_t gva, unsigned size, const u64 expected[2],
                                                const u64 desired[2], u64 seen[2])
{
    struct model *m = ctx;
    enum emulate_status s = model_note(m, MODEL_CMPXCHG, gva, size);
    seen[0] = seen[1] = 0xdeadbeefcafef00dull;
    if (s != EMULATE_OK)
        return s;
    if (m->competitors) {
        m->competitors--;
        m->memory[gva.v]++;
    }
    memcpy(seen, m->memory + gva.v, size);
    if (memcmp(seen, expected, size) == 0)
        memcpy(m->memory + gva.v, desired, size);
    return EMULATE_OK;
}

static inline void model_vector_read(void *ctx, unsigned reg, u64 v[2])
{
    memcpy(v, ((struct model *)ctx)->vector[reg], 16);
}

static inline void model_vector_write(void *ctx, unsigned reg, const u64 v[2])
{
    memcpy(((struct model *)ctx)->vector[reg], v, reg < EMULATE_MMX ? 16 : 8);
}

static inline enum emulate_status model_fault(void *ctx, unsigned vector, u32 error)
{
    struct model *m = ctx;
    m->fault_vector = vector;
    m->fault_error = error;
    return EMULATE_FAULT;
}

static inline void model_segment_read(void *ctx, unsigned seg, struct vmx_seg *out)
{
    const struct model *m = ctx;
    *out = m->seg[seg];
    if (seg < INSN_SEG_COUNT)
        out->base = m->st.seg_base[seg];
}

static inline void model_segment_write(void *ctx, unsigned seg, const struct vmx_seg *value)
{
    struct model *m = ctx;
    m->seg[seg] = *value;
    if (seg < INSN_SEG_COUNT)
        m->st.seg_base[seg] = value->base;
}

static inline void model_implicit(void *ctx, bool on)
{
    ((struct model *)ctx)->implicit = on;
}

static inline u64 model_cr0(void *ctx)
{
    return ((struct model *)ctx)->cr0;
}

static inline u64 model_cr4(void *ctx)
{
    return ((struct model *)ctx)->cr4;
}

static inline bool model_long_mode(void *ctx)
{
    return ((struct model *)ctx)->long_mode;
}

static const struct emulate_ops model_ops = {
    .read = model_read,
    .write = model_write,
    .cmpxchg = model_cmpxchg,
    .vector_read = model_vector_read,
    .vector_write = model_vector_write,
    .fault = model_fault,
    .segment_read = model_segment_read,
    .segment_write = model_segment_write,
    .implicit = model_implicit,
    .cr0_read = model_cr0,
    .cr4_read = model_cr4,
    .long_mode = model_long_mode,
};

/* Flat segments of all 4 GiB, at privilege level 0. */
static inline void model_start(struct model *m)
{
    u32 data = VMX_AR_P | VMX_AR_S | VMX_AR_ACCESSED | VMX_AR_WRITABLE | VMX_AR_DB | VMX_AR_G;

    m->st.gpr = m->gpr;
    m->st.ops = &model_ops;
    m->st.ctx = m;
    m->st.tzcnt = m->st.lzcnt = true;
    for (unsigned s = 0; s < INSN_SEG_COUNT; s++)
        m->seg[s] = (struct vmx_seg){
            .selector = 8 * s, .limit = UINT32_MAX, .access = data | (s == INSN_SEG_CS ? VMX_AR_CODE : 0)};
    m->cr0 = CR0_PE | CR0_PG | CR0_ET;
    m->long_mode = m->implicit = false;
    m->accesses = 0;
    m->fail_at = MODEL_NEVER;
    m->competitors = 0;
    m->fault_vector = MODEL_NEVER;
}

/* Puts a value into the 4-byte displacement of an instruction that has neither base nor index. */
static inline void model_patch_disp(u8 *bytes, struct insn *in, u32 value)
{
    for (unsigned at = 1; at + 4 <= in->length; at++) {
        u32 disp;
        struct insn again;
        u8 copy[INSN_MAX_LENGTH];
        memcpy(&disp, bytes + at, 4);
        if (disp != (u32)in->mem.disp)
            continue;
        memcpy(copy, bytes, INSN_MAX_LENGTH);
        memcpy(copy + at, &value, 4);
        if (decode_insn(copy, INSN_MAX_LENGTH, (enum cpu_mode)in->mode, &again) != ERR_OK ||
            (u32)again.mem.disp != value || again.imm != in->imm || again.length != in->length)
            continue;
        if (in->addr_size == 8 && !in->mem.rip_relative && at + 8 <= in->length && again.mem.disp >> 32) {
            memset(copy + at + 4, 0, 4); /* the upper half of a 64-bit moffs */
            if (decode_insn(copy, INSN_MAX_LENGTH, (enum cpu_mode)in->mode, &again) != ERR_OK)
                continue;
        }
        memcpy(bytes, copy, INSN_MAX_LENGTH);
        *in = again;
        return;
    }
}

/*
 * Random registers for the instruction so that its operand (and stack, and strings) lies in memory; may
 * change its displacement. False if that cannot be had.
 */
static inline bool model_aim(struct gen *g, struct model *m, u8 *bytes, struct insn *in)
{
    bool is_string = insn_op_is_string(in->op);
    u64 span = in->addr_size == 2 ? 0xe000 : MODEL_MEMORY - 8192;
    u64 low = gen_below(g, (u32)span) + 4096;

    for (unsigned i = 0; i < 16; i++)
        m->gpr[i] = gen_chance(g, 50) ? gen_u64(g) : gen_u64(g) >> gen_below(g, 64);
    if (in->mode != CPU_MODE_64) /* no REX: the upper registers and halves do not exist */
        for (unsigned i = 0; i < 16; i++)
            m->gpr[i] = i < 8 ? (u32)m->gpr[i] : 0;
    u64 stack =
        in->mode == CPU_MODE_16 ? 0x1000 + gen_below(g, 0xd000) : 4096 + gen_below(g, MODEL_MEMORY - 8192);
    m->gpr[4] = stack;
    if (in->op == INSN_LEAVE || in->op == INSN_ENTER)
        m->gpr[5] = stack ^ 0x400;
    if ((in->op == INSN_DIV || in->op == INSN_IDIV) && gen_chance(g, 80)) { /* mostly not #DE */
        bool negative = in->op == INSN_IDIV && gen_chance(g, 40);
        m->gpr[2] = negative ? ~0ull : gen_below(g, 3);
        if (in->op_size == 1)
            m->gpr[0] =
                (m->gpr[0] & ~0xffffull) | (negative ? 0xff00 | gen_below(g, 256) : gen_below(g, 1024));
        if (in->mode != CPU_MODE_64)
            m->gpr[2] = (u32)m->gpr[2];
    }
    if (is_string) {
        u64 mask = in->addr_size == 2 ? 0xffff : in->addr_size == 4 ? 0xffffffff : ~0ull;
        u64 keep = in->mode == CPU_MODE_64 ? ~mask : ~mask & 0xffffffff;
        for (unsigned r = 6; r <= 7; r++)
            m->gpr[r] = (m->gpr[r] & keep) | (gen_below(g, (u32)span) + 4096);
        m->gpr[1] = (m->gpr[1] & keep) | gen_below(g, 20);
        return true;
    }
    if (in->mem_size == 0)
        return true;
    if (in->mem.index != INSN_NO_REG && in->mem.index != in->mem.base)
        m->gpr[in->mem.index] = gen_below(g, 1 << 17);
    if (in->mem.bit_offset)
        m->gpr[in->reg] =
            (u64)(gen_below(g, 1 << 16) - (s64)(1 << 15)) & (in->mode == CPU_MODE_64 ? ~0ull : 0xffffffff);
    if (in->aligned)
        low &= ~15ull;
    u64 miss = low - insn_effective_address(in, &m->st).v;
    if (in->addr_size == 2)
        miss = 0; /* all of the segment is memory */
    else if (in->mem.base == INSN_NO_REG && in->mem.index == INSN_NO_REG)
        model_patch_disp(bytes, in, (u32)(in->mem.disp + miss));
    else if (in->mem.base != INSN_NO_REG)
        m->gpr[in->mem.base] += miss;
    if (in->mode != CPU_MODE_64 && in->mem.base != INSN_NO_REG)
        m->gpr[in->mem.base] = (u32)m->gpr[in->mem.base];
    if (in->aligned && (insn_effective_address(in, &m->st).v & 15))
        return false;
    return insn_effective_address(in, &m->st).v <= MODEL_MEMORY - 64;
}
