/*
 * vm.h - a virtual machine, its virtual CPUs, and the physical CPUs that run them.
 *
 *   struct vmm_cpu (one per physical CPU)          struct vm
 *     runs vCPUs in turn  ----------------+          p2m, traces, matrix   what its pages are (mm/)
 *                                         |          platform              its devices (vmm/dev/)
 *                                         v          grants, queues        its messages (ipc/)
 *                                    struct vcpu  <---- vcpu[]
 *                                      vmx      registers, VMCS, its message queue (vmx/, ipc/)
 *                                      shadow   shadow page tables (mm/)
 *                                      lapic    interrupt controller (vmm/dev/)
 *
 * Who may touch what: a vCPU's fields belong to the CPU it is placed on (vcpu->on), for as long as it
 * exists, but for `requests`, which any CPU may set bits in. A VM's shared parts say in their own headers how
 * they are shared.
 */
#pragma once
#include "arch/counter.h"
#include "arch/percpu.h"
#include "arch/regs.h"
#include "arch/types.h"
#include "ipc/abi.h"
#include "mm/audit.h"
#include "mm/ept.h"
#include "mm/matrix.h"
#include "mm/p2m.h"
#include "mm/shadow.h"
#include "vmm/config.h"
#include "vmm/dev/platform.h"
#include "vmm/load_guest.h"
#include "vmm/messages.h"
#include "vmm/real_cpu.h"
#include "vmm/vcpu_access.h"
#include "vmx/vcpu.h"

#define VM_MAX       CONFIG_MAX_VMS
#define VM_VCPUS_MAX CONFIG_MAX_VCPUS

/* What others want of a vCPU; bits of vcpu.requests. Writers: any CPU (or, release). Reader: the CPU that
 * runs the vCPU takes them all before an entry (exchange, acquire). Whoever sets a bit on another CPU kicks
 * that CPU after. */
enum vcpu_request {
    REQUEST_EVENTS = 1 << 0,   /* something may be deliverable: local APIC, PIC */
    REQUEST_MESSAGES = 1 << 1, /* its message queue is not empty */
    REQUEST_SHADOW = 1 << 2,   /* shadow_service_kicks() */
    REQUEST_INPUT = 1 << 3,    /* typed characters wait in vm->input */
    REQUEST_STOP = 1 << 4,     /* its VM has ended */
    REQUEST_DROP = 1 << 5,     /* messages.drop */
    /* REQUEST_MESSAGES without a kick; a bit of its own, so that a kick is not taken for sent */
    REQUEST_QUIET = 1 << 6,
};

enum vcpu_state {
    VCPU_OFF,     /* waits for INIT-SIPI */
    VCPU_READY,   /* runs when its turn comes */
    VCPU_HALTED,  /* HLT: waits for an interrupt */
    VCPU_WAITING, /* in PB_CALL_RECEIVE: waits for a message, or an interrupt */
    VCPU_STOPPED, /* for good */
};

/* Writer: the vCPU's CPU, but for nmis_*; readers: any CPU (arch/counter.h). */
struct vcpu_stats {
    counter_t by_reason[VMX_EXIT_COUNT]; /* vcpu_exits() adds them up */
    counter_t emulated, emulate_unknown, interrupts, kicks, audits;
    _Atomic u64 nmis_sent;   /* to its CPU, for its sake; writers: whoever sends one (add, relaxed) */
    _Atomic u64 nmis_shadow; /* of those, because its shadow must change: a trace, a page that leaves */
};

struct vcpu {
    struct vmx_vcpu vmx; /* first: the entry path uses it */
    struct vm *vm;
    struct vmm_cpu *on; /* the CPU it is placed on */
    _Atomic u32 requests;
    /* HALTED, WAITING or OFF; and READY, but another vCPU has the CPU. Writer: its CPU, asleep before it looks at
     * requests for the last time, queued before the first. Others read them after they have set requests (all
     * seq_cst: one of the two sees the other). */
    _Atomic bool asleep, queued;
    enum vcpu_state state;
    struct vcpu *next_here; /* the vCPUs of one CPU, in a ring */
    u32 index;
    u16 vpid;
    u64 timer_deadline; /* what the preemption timer was set for ... */
    int timer_entries;  /* ... and for how many entries more it is good; below: set it */
    u32 result;         /* enum exit_result of the last exit */
    u64 seen_nmis;      /* its CPU's nmi_count before the last look for work */
    u64 deadline;       /* TSC at which the platform or the local APIC wants attention; ~0: never */
    u64 wait_until;     /* VCPU_WAITING: TSC of its time-out; ~0: none */
    u64 xcr0;           /* the guest's */
    bool interruptible; /* HALTED, WAITING: IF was set when it went to sleep */
    bool yields;        /* the call it has just made gives the CPU away */
    bool set_up;        /* its VMCS has been written */
    struct vcpu_access access;
    struct real_state real; /* vmm/real.h */
    struct vcpu_messages messages;
    struct shadow shadow;
    u16 linear_vpid;                       /* what INVVPID flushes of it; 0: no VPID, or INVEPT does it */
    u8 faults_filtered;                    /* shadow.filter as the VMCS has it */
    u32 exceptions;                        /* those that exit, #PF among them */
    struct vmx_controls by_shadow, by_ept; /* vmm/paging.h: constant once set_up */
    bool ept_stale;                        /* INVEPT is owed before the EPT is on again */
    struct vcpu_stats stats;
    u64 audits_due; /* with [machine] audit: its exits; vmm/audit.h */
    struct audit_history audited;
    void *fpu; /* XSAVE area, valid while the vCPU is not current */
};

#define VM_INPUT_RING 256u

/* Typed characters on their way to a VM. Producer: the CPU that polls the console. Consumer: the CPU of vCPU
 * 0. */
struct vm_input {
    _Atomic u32 head; /* producer: stores with release after the byte */
    _Atomic u32 tail; /* consumer: stores with release after reading */
    u8 byte[VM_INPUT_RING];
};

struct vm {
    u32 id; /* index in vms[], and the identity in messages */
    const struct vm_config *config;
    const char *name;
    u32 vcpus;
    struct vcpu *vcpu[VM_VCPUS_MAX];
    _Atomic u32 running;      /* vCPUs not STOPPED; who takes it to 0 reports the end */
    _Atomic bool end_claimed; /* by the first who ends it, who then writes the two below */
    _Atomic bool ending;      /* release after them */
    u32 exit_code;            /* 0 success; valid once ending is set */
    const char *end_words;
    struct p2m p2m;
    struct ept ept;              /* with ept_paged; vmm/paging.h */
    u64 ept_pointer;             /* for the VMCS: constant */
    bool ept_paged, ept_unpaged; /* when EPT is on: constant */
    struct shadow_vm shadow;
    struct shadow_shared *shadow_shared; /* NULL: each vCPU has tables of its own */
    struct trace_map traces;
    struct matrix matrix;
    struct vplatform platform;
    struct ipc_vm ipc;
    struct vm_input input;
    u64 ram_pages, window_gfn, window_pages;
    u64 own_bytes;             /* what the hypervisor spends on it besides its memory */
    _Atomic u64 channel_bytes; /* of its patch channels so far; writers: vCPUs' CPUs (add, relaxed) */
    hpa_t msr_bitmap;
    struct entry_state entry;
    gpa_t rsdp;
    enum config_format format; /* what its image turned out to be */
    u64 started_tsc;
    u32 bench_column; /* port 0xE9: where in "R " the present line is; see vm_bench_byte() */
    /* While it is being made only: zeroed memory that is given back should that fail. NULL: none left. */
    void *(*take)(void *vm, u64 bytes);
};

/* Exits so far, all reasons; on any CPU. */
static inline u64 vcpu_exits(const struct vcpu *v)
{
    u64 sum = 0;

    for (u32 r = 0; r < VMX_EXIT_COUNT; r++)
        sum += counter_get(&v->stats.by_reason[r]);
    return sum;
}

static inline struct vlapic *vcpu_lapic(const struct vcpu *v)
{
    return &v->vm->platform.cpu[v->index].lapic;
}

#define VMM_REFUSALS     6u
#define VMM_REFUSAL_TEXT 160u

/* One physical CPU as the hypervisor uses it; struct cpu's `private` points here. */
struct vmm_cpu {
    struct vmx_cpu vmx;
    struct cpu *cpu;
    struct vcpu *current; /* whose registers are live */
    struct vcpu *last;    /* of the ring of those placed here, the one that ran last; NULL: none */
    u32 run_count;
    u64 looked_nmis; /* nmi_count before the last look at the others: a kick since may be for one of them */
    u64 started;     /* TSC at which the current vCPU began to run */
    u64 slice_end;   /* TSC; ~0 while nobody else waits for the CPU */
    u64 wake_at;     /* TSC at which one that sleeps may want to run; 0: look now */
    u64 timer_armed; /* what the APIC timer is set to; ~0: off */
    char refusal[VMM_REFUSALS][VMM_REFUSAL_TEXT]; /* why it cannot run guests */
    u32 refusals;
    u64 first_instruction; /* TSC at which the first guest instruction had run here */
    _Atomic u32 phase;     /* enum cpu_phase; writer: this CPU, release */
    u64 poll_at;           /* TSC of the next look at console and keyboard */
};

extern struct vm *vms[VM_MAX];
extern u32 vm_count;

/* Ends the VM: every vCPU of it stops at its next exit. code 0: success. words: static text, a clause. Only
 * the first call counts. Callable from any CPU. */
void vm_end(struct vm *vm, u32 code, const char *words);

/* The same because of a fault of the guest's own or a limit of ours: with a full report of this vCPU on the
 * console. */
void vm_fail(struct vcpu *v, const char *fmt, ...) printf_like(2, 3);

/* Sets request bits and makes the vCPU look at them now: kicks it if it runs on another CPU. */
void vcpu_request(struct vcpu *v, u32 bits);
/* The same; without `now` a vCPU that is running is left alone until its next exit. */
void vcpu_request_quietly(struct vcpu *v, u32 bits, bool now);
/* Makes it look if it is in the guest. False: it is not, and is not woken up either; it looks before it enters. */
bool vcpu_request_inside(struct vcpu *v, u32 bits);

/* Exit codes of a VM that did not choose its own. */
#define VM_CODE_FAULT    101u /* the guest's fault, or something it does that is not supported */
#define VM_CODE_INTERNAL 102u /* ours */

/* #PF is the shadow's; #DB and #AC could be made to repeat without end inside the CPU; #MC is the machine's. */
#define VCPU_EXITING_VECTORS (1u << VECTOR_PF | 1u << VECTOR_DB | 1u << VECTOR_AC | 1u << VECTOR_MC)

/* The vCPU does not go on until events_wake() says so. */
static inline void vcpu_sleep(struct vcpu *v, enum vcpu_state state)
{
    v->state = state;
    atomic_store_explicit(&v->asleep, true, memory_order_seq_cst);
}

/* Writes a vCPU's first register state into its VMCS, which is current for the first time. */
bool must_check vcpu_set_up(struct vcpu *v);

/* VMX_ENTER_FAIL_* or a refused guest state: the VM ends, with every broken rule named. */
void vm_fail_entry(struct vcpu *v, enum vmx_enter_result result);

/* Port 0xE9, byte by byte: after each line that starts with "R " the exits so far are printed, for `make
 * bench`. */
void vm_bench_byte(struct vm *vm, u8 byte);

/* [machine] log = debug, audit; set before any VM runs */
extern bool log_debug;
extern enum config_audit audit_mode;

/* The last vCPU of the VM has stopped: says so. */
void vm_report_end(struct vm *vm);
bool vms_all_ended(void);
/* One more VM that vms_all_ended() waits for. */
void vm_started(void);

/* Which exceptions exit, #PF among them; which page faults do, the shadow says. v is current. */
void vcpu_set_exceptions(struct vcpu *v, u32 exceptions);
void vcpu_filter_faults(struct vcpu *v);

void vcpu_flush_ept(struct vcpu *v); /* paging.c; nothing unless its shadow is an EPT */
/* Executes what mm/ asked for: a flush, and the filter of page faults, which waits for its VMCS if v is not current; on
 * the CPU where v is placed. */
static inline void vcpu_flush(struct vcpu *v, struct flush flush)
{
    const struct vmx_tlb_ops *ops = &v->on->vmx.tlb;

    if (unlikely(v->shadow.filter != v->faults_filtered) && v->on->current == v)
        vcpu_filter_faults(v);
    if (likely(flush.width == FLUSH_NONE))
        return;
    if (unlikely(!v->linear_vpid))
        vcpu_flush_ept(v);
    else if (flush.width == FLUSH_ADDRESS)
        vmx_tlb_flush_address(ops, v->linear_vpid, flush.gva);
    else if (flush.width == FLUSH_NONGLOBAL)
        vmx_invvpid(ops->context_keep_global, v->linear_vpid, 0);
    else
        vmx_tlb_flush_context(ops, v->linear_vpid);
}
