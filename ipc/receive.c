/* receive.c - the receive path: from the queue to the guest. */
#include "arch/string.h"
#include "ipc/ipc.h"

void ipc_vm_init(struct ipc_vm *vm, struct msg_queue *queue)
{
    atomic_init(&vm->alive, true);
    atomic_init(&vm->wants[IPC_WANTS_ROOM], 0);
    atomic_init(&vm->wants[IPC_WANTS_LANDING], 0);
    vm->queue = queue;
    landing_init(&vm->landing);
    memset(vm->to, 0, sizeof(vm->to));
    memset(vm->received, 0, sizeof(vm->received));
}

void ipc_connect(struct ipc *ipc, u32 a, u32 b, u32 modes, u32 depth)
{
    if (a >= ipc->count || b >= ipc->count || a == b || !ipc->vm[a] || !ipc->vm[b])
        return;
    depth = MIN(depth, MSG_QUEUE_DEPTH);
    ipc->vm[a]->to[b].modes = ipc->vm[b]->to[a].modes = modes;
    ipc->vm[a]->to[b].depth = ipc->vm[b]->to[a].depth = depth;
}

bool ipc_tell(struct ipc *ipc, u32 to, u32 about, u16 kind, u64 page)
{
    struct pb_message m = {.sender = about, .receiver = to, .kind = kind, .page = page};

    if (!ipc->vm[to] || !atomic_load_explicit(&ipc->vm[to]->alive, memory_order_acquire))
        return true;
    if (!msg_queue_reserve(ipc->vm[to]->queue))
        return false;
    msg_queue_put(ipc->vm[to]->queue, &m);
    ipc->ops->notify(ipc->ctx, to, true);
    return true;
}

void ipc_tell_room(struct ipc *ipc, u32 vm, enum ipc_want what)
{
    _Atomic u32 *wants = &ipc->vm[vm]->wants[what];
    u32 who;

    if (likely(!atomic_load_explicit(wants, memory_order_seq_cst)))
        return;
    who = atomic_exchange_explicit(wants, 0, memory_order_seq_cst);
    for (; who; who &= who - 1)
        if (!ipc_tell(ipc, (u32)__builtin_ctz(who), vm, PB_KIND_ROOM, 0))
            atomic_fetch_or_explicit(wants, who & -who, memory_order_seq_cst); /* next time */
}

u32 ipc_receive(struct ipc *ipc, u32 vm, struct pb_message *to)
{
    struct ipc_vm *me = ipc->vm[vm];

    if (!msg_queue_take(me->queue, to))
        return PB_STATUS_EMPTY;
    to->sequence = ++me->received[to->sender];
    if (to->kind < PB_KIND_RETURNED) /* the hypervisor's own messages are not counted in the channel */
        atomic_fetch_sub_explicit(&ipc->vm[to->sender]->to[vm].in_flight, 1, memory_order_seq_cst);
    ipc_tell_room(ipc, vm, IPC_WANTS_ROOM);
    return PB_STATUS_OK;
}

void ipc_inbox_init(struct ipc_inbox *in, void *page)
{
    in->page = page;
    in->write = 0;
    memset(page, 0, sizeof(struct pb_inbox));
}

/* Messages in the inbox, by the guest's index: any number if the guest lies. */
static u32 inbox_used(const struct ipc_inbox *in)
{
    return in->write - atomic_load_explicit((_Atomic u32 *)&in->page->read, memory_order_acquire);
}

bool ipc_inbox_ready(const struct ipc_inbox *in)
{
    return inbox_used(in) != 0;
}

u32 ipc_inbox_fill(struct ipc *ipc, u32 vm, struct ipc_inbox *in)
{
    struct pb_message m;
    u32 filled = 0;

    while (inbox_used(in) < PB_INBOX_DEPTH && ipc_receive(ipc, vm, &m) == PB_STATUS_OK) {
        in->page->message[in->write++ % PB_INBOX_DEPTH] = m;
        atomic_store_explicit((_Atomic u32 *)&in->page->write, in->write, memory_order_release);
        filled++;
    }
    return filled;
}
