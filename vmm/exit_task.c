/*
 * exit_task.c - hardware task switches, by CALL, JMP, IRET or a task gate in the IDT (SDM Vol 3C 25.4.2). Only 32-bit
 * guests can make them, and hardly any does: for #DF, or in tests. The rules are in task.c.
 */
#include "vmm/access.h"
#include "vmm/exit.h"
#include "vmm/paging.h"
#include "vmm/task.h"

#define DR6_BT          BIT(15)
#define DR7_LOCAL       0x155ull /* L0 to L3, LE: SDM Vol 3B 17.2.4 */
#define CHUNK           8u       /* access_write() takes up to 16 bytes */
#define BLOCKING_BY_STI ((u64)(VMX_BLOCKING_STI | VMX_BLOCKING_MOV_SS))

static enum emulate_status read_op(void *ctx, u32 at, void *to, u32 size)
{
    struct vcpu *v = ctx;

    v->access.rights = 0; /* implicit supervisor accesses, SDM Vol 3A 4.6.1 */
    return access_read(v, GVA(at), to, size);
}

static enum emulate_status check_op(void *ctx, u32 at, u32 size)
{
    struct vcpu *v = ctx;

    v->access.rights = 0;
    return access_check_write(v, GVA(at), size);
}

static enum emulate_status write_op(void *ctx, u32 at, const void *from, u32 size, bool user)
{
    struct vcpu *v = ctx;
    const u8 *bytes = from;
    enum emulate_status status = EMULATE_OK;

    v->access.rights = user ? GWALK_USER : 0;
    for (u32 done = 0; done < size && status == EMULATE_OK; done += CHUNK)
        status = access_write(v, GVA(at + done), bytes + done, MIN(size - done, CHUNK));
    return status;
}

static bool load_cr3_op(void *ctx, u32 cr3)
{
    struct vcpu *v = ctx;
    struct paging_state next = v->shadow.paging;

    next.cr3 = cr3;
    /* Only of another CR3 (SDM Vol 3A 4.4.1). */
    if (next.cr3 != v->shadow.paging.cr3 && gwalk_mode_of(&next) == GWALK_PAE &&
        !gwalk_load_pdptes(&v->vm->p2m, &next))
        return false;
    paging_set(v, &next);
    return true;
}

static const struct task_ops ops = {read_op, check_op, write_op, load_cr3_op};

/* What caused it: an instruction, or an event that found a task gate (IDT-vectoring information). */
static struct task_request request_of(struct vcpu *v, u32 vectoring)
{
    u64 q = vmx_exit_qualification(&v->vmx);
    struct task_request t = {.selector = vmx_task_selector(q), .source = vmx_task_source(q)};
    struct vmx_event event = {.info = vectoring};

    if (t.source != VMX_TASK_GATE || !vmx_event_valid(event) || vmx_event_is_software(event))
        t.length = vmx_exit_length(&v->vmx);
    else
        t.external = true;
    t.has_error = t.external && vectoring & VMX_EVENT_HAS_ERROR;
    if (t.has_error)
        t.error = (u32)vmcs_read(VMCS_IDT_VECTORING_ERROR);
    return t;
}

static void load_registers(struct vcpu *v, struct task_regs *r)
{
    for (unsigned i = 0; i < TASK_GPRS; i++)
        r->gpr[i] = (u32)vmx_gpr_read(&v->vmx, i);
    r->eip = (u32)vmx_guest_rip(&v->vmx);
    r->eflags = (u32)vmx_guest_rflags();
    r->gdt_base = vmcs_read(VMCS_GUEST_GDTR_BASE);
    r->gdt_limit = (u32)vmcs_read(VMCS_GUEST_GDTR_LIMIT);
    for (unsigned i = 0; i < VMX_SEG_COUNT; i++)
        r->seg[i] = vmx_segment_read((enum vmx_segment)i);
}

static void store_registers(struct vcpu *v, const struct task_regs *r)
{
    for (unsigned i = 0; i < TASK_GPRS; i++)
        vmx_gpr_write(&v->vmx, i, r->gpr[i]);
    vmx_guest_set_rip(&v->vmx, r->eip);
    vmcs_write(VMCS_GUEST_RFLAGS, r->eflags);
    for (unsigned i = 0; i < VMX_SEG_COUNT; i++)
        vmx_segment_write((enum vmx_segment)i, &r->seg[i]);
    vmx_guest_set_cr0(&v->vmx, vmx_guest_cr0() | CR0_TS);
    vmcs_write(VMCS_GUEST_DR7, vmcs_read(VMCS_GUEST_DR7) & ~DR7_LOCAL);
}

/* NMIs are blocked while one is handled, and by IRET no more (SDM Vol 3A 6.7.1). */
static void set_blocking(const struct task_request *t, u32 vectoring)
{
    struct vmx_event event = {.info = vectoring};
    u64 blocking = vmcs_read(VMCS_GUEST_INTERRUPTIBILITY) & ~BLOCKING_BY_STI;

    if (t->source == VMX_TASK_IRET)
        blocking &= ~(u64)VMX_BLOCKING_NMI;
    else if (vmx_event_valid(event) && vmx_event_type(event) == VMX_EVENT_NMI)
        blocking |= VMX_BLOCKING_NMI;
    vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, blocking);
}

static enum exit_result inject(struct vcpu *v, const struct task_result *result)
{
    return result->vector == TASK_FAULT_RECORDED ? exit_inject_found(v)
                                                 : exit_inject(v, result->vector, result->error);
}

enum exit_result exit_task_switch(struct vcpu *v)
{
    u32 vectoring = vmx_exit_idt_vectoring();
    struct task_request request = request_of(v, vectoring);
    struct task_regs regs;

    if (vectoring & VMX_EVENT_VALID)
        vmx_exit_recover(&v->vmx, 0); /* armed: a fault before the switch combines with it */
    paging_sync(v);
    access_begin(v, vmx_guest_cpl(), vmx_guest_rflags());
    load_registers(v, &regs);
    struct task_result result = task_switch(&regs, &request, &ops, v);
    if (result.switched) {
        vmx_event_disarm(&v->vmx);
        store_registers(v, &regs);
        set_blocking(&request, vectoring);
    }
    atomic_fetch_or_explicit(&v->requests, REQUEST_EVENTS, memory_order_relaxed);
    switch (result.status) {
    case EMULATE_OK: break;
    case EMULATE_FAULT: return inject(v, &result);
    case EMULATE_RETRY:
        if (!result.switched)
            return EXIT_RESUME;
        /* fall through */
    default:
        vm_fail(v, "task switch to selector 0x%x: its structures are not in RAM", request.selector);
        return EXIT_YIELD;
    }
    if (!result.trap)
        return EXIT_RESUME;
    dr6_write(dr6_read() | DR6_BT);
    return exit_inject(v, VECTOR_DB, 0);
}
