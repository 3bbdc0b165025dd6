/* real_memory.c - memory, stack and jumps of real mode: see real_insn.h. */
#include "arch/regs.h"
#include "vmm/real_insn.h"

enum { SP = 4 }; /* register number */

enum real_outcome real_memory(struct real_cpu *c, enum emulate_status status)
{
    switch (status) {
    case EMULATE_OK: return REAL_DONE;
    case EMULATE_RETRY: return REAL_RETRY;
    default: return real_fault(c, VECTOR_PF);
    }
}

enum real_outcome real_check(struct real_cpu *c, u32 seg, u32 offset, unsigned size)
{
    if (real_in_limit(&c->seg[seg], offset, size))
        return REAL_DONE;
    return real_fault(c, seg == VMX_SEG_SS ? VECTOR_SS : VECTOR_GP);
}

enum real_outcome real_read(struct real_cpu *c, u32 seg, u32 offset, unsigned size, u32 *value)
{
    enum real_outcome o = real_check(c, seg, offset, size);

    if (o != REAL_DONE)
        return o;
    return real_memory(c, c->ops->read(c->ctx, (u32)c->seg[seg].base + offset, size, value));
}

enum real_outcome real_write(struct real_cpu *c, u32 seg, u32 offset, unsigned size, u32 value)
{
    enum real_outcome o = real_check(c, seg, offset, size);

    if (o != REAL_DONE)
        return o;
    return real_memory(c, c->ops->write(c->ctx, (u32)c->seg[seg].base + offset, size, value));
}

/* The stack pointer has 16 bits, or 32 where SS was left with B=1. */
static u32 stack_mask(const struct real_cpu *c)
{
    return (c->seg[VMX_SEG_SS].access & VMX_AR_DB) ? UINT32_MAX : UINT16_MAX;
}

static void set_sp(struct real_cpu *c, u32 sp)
{
    u64 mask = stack_mask(c);

    c->gpr[SP] = (c->gpr[SP] & ~mask) | (sp & mask);
}

enum real_outcome real_push(struct real_cpu *c, const u32 *value, u32 count, unsigned size)
{
    u32 mask = stack_mask(c), top = (u32)c->gpr[SP];
    enum real_outcome o = REAL_DONE;

    for (u32 i = 1; i <= count && o == REAL_DONE; i++)
        o = real_check(c, VMX_SEG_SS, (top - i * size) & mask, size);
    for (u32 i = 0; i < count && o == REAL_DONE; i++)
        o = real_write(c, VMX_SEG_SS, (top - (i + 1) * size) & mask, size, value[i]);
    if (o == REAL_DONE)
        set_sp(c, top - count * size);
    return o;
}

enum real_outcome real_pop(struct real_cpu *c, u32 *value, u32 count, unsigned size, u32 more)
{
    u32 mask = stack_mask(c), top = (u32)c->gpr[SP];
    enum real_outcome o = REAL_DONE;

    for (u32 i = 0; i < count && o == REAL_DONE; i++)
        o = real_read(c, VMX_SEG_SS, (top + i * size) & mask, size, &value[i]);
    if (o == REAL_DONE)
        set_sp(c, top + count * size + more);
    return o;
}

enum real_outcome real_jump(struct real_cpu *c, u16 selector, u32 eip)
{
    if (eip > c->seg[VMX_SEG_CS].limit)
        return real_fault(c, VECTOR_GP);
    real_load_segment(&c->seg[VMX_SEG_CS], selector);
    c->eip = eip;
    return REAL_DONE;
}
