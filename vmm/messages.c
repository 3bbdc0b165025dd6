/* messages.c - see messages.h. */
#include "vmm/messages.h"

#include "arch/string.h"
#include "arch/tsc.h"
#include "vmm/hypercall.h"
#include "vmm/paging.h"
#include "vmm/vm.h"

_Static_assert((int)CONFIG_MODE_MESSAGE == PB_MODE_MESSAGE && (int)CONFIG_MODE_SHARE_RO == PB_MODE_SHARE_RO &&
                   (int)CONFIG_MODE_SHARE_RW == PB_MODE_SHARE_RW && (int)CONFIG_MODE_LEND == PB_MODE_LEND &&
                   (int)CONFIG_MODE_DONATE == PB_MODE_DONATE,
               "the configuration's masks are the ABI's");

/* ---- what ipc/ asks for (struct ipc_ops) ---- */

static hpa_t frame_of(void *ctx, u32 vm, u64 gfn)
{
    (void)ctx;
    return p2m_entry_hpa(p2m_get(&vms[vm]->p2m, gfn));
}

static void drop(struct vcpu *v, u64 gfn, hpa_t frame, bool read_only)
{
    if (v->state == VCPU_STOPPED)
        return; /* it is never entered again, and the channels that its shadow would drain may be gone */
    vcpu_flush(v, shadow_drop_frame(&v->shadow, gfn, frame, read_only));
    paging_drop(v);
}

void messages_serve_drop(struct vcpu *v)
{
    struct vcpu_drop *d = &v->messages.drop;

    /* before the look, so that what is asked after it is kicked for */
    atomic_fetch_and_explicit(&v->requests, ~(u32)REQUEST_DROP, memory_order_seq_cst);
    if (!atomic_load_explicit(&d->asked, memory_order_acquire))
        return;
    drop(v, d->gfn, d->frame, d->read_only);
    atomic_store_explicit(&d->asked, 0, memory_order_release);
}

/* What others want of the vCPUs of this CPU, while it waits for them. */
static void serve_own_drops(struct vmm_cpu *me)
{
    struct vcpu *v = me->last;

    for (u32 n = 0; n < me->run_count; n++, v = v->next_here)
        messages_serve_drop(v);
    cpu_pause();
}

static void drop_on_its_cpu(struct vcpu *v, u64 gfn, hpa_t frame, bool read_only)
{
    struct vmm_cpu *me = this_cpu()->private;
    struct vcpu_drop *d = &v->messages.drop;

    if (v->on == me) {
        drop(v, gfn, frame, read_only);
        return;
    }
    while (!spinlock_try(&d->lock))
        serve_own_drops(me);
    d->gfn = gfn;
    d->frame = frame;
    d->read_only = read_only;
    atomic_store_explicit(&d->asked, 1, memory_order_release);
    vcpu_request(v, REQUEST_DROP);
    /* a VM whose vCPUs have all stopped is never entered again: its shadows do not matter */
    while (atomic_load_explicit(&d->asked, memory_order_acquire) &&
           atomic_load_explicit(&v->vm->running, memory_order_acquire))
        serve_own_drops(me);
    spinlock_release(&d->lock);
}

static void drop_everywhere(struct vm *vm, u64 gfn, hpa_t frame, bool read_only)
{
    for (u32 i = 0; i < vm->vcpus; i++)
        drop_on_its_cpu(vm->vcpu[i], gfn, frame, read_only);
}

static void unmap(void *ctx, u32 vm, u64 gfn, hpa_t frame)
{
    (void)ctx;
    p2m_set(&vms[vm]->p2m, gfn, HPA(0), P2M_EMPTY, false);
    paging_page_changed(vms[vm], gfn);
    drop_everywhere(vms[vm], gfn, frame, false);
}

static void map(void *ctx, u32 vm, u64 gfn, hpa_t frame, enum ipc_map how)
{
    u64 old =
        p2m_set(&vms[vm]->p2m, gfn, frame, how == IPC_MAP_READ ? P2M_RAM_RO : P2M_RAM_RW, how != IPC_MAP_OWN);

    (void)ctx;
    paging_page_changed(vms[vm], gfn);
    /* tables derived from it must not rely on a trace any more, or it is not writable any more */
    if (p2m_entry_is_ram(old) && how != IPC_MAP_OWN)
        drop_everywhere(vms[vm], gfn, frame, false);
}

static void zero(void *ctx, hpa_t frame)
{
    (void)ctx;
    memset(hpa_to_ptr(frame), 0, PAGE_SIZE);
}

static void notify(void *ctx, u32 vm, bool now)
{
    (void)ctx;
    vcpu_request_quietly(vms[vm]->vcpu[0], now ? REQUEST_MESSAGES : REQUEST_QUIET, now);
}

static const struct ipc_ops ops = {frame_of, unmap, map, zero, notify};
static struct ipc ipc = {.ops = &ops};

/* ---- creation ---- */

enum err messages_init_vm(struct vm *vm)
{
    void *grants = vm->take(vm, grants_size(vm->p2m.count));

    if (!grants)
        return ERR_NO_MEMORY;
    grants_init(&vm->ipc.grants, grants, vm->p2m.count);
    for (u64 gfn = 0; gfn < vm->p2m.count; gfn++)
        if (p2m_entry_type(p2m_get(&vm->p2m, gfn)) == P2M_RAM_RW)
            grants_set(&vm->ipc.grants, gfn, 1, GRANT_OWNED);
    grants_set(&vm->ipc.grants, vm->window_gfn, vm->window_pages, GRANT_EMPTY);
    return ERR_OK;
}

void messages_init_vcpu(struct vcpu *v)
{
    _Static_assert(sizeof(struct msg_queue) == sizeof(v->vmx.block->queue), "behind the VMCS");
    v->messages.queue = msg_queue_init(v->vmx.block->queue);
}

void messages_connect(const struct config *config)
{
    ipc.count = vm_count;
    for (u32 i = 0; i < vm_count; i++) {
        if (!vms[i])
            continue;
        ipc_vm_init(&vms[i]->ipc, vms[i]->vcpu[0]->messages.queue);
        ipc.vm[i] = &vms[i]->ipc;
    }
    for (u32 i = 0; i < config->channel_count; i++) {
        const struct channel_config *c = &config->channels[i];
        if (c->a < vm_count && c->b < vm_count && vms[c->a] && vms[c->b])
            ipc_connect(&ipc, c->a, c->b, c->modes | PB_MODE_MESSAGE, c->depth);
    }
}

u32 messages_modes(const struct vm *vm, u32 peer)
{
    return ipc_modes(&ipc, vm->id, peer);
}

/* ---- calls ---- */

u32 messages_call_send(struct vcpu *v, u64 *regs)
{
    struct pb_message m;
    u32 status = hypercall_read(v, regs[VMX_RBX], &m, sizeof(m));

    if (status == PB_STATUS_OK)
        status = ipc_send(&ipc, v->vm->id, v->messages.queue, &m);
    if (status != PB_STATUS_OK) {
        counter_one(&v->messages.refused);
        return status;
    }
    counter_one(&v->messages.sent);
    counter_add(&v->messages.pages_out, m.kind != PB_KIND_DATA);
    return status;
}

u32 messages_call_offer(struct vcpu *v, u64 *regs)
{
    u64 gpa = regs[VMX_RBX];

    if (gpa & PAGE_MASK)
        return PB_STATUS_BAD_PAGE;
    return ipc_offer(&ipc, v->vm->id, gpa >> PAGE_SHIFT, regs[VMX_RCX], &regs[VMX_RBX]);
}

u32 messages_call_reclaim(struct vcpu *v, u64 *regs)
{
    if (regs[VMX_RBX] & PAGE_MASK)
        return PB_STATUS_BAD_PAGE;
    return ipc_reclaim(&ipc, v->vm->id, regs[VMX_RBX] >> PAGE_SHIFT);
}

u32 messages_call_return(struct vcpu *v, u64 *regs)
{
    if (regs[VMX_RBX] & PAGE_MASK)
        return PB_STATUS_BAD_PAGE;
    return ipc_return(&ipc, v->vm->id, regs[VMX_RBX] >> PAGE_SHIFT);
}

u32 messages_call_setup(struct vcpu *v, u64 *regs)
{
    struct vcpu_messages *m = &v->messages;
    u64 gpa = regs[VMX_RBX], vector = regs[VMX_RCX];
    bool with_inbox = regs[VMX_RDX] & PB_SETUP_INBOX;
    void *page = guest_mem_pointer(&v->vm->p2m, GPA(gpa), true);

    if (regs[VMX_RDX] & ~(u64)PB_SETUP_INBOX)
        return PB_STATUS_BAD_FLAGS;
    if (vector && (vector < VECTOR_EXCEPTIONS || vector > UINT8_MAX))
        return PB_STATUS_BAD_VECTOR;
    if (v->index != 0)
        return PB_STATUS_WRONG_VCPU;
    if (with_inbox) {
        if ((gpa & PAGE_MASK) || !gpa || !page)
            return PB_STATUS_BAD_ADDRESS;
        if (m->inbox_gfn != gpa >> PAGE_SHIFT) {
            u32 status = ipc_pin(&ipc, v->vm->id, gpa >> PAGE_SHIFT);
            if (status != PB_STATUS_OK)
                return status;
        }
    }
    if (m->inbox_gfn && (!with_inbox || m->inbox_gfn != gpa >> PAGE_SHIFT))
        ipc_unpin(&ipc, v->vm->id, m->inbox_gfn);
    m->inbox_gfn = with_inbox ? gpa >> PAGE_SHIFT : 0;
    m->vector = (u8)vector;
    m->announced = false;
    if (with_inbox) {
        shadow_write_begin(&v->shadow, GPA(gpa), PAGE_SIZE);
        ipc_inbox_init(&m->inbox, page);
        vcpu_flush(v, shadow_write_done(&v->shadow, GPA(gpa), PAGE_SIZE));
    }
    messages_deliver(v);
    return PB_STATUS_OK;
}

/* What a receive call answers now. */
static u32 receive(struct vcpu *v)
{
    struct vcpu_messages *m = &v->messages;
    struct pb_message message;

    if (!m->buffer) {
        messages_deliver(v);
        return messages_ready(v) ? PB_STATUS_OK : PB_STATUS_EMPTY;
    }
    if (m->buffer % sizeof(message) || !guest_mem_pointer(&v->vm->p2m, GPA(m->buffer), true))
        return PB_STATUS_BAD_ADDRESS;
    u32 status = ipc_receive(&ipc, v->vm->id, &message);
    if (!msg_queue_ready(m->queue))
        m->announced = false;
    if (status != PB_STATUS_OK)
        return status;
    counter_one(&v->messages.received);
    counter_add(&v->messages.pages_in, message.page != 0);
    return hypercall_write(v, m->buffer, &message, sizeof(message));
}

u32 messages_call_receive(struct vcpu *v, u64 *regs)
{
    struct vcpu_messages *m = &v->messages;
    u64 us = regs[VMX_RDX];

    if (regs[VMX_RCX] & ~(u64)PB_RECEIVE_BLOCK)
        return PB_STATUS_BAD_FLAGS;
    if (v->index != 0)
        return PB_STATUS_WRONG_VCPU;
    if (!regs[VMX_RBX] && !m->inbox_gfn)
        return PB_STATUS_NOT_READY;
    m->buffer = regs[VMX_RBX];
    u32 status = receive(v);
    if (status != PB_STATUS_EMPTY || !(regs[VMX_RCX] & PB_RECEIVE_BLOCK))
        return status;
    v->wait_until = us && us < UINT32_MAX ? tsc_read() + tsc_ns_to_ticks(us * 1000, tsc_hz()) : VTIME_NEVER;
    m->waits = true;
    return status;
}

/* ---- receiving ---- */

static void interrupt(struct vcpu *v)
{
    if (!v->messages.vector)
        return;
    vlapic_post(vcpu_lapic(v), v->messages.vector, false);
    atomic_fetch_or_explicit(&v->requests, REQUEST_EVENTS, memory_order_relaxed);
}

void messages_deliver(struct vcpu *v)
{
    struct vcpu_messages *m = &v->messages;

    if (!m->inbox_gfn) {
        if (msg_queue_ready(m->queue) && !m->announced) {
            m->announced = true;
            interrupt(v);
        }
        return;
    }
    shadow_write_begin(&v->shadow, GPA(m->inbox_gfn << PAGE_SHIFT), PAGE_SIZE);
    u32 moved = ipc_inbox_fill(&ipc, v->vm->id, &m->inbox);
    vcpu_flush(v, shadow_write_done(&v->shadow, GPA(m->inbox_gfn << PAGE_SHIFT), PAGE_SIZE));
    /* what finds no room now is looked at again at each exit: the guest makes room without one */
    if (msg_queue_ready(m->queue))
        atomic_fetch_or_explicit(&v->requests, REQUEST_QUIET, memory_order_relaxed);
    if (!moved)
        return;
    counter_add(&m->received, moved);
    interrupt(v);
}

bool messages_ready(const struct vcpu *v)
{
    const struct vcpu_messages *m = &v->messages;

    if (m->buffer)
        return msg_queue_ready(m->queue);
    return m->inbox_gfn && ipc_inbox_ready(&m->inbox);
}

bool messages_finish_wait(struct vcpu *v, bool interrupted)
{
    struct vcpu_messages *m = &v->messages;
    u32 status = receive(v);

    if (status == PB_STATUS_EMPTY) {
        if (!interrupted && tsc_read() < v->wait_until)
            return false;
        status = interrupted ? PB_STATUS_INTERRUPTED : PB_STATUS_TIMED_OUT;
    }
    m->waits = false;
    v->wait_until = VTIME_NEVER;
    v->vmx.gpr[VMX_RAX] = status;
    vmx_guest_skip(&v->vmx);
    return true;
}

void messages_vm_ended(struct vm *vm)
{
    ipc_vm_ended(&ipc, vm->id);
}
