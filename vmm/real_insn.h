/* real_insn.h - inside real mode, pure: memory and jumps as its instructions need them. */
#pragma once
#include "vmm/real_cpu.h"

static inline enum real_outcome real_fault(struct real_cpu *c, u8 vector)
{
    c->fault = vector;
    return REAL_FAULT;
}

/* What a memory callback said. */
enum real_outcome real_memory(struct real_cpu *c, enum emulate_status status);

/* Bytes in a segment; beyond its limit: #SS or #GP. read, write: 1, 2 or 4. */
enum real_outcome real_check(struct real_cpu *c, u32 seg, u32 offset, unsigned size);
enum real_outcome real_read(struct real_cpu *c, u32 seg, u32 offset, unsigned size, u32 *value);
enum real_outcome real_write(struct real_cpu *c, u32 seg, u32 offset, unsigned size, u32 value);

/* count values of size bytes (2 or 4), the first one pushed first; all fit or none is written. */
enum real_outcome real_push(struct real_cpu *c, const u32 *value, u32 count, unsigned size);
/* The same off the stack, the first one popped first; SP moves on by `more` bytes in addition. */
enum real_outcome real_pop(struct real_cpu *c, u32 *value, u32 count, unsigned size, u32 more);

/* CS:EIP, if within the limit of CS. */
enum real_outcome real_jump(struct real_cpu *c, u16 selector, u32 eip);
