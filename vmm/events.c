/* events.c - serving a vCPU's requests before it is entered. */
#include "vmm/events.h"

#include "vmm/console.h"
#include "vmm/real.h"
#include "vmm/sched.h"

static void deliver_nmi(struct vcpu *v)
{
    struct vlapic *l = vcpu_lapic(v);

    if (!vmx_can_inject_nmi(&v->vmx))
        vlapic_nmi_collapse(l);
    else if (vlapic_nmi_take(l))
        real_or_inject_nmi(v);
    if (vlapic_events(l) & VLAPIC_EVENT_NMIS)
        vmx_nmi_window_set(&v->vmx, true);
}

static void deliver_interrupt(struct vcpu *v)
{
    struct vplatform *p = &v->vm->platform;

    if (!vplat_irq_pending(p, v->index))
        return;
    if (vmx_can_inject_interrupt(&v->vmx)) {
        int vector = vplat_irq_accept(p, v->index);
        if (vector >= 0) {
            real_or_inject_interrupt(v, (u8)vector);
            counter_one(&v->stats.interrupts);
        }
        if (vplat_irq_pending(p, v->index))
            vmx_interrupt_window_set(&v->vmx, true);
    } else {
        vmx_interrupt_window_set(&v->vmx, true);
    }
}

/* Injects an NMI or an interrupt if the guest can take one now; otherwise asks for the exit that says when.
 */
static void deliver(struct vcpu *v)
{
    struct vlapic *l = vcpu_lapic(v);

    if (unlikely(vlapic_events(l) & VLAPIC_EVENT_NMIS))
        deliver_nmi(v);
    deliver_interrupt(v);
    if (vmx_control_is_on(&v->vmx.controls, VMX_PRIMARY_TPR_SHADOW))
        vmx_vcpu_tpr_threshold(&v->vmx, unlikely(vlapic_may_have_irq(l)) ? vlapic_tpr_threshold(l) : 0);
}

void events_expect(struct vcpu *v)
{
    struct vplatform *p = &v->vm->platform;

    if (vlapic_may_have_irq(vcpu_lapic(v)) || vlapic_events(vcpu_lapic(v)) ||
        vplat_irq_pending(p, v->index) || vplat_next_deadline(p, v->index) < v->deadline ||
        v->vmx.tpr_threshold)
        atomic_fetch_or_explicit(&v->requests, REQUEST_EVENTS, memory_order_relaxed);
}

#define SERVED_ANYWHERE \
    ((u32)(REQUEST_INPUT | REQUEST_DROP | REQUEST_MESSAGES | REQUEST_QUIET | REQUEST_SHADOW))

/* Does what needs no registers of v; returns what else was requested. */
static u32 serve_anywhere(struct vcpu *v)
{
    u32 requests = atomic_exchange_explicit(&v->requests, 0, memory_order_seq_cst);

    if (requests & REQUEST_INPUT)
        vmm_console_give_input(v->vm);
    if (requests & REQUEST_DROP)
        messages_serve_drop(v);
    if (requests & (REQUEST_MESSAGES | REQUEST_QUIET))
        messages_deliver(v);
    if (requests & REQUEST_SHADOW)
        vcpu_flush(v, shadow_service_kicks(&v->shadow));
    return requests & ~SERVED_ANYWHERE;
}

/* Something that its guest would notice while it sleeps. */
static bool may_interrupt(struct vcpu *v)
{
    struct vplatform *p = &v->vm->platform;

    return (vlapic_events(vcpu_lapic(v)) & VLAPIC_EVENT_NMIS) ||
           (v->interruptible && vplat_irq_pending(p, v->index));
}

/* INIT (SDM Vol 3A 8.4, table 9-1): whatever v was doing, it waits for a SIPI with its registers reset. */
static void reset(struct vcpu *v)
{
    vplat_vcpu_init(&v->vm->platform, v->index);
    (void)vlapic_events_take(vcpu_lapic(v), VLAPIC_EVENT_NMIS);
    vmx_event_disarm(&v->vmx);
    vmx_interrupt_window_set(&v->vmx, false);
    vmx_nmi_window_set(&v->vmx, false);
    real_reset(v);
    vcpu_sleep(v, VCPU_OFF);
}

/*
 * INIT and SIPI. Of both at once INIT was first: a SIPI to a vCPU that does not wait for one has no effect (8.4.4.1). The
 * boot processor would start at the reset vector: the VM is over. False: v is not to be entered.
 */
static rarely_run bool startup(struct vcpu *v)
{
    u32 events = vlapic_events_take(vcpu_lapic(v), vlapic_startup(vcpu_lapic(v), v->state == VCPU_OFF));

    if (events & VLAPIC_EVENT_INIT) {
        if (v->index == 0) {
            vm_end(v->vm, 0, "reset: INIT sent to its boot processor");
            sched_stop(v);
            return false;
        }
        reset(v);
    }
    if (v->state != VCPU_OFF)
        return true;
    if (!(events & VLAPIC_EVENT_SIPI))
        return false;
    (void)vlapic_events_take(vcpu_lapic(v), VLAPIC_EVENT_NMIS);
    real_start(v, vlapic_sipi_vector(vcpu_lapic(v)));
    v->state = VCPU_READY;
    /* Who has seen it asleep until now expects it to look before it enters: vcpu_request_inside(). */
    atomic_store_explicit(&v->asleep, false, memory_order_seq_cst);
    (void)serve_anywhere(v);
    return true;
}

bool events_serve(struct vcpu *v)
{
    (void)serve_anywhere(v); /* the rest is done below, always */
    if (unlikely(atomic_load_explicit(&v->vm->ending, memory_order_acquire))) {
        sched_stop(v);
        return false;
    }
    if (unlikely(v->state == VCPU_OFF || (vlapic_events(vcpu_lapic(v)) & VLAPIC_EVENT_STARTUP)) &&
        !startup(v))
        return false;
    if (unlikely(v->messages.waits) && !messages_finish_wait(v, may_interrupt(v))) {
        vcpu_sleep(v, VCPU_WAITING);
        return false;
    }
    deliver(v);
    return true;
}

bool events_wake(struct vcpu *v, u64 now)
{
    /* put back what only events_serve() can do */
    u32 rest = serve_anywhere(v);
    if (rest)
        atomic_fetch_or_explicit(&v->requests, rest, memory_order_relaxed);
    u32 startup_events = vlapic_startup(vcpu_lapic(v), v->state == VCPU_OFF);
    if (v->state == VCPU_OFF)
        return startup_events; /* it stays OFF until it is current: they need its registers */
    bool wake = startup_events || may_interrupt(v);
    if (v->state == VCPU_WAITING)
        wake |= messages_ready(v) || now >= v->wait_until;
    if (wake) {
        v->state = VCPU_READY;
        /* until it is entered: it may have to wait */
        atomic_store_explicit(&v->queued, true, memory_order_relaxed);
        atomic_store_explicit(&v->asleep, false, memory_order_relaxed);
    }
    return wake;
}
