/*
 * sched.c - the loop of a physical CPU.
 *
 *      +--> pick a vCPU that is ready (wakes those whose event has come) --none--> idle until something happens
 *      |      |
 *      |      v
 *      |    load its registers and VMCS
 *      |      |
 *      |      v
 *      |    +-> look for work: requests, timers --> VM entry --> exit --> handler -+
 *      |    +---------------------------------------------------- resume <---------+
 *      +--------------------------------------------------------- yield  <---------+
 *
 * Kicks: whoever leaves work for a vCPU sets a request bit and sends an NMI to its CPU. The NMI counter is
 * read before the look for work and compared again right before the VM entry (vmx/entry.asm), so no kick
 * falls between the two.
 */
#include "vmm/sched.h"

#include "arch/apic.h"
#include "arch/console.h"
#include "arch/idle.h"
#include "arch/tsc.h"
#include "vmm/audit.h"
#include "vmm/console.h"
#include "vmm/events.h"
#include "vmm/exit.h"
#include "vmm/fpu.h"

#define SLICE_US        5000u /* of a CPU that several vCPUs want */
#define SLICE_WAKE_US   500u /* what the current one has had, at least, when one that woke up takes its place */
#define TIMER_ENTRIES   32
#define CONSOLE_POLL_US 5000u /* how often the boot CPU looks at the keyboard */
#define CONSOLE_PUMP_US 1000u /* while output waits: a FIFO of 16 bytes takes 1.4 ms at 115200 baud */

static u64 ticks_of_us(u64 us)
{
    return tsc_ns_to_ticks(us * 1000, tsc_hz());
}

void sched_place(struct vmm_cpu *cpu, struct vcpu *v)
{
    struct vcpu *last = cpu->last;

    v->on = cpu;
    v->next_here = last ? last->next_here : v;
    if (last)
        last->next_here = v;
    cpu->last = v;
    cpu->run_count++;
}

u64 sched_longest_wait_ns(const struct vmm_cpu *cpu)
{
    return (u64)(cpu->run_count - 1) * SLICE_US * 1000;
}

static u32 vcpus_here(const struct vmm_cpu *cpu, const struct vm *vm)
{
    const struct vcpu *v = cpu->last;
    u32 count = 0;

    for (u32 n = 0; n < cpu->run_count; n++, v = v->next_here)
        count += v->vm == vm;
    return count;
}

struct vmm_cpu *sched_choose(struct vmm_cpu *cpus, u32 count, u64 allowed, const struct vm *vm)
{
    struct vmm_cpu *best = NULL;
    u32 best_here = 0;

    for (u32 i = 0; i < count; i++) {
        u32 here = vcpus_here(&cpus[i], vm);
        if (allowed && !(allowed >> i & 1))
            continue;
        if (!best || here < best_here || (here == best_here && cpus[i].run_count < best->run_count)) {
            best = &cpus[i];
            best_here = here;
        }
    }
    return best;
}

/* ---- which vCPU next ---- */

/* A vCPU that is not running: does what was asked of it meanwhile. May it run? Its timers go on, and a halted or
 * waiting one may become ready by them. */
static bool is_ready(struct vcpu *v, u64 now)
{
    if (v->state == VCPU_STOPPED) {
        messages_serve_drop(v);
        return false;
    }
    if (atomic_load_explicit(&v->vm->ending, memory_order_acquire)) {
        sched_stop(v);
        return false;
    }
    if (v->state == VCPU_READY) {
        if (atomic_load_explicit(&v->requests, memory_order_relaxed) & REQUEST_DROP)
            messages_serve_drop(v);
        return true;
    }
    vplat_advance(&v->vm->platform, v->index, now);
    return events_wake(v, now);
}

static struct vcpu *pick(struct vmm_cpu *me, u64 now)
{
    struct vcpu *v = me->last;

    for (u32 n = 0; n < me->run_count; n++) {
        v = v->next_here;
        if (is_ready(v, now)) {
            me->last = v;
            return v;
        }
    }
    return NULL;
}

/* When a vCPU that sleeps has to be looked at without being asked to. */
static u64 wakes_at(const struct vcpu *v)
{
    if (v->state != VCPU_HALTED && v->state != VCPU_WAITING)
        return VTIME_NEVER;
    return MIN(vplat_next_deadline(&v->vm->platform, v->index), v->wait_until);
}

/*
 * The vCPUs of this CPU that v, the current one, keeps from running: who of them is ready, and when is the next
 * look. One that was ready before gets the CPU after a slice, one that wakes up now soon.
 */
static rarely_run void look_at_others(struct vmm_cpu *me, struct vcpu *v, u64 now)
{
    bool ready = false, woken = false;

    me->wake_at = VTIME_NEVER;
    for (struct vcpu *other = v->next_here; other != v; other = other->next_here) {
        bool slept = other->state != VCPU_READY;
        if (is_ready(other, now)) {
            ready = true;
            woken |= slept;
        } else {
            me->wake_at = MIN(me->wake_at, wakes_at(other));
        }
    }
    if (!ready)
        me->slice_end = VTIME_NEVER;
    else
        me->slice_end = MIN(me->slice_end, me->started + ticks_of_us(woken ? SLICE_WAKE_US : SLICE_US));
    vmx_vcpu_spin_exits(&v->vmx, ready);
}

void sched_look_around(struct vmm_cpu *me)
{
    me->wake_at = 0;
    if (me->current)
        me->current->deadline = 0;
}

bool sched_others_wait(const struct vmm_cpu *me)
{
    return me->slice_end != VTIME_NEVER;
}

/* ---- making it current ---- */

static bool make_current(struct vmm_cpu *me, struct vcpu *v)
{
    if (me->current == v)
        return true;
    if (vmx_vcpu_load(&v->vmx, &me->vmx) != ERR_OK) {
        vm_end(v->vm, VM_CODE_INTERNAL, "its VMCS cannot be loaded");
        return false;
    }
    fpu_switch(me->current ? me->current->fpu : NULL, v->fpu, v->xcr0);
    me->current = v;
    if (!v->set_up && !vcpu_set_up(v))
        return false;
    vcpu_flush(v, FLUSH_NOTHING); /* what was changed while it was not current */
    return true;
}

/* ---- timers ---- */

/* The exit that the next deadline needs: by the preemption timer, else by this CPU's APIC timer. */
static void set_timer(struct vmm_cpu *me, struct vcpu *v, u64 now)
{
    u64 deadline = v->deadline;

    if (vmx_control_can(&v->vmx.controls, VMX_PIN_PREEMPTION_TIMER)) {
        if (deadline == VTIME_NEVER)
            vmx_vcpu_timer_off(&v->vmx);
        else
            vmx_vcpu_timer_set(&v->vmx, deadline > now ? deadline - now : 0);
    } else if (deadline != me->timer_armed) {
        me->timer_armed = deadline;
        if (deadline == VTIME_NEVER)
            apic_timer_stop();
        else
            apic_timer_arm(deadline, HOST_TIMER_VECTOR);
    }
}

/*
 * A preemption timer that is saved at exits goes on where it was and need not be set at each entry. It stands still
 * while the hypervisor runs, so it is set anew after TIMER_ENTRIES; meanwhile every exit looks at the clock anyway.
 * The APIC's timer does not stand still.
 */
static void arm_timer(struct vmm_cpu *me, struct vcpu *v, u64 now)
{
    if (likely(v->deadline == v->timer_deadline && --v->timer_entries >= 0))
        return;
    set_timer(me, v, now);
    v->timer_deadline = v->deadline;
    v->timer_entries =
        vmx_control_is_on(&v->vmx.controls, VMX_EXIT_SAVE_PREEMPTION_TIMER) ? TIMER_ENTRIES : INT32_MAX;
}

static u64 next_deadline(const struct vmm_cpu *me, const struct vcpu *v)
{
    u64 d = MIN(vplat_next_deadline(&v->vm->platform, v->index), me->slice_end);

    return MIN(d, MIN(me->poll_at, me->wake_at));
}

/* Regular work of the CPU itself. */
static void housekeeping(struct vmm_cpu *me, u64 now)
{
    console_pump();
    if (me->cpu->index == 0)
        vmm_console_poll();
    me->poll_at = now + ticks_of_us(console_waiting() ? CONSOLE_PUMP_US : CONSOLE_POLL_US);
}

/* ---- running one ---- */

/* A deadline of v's has come. False: its time is over. */
static rarely_run bool deadline_passed(struct vmm_cpu *me, struct vcpu *v, u64 now)
{
    if (now >= me->poll_at)
        housekeeping(me, now);
    vplat_advance(&v->vm->platform, v->index, now);
    atomic_fetch_or_explicit(&v->requests, REQUEST_EVENTS, memory_order_relaxed);
    if (now >= me->wake_at)
        look_at_others(me, v, now);
    return now < me->slice_end;
}

/* Everything that has to be right before an entry. False: the vCPU is not to run now. */
static inline __attribute__((always_inline)) bool before_entry(struct vmm_cpu *me, struct vcpu *v)
{
    u64 now = tsc_read();

    if (unlikely(now >= v->deadline) && !deadline_passed(me, v, now))
        return false;
    if (unlikely(atomic_load_explicit(&v->requests, memory_order_relaxed))) {
        if (!events_serve(v))
            return false;
        v->deadline = next_deadline(me, v);
    }
    arm_timer(me, v, now);
    return true;
}

/*
 * After each exit, called by vmx/entry.asm: what the exit asks for, and whether the guest may go on at once. It may if
 * nobody asks anything of it, no deadline has passed, and its timer is good for one more entry; that no kick has come
 * since v->seen_nmis was read, before the last look at everything, is compared right before the entry.
 */
static u64 after_exit(struct vmx_vcpu *vmx)
{
    struct vcpu *v = (struct vcpu *)vmx;
    enum exit_result result = exit_dispatch(v);

    if (likely(result == EXIT_RESUME && !atomic_load_explicit(&v->requests, memory_order_relaxed) &&
               tsc_read() < v->deadline && --v->timer_entries >= 0))
        return v->seen_nmis;
    v->result = result;
    return VMX_LEAVE;
}

static u64 after_audited_exit(struct vmx_vcpu *vmx)
{
    (void)after_exit(vmx);
    audit_exit((struct vcpu *)vmx);
    return VMX_LEAVE;
}

/* Everything is looked at, then the guest runs until something is to be looked at again. False: not now any more. */
static bool step(struct vmm_cpu *me, struct vcpu *v)
{
    v->seen_nmis = __atomic_load_n(&me->cpu->nmi_count, __ATOMIC_RELAXED);
    if (unlikely(v->seen_nmis != me->looked_nmis && me->run_count > 1)) {
        me->looked_nmis = v->seen_nmis;
        sched_look_around(me);
    }
    if (!before_entry(me, v))
        return false;
    v->result = EXIT_RESUME;
    enum vmx_enter_result entered = vmx_enter(&v->vmx, v->seen_nmis);
    if (likely(entered == VMX_ENTER_LEFT))
        return v->result == EXIT_RESUME;
    vm_fail_entry(v, entered);
    return false;
}

/* `seen`: nmi_count before v was picked. */
static void run(struct vmm_cpu *me, struct vcpu *v, u64 seen)
{
    u64 now = tsc_read();

    atomic_store_explicit(&v->queued, false, memory_order_seq_cst);
    me->looked_nmis = seen;
    me->started = now;
    me->slice_end = VTIME_NEVER;
    me->wake_at = 0;
    v->deadline = now; /* timers and the others are looked at, and the timer set */
    v->timer_entries = 0;
    v->vmx.on_exit = audit_mode == CONFIG_AUDIT_OFF ? after_exit : after_audited_exit;
    atomic_fetch_or_explicit(&v->requests, REQUEST_EVENTS, memory_order_relaxed);
    while (step(me, v)) {
    }
    if (v->state == VCPU_READY)
        atomic_store_explicit(&v->queued, true, memory_order_relaxed);
}

/* ---- nothing to run ---- */

static void idle(struct vmm_cpu *me, u64 seen, u64 now)
{
    struct vcpu *v = me->last;
    u64 until = me->poll_at;

    for (u32 n = 0; n < me->run_count; n++, v = v->next_here) {
        until = MIN(until, wakes_at(v));
        vmm_console_show(v->vm);
    }
    if (until > now)
        cpu_idle_until(seen, until);
    me->timer_armed = VTIME_NEVER;
}

void sched_run(struct vmm_cpu *me)
{
    me->poll_at = tsc_read();
    me->timer_armed = VTIME_NEVER;
    while (!vms_all_ended()) {
        u64 seen = __atomic_load_n(&me->cpu->nmi_count, __ATOMIC_RELAXED);
        u64 now = tsc_read();
        if (now >= me->poll_at)
            housekeeping(me, now);
        struct vcpu *v = pick(me, now);
        if (!v)
            idle(me, seen, now);
        else if (make_current(me, v))
            run(me, v, seen);
    }
}

void sched_stop(struct vcpu *v)
{
    if (v->state == VCPU_STOPPED)
        return;
    v->state = VCPU_STOPPED;
    if (atomic_fetch_sub_explicit(&v->vm->running, 1, memory_order_acq_rel) == 1)
        vm_report_end(v->vm);
}
