/*
 * ipc.h - all VMs as the messages see them, and every operation on messages and pages between them
 * (Q1-Q4, Q6-Q11). Pure: what has to be done to address spaces and CPUs is done through struct ipc_ops.
 *
 * Sending (send.c): the plan is made first, from values, and can be refused; then its steps run in the order
 * written in the plan. All steps that can fail come before the first that changes an address space:
 *
 *   reserve    room in the channel and in the receiver's queue          can fail, undone
 *   claim      the page in the sender's ownership state machine         can fail, undone
 *   land       a landing slot of the receiver                           can fail, the last that can
 *   unmap      lend, donate: the page leaves the sender (p2m, shadows, TLBs of all its vCPUs), and waits for it
 *   expose     share-rw: the sender's page becomes one that others write
 *   map        the page enters the receiver's p2m
 *   settle     both state machines say so
 *   enqueue    the message is visible to the receiver
 *   notify     the receiver is made to look
 *
 * So the sender's stale translations are gone before the receiver sees the page.
 */
#pragma once
#include "ipc/grant.h"
#include "ipc/landing.h"
#include "ipc/queue.h"

#define IPC_VMS_MAX 16u

/* How a page is mapped in a VM's guest-physical address space. */
enum ipc_map {
    IPC_MAP_OWN,    /* read and write, nobody else writes it */
    IPC_MAP_SHARED, /* read and write, another VM writes it too */
    IPC_MAP_READ,   /* read only, another VM writes it */
};

/* What vmm/ does for ipc/. Called on the CPU that executes the operation; vm is always a valid id. */
struct ipc_ops {
    /* The host frame of a page that is there. */
    hpa_t (*frame_of)(void *ctx, u32 vm, u64 gfn);
    /* The page is not there any more: p2m first, then no vCPU of the VM has a translation to it. Returns when
     * that is so. */
    void (*unmap)(void *ctx, u32 vm, u64 gfn, hpa_t frame);
    /* The page is there. If it was there with more rights, returns when no vCPU has those any more. */
    void (*map)(void *ctx, u32 vm, u64 gfn, hpa_t frame, enum ipc_map how);
    /* The page's content is forgotten. */
    void (*zero)(void *ctx, hpa_t frame);
    /* The queue of this VM is not empty. now: make it exit if it is running; a VM that sleeps or waits is
     * woken always. */
    void (*notify)(void *ctx, u32 vm, bool now);
};

/* One direction of a configured channel; constant but for in_flight. */
struct ipc_link {
    u32 modes; /* PB_MODE_*; 0: there is no channel */
    u32 depth; /* messages under way at once */
    /* Writers: CPUs that send for this VM (add), the receiver's CPU (subtract). */
    _Atomic u32 in_flight;
};

/* What a VM may be short of. */
enum ipc_want { IPC_WANTS_ROOM, IPC_WANTS_LANDING, IPC_WANTS };

struct ipc_vm {
    _Atomic bool alive;           /* writer: whoever ends the VM */
    _Atomic u32 wants[IPC_WANTS]; /* bit s: VM s was refused here for want of it and asked for PB_KIND_ROOM */
    struct msg_queue *queue;      /* of vCPU 0 */
    struct grants grants;
    struct landing landing;
    struct ipc_link to[IPC_VMS_MAX];
    u64 received[IPC_VMS_MAX]; /* messages delivered, by sender: the last sequence; the receiver's CPU only */
};

struct ipc {
    const struct ipc_ops *ops;
    void *ctx;
    u32 count;
    struct ipc_vm *vm[IPC_VMS_MAX]; /* NULL: not started */
};

/* vm: any memory; queue: vCPU 0's, initialised. grants is initialised by the caller (grants_init and
 * grants_set). */
void ipc_vm_init(struct ipc_vm *vm, struct msg_queue *queue);
/* Joins two VMs in both directions, before they run; depth is cut to the queue's. */
void ipc_connect(struct ipc *ipc, u32 a, u32 b, u32 modes, u32 depth);
/* PB_MODE_* that from may use to to; 0: no channel. */
u32 ipc_modes(const struct ipc *ipc, u32 from, u32 to);

/* ---- send.c ---- */

enum send_step {
    SEND_END,
    SEND_RESERVE,
    SEND_CLAIM,
    SEND_LAND,
    SEND_UNMAP,
    SEND_EXPOSE,
    SEND_MAP,
    SEND_SETTLE,
    SEND_ENQUEUE,
    SEND_NOTIFY
};

/* Everything decided about one message before anything is done. */
struct send_plan {
    const u8 *steps;           /* enum send_step, SEND_END last */
    struct pb_message message; /* as the receiver gets it, but for page (its gpa there) and sequence */
    u64 gfn;                   /* the sender's page; 0 without */
    enum grant_event leave, land;
    enum ipc_map how;
};

/* Decodes and checks what can be known without claiming anything. m: a private copy. PB_STATUS_*. */
u32 must_check send_plan(const struct ipc *ipc, u32 sender, const struct pb_message *m,
                         struct send_plan *plan);
/* Runs it. Anything but PB_STATUS_OK: nothing has changed. */
u32 must_check send_run(struct ipc *ipc, struct send_plan *plan);

/* The send path of one exit (Q3, Q8): messages staged in a vCPU's own queue go to their receivers, the oldest
 * first. Returns how many were sent; *refused counts the others, and *status is that of the last. */
u32 ipc_drain_staged(struct ipc *ipc, u32 sender, struct msg_queue *own, u32 *refused, u32 *status);
/* PB_CALL_SEND: stages m in the caller's queue, and drains it. */
u32 must_check ipc_send(struct ipc *ipc, u32 sender, struct msg_queue *own, const struct pb_message *m);

/* ---- receive.c ---- */

/* The oldest message for vm, with its sequence (Q4, Q6); PB_STATUS_EMPTY. On the CPU of its vCPU 0. */
u32 must_check ipc_receive(struct ipc *ipc, u32 vm, struct pb_message *to);

/* The hypervisor's side of an inbox page: its own copy of the write index. */
struct ipc_inbox {
    struct pb_inbox *page; /* guest memory: hostile */
    u32 write;
};
/* page: all of it is overwritten. */
void ipc_inbox_init(struct ipc_inbox *in, void *page);
/* May the guest read something? As the guest's read index says now. */
bool ipc_inbox_ready(const struct ipc_inbox *in);
/* Moves messages from the queue into the inbox while both allow; returns how many. */
u32 ipc_inbox_fill(struct ipc *ipc, u32 vm, struct ipc_inbox *in);

/* Tells the VMs that were refused by vm for want of this that they may try again; called after there is more.
 */
void ipc_tell_room(struct ipc *ipc, u32 vm, enum ipc_want what);

/* ---- page.c ---- */

/* PB_CALL_OFFER: pages [gfn, gfn + count); *accepted from the first on. */
u32 must_check ipc_offer(struct ipc *ipc, u32 vm, u64 gfn, u64 count, u64 *accepted);
/* PB_CALL_RECLAIM: vm's page comes back, forced. */
u32 must_check ipc_reclaim(struct ipc *ipc, u32 vm, u64 gfn);
/* PB_CALL_RETURN: the page that vm holds goes back. */
u32 must_check ipc_return(struct ipc *ipc, u32 vm, u64 gfn);
/* An own page becomes the inbox, or stops being it. */
u32 must_check ipc_pin(struct ipc *ipc, u32 vm, u64 gfn);
void ipc_unpin(struct ipc *ipc, u32 vm, u64 gfn);
/* All vCPUs of vm have stopped: pages lent to it go back, zeroed, others that it holds go back, what it
 * shared or lent is revoked, and every VM with a channel to it gets PB_KIND_STOPPED. */
void ipc_vm_ended(struct ipc *ipc, u32 vm);
/* A message from the hypervisor itself on behalf of VM `about`; false: no room. */
bool ipc_tell(struct ipc *ipc, u32 to, u32 about, u16 kind, u64 page);
