/*
 * messages.h - messages and pages between VMs: ipc/ decides (ipc/ipc.h), here is what its decisions do to
 * address spaces and vCPUs, and the calls of the ABI.
 *
 *   sender's exit                                          receiver's exit
 *   VMCALL send: read once, check, stamp identity
 *     -> staged in the sender's VMCS queue (Q3)
 *     -> page: out of the sender's p2m and shadow, TLB flushed
 *     -> page: into the receiver's p2m
 *     -> the receiver's VMCS queue, kick  ------------->  drained into its inbox page, interrupt (Q4, Q7, Q8)
 *
 * Only the CPU that a vCPU is placed on edits its shadow. When another VM's page has to go, its CPU is asked
 * and the asking CPU waits, doing meanwhile what it is asked itself.
 */
#pragma once
#include "arch/counter.h"
#include "arch/err.h"
#include "arch/spinlock.h"
#include "arch/types.h"
#include "ipc/ipc.h"
#include <stdatomic.h>

struct vcpu;
struct vm;
struct config;

/* A frame that has to leave a vCPU's shadow. */
struct vcpu_drop {
    struct spinlock lock; /* held by the CPU that asks, until it is done */
    _Atomic u32 asked; /* asker: 1 (release, after the rest); the vCPU's CPU: 0 (release, when it is done) */
    u64 gfn;
    hpa_t frame;
    bool read_only;
};

/* Of one vCPU; private to its CPU but for `drop`. */
struct vcpu_messages {
    struct msg_queue *queue; /* in its VMCS block */
    struct ipc_inbox inbox;
    u64 inbox_gfn;  /* 0: no inbox */
    u8 vector;      /* 0: no interrupt */
    bool announced; /* without inbox: the interrupt for the messages that wait has been given */
    bool waits;     /* in PB_CALL_RECEIVE */
    u64 buffer;     /* gpa for the message, 0: it comes through the inbox */
    counter_t sent, received, refused, pages_out, pages_in;
    struct vcpu_drop drop;
};

enum err must_check messages_init_vm(struct vm *vm);
void messages_init_vcpu(struct vcpu *v);
/* After all VMs are made: who may talk to whom (Q11). */
void messages_connect(const struct config *config);
/* PB_MODE_* of the channel from vm to peer, 0 if there is none. */
u32 messages_modes(const struct vm *vm, u32 peer);

/* Moves what is in the queue to the guest's inbox, as far as there is room, and raises the interrupt. On v's CPU, at
 * the exit after a message has come, and at every exit while there is no room for what is left (Q8): each message, and
 * what is left, is a request. */
void messages_deliver(struct vcpu *v);
/* Does what vcpu_drop asks, if anything. On v's CPU. */
void messages_serve_drop(struct vcpu *v);

/* A vCPU in the state WAITING: has what it waits for happened? */
bool messages_ready(const struct vcpu *v);
/* Ends its VMCALL if so, or if `interrupted` or timed out; v is current. False: it goes on waiting. */
bool must_check messages_finish_wait(struct vcpu *v, bool interrupted);
/* The VM's last vCPU has stopped: its pages and those it held, and the VMs that have a channel to it. */
void messages_vm_ended(struct vm *vm);
