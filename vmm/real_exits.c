/*
 * real_exits.c - instructions of real mode that a hypervisor carries out, as the exits that VT-x makes of them
 * in other modes (SDM Vol 3C 27.2.1), and the descriptor-table registers.
 */
#include "arch/regs.h"
#include "vmm/real_decode.h"
#include "vmx/exit.h"

#define BASE_24BIT 0xFFFFFFu

enum { DX = 2 };
enum { GROUP_SGDT, GROUP_SIDT, GROUP_LGDT, GROUP_LIDT, GROUP_SMSW, GROUP_LMSW = 6, GROUP_INVLPG }; /* 0F 01 */

static enum real_outcome exit_as(struct real_insn *in, u32 reason, u64 qualification)
{
    in->exit->reason = reason;
    in->exit->qualification = qualification;
    return REAL_EXIT;
}

static enum real_outcome io(struct real_insn *in)
{
    unsigned size = in->wide ? in->op_size : 1;
    u16 port = (u16)(in->has_imm ? in->imm[0] : in->cpu->gpr[DX]);

    return exit_as(in, VMX_EXIT_IO, vmx_io_make(size, in->argument, false, false, port));
}

static enum real_outcome string_io(struct real_insn *in)
{
    unsigned size = in->wide ? in->op_size : 1;

    return exit_as(in, VMX_EXIT_IO, vmx_io_make(size, in->argument, true, in->rep, (u16)in->cpu->gpr[DX]));
}

static enum real_outcome mov_cr(struct real_insn *in)
{
    return exit_as(in, VMX_EXIT_CR_ACCESS,
                   vmx_cr_make(in->argument ? VMX_CR_MOV_TO : VMX_CR_MOV_FROM, in->reg, in->rm, 0));
}

static enum real_outcome table_store(struct real_insn *in, const struct real_table *table)
{
    enum real_outcome o = real_check(in->cpu, in->seg, in->offset, sizeof(u16) + sizeof(u32));

    if (o == REAL_DONE)
        o = real_operand_write(in, 0, sizeof(u16), table->limit);
    /* SDM Vol 2: the whole base whatever the operand size */

    return o == REAL_DONE ? real_operand_write(in, sizeof(u16), sizeof(u32), (u32)table->base) : o;
}

static enum real_outcome table_load(struct real_insn *in, struct real_table *table)
{
    u32 limit, base;
    enum real_outcome o = real_operand_read(in, 0, sizeof(u16), &limit);

    if (o == REAL_DONE)
        o = real_operand_read(in, sizeof(u16), sizeof(u32), &base);
    if (o == REAL_DONE)
        *table = (struct real_table){in->op_size == 2 ? base & BASE_24BIT : base, limit};
    return o;
}

enum real_outcome real_group_01(struct real_insn *in)
{
    enum { REG_XSETBV = 2, RM_XSETBV = 1 };
    struct real_cpu *c = in->cpu;
    u32 source;

    if (in->reg == GROUP_LMSW) {
        enum real_outcome o = real_operand_read(in, 0, sizeof(u16), &source);
        return o == REAL_DONE ? exit_as(in, VMX_EXIT_CR_ACCESS, vmx_cr_make(VMX_CR_LMSW, 0, 0, (u16)source))
                              : o;
    }
    if (in->is_register)
        return in->reg == REG_XSETBV && in->rm == RM_XSETBV ? exit_as(in, VMX_EXIT_XSETBV, 0) : REAL_OTHER;
    switch (in->reg) {
    case GROUP_SGDT: return table_store(in, &c->gdtr);
    case GROUP_SIDT: return table_store(in, &c->idtr);
    case GROUP_LGDT: return table_load(in, &c->gdtr);
    case GROUP_LIDT: return table_load(in, &c->idtr);
    case GROUP_INVLPG: return exit_as(in, VMX_EXIT_INVLPG, (u32)(c->seg[in->seg].base + in->offset));
    }
    return REAL_OTHER; /* SMSW */
}

enum real_outcome real_exit_of(struct real_insn *in)
{
    switch (in->action) {
    case REAL_INS:
    case REAL_OUTS: return string_io(in);
    case REAL_IO: return io(in);
    case REAL_HLT: return exit_as(in, VMX_EXIT_HLT, 0);
    case REAL_CLTS: return exit_as(in, VMX_EXIT_CR_ACCESS, vmx_cr_make(VMX_CR_CLTS, 0, 0, 0));
    case REAL_INVD: return exit_as(in, VMX_EXIT_INVD, 0);
    case REAL_WBINVD: return exit_as(in, VMX_EXIT_WBINVD, 0);
    case REAL_MOV_CR: return mov_cr(in);
    case REAL_MOV_DR: return exit_as(in, VMX_EXIT_MOV_DR, vmx_dr_make(in->argument, in->reg, in->rm));
    case REAL_WRMSR: return exit_as(in, VMX_EXIT_WRMSR, 0);
    case REAL_RDMSR: return exit_as(in, VMX_EXIT_RDMSR, 0);
    case REAL_RDPMC: return exit_as(in, VMX_EXIT_RDPMC, 0);
    }
    return REAL_OTHER;
}
