/*
 * hypercall.c - VMCALL: the table of calls and those that concern the VM alone. Messages are in messages.c.
 * The contract with guests is ipc/abi.h.
 */
#include "vmm/hypercall.h"
#include "arch/format.h"
#include "arch/string.h"
#include "arch/tsc.h"
#include "vmm/console.h"
#include "vmm/exit.h"
#include "vmm/real.h"
#include "vmm/stats.h"

/* Structures of the ABI are aligned to their size, so they lie in one page. */
u32 hypercall_read(struct vcpu *v, u64 gpa, void *to, u64 size)
{
    if (gpa % size || guest_mem_read(&v->vm->p2m, GPA(gpa), to, size) != ERR_OK)
        return PB_STATUS_BAD_ADDRESS;
    return PB_STATUS_OK;
}

u32 hypercall_write(struct vcpu *v, u64 gpa, const void *from, u64 size)
{
    if (gpa % size)
        return PB_STATUS_BAD_ADDRESS;
    shadow_write_begin(&v->shadow, GPA(gpa), (u32)size);
    enum err e = guest_mem_write(&v->vm->p2m, GPA(gpa), from, size);
    vcpu_flush(v, shadow_write_done(&v->shadow, GPA(gpa), (u32)size));
    return e == ERR_OK ? PB_STATUS_OK : PB_STATUS_BAD_ADDRESS;
}

static u32 call_info(struct vcpu *v, u64 *regs)
{
    const struct vm *vm = v->vm;
    struct pb_info info = {
        .abi_version = PB_ABI_VERSION,
        .id = vm->id,
        .window_gpa = vm->window_gfn << PAGE_SHIFT,
        .window_pages = (u32)vm->window_pages,
        .queue_depth = MSG_QUEUE_DEPTH,
        .inbox_depth = PB_INBOX_DEPTH,
        .vm_count = vm_count,
        .tsc_hz = tsc_hz(),
    };

    format_string(info.name.text, sizeof(info.name.text), "%s", vm->name);
    return hypercall_write(v, regs[VMX_RBX], &info, sizeof(info));
}

static u32 call_find(struct vcpu *v, u64 *regs)
{
    struct pb_name name;
    u32 status = hypercall_read(v, regs[VMX_RBX], &name, sizeof(name));

    if (status != PB_STATUS_OK)
        return status;
    name.text[sizeof(name.text) - 1] = 0;
    for (u32 i = 0; i < vm_count; i++) {
        if (!vms[i] || strcmp(vms[i]->name, name.text) != 0)
            continue;
        regs[VMX_RBX] = i;
        regs[VMX_RCX] = messages_modes(v->vm, i);
        return PB_STATUS_OK;
    }
    return PB_STATUS_NO_SUCH_VM;
}

static u32 call_yield(struct vcpu *v, u64 *regs)
{
    (void)regs;
    v->yields = true;
    return PB_STATUS_OK;
}

static u32 call_console(struct vcpu *v, u64 *regs)
{
    char text[PB_CONSOLE_MAX];
    u64 length = regs[VMX_RCX];

    if (length > sizeof(text))
        return PB_STATUS_BAD_LENGTH;
    if (!vmm_console_room(2 * length))
        length = 0; /* the line is behind: none of it now */
    if (guest_mem_read(&v->vm->p2m, GPA(regs[VMX_RBX]), text, length) != ERR_OK)
        return PB_STATUS_BAD_ADDRESS;
    for (u64 i = 0; i < length; i++)
        vmm_console_byte(v->vm, (u8)text[i]);
    regs[VMX_RBX] = length;
    return PB_STATUS_OK;
}

static u32 call_stats(struct vcpu *v, u64 *regs)
{
    struct flush flush;
    u32 status =
        stats_call(v, regs[VMX_RBX], regs[VMX_RCX], regs[VMX_RDX], tsc_read(), &regs[VMX_RBX], &flush);

    vcpu_flush(v, flush);
    return status;
}

static const hypercall_handler calls[PB_CALL_LAST - PB_CALL_FIRST + 1] = {
    [PB_CALL_INFO - PB_CALL_FIRST] = call_info,
    [PB_CALL_FIND - PB_CALL_FIRST] = call_find,
    [PB_CALL_SEND - PB_CALL_FIRST] = messages_call_send,
    [PB_CALL_RECEIVE - PB_CALL_FIRST] = messages_call_receive,
    [PB_CALL_SETUP - PB_CALL_FIRST] = messages_call_setup,
    [PB_CALL_OFFER - PB_CALL_FIRST] = messages_call_offer,
    [PB_CALL_RECLAIM - PB_CALL_FIRST] = messages_call_reclaim,
    [PB_CALL_RETURN - PB_CALL_FIRST] = messages_call_return,
    [PB_CALL_YIELD - PB_CALL_FIRST] = call_yield,
    [PB_CALL_CONSOLE - PB_CALL_FIRST] = call_console,
    [PB_CALL_STATS - PB_CALL_FIRST] = call_stats,
};

static rarely_run enum exit_result wait_for_message(struct vcpu *v)
{
    v->interruptible = vmx_guest_rflags() & RFLAGS_IF;
    vcpu_sleep(v, VCPU_WAITING);
    return EXIT_YIELD;
}

static enum exit_result refuse(struct vcpu *v, u32 status)
{
    v->vmx.gpr[VMX_RAX] = status;
    return exit_done(v);
}

enum exit_result exit_vmcall(struct vcpu *v)
{
    u64 *regs = v->vmx.gpr;
    u32 number = (u32)regs[VMX_RAX];

    if (unlikely(real_cpl(v) != 0))
        return refuse(v, PB_STATUS_NOT_KERNEL);
    if (number < PB_CALL_FIRST || number > PB_CALL_LAST)
        return refuse(v, PB_STATUS_UNKNOWN_CALL);
    if (vmx_guest_code_bits(&v->vmx) != 64)
        for (u32 r = VMX_RCX; r <= VMX_RSI; r++)
            regs[r] = (u32)regs[r];
    else if (regs[VMX_RAX] != number)
        return refuse(v, PB_STATUS_UNKNOWN_CALL);
    v->yields = false;
    regs[VMX_RAX] = calls[number - PB_CALL_FIRST](v, regs);
    if (unlikely(v->messages.waits)) /* RIP stays: messages_finish_wait() ends the call */
        return wait_for_message(v);
    (void)exit_done(v);
    return v->yields ? EXIT_YIELD : EXIT_RESUME;
}
