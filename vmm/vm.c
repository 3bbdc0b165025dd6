/* vm.c - the life of a VM once it runs: first state, requests, ends and their reports. */
#include "vmm/vm.h"

#include "arch/apic.h"
#include "arch/format.h"
#include "arch/log.h"
#include "arch/tsc.h"
#include "vmm/audit.h"
#include "vmm/console.h"
#include "vmm/guest_regs.h"
#include "vmm/paging.h"
#include "vmm/real.h"
#include "vmm/sched.h"
#include "vmm/stats.h"
#include "vmm/vm_create.h"

bool log_debug;
enum config_audit audit_mode;

static void send_nmi(struct vcpu *v, u32 bits)
{
    atomic_fetch_add_explicit(&v->stats.nmis_sent, 1, memory_order_relaxed);
    if (bits & (REQUEST_SHADOW | REQUEST_DROP))
        atomic_fetch_add_explicit(&v->stats.nmis_shadow, 1, memory_order_relaxed);
    apic_send_nmi(v->on->cpu);
}

void vcpu_request_quietly(struct vcpu *v, u32 bits, bool now)
{
    u32 old = atomic_fetch_or_explicit(&v->requests, bits, memory_order_seq_cst);
    bool asleep = atomic_load_explicit(&v->asleep, memory_order_seq_cst);

    if (v->on->cpu == this_cpu()) {
        if (asleep)
            sched_look_around(v->on);
        return;
    }
    if (!asleep) {
        if (!now)
            return;
        /* Whoever set the bits before has kicked, and they are still to be taken. */
        if ((old & bits) == bits)
            return;
        /* It looks before it is entered. */
        if (!(bits & REQUEST_DROP) && atomic_load_explicit(&v->queued, memory_order_seq_cst))
            return;
    }
    send_nmi(v, bits);
}

bool vcpu_request_inside(struct vcpu *v, u32 bits)
{
    u32 old = atomic_fetch_or_explicit(&v->requests, bits, memory_order_seq_cst);

    if (v->on->cpu == this_cpu() || atomic_load_explicit(&v->asleep, memory_order_seq_cst) ||
        atomic_load_explicit(&v->queued, memory_order_seq_cst))
        return false;
    if ((old & bits) != bits)
        send_nmi(v, bits);
    return true;
}

void vcpu_request(struct vcpu *v, u32 bits)
{
    vcpu_request_quietly(v, bits, true);
}

/* ---- first state ---- */

static struct vmx_seg segment(const struct entry_segment *s)
{
    return (struct vmx_seg){.selector = s->selector, .limit = s->limit, .access = s->rights, .base = s->base};
}

static void first_registers(struct vcpu *v, const struct entry_state *e)
{
    struct vmx_guest_init init = {
        .rip = e->rip,
        .rsp = e->gpr[GPR_RSP],
        .rflags = e->rflags | RFLAGS_FIXED1,
        .cr0 = e->cr0 | CR0_ET,
        .cr3 = e->cr3,
        .cr4 = e->cr4,
        .efer = e->efer,
        .gdtr_base = e->gdt_base,
        .gdtr_limit = e->gdt_limit,
    };

    for (u32 s = VMX_SEG_ES; s <= VMX_SEG_GS; s++)
        init.seg[s] = segment(s == VMX_SEG_CS ? &e->cs : &e->data);
    init.seg[VMX_SEG_TR] = segment(&e->tr);
    init.seg[VMX_SEG_LDTR].access = VMX_AR_UNUSABLE;
    vmx_guest_write(&v->vmx, &init);
    for (u32 i = 0; i < VMX_GPR_COUNT; i++)
        if (i != VMX_RSP)
            v->vmx.gpr[i] = e->gpr[i];
    struct paging_state paging = {
        .cr0 = init.cr0,
        .cr3 = init.cr3,
        .cr4 = init.cr4,
        .efer = init.efer,
        .maxphyaddr = v->shadow.maxphyaddr,
    };
    paging_set(v, &paging);
    guest_regs_follow_paging(v);
}

void vcpu_filter_faults(struct vcpu *v)
{
    static const u32 bits[] = {
        [SHADOW_FILTER_NONE] = 0,
        [SHADOW_FILTER_NOT_PRESENT] = PF_P,
        [SHADOW_FILTER_DATA] = PF_P | PF_I,
    };

    v->faults_filtered = v->shadow.filter;
    if (paging_is_ept(v)) /* its own, all of them */
        vmx_guest_exit_on_faults(v->exceptions & ~(1u << VECTOR_PF), 0);
    else
        vmx_guest_exit_on_faults(v->exceptions, bits[v->faults_filtered]);
}

void vcpu_set_exceptions(struct vcpu *v, u32 exceptions)
{
    v->exceptions = exceptions;
    vcpu_filter_faults(v);
}

bool vcpu_set_up(struct vcpu *v)
{
    struct vmx_setup setup = {.msr_bitmap = v->vm->msr_bitmap, .exception_bitmap = VCPU_EXITING_VECTORS};
    struct entry_state entry =
        v->vm->entry.every_vcpu ? entry_for_vcpu(&v->vm->entry, v->index) : v->vm->entry;

    if (paging_init_vcpu(v, v->state == VCPU_OFF ? 0 : entry.cr0, &setup) != ERR_OK) {
        vm_end(v->vm, VM_CODE_INTERNAL, "VMX controls are missing");
        return false;
    }
    if (vmx_control_is_on(&setup.controls, VMX_SECONDARY_VPID))
        setup.vpid = v->vpid;
    if (vmx_vcpu_setup(&v->vmx, &setup) != ERR_OK) {
        vm_end(v->vm, VM_CODE_INTERNAL, "the CPU refuses its VMCS");
        return false;
    }
    vcpu_set_exceptions(v, VCPU_EXITING_VECTORS);
    if (vmx_control_is_on(&setup.controls, VMX_PRIMARY_TPR_SHADOW))
        vlapic_keep_tpr_at(vcpu_lapic(v), &v->vmx.block->virtual_apic[VMX_VIRTUAL_TPR]);
    if (v->vmx.vpid)
        vmx_tlb_flush_context(&v->on->vmx.tlb, v->vmx.vpid);
    vcpu_flush_ept(v);
    v->linear_vpid = v->vmx.vpid;
    v->set_up = true;
    if (v->state == VCPU_OFF)
        real_reset(v);
    else
        first_registers(v, &entry);
    if (v->index == 0)
        log_line("vm %s: entered at tsc %lu", v->vm->name, tsc_read());
    return true;
}

/* ---- ends ---- */

void vm_end(struct vm *vm, u32 code, const char *words)
{
    bool first = false;

    if (!atomic_compare_exchange_strong_explicit(&vm->end_claimed, &first, true, memory_order_acq_rel,
                                                 memory_order_relaxed))
        return;
    vm->exit_code = code;
    vm->end_words = words;
    atomic_store_explicit(&vm->ending, true, memory_order_release);
    for (u32 i = 0; i < vm->vcpus; i++)
        vcpu_request(vm->vcpu[i], REQUEST_STOP);
}

/* One report at a time: they have a hundred lines, and two CPUs may stop a VM at once. */
static struct spinlock report_lock;

static void line(void *ctx, const char *text)
{
    (void)ctx;
    log_line("  %s", text);
}

void vm_fail(struct vcpu *v, const char *fmt, ...)
{
    char text[160];
    va_list args;

    va_start(args, fmt);
    format_args(text, sizeof(text), fmt, args);
    va_end(args);
    paging_sync(v);
    vmm_console_finish(v->vm);
    spinlock_acquire(&report_lock);
    log_line("vm %s, vCPU %u: stopped: %s", v->vm->name, v->index, text);
    log_line("  guest CR0 0x%lx CR3 0x%lx CR4 0x%lx EFER 0x%lx, real root 0x%lx", v->shadow.paging.cr0,
             v->shadow.paging.cr3, v->shadow.paging.cr4, v->shadow.paging.efer, v->shadow.root.v);
    vmx_vcpu_dump(&v->vmx, line, NULL);
    spinlock_release(&report_lock);
    vm_end(v->vm, VM_CODE_FAULT, "stopped by the hypervisor");
}

void vm_fail_entry(struct vcpu *v, enum vmx_enter_result result)
{
    vmm_console_finish(v->vm);
    spinlock_acquire(&report_lock);
    log_line("vm %s, vCPU %u: the CPU refuses to enter the guest", v->vm->name, v->index);
    vmx_vcpu_explain(&v->vmx, result, line, NULL);
    vmx_vcpu_dump(&v->vmx, line, NULL);
    spinlock_release(&report_lock);
    vm_end(v->vm, VM_CODE_INTERNAL, "VM entry refused");
}

static _Atomic u32 vms_running; /* VMs whose end has not been reported; release by vm_report_end() */

void vm_started(void)
{
    atomic_fetch_add_explicit(&vms_running, 1, memory_order_relaxed);
}

bool vms_all_ended(void)
{
    return atomic_load_explicit(&vms_running, memory_order_acquire) == 0;
}

void vm_report_end(struct vm *vm)
{
    u64 ms = tsc_ticks_to_ns(tsc_read() - vm->started_tsc, tsc_hz()) / 1000000;
    u64 exits = 0;

    for (u32 i = 0; i < vm->vcpus; i++)
        exits += vcpu_exits(vm->vcpu[i]);
    vmm_console_finish(vm);
    messages_vm_ended(vm);
    log_line("vm %s: ended: %s, code %u, after %lu ms and %lu exits", vm->name, vm->end_words, vm->exit_code,
             ms, exits);
    if (audit_mode != CONFIG_AUDIT_OFF)
        audit_print(vm);
    if (log_debug)
        stats_print(vm);
    vm_give_channels_back(vm);
    atomic_fetch_sub_explicit(&vms_running, 1, memory_order_release);
}

static void bench_line(const struct vm *vm)
{
    u64 exits = 0, kicks = 0;

    for (u32 i = 0; i < vm->vcpus; i++) {
        exits += vcpu_exits(vm->vcpu[i]);
        kicks += atomic_load_explicit(&vm->vcpu[i]->stats.nmis_sent, memory_order_relaxed);
    }
    log_line("bench vm %s: exits %lu kicks %lu", vm->name, exits, kicks);
}

void vm_bench_byte(struct vm *vm, u8 byte)
{
    static const char mark[] = "R ";

    if (byte == '\n') {
        if (vm->bench_column == sizeof(mark) - 1)
            bench_line(vm);
        vm->bench_column = 0;
    } else if (vm->bench_column < sizeof(mark) - 1) {
        vm->bench_column = byte == (u8)mark[vm->bench_column] ? vm->bench_column + 1 : sizeof(mark);
    }
}
