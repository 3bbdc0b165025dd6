/*
 * model_giveup.c - ending a trace (trace_give_up) against a store that then needs no exit any more, and an event of a
 * vCPU that still relies on the trace.
 *
 * Between the moment the trace has ended and the moment everybody is told of it, another vCPU can map the page writable,
 * store, and tell its guest. Whoever has its event then finds no patch: only the announcement (shadow_write_begin) says
 * that the table has to be read again.
 */
#include "mm/trace.h"
#include "tests/model/explore.h"

#define CONSUMER 0
#define GIVER    1
#define WRITER   2

struct shared {
    struct trace trace;
    _Atomic u64 primary;
    _Atomic u64 posted; /* bit 0: an entry has changed, bit 1: the table is loose from now on */
    _Atomic u64 done;
    _Atomic u64 writing[3];
    u64 derived;
};

static struct shared *s = MODEL_SHARED(struct shared);

static void set_up(void)
{
    atomic_store_explicit(&s->trace.interest, BIT(CONSUMER), memory_order_relaxed);
}

static void giver(void)
{
    if (ANNOUNCED)
        atomic_store_explicit(&s->writing[GIVER], 1, memory_order_seq_cst);
    if (trace_give_up(&s->trace) & BIT(CONSUMER))
        atomic_fetch_or_explicit(&s->posted, 2, memory_order_release);
    atomic_store_explicit(&s->writing[GIVER], 0, memory_order_release);
}

static void writer(void)
{
    if (trace_allow_writable(&s->trace, BIT(WRITER))) {
        atomic_store_explicit(&s->primary, 1, memory_order_relaxed);
    } else {
        atomic_store_explicit(&s->writing[WRITER], 1, memory_order_seq_cst);
        atomic_store_explicit(&s->primary, 1, memory_order_seq_cst);
        if (trace_interest(&s->trace) & BIT(CONSUMER))
            atomic_fetch_or_explicit(&s->posted, 1, memory_order_release);
        atomic_store_explicit(&s->writing[WRITER], 0, memory_order_release);
    }
    atomic_store_explicit(&s->done, 1, memory_order_release);
}

static void consumer(void)
{
    bool loose = false;

    for (u32 event = 0; event < 2; event++) {
        u64 known = atomic_load_explicit(&s->done, memory_order_acquire);
        bool again = atomic_load_explicit(&s->writing[GIVER], memory_order_seq_cst) ||
                     atomic_load_explicit(&s->writing[WRITER], memory_order_seq_cst);
        u64 posted = atomic_load_explicit(&s->posted, memory_order_acquire);
        if (loose || again || posted)
            s->derived = atomic_load_explicit(&s->primary, memory_order_seq_cst);
        if (posted & 2)
            loose = true;
        model_require(s->derived >= known);
    }
}

static void check(void)
{
    model_require(s->primary == 1);
}

int main(void)
{
    static const struct model m = {
        MODEL_NAME, set_up, {consumer, giver, writer}, check, sizeof(struct shared)};
    return model_run(&m, MODEL_BROKEN);
}
