/*
 * model_litmus.c - the explorer itself: what x86's memory model forbids does not happen, and what it allows is found
 * (as "mistakes": a load that overtakes a store; a store of a value that is there already, which undoes another's).
 */
#include "tests/model/explore.h"

struct shared {
    _Atomic u64 x, y;       /* a store, then a load, on both sides */
    _Atomic u64 data, flag; /* data is stored first */
    _Atomic u64 word;       /* stored by one, exchanged by the other */
    u64 own[2];
    u64 seen[2];
    u64 exchanged;
};

static struct shared *s = MODEL_SHARED(struct shared);

static void set_up(void)
{
    for (u32 t = 0; t < 2; t++)
        model_private(t, &s->own[t], &s->own[t + 1]);
}

static void barrier(u32 t)
{
    if (!model_makes(STORE_WITHOUT_ORDERING))
        atomic_fetch_add_explicit((_Atomic u64 *)&s->own[t], 1, memory_order_seq_cst);
}

static void first(void)
{
    atomic_store_explicit(&s->x, 1, memory_order_relaxed);
    barrier(0);
    s->seen[0] = atomic_load_explicit(&s->y, memory_order_relaxed);
    atomic_store_explicit(&s->data, 1, memory_order_relaxed);
    atomic_store_explicit(&s->word, model_makes(STORED_AGAIN) ? 0 : 1, memory_order_relaxed);
    atomic_store_explicit(&s->flag, 1, memory_order_relaxed);
}

static void second(void)
{
    u64 expected = 0;

    atomic_store_explicit(&s->y, 1, memory_order_relaxed);
    barrier(1);
    s->seen[1] = atomic_load_explicit(&s->x, memory_order_relaxed);
    s->exchanged = atomic_compare_exchange_strong(&s->word, &expected, ~0ull);
    u64 flag = atomic_load_explicit(&s->flag, memory_order_relaxed);
    u64 data = atomic_load_explicit(&s->data, memory_order_relaxed);
    model_require(!flag || data);
}

static void check(void)
{
    model_require(s->seen[0] || s->seen[1]);
    model_require(s->word == 1 || (s->word == ~0ull && s->exchanged));
}

int main(void)
{
    static const struct model m = {MODEL_NAME, set_up, {first, second}, check, sizeof(struct shared)};
    return model_run(&m, MODEL_BROKEN);
}
