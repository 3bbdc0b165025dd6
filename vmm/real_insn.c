/*
 * real_insn.c - the instructions of real mode that virtual-8086 mode refuses at IOPL 0, and those that load
 * segment registers, which HELD refuses (vmm/real_cpu.h): SDM Vol 3A 20.2.7, Vol 2.
 *
 *   prefixes, opcode --> flags, far transfers, segment loads: done here on a copy of the registers
 *                    --> IN, OUT, HLT, MOV CR, RDMSR ...: struct real_exit (real_exits.c)
 */
#include "vmm/real_insn.h"

#include "arch/regs.h"
#include "vmm/real_decode.h"

/* POPF and IRET at CPL 0 (SDM Vol 2): the low word but for bits 15, 5, 3; with 32 bits AC, ID and, IRET only,
 * RF. */
#define FLAGS_LOW   0x7FD5u
#define FLAGS_POPFD ((u32)(FLAGS_LOW | RFLAGS_AC | RFLAGS_ID))
#define FLAGS_IRETD ((u32)(FLAGS_POPFD | RFLAGS_RF))
#define FLAGS_PUSHD ((u32) ~(RFLAGS_VM | RFLAGS_RF))

static void set_flags(struct real_cpu *c, u32 value, u32 mask)
{
    c->eflags = (c->eflags & ~mask) | (value & mask) | RFLAGS_FIXED1;
}

static enum real_outcome push_flags(struct real_insn *in)
{
    u32 flags = in->cpu->eflags & FLAGS_PUSHD;

    return real_push(in->cpu, &flags, 1, in->op_size);
}

static enum real_outcome pop_flags(struct real_insn *in)
{
    u32 flags;
    enum real_outcome o = real_pop(in->cpu, &flags, 1, in->op_size, 0);

    if (o != REAL_DONE)
        return o;
    in->cpu->eflags &= ~(u32)RFLAGS_RF;
    set_flags(in->cpu, flags, in->op_size == 2 ? FLAGS_LOW : FLAGS_POPFD);
    return REAL_DONE;
}

static enum real_outcome set_interrupts(struct real_insn *in, bool on)
{
    struct real_cpu *c = in->cpu;

    c->sti = on && !(c->eflags & RFLAGS_IF);
    c->eflags = (c->eflags & ~(u32)RFLAGS_IF) | (on ? (u32)RFLAGS_IF : 0);
    return REAL_DONE;
}

static enum real_outcome iret(struct real_insn *in)
{
    u32 frame[3]; /* IP, CS, FLAGS */
    enum real_outcome o = real_pop(in->cpu, frame, ARRAY_SIZE(frame), in->op_size, 0);

    if (o == REAL_DONE)
        o = real_jump(in->cpu, (u16)frame[1], frame[0]);
    if (o != REAL_DONE)
        return o;
    in->cpu->eflags &= ~(u32)RFLAGS_RF;
    set_flags(in->cpu, frame[2], in->op_size == 2 ? FLAGS_LOW : FLAGS_IRETD);
    in->cpu->iret = true;
    return REAL_DONE;
}

static enum real_outcome far_return(struct real_insn *in, u32 more)
{
    u32 target[2]; /* IP, CS */
    enum real_outcome o = real_pop(in->cpu, target, ARRAY_SIZE(target), in->op_size, more);

    return o == REAL_DONE ? real_jump(in->cpu, (u16)target[1], target[0]) : o;
}

static enum real_outcome far_jump(struct real_insn *in, u16 selector, u32 eip, bool call)
{
    struct real_cpu *c = in->cpu;
    const u32 back[] = {c->seg[VMX_SEG_CS].selector, c->eip};

    if (eip > c->seg[VMX_SEG_CS].limit)
        return real_fault(c, VECTOR_GP);
    enum real_outcome o = call ? real_push(c, back, ARRAY_SIZE(back), in->op_size) : REAL_DONE;
    return o == REAL_DONE ? real_jump(c, selector, eip) : o;
}

/* Offset and selector at the memory operand. */
static enum real_outcome far_pointer(struct real_insn *in, u32 *offset, u16 *selector)
{
    u32 value = 0;
    enum real_outcome o = real_operand_read(in, 0, in->op_size, offset);

    if (o == REAL_DONE)
        o = real_operand_read(in, in->op_size, sizeof(u16), &value);
    *selector = (u16)value;
    return o;
}

static enum real_outcome load_segment(struct real_insn *in, u32 seg, u16 selector)
{
    real_load_segment(&in->cpu->seg[seg], selector);
    in->cpu->ss = seg == VMX_SEG_SS;
    return REAL_DONE;
}

static enum real_outcome pop_segment(struct real_insn *in, u32 seg)
{
    u32 value;
    /* Only the selector's two bytes are read (SDM Vol 2, POP), but the stack moves by the operand size. */
    enum real_outcome o = real_pop(in->cpu, &value, 1, sizeof(u16), in->op_size - (u32)sizeof(u16));

    return o == REAL_DONE ? load_segment(in, seg, (u16)value) : o;
}

static enum real_outcome mov_to_segment(struct real_insn *in)
{
    u32 value, seg = in->reg;

    if (seg == VMX_SEG_CS || seg >= REAL_SEGS)
        return real_fault(in->cpu, VECTOR_UD);
    enum real_outcome o = real_operand_read(in, 0, sizeof(u16), &value);
    return o == REAL_DONE ? load_segment(in, seg, (u16)value) : o;
}

/* LES, LDS, LSS, LFS, LGS */
static enum real_outcome load_pointer(struct real_insn *in, u32 seg)
{
    u32 offset;
    u16 selector;

    if (in->is_register)
        return real_fault(in->cpu, VECTOR_UD);
    enum real_outcome o = far_pointer(in, &offset, &selector);
    if (o != REAL_DONE)
        return o;
    real_reg_write(in->cpu, in->reg, in->op_size, offset);
    real_load_segment(&in->cpu->seg[seg], selector);
    return REAL_DONE; /* LSS leaves interrupts alone: it loads ESP too */
}

/* FF /3 and /5 */
static enum real_outcome far_group(struct real_insn *in)
{
    enum { CALL_FAR = 3, JMP_FAR = 5 };
    u32 offset;
    u16 selector;

    if ((in->reg != CALL_FAR && in->reg != JMP_FAR) || in->is_register)
        return REAL_OTHER;
    enum real_outcome o = far_pointer(in, &offset, &selector);
    return o == REAL_DONE ? far_jump(in, selector, offset, in->reg == CALL_FAR) : o;
}

static enum real_outcome interrupt(struct real_insn *in)
{
    in->cpu->eflags &= ~(u32)RFLAGS_RF;
    return real_vector(in->cpu, (u8)in->imm[0]);
}

static enum real_outcome carry_out(struct real_insn *in)
{
    switch (in->action) {
    case REAL_POP_SEGMENT: return pop_segment(in, in->argument);
    case REAL_MOV_SEGMENT: return mov_to_segment(in);
    case REAL_LOAD_POINTER: return load_pointer(in, in->argument);
    case REAL_CALL_FAR: return far_jump(in, (u16)in->imm[1], in->imm[0], true);
    case REAL_JMP_FAR: return far_jump(in, (u16)in->imm[1], in->imm[0], false);
    case REAL_RET_FAR: return far_return(in, in->imm[0]);
    case REAL_GROUP_FF: return far_group(in);
    case REAL_PUSHF: return push_flags(in);
    case REAL_POPF: return pop_flags(in);
    case REAL_INT: return interrupt(in);
    case REAL_IRET: return iret(in);
    case REAL_INTERRUPTS: return set_interrupts(in, in->argument);
    case REAL_UNDEFINED: return real_fault(in->cpu, VECTOR_UD);
    case REAL_GROUP_01: return real_group_01(in);
    }
    return real_exit_of(in);
}

enum real_outcome real_execute(const u8 *bytes, size_t n, struct real_cpu *cpu, struct real_exit *exit)
{
    struct real_cpu copy = *cpu;
    struct real_insn in = {.cpu = &copy, .exit = exit};

    copy.fault = 0;
    copy.sti = copy.ss = copy.no_step = copy.iret = false;
    enum real_outcome o = real_decode(bytes, n, &in);
    if (o != REAL_DONE)
        return o;
    exit->length = in.length;
    if (in.lock) /* none of them takes it */
        return real_fault(cpu, VECTOR_UD);
    copy.eip += in.length; /* behind 0xFFFF comes 0x10000, where nothing can be fetched */
    o = carry_out(&in);
    if (o == REAL_DONE) {
        if (!copy.iret)
            copy.eflags &= ~(u32)RFLAGS_RF;
        *cpu = copy;
    } else if (o == REAL_FAULT) {
        cpu->fault = copy.fault;
    }
    return o;
}
