/*
 * real_machine.h - a machine in real mode for host tests: memory, fresh registers.
 */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/regs.h"
#include "vmm/real_cpu.h"
#include "vmx/exit.h"

enum { AX, CX, DX, BX, SP, BP, SI, DI };
enum { ES, CS, SS, DS, FS, GS };
enum { MEMORY = 0x120000 };

static u8 memory[MEMORY] aligned_to(4096);
static u32 fault_at = UINT32_MAX;
static bool rehearsal; /* writes are lost */
/* Pages from which Unicorn may have translated: an instruction that writes there begins again in it. */
static bool has_code[MEMORY / 4096], writes_code;

static enum emulate_status read_op(void *ctx, u32 linear, unsigned size, u32 *value)
{
    (void)ctx;
    *value = 0;
    if (linear == fault_at)
        return EMULATE_FAULT;
    assert_true(linear + size <= MEMORY);
    memcpy(value, memory + linear, size);
    return EMULATE_OK;
}

static enum emulate_status write_op(void *ctx, u32 linear, unsigned size, u32 value)
{
    (void)ctx;
    if (linear == fault_at)
        return EMULATE_FAULT;
    assert_true(linear + size <= MEMORY);
    writes_code |= has_code[linear / 4096] || has_code[(linear + size - 1) / 4096];
    if (!rehearsal)
        memcpy(memory + linear, &value, size);
    return EMULATE_OK;
}

static const struct real_ops ops = {read_op, write_op};

static struct real_cpu fresh(void)
{
    struct real_cpu c = {
        .eip = 0x100,
        .eflags = RFLAGS_FIXED1,
        .gdtr = {0, 0xFFFF},
        .idtr = {0, 0x3FF},
        .ops = &ops,
    };

    for (u32 s = 0; s < REAL_SEGS; s++)
        c.seg[s] = (struct vmx_seg){0, 0xFFFF, 0x93, 0};
    c.gpr[SP] = 0x8000;
    return c;
}
