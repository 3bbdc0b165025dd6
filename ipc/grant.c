/* grant.c - the table of the page ownership state machine, and the pages of a VM as atomic words. */
#include "ipc/grant.h"

#define STATE_MASK 0xffull
#define PEER_SHIFT 8
#define PEER_MASK  0xffull
#define GFN_SHIFT  16

/* Every pair that is not here is refused. */
static const u8 next[GRANT_EVENTS][GRANT_STATES] = {
    [GRANT_SHARE_RO] = {[GRANT_OWNED] = GRANT_SHARED_RO},
    [GRANT_SHARE_RW] = {[GRANT_OWNED] = GRANT_SHARED_RW},
    [GRANT_LEND] = {[GRANT_OWNED] = GRANT_LENT},
    [GRANT_DONATE] = {[GRANT_OWNED] = GRANT_EMPTY},
    [GRANT_TAKE_BACK] =
        {[GRANT_SHARED_RO] = GRANT_OWNED, [GRANT_SHARED_RW] = GRANT_OWNED, [GRANT_LENT] = GRANT_OWNED},
    [GRANT_PIN] = {[GRANT_OWNED] = GRANT_PINNED},
    [GRANT_UNPIN] = {[GRANT_PINNED] = GRANT_OWNED},
    [GRANT_OFFER] = {[GRANT_EMPTY] = GRANT_OFFERED},
    [GRANT_LAND_RO] = {[GRANT_OFFERED] = GRANT_HELD_RO},
    [GRANT_LAND_RW] = {[GRANT_OFFERED] = GRANT_HELD_RW},
    [GRANT_LAND_LENT] = {[GRANT_OFFERED] = GRANT_HELD_LENT},
    [GRANT_LAND_DONATED] = {[GRANT_OFFERED] = GRANT_OWNED},
    [GRANT_LEAVE] =
        {[GRANT_HELD_RO] = GRANT_EMPTY, [GRANT_HELD_RW] = GRANT_EMPTY, [GRANT_HELD_LENT] = GRANT_EMPTY},
};

/* Why a page in this state cannot do what was asked. */
static const u8 refusal[GRANT_STATES] = {
    [GRANT_NONE] = PB_STATUS_BAD_PAGE,          [GRANT_OWNED] = PB_STATUS_PAGE_NOT_OUT,
    [GRANT_PINNED] = PB_STATUS_PAGE_BUSY,       [GRANT_EMPTY] = PB_STATUS_PAGE_EMPTY,
    [GRANT_OFFERED] = PB_STATUS_PAGE_EMPTY,     [GRANT_SHARED_RO] = PB_STATUS_PAGE_SHARED,
    [GRANT_SHARED_RW] = PB_STATUS_PAGE_SHARED,  [GRANT_LENT] = PB_STATUS_PAGE_LENT,
    [GRANT_HELD_RO] = PB_STATUS_PAGE_FOREIGN,   [GRANT_HELD_RW] = PB_STATUS_PAGE_FOREIGN,
    [GRANT_HELD_LENT] = PB_STATUS_PAGE_FOREIGN, [GRANT_MOVING] = PB_STATUS_PAGE_BUSY,
};

u32 grant_next(enum grant_state now, enum grant_event event, enum grant_state *after)
{
    u8 to = next[event][now];

    if (to != GRANT_NONE) {
        *after = (enum grant_state)to;
        return PB_STATUS_OK;
    }
    if (event == GRANT_OFFER && now != GRANT_NONE && now != GRANT_MOVING)
        return PB_STATUS_SLOT_IN_USE;
    return refusal[now];
}

void grants_init(struct grants *g, void *memory, u64 count)
{
    g->word = memory;
    g->count = count;
    for (u64 i = 0; i < count; i++)
        atomic_init(&g->word[i], GRANT_NONE);
}

static u64 pack(enum grant_state state, u32 peer, u64 peer_gfn)
{
    return (u64)state | (u64)peer << PEER_SHIFT | peer_gfn << GFN_SHIFT;
}

static struct grant unpack(u64 word)
{
    return (struct grant){(enum grant_state)(word & STATE_MASK), (u32)(word >> PEER_SHIFT & PEER_MASK),
                          word >> GFN_SHIFT};
}

void grants_set(struct grants *g, u64 gfn, u64 pages, enum grant_state state)
{
    for (; pages && gfn < g->count; gfn++, pages--)
        atomic_store_explicit(&g->word[gfn], pack(state, 0, 0), memory_order_relaxed);
}

struct grant grants_get(const struct grants *g, u64 gfn)
{
    return unpack(gfn < g->count ? atomic_load_explicit(&g->word[gfn], memory_order_acquire) : GRANT_NONE);
}

u32 grant_begin(struct grants *g, u64 gfn, enum grant_event event, struct grant *was)
{
    enum grant_state after;
    u64 word;
    u32 status;

    if (gfn >= g->count)
        return PB_STATUS_BAD_PAGE;
    word = atomic_load_explicit(&g->word[gfn], memory_order_relaxed);
    *was = unpack(word);
    status = grant_next(was->state, event, &after);
    if (status != PB_STATUS_OK)
        return status;
    if (!atomic_compare_exchange_strong_explicit(&g->word[gfn], &word,
                                                 pack(GRANT_MOVING, was->peer, was->peer_gfn),
                                                 memory_order_acquire, memory_order_relaxed))
        return PB_STATUS_PAGE_BUSY;
    return PB_STATUS_OK;
}

void grant_abort(struct grants *g, u64 gfn, const struct grant *was)
{
    atomic_store_explicit(&g->word[gfn], pack(was->state, was->peer, was->peer_gfn), memory_order_release);
}

void grant_commit(struct grants *g, u64 gfn, enum grant_event event, const struct grant *was, u32 peer,
                  u64 peer_gfn)
{
    atomic_store_explicit(&g->word[gfn], pack((enum grant_state)next[event][was->state], peer, peer_gfn),
                          memory_order_release);
}
