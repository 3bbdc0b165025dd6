/* landing.c - see landing.h. */
#include "ipc/landing.h"

void landing_init(struct landing *l)
{
    atomic_init(&l->tail, 0);
    atomic_init(&l->head, 0);
    for (u64 i = 0; i < LANDING_SLOTS; i++)
        atomic_init(&l->cell[i].turn, i);
}

/* Claims the next position of one end whose cell has that turn; false: that end cannot move on. */
static bool claim(struct landing *l, _Atomic u64 *end, u64 offset, u64 *at)
{
    *at = atomic_load_explicit(end, memory_order_relaxed);
    for (;;) {
        u64 turn = atomic_load_explicit(&l->cell[*at % LANDING_SLOTS].turn, memory_order_seq_cst);

        if ((s64)(turn - (*at + offset)) < 0)
            return false;
        if (turn != *at + offset)
            *at = atomic_load_explicit(end, memory_order_relaxed); /* somebody was faster */
        else if (atomic_compare_exchange_weak_explicit(end, at, *at + 1, memory_order_relaxed,
                                                       memory_order_relaxed))
            return true;
    }
}

bool landing_put(struct landing *l, u64 gfn)
{
    u64 at;

    if (!claim(l, &l->tail, 0, &at))
        return false;
    l->cell[at % LANDING_SLOTS].gfn = gfn;
    atomic_store_explicit(&l->cell[at % LANDING_SLOTS].turn, at + 1, memory_order_seq_cst);
    return true;
}

bool landing_take(struct landing *l, u64 *gfn)
{
    u64 at;

    if (!claim(l, &l->head, 1, &at))
        return false;
    *gfn = l->cell[at % LANDING_SLOTS].gfn;
    atomic_store_explicit(&l->cell[at % LANDING_SLOTS].turn, at + LANDING_SLOTS, memory_order_release);
    return true;
}
