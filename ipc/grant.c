/* grant.c - see grant.h. */
#include "ipc/grant.h"

struct rule {
    u8 next;   /* enum grant_state, if status is OK */
    u8 status; /* PB_STATUS_* */
};

#define YES(state) {GRANT_##state, PB_STATUS_OK}
#define NO(why)    {GRANT_NONE, PB_STATUS_##why}
/* clang-format off */
static const struct rule rules[GRANT_OPS][GRANT_STATES] = {
    /*                         NONE           OWNED             EMPTY              OFFERED            SHARED_OUT          LENT_OUT           SHARED_IN          LENT_IN            BUSY */
    [GRANT_OP_SHARE]        = {NO(BAD_PAGE), YES(SHARED_OUT),  NO(PAGE_EMPTY),    NO(PAGE_EMPTY),    NO(PAGE_SHARED),    NO(PAGE_LENT),     NO(PAGE_FOREIGN),  NO(PAGE_FOREIGN),  NO(PAGE_BUSY)},
    [GRANT_OP_LEND]         = {NO(BAD_PAGE), YES(LENT_OUT),    NO(PAGE_EMPTY),    NO(PAGE_EMPTY),    NO(PAGE_SHARED),    NO(PAGE_LENT),     NO(PAGE_FOREIGN),  NO(PAGE_FOREIGN),  NO(PAGE_BUSY)},
    [GRANT_OP_DONATE]       = {NO(BAD_PAGE), YES(EMPTY),       NO(PAGE_EMPTY),    NO(PAGE_EMPTY),    NO(PAGE_SHARED),    NO(PAGE_LENT),     NO(PAGE_FOREIGN),  NO(PAGE_FOREIGN),  NO(PAGE_BUSY)},
    [GRANT_OP_OFFER]        = {NO(BAD_PAGE), NO(SLOT_IN_USE),  YES(OFFERED),      NO(SLOT_IN_USE),   NO(SLOT_IN_USE),    NO(SLOT_IN_USE),   NO(SLOT_IN_USE),   NO(SLOT_IN_USE),   NO(PAGE_BUSY)},
    [GRANT_OP_TAKE_SHARED]  = {NO(BAD_PAGE), NO(NO_LANDING),   NO(NO_LANDING),    YES(SHARED_IN),    NO(NO_LANDING),     NO(NO_LANDING),    NO(NO_LANDING),    NO(NO_LANDING),    NO(PAGE_BUSY)},
    [GRANT_OP_TAKE_LENT]    = {NO(BAD_PAGE), NO(NO_LANDING),   NO(NO_LANDING),    YES(LENT_IN),      NO(NO_LANDING),     NO(NO_LANDING),    NO(NO_LANDING),    NO(NO_LANDING),    NO(PAGE_BUSY)},
    [GRANT_OP_TAKE_DONATED] = {NO(BAD_PAGE), NO(NO_LANDING),   NO(NO_LANDING),    YES(OWNED),        NO(NO_LANDING),     NO(NO_LANDING),    NO(NO_LANDING),    NO(NO_LANDING),    NO(PAGE_BUSY)},
    [GRANT_OP_RECLAIM]      = {NO(BAD_PAGE), NO(PAGE_NOT_OUT), NO(PAGE_NOT_OUT),  NO(PAGE_NOT_OUT),  YES(OWNED),         YES(OWNED),        NO(PAGE_FOREIGN),  NO(PAGE_FOREIGN),  NO(PAGE_BUSY)},
    [GRANT_OP_GIVE_BACK]    = {NO(BAD_PAGE), NO(PAGE_NOT_OUT), NO(PAGE_NOT_OUT),  NO(PAGE_NOT_OUT),  NO(PAGE_NOT_OUT),   NO(PAGE_NOT_OUT),  YES(EMPTY),        YES(EMPTY),        NO(PAGE_BUSY)},
};
/* clang-format on */

u32 grant_check(enum grant_state state, enum grant_op op, enum grant_state *next)
{
    const struct rule *r = &rules[op][state];

    *next = r->status == PB_STATUS_OK ? (enum grant_state)r->next : state;
    return r->status;
}

void grant_table_init(struct grant_table *t, void *zeroed, u64 count)
{
    t->state = zeroed;
    t->count = count;
}

void grant_table_set(struct grant_table *t, u64 first, u64 pages, enum grant_state state)
{
    for (u64 i = first; i < first + pages && i < t->count; i++)
        atomic_store_explicit(&t->state[i], (u8)state, memory_order_relaxed);
}

u32 grant_begin(struct grant_table *t, u64 gfn, enum grant_op op, enum grant_state *before, enum grant_state *after)
{
    if (gfn >= t->count)
        return PB_STATUS_BAD_PAGE;
    u8 seen = atomic_load_explicit(&t->state[gfn], memory_order_relaxed);
    *before = (enum grant_state)seen;
    u32 status = grant_check(*before, op, after);
    if (status != PB_STATUS_OK)
        return status;
    if (!atomic_compare_exchange_strong_explicit(&t->state[gfn], &seen, GRANT_BUSY, memory_order_acquire,
                                                 memory_order_relaxed))
        return PB_STATUS_PAGE_BUSY;
    return PB_STATUS_OK;
}

void grant_end(struct grant_table *t, u64 gfn, enum grant_state state)
{
    atomic_store_explicit(&t->state[gfn], (u8)state, memory_order_release);
}
