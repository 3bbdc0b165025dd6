/* send.c - the send path: plan from values, then steps that run in order (see ipc.h). */
#include "arch/string.h"
#include "ipc/ipc.h"

static const u8 data_steps[] = {SEND_RESERVE, SEND_ENQUEUE, SEND_NOTIFY, SEND_END};
static const u8 share_ro_steps[] = {SEND_RESERVE, SEND_CLAIM,   SEND_LAND,   SEND_MAP,
                                    SEND_SETTLE,  SEND_ENQUEUE, SEND_NOTIFY, SEND_END};
static const u8 share_rw_steps[] = {SEND_RESERVE, SEND_CLAIM,   SEND_LAND,   SEND_EXPOSE, SEND_MAP,
                                    SEND_SETTLE,  SEND_ENQUEUE, SEND_NOTIFY, SEND_END};
static const u8 move_steps[] = {SEND_RESERVE, SEND_CLAIM,   SEND_LAND,   SEND_UNMAP, SEND_MAP,
                                SEND_SETTLE,  SEND_ENQUEUE, SEND_NOTIFY, SEND_END};

static const struct send_kind {
    const u8 *steps;
    u8 mode, leave, land, how;
} kinds[] = {
    [PB_KIND_DATA] = {data_steps, PB_MODE_MESSAGE, 0, 0, 0},
    [PB_KIND_SHARE_RO] = {share_ro_steps, PB_MODE_SHARE_RO, GRANT_SHARE_RO, GRANT_LAND_RO, IPC_MAP_READ},
    [PB_KIND_SHARE_RW] = {share_rw_steps, PB_MODE_SHARE_RW, GRANT_SHARE_RW, GRANT_LAND_RW, IPC_MAP_SHARED},
    [PB_KIND_LEND] = {move_steps, PB_MODE_LEND, GRANT_LEND, GRANT_LAND_LENT, IPC_MAP_OWN},
    [PB_KIND_DONATE] = {move_steps, PB_MODE_DONATE, GRANT_DONATE, GRANT_LAND_DONATED, IPC_MAP_OWN},
};

u32 ipc_modes(const struct ipc *ipc, u32 from, u32 to)
{
    return from < ipc->count && to < ipc->count && ipc->vm[from] ? ipc->vm[from]->to[to].modes : 0;
}

static u32 check_receiver(const struct ipc *ipc, u32 sender, u32 receiver, u32 mode)
{
    u32 modes;

    if (receiver >= ipc->count || !ipc->vm[receiver])
        return PB_STATUS_NO_SUCH_VM;
    if (receiver == sender)
        return PB_STATUS_SELF;
    modes = ipc_modes(ipc, sender, receiver);
    if (!modes)
        return PB_STATUS_NO_CHANNEL;
    if (!(modes & mode))
        return PB_STATUS_NOT_PERMITTED;
    return atomic_load_explicit(&ipc->vm[receiver]->alive, memory_order_acquire) ? PB_STATUS_OK
                                                                                 : PB_STATUS_VM_DEAD;
}

static u32 check_page(const struct ipc *ipc, u32 sender, u64 page, enum grant_event leave)
{
    enum grant_state after;

    if (page & PAGE_MASK)
        return PB_STATUS_BAD_PAGE;
    return grant_next(grants_get(&ipc->vm[sender]->grants, page >> PAGE_SHIFT).state, leave, &after);
}

u32 send_plan(const struct ipc *ipc, u32 sender, const struct pb_message *m, struct send_plan *plan)
{
    const struct send_kind *kind;
    u32 status;

    if (m->kind >= ARRAY_SIZE(kinds) || !kinds[m->kind].steps)
        return PB_STATUS_BAD_KIND;
    kind = &kinds[m->kind];
    if (m->length > PB_INLINE_BYTES)
        return PB_STATUS_BAD_LENGTH;
    if (m->flags & PB_FLAG_VMM & ~(PB_FLAG_NOTIFY | PB_FLAG_ROOM))
        return PB_STATUS_BAD_FLAGS;
    status = check_receiver(ipc, sender, m->receiver, kind->mode);
    if (status != PB_STATUS_OK)
        return status;
    if (kind->steps == data_steps)
        status = m->page ? PB_STATUS_BAD_PAGE : PB_STATUS_OK;
    else
        status = check_page(ipc, sender, m->page, (enum grant_event)kind->leave);
    if (status != PB_STATUS_OK)
        return status;

    plan->steps = kind->steps;
    plan->gfn = m->page >> PAGE_SHIFT;
    plan->leave = (enum grant_event)kind->leave;
    plan->land = (enum grant_event)kind->land;
    plan->how = (enum ipc_map)kind->how;
    plan->message = *m;
    plan->message.sender = sender;
    plan->message.sequence = 0;
    memset(plan->message.data + m->length, 0, PB_INLINE_BYTES - m->length);
    return PB_STATUS_OK;
}

static bool reserve(struct ipc_link *link, struct msg_queue *q)
{
    u32 n = atomic_load_explicit(&link->in_flight, memory_order_seq_cst);

    do {
        if (n >= link->depth)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&link->in_flight, &n, n + 1, memory_order_relaxed,
                                                    memory_order_relaxed));
    if (msg_queue_reserve(q))
        return true;
    atomic_fetch_sub_explicit(&link->in_flight, 1, memory_order_seq_cst);
    return false;
}

/* What the steps of one message share. */
struct send_state {
    struct ipc_vm *from, *to;
    struct ipc_link *link;
    struct grant was;
    hpa_t frame;
    u64 landed;
};

/* The steps that can fail; each undoes those before it. */
static u32 prepare(struct ipc *ipc, const struct send_plan *p, struct send_state *s)
{
    u32 status = PB_STATUS_OK;

    for (const u8 *step = p->steps; *step && *step <= SEND_LAND; step++) {
        if (*step == SEND_RESERVE) {
            if (!reserve(s->link, s->to->queue))
                return PB_STATUS_QUEUE_FULL;
        } else if (*step == SEND_CLAIM) {
            status = grant_begin(&s->from->grants, p->gfn, p->leave, &s->was);
        } else if (!landing_take(&s->to->landing, &s->landed)) {
            grant_abort(&s->from->grants, p->gfn, &s->was);
            status = PB_STATUS_NO_LANDING;
        }
        if (status != PB_STATUS_OK) {
            msg_queue_unreserve(s->to->queue);
            atomic_fetch_sub_explicit(&s->link->in_flight, 1, memory_order_seq_cst);
            /* others may have been refused meanwhile */
            ipc_tell_room(ipc, p->message.receiver, IPC_WANTS_ROOM);
            return status;
        }
    }
    return status;
}

static void settle(const struct send_plan *p, const struct send_state *s)
{
    const struct grant offered = {.state = GRANT_OFFERED};
    bool gone = p->leave == GRANT_DONATE;

    grant_commit(&s->to->grants, s->landed, p->land, &offered, gone ? 0 : p->message.sender,
                 gone ? 0 : p->gfn);
    grant_commit(&s->from->grants, p->gfn, p->leave, &s->was, gone ? 0 : p->message.receiver,
                 gone ? 0 : s->landed);
}

u32 send_run(struct ipc *ipc, struct send_plan *p)
{
    u32 from = p->message.sender, to = p->message.receiver;
    struct send_state s = {.from = ipc->vm[from], .to = ipc->vm[to], .link = &ipc->vm[from]->to[to]};
    u32 status = prepare(ipc, p, &s);

    if (status != PB_STATUS_OK)
        return status;
    if (p->land) {
        s.frame = ipc->ops->frame_of(ipc->ctx, from, p->gfn);
        p->message.page = s.landed << PAGE_SHIFT;
    }
    for (const u8 *step = p->steps; *step; step++) {
        switch ((enum send_step) * step) {
        case SEND_UNMAP: ipc->ops->unmap(ipc->ctx, from, p->gfn, s.frame); break;
        case SEND_EXPOSE: ipc->ops->map(ipc->ctx, from, p->gfn, s.frame, IPC_MAP_SHARED); break;
        case SEND_MAP: ipc->ops->map(ipc->ctx, to, s.landed, s.frame, p->how); break;
        case SEND_SETTLE: settle(p, &s); break;
        case SEND_ENQUEUE: msg_queue_put(s.to->queue, &p->message); break;
        case SEND_NOTIFY: ipc->ops->notify(ipc->ctx, to, p->message.flags & PB_FLAG_NOTIFY); break;
        case SEND_RESERVE:
        case SEND_CLAIM:
        case SEND_LAND:
        case SEND_END: break; /* done in prepare() */
        }
    }
    return PB_STATUS_OK;
}

static u32 send_one(struct ipc *ipc, u32 sender, const struct pb_message *m)
{
    struct send_plan plan;
    u32 status = send_plan(ipc, sender, m, &plan), own = 1u << sender;
    bool asked[IPC_WANTS] = {false, false};

    if (status != PB_STATUS_OK)
        return status;
    for (;;) {
        enum ipc_want want;

        status = send_run(ipc, &plan);
        want = status == PB_STATUS_NO_LANDING ? IPC_WANTS_LANDING : IPC_WANTS_ROOM;
        if ((status != PB_STATUS_QUEUE_FULL && status != PB_STATUS_NO_LANDING) ||
            !(m->flags & PB_FLAG_ROOM) || asked[want])
            break;
        /* Say that we want it, then look once more: whoever makes room looks after making it. Model:
         * tests/model/model_room.c. */
        asked[want] = true;
        atomic_fetch_or_explicit(&ipc->vm[m->receiver]->wants[want], own, memory_order_seq_cst);
    }
    return status;
}

u32 ipc_drain_staged(struct ipc *ipc, u32 sender, struct msg_queue *own, u32 *refused, u32 *status)
{
    const struct pb_message *m;
    u32 sent = 0;

    for (; (m = msg_queue_staged(own)); msg_queue_unstage(own)) {
        *status = send_one(ipc, sender, m);
        if (*status == PB_STATUS_OK)
            sent++;
        else
            ++*refused;
    }
    return sent;
}

u32 ipc_send(struct ipc *ipc, u32 sender, struct msg_queue *own, const struct pb_message *m)
{
    u32 refused = 0, status = PB_STATUS_QUEUE_FULL;

    if (msg_queue_stage(own, m))
        (void)ipc_drain_staged(ipc, sender, own, &refused, &status);
    return status;
}
