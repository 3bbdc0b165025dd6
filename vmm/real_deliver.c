/* real_deliver.c - interrupts and exceptions of real mode: SDM Vol 3A 20.1.4, Vol 2 INT n. */
#include "arch/regs.h"
#include "vmm/real_insn.h"
#include "vmx/event.h"

#define VECTOR_SIZE 4u /* IP, CS */
#define FRAME_WORDS 3u

enum real_outcome real_vector(struct real_cpu *cpu, u8 vector)
{
    struct real_cpu c = *cpu;
    u32 entry, at = (u32)c.idtr.base + vector * VECTOR_SIZE;
    const u32 frame[FRAME_WORDS] = {(u16)c.eflags, c.seg[VMX_SEG_CS].selector, (u16)c.eip};

    if (vector * VECTOR_SIZE + VECTOR_SIZE - 1 > c.idtr.limit)
        return real_fault(cpu, VECTOR_GP);
    enum real_outcome outcome = real_memory(cpu, c.ops->read(c.ctx, at, VECTOR_SIZE, &entry));
    if (outcome == REAL_DONE)
        outcome = real_push(&c, frame, FRAME_WORDS, sizeof(u16));
    if (outcome == REAL_DONE)
        outcome = real_jump(&c, (u16)(entry >> 16), (u16)entry);
    if (outcome != REAL_DONE) {
        cpu->fault = c.fault ? c.fault : cpu->fault;
        return outcome;
    }
    c.eflags &= ~(u32)(RFLAGS_IF | RFLAGS_TF | RFLAGS_AC | RFLAGS_RF);
    c.no_step = true;
    *cpu = c;
    return REAL_DONE;
}

enum real_outcome real_deliver(struct real_cpu *cpu, u8 vector, bool exception)
{
    struct vmx_event e = vmx_event_make(exception ? VMX_EVENT_EXCEPTION : VMX_EVENT_INTERRUPT, vector);

    for (;;) {
        cpu->fault = 0;
        enum real_outcome outcome = real_vector(cpu, vmx_event_vector(e));
        if (outcome != REAL_FAULT)
            return outcome;
        if (!vmx_event_combine(e, vmx_event_exception(cpu->fault, 0, false), false, &e))
            return REAL_FAULT;
    }
}
