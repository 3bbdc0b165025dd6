/*
 * real_exception.c - exception exits of a guest in real mode.
 *
 *   #GP #SS #TS #NP  --> the instruction at CS:IP --> real_execute() --> done | the handler of that exit | a fault
 *                                                          |
 *                                                          '-- OTHER --> a segment is unreal: emulated, or
 *                                                                        HELD for one instruction; else
 *                                                                        the guest's own fault
 *   #DB              --> that one instruction is over; or the guest's own
 *   INT3, INTO, INT1 --> through the vector table, behind the instruction
 *   all others       --> through the vector table
 */
#include "arch/cpu.h"
#include "arch/log.h"
#include "arch/regs.h"
#include "vmm/real_vcpu.h"

/* MOV DR, which exits nowhere else. */
static enum exit_result move_dr(struct vcpu *v, u64 q)
{
    unsigned number = vmx_dr_number(q), gpr = vmx_dr_gpr(q);
    u64 value = (u32)vmx_gpr_read(&v->vmx, gpr), dr7 = vmcs_read(VMCS_GUEST_DR7);

    if (number == 4 || number == 5) {
        if (vmx_guest_cr4() & CR4_DE)
            return exit_inject_ud(v);
        number += 2;
    }
    if (dr7 & DR7_GD) {
        vmcs_write(VMCS_GUEST_DR7, dr7 & ~(u64)DR7_GD);
        dr6_write(dr6_read() | DR6_BD);
        return exit_inject(v, VECTOR_DB, 0);
    }
    if (vmx_dr_is_to(q))
        vmx_guest_set_dr(number, value);
    else
        vmx_gpr_write(&v->vmx, gpr, (u32)vmx_guest_dr(number));
    return exit_done(v);
}

static enum exit_result handle(struct vcpu *v, const struct real_exit *e)
{
    switch (e->reason) {
    case VMX_EXIT_CR_ACCESS: return exit_cr_access(v, e->qualification);
    case VMX_EXIT_IO: return exit_io_access(v, e->qualification);
    case VMX_EXIT_MOV_DR: return move_dr(v, e->qualification);
    case VMX_EXIT_INVLPG:
        vcpu_flush(v, shadow_invlpg(&v->shadow, GVA(e->qualification)));
        return exit_done(v);
    }
    return exit_carry_out(v, e->reason);
}

/* Lets the handler of an exit carry out what the CPU refused. */
static enum exit_result as_exit(struct vcpu *v, const struct real_exit *e)
{
    u64 next = vmx_guest_rip(&v->vmx) + e->length;

    enum exit_result result = handle(v, e);
    /* It has gone on by the length in the VMCS, which an exception exit does not set. */
    if (!(v->vmx.state & VMX_HAVE_RIP))
        vmx_guest_set_rip(&v->vmx, next);
    return result;
}

/* An instruction that is over, in the way of its fault: what was borrowed for it ends. */
static void end_step(struct vcpu *v)
{
    if (v->real.stepping)
        real_put(v, real_shape_of(v->real.seg, (u32)vmx_guest_rip(&v->vmx)), false);
}

/* What the emulator does not check, as other CPUs have before they exit: strings and the stack it does. */
static bool in_limit(const struct vcpu *v, const struct insn *in, const struct emulate_state *st)
{
    const struct vmx_seg *s = &v->real.seg[in->mem.seg];

    return !in->mem_size || insn_op_is_string(in->op) ||
           real_in_limit(s, (u32)(insn_effective_address(in, st).v - s->base), in->mem_size);
}

/* An access beyond 64 KiB that VM86 has refused. */
static enum exit_result unreal(struct vcpu *v, size_t bytes)
{
    struct insn insn;
    struct emulate_state st;
    enum emulate_status status = EMULATE_UNKNOWN;

    if (decode_insn(v->access.code, bytes, CPU_MODE_16, &insn) == ERR_OK) {
        access_state_load(v, &insn, &st);
        status = in_limit(v, &insn, &st)
                     ? emulate_insn(&insn, &st)
                     : access_fault(v, insn.mem.seg == INSN_SEG_SS ? VECTOR_SS : VECTOR_GP, 0);
    }
    switch (status) {
    case EMULATE_OK:
    case EMULATE_PARTIAL: access_state_store(v, &insn, &st, status); return EXIT_RESUME;
    case EMULATE_FAULT: return exit_inject_found(v);
    case EMULATE_RETRY: return EXIT_RESUME;
    case EMULATE_UNKNOWN: break;
    }
    real_put(v, REAL_HELD, true);
    return EXIT_RESUME;
}

static enum exit_result refused(struct vcpu *v, u8 vector)
{
    struct real_cpu cpu;
    struct real_exit e = {0};

    if (real_sync(v)) { /* a null selector is as good as any in real mode */
        real_put(v, (enum real_shape)v->real.shape, v->real.stepping);
        return EXIT_RESUME;
    }
    real_cpu_load(v, &cpu);
    switch (access_fetch(v)) {
    case EMULATE_OK: break;
    case EMULATE_FAULT: return exit_inject_found(v);
    default: vm_fail(v, "real mode runs in device memory"); return EXIT_YIELD;
    }
    size_t bytes = real_code_size(&cpu.seg[VMX_SEG_CS], cpu.eip, v->access.fetch_bytes);
    switch (real_execute(v->access.code, bytes, &cpu, &e)) {
    case REAL_DONE: real_cpu_store(v, &cpu); return EXIT_RESUME;
    case REAL_EXIT: end_step(v); return as_exit(v, &e);
    case REAL_FAULT: return real_inject_exception(v, cpu.fault);
    case REAL_RETRY: return EXIT_RESUME;
    case REAL_OTHER: break;
    }
    if (v->real.shape == REAL_VM86 && real_is_unreal(v->real.seg))
        return unreal(v, bytes);
    return real_inject_exception(v, vector == VECTOR_SS ? VECTOR_SS : VECTOR_GP);
}

static enum exit_result debug(struct vcpu *v)
{
    u64 causes = vmx_exit_qualification(&v->vmx) & DR6_CAUSES;
    bool own = true;

    if (v->real.stepping) {
        own = v->real.step_tf || causes != DR6_BS;
        if (!v->real.step_tf)
            causes &= ~DR6_BS;
        real_sync(v);
        end_step(v);
    }
    if (!own)
        return EXIT_RESUME;
    dr6_write((dr6_read() & ~(u64)DR6_BREAKPOINTS) | causes);
    vmcs_write(VMCS_GUEST_DR7, vmcs_read(VMCS_GUEST_DR7) & ~(u64)DR7_GD);
    return real_inject_exception(v, VECTOR_DB);
}

/* INT3, INTO and INT1 are traps: their handler returns behind them. */
static enum exit_result software(struct vcpu *v, u8 vector)
{
    struct real_cpu cpu;

    real_sync(v);
    real_cpu_load(v, &cpu);
    cpu.eip += vmx_exit_length(&v->vmx);
    switch (real_vector(&cpu, vector)) {
    case REAL_DONE: real_cpu_store(v, &cpu); return EXIT_RESUME;
    case REAL_RETRY: return EXIT_RESUME;
    default: return real_inject_exception(v, cpu.fault);
    }
}

enum exit_result real_exception(struct vcpu *v, u32 info)
{
    u8 vector = info & VMX_EVENT_VECTOR_MASK;
    u32 type = (info & VMX_EVENT_TYPE_MASK) >> VMX_EVENT_TYPE_SHIFT;

    /* A refused INT n may count as an event whose delivery was interrupted. Nothing is delivered that way here. */
    if (vmx_event_armed(&v->vmx))
        vmx_event_disarm(&v->vmx);
    if (type == VMX_EVENT_SOFT_EXCEPTION || type == VMX_EVENT_PRIVILEGED_EXCEPTION)
        return software(v, vector);
    switch (vector) {
    case VECTOR_DB: return debug(v);
    case VECTOR_TS:
    case VECTOR_NP:
    case VECTOR_SS:
    case VECTOR_GP: return refused(v, vector);
    case VECTOR_MC: panic("machine check on CPU %u", v->on->cpu->index);
    }
    end_step(v);
    return real_inject_exception(v, vector);
}
