/* page.c - pages offered, taken back, returned, and what becomes of them when a VM ends (Q9). */
#include "ipc/ipc.h"

u32 ipc_offer(struct ipc *ipc, u32 vm, u64 gfn, u64 count, u64 *accepted)
{
    struct ipc_vm *me = ipc->vm[vm];
    const struct grant nothing = {.state = GRANT_EMPTY};
    u32 status = PB_STATUS_OK;

    for (*accepted = 0; *accepted < count && status == PB_STATUS_OK; gfn++) {
        struct grant was;
        status = grant_begin(&me->grants, gfn, GRANT_OFFER, &was);
        if (status != PB_STATUS_OK)
            break;
        /* OFFERED before a sender can find it in the ring. */
        grant_commit(&me->grants, gfn, GRANT_OFFER, &was, 0, 0);
        if (landing_put(&me->landing, gfn)) {
            ++*accepted;
        } else {
            grant_abort(&me->grants, gfn, &nothing);
            status = PB_STATUS_FULL;
        }
    }
    if (*accepted)
        ipc_tell_room(ipc, vm, IPC_WANTS_LANDING);
    return status;
}

/* Both ends of a page that is out, claimed. */
struct page_pair {
    u32 owner, holder;
    u64 owner_gfn, holder_gfn;
    struct grant owned, held;
};

/* Claims the other end too; the first is released again if that fails. */
static u32 claim_other(struct ipc *ipc, u32 vm, u64 gfn, const struct grant *was,
                       enum grant_event other_event, struct grant *other)
{
    u32 status = PB_STATUS_PAGE_BUSY;

    if (was->peer < ipc->count && ipc->vm[was->peer]) {
        struct grants *g = &ipc->vm[was->peer]->grants;
        if (grant_begin(g, was->peer_gfn, other_event, other) == PB_STATUS_OK) {
            if (other->peer == vm && other->peer_gfn == gfn)
                return PB_STATUS_OK;
            grant_abort(g, was->peer_gfn, other);
        }
    }
    grant_abort(&ipc->vm[vm]->grants, gfn, was);
    return status;
}

/* The page goes from holder to owner. */
static void take_back(struct ipc *ipc, const struct page_pair *p, bool forced)
{
    hpa_t frame = ipc->ops->frame_of(ipc->ctx, p->holder, p->holder_gfn);

    ipc->ops->unmap(ipc->ctx, p->holder, p->holder_gfn, frame);
    if (p->owned.state == GRANT_LENT && forced)
        ipc->ops->zero(ipc->ctx, frame);
    if (p->owned.state != GRANT_SHARED_RO)
        ipc->ops->map(ipc->ctx, p->owner, p->owner_gfn, frame, IPC_MAP_OWN);
    grant_commit(&ipc->vm[p->holder]->grants, p->holder_gfn, GRANT_LEAVE, &p->held, 0, 0);
    grant_commit(&ipc->vm[p->owner]->grants, p->owner_gfn, GRANT_TAKE_BACK, &p->owned, 0, 0);
}

u32 ipc_reclaim(struct ipc *ipc, u32 vm, u64 gfn)
{
    struct page_pair p = {.owner = vm, .owner_gfn = gfn};
    u32 status = grant_begin(&ipc->vm[vm]->grants, gfn, GRANT_TAKE_BACK, &p.owned);

    if (status == PB_STATUS_OK)
        status = claim_other(ipc, vm, gfn, &p.owned, GRANT_LEAVE, &p.held);
    if (status != PB_STATUS_OK)
        return status;
    p.holder = p.owned.peer;
    p.holder_gfn = p.owned.peer_gfn;
    take_back(ipc, &p, true);
    (void)ipc_tell(ipc, p.holder, vm, PB_KIND_REVOKED, p.holder_gfn << PAGE_SHIFT);
    return PB_STATUS_OK;
}

static u32 give_back(struct ipc *ipc, u32 vm, u64 gfn, bool forced)
{
    struct page_pair p = {.holder = vm, .holder_gfn = gfn};
    u32 status = grant_begin(&ipc->vm[vm]->grants, gfn, GRANT_LEAVE, &p.held);

    if (status == PB_STATUS_OK)
        status = claim_other(ipc, vm, gfn, &p.held, GRANT_TAKE_BACK, &p.owned);
    if (status != PB_STATUS_OK)
        return status;
    p.owner = p.held.peer;
    p.owner_gfn = p.held.peer_gfn;
    take_back(ipc, &p, forced);
    (void)ipc_tell(ipc, p.owner, vm, PB_KIND_RETURNED, p.owner_gfn << PAGE_SHIFT);
    return PB_STATUS_OK;
}

/* For a page that is the VM's own, or lent by it, "not out" and "lent" would be the wrong words. */
u32 ipc_return(struct ipc *ipc, u32 vm, u64 gfn)
{
    u32 status = give_back(ipc, vm, gfn, false);

    return status == PB_STATUS_PAGE_SHARED || status == PB_STATUS_PAGE_LENT ? PB_STATUS_PAGE_NOT_OUT : status;
}

u32 ipc_pin(struct ipc *ipc, u32 vm, u64 gfn)
{
    struct grant was;
    u32 status = grant_begin(&ipc->vm[vm]->grants, gfn, GRANT_PIN, &was);

    if (status == PB_STATUS_OK)
        grant_commit(&ipc->vm[vm]->grants, gfn, GRANT_PIN, &was, 0, 0);
    return status;
}

void ipc_unpin(struct ipc *ipc, u32 vm, u64 gfn)
{
    struct grant was;

    if (grant_begin(&ipc->vm[vm]->grants, gfn, GRANT_UNPIN, &was) == PB_STATUS_OK)
        grant_commit(&ipc->vm[vm]->grants, gfn, GRANT_UNPIN, &was, 0, 0);
}

/*
 * A page that another CPU is just moving is skipped: if it leaves the VM, that CPU finishes it; if it arrives
 * (its sender had begun before the VM ended), its owner can reclaim it as from any VM.
 */
void ipc_vm_ended(struct ipc *ipc, u32 vm)
{
    struct ipc_vm *me = ipc->vm[vm];

    atomic_store_explicit(&me->alive, false, memory_order_seq_cst);
    for (u64 gfn = 0; gfn < me->grants.count; gfn++) {
        enum grant_state state = grants_get(&me->grants, gfn).state;
        if (state >= GRANT_HELD_RO && state <= GRANT_HELD_LENT)
            (void)give_back(ipc, vm, gfn, true);
        else if (state >= GRANT_SHARED_RO && state <= GRANT_LENT)
            (void)!ipc_reclaim(ipc, vm, gfn);
    }
    for (u32 peer = 0; peer < ipc->count; peer++)
        if (ipc_modes(ipc, vm, peer))
            (void)ipc_tell(ipc, peer, vm, PB_KIND_STOPPED, 0);
    /* who waits for something here must not wait for ever */
    ipc_tell_room(ipc, vm, IPC_WANTS_ROOM);
    ipc_tell_room(ipc, vm, IPC_WANTS_LANDING);
}
