/*
 * model_giveup.c - ending a trace (trace_give_up) against a store that then needs no exit any more, and a vCPU that still
 * relies on the trace: at its events, and for faults of its guest's own with no exit (mm/trace.h, mm/revoke.h; real code).
 *
 * Between the moment the trace has ended and the moment everybody is told of it, another vCPU can map the page writable,
 * store, and tell its guest. Whoever has its event then finds no patch: only the announcement (shadow_write_begin) says
 * that the table has to be read again. The consumer may trace the table again, and asks the writer for its mapping.
 */
#include "mm/revoke.h"
#include "mm/trace.h"
#include "tests/model/explore.h"

#define CONSUMER 0
#define GIVER    1
#define WRITER   2
#define GFN      1
#define EVENTS   2
#define STORES   2
#define PRESENT  7

enum { POSTED_ENTRY = 1, POSTED_LOOSE = 2 };

struct shared {
    struct trace trace;
    _Atomic u64 words[4];
    struct revoke_list list;
    _Atomic u64 entry; /* the consumer's, first of page 0: forwarded at first */
    _Atomic u64 primary;
    _Atomic u64 posted;
    _Atomic u64 done;
    _Atomic u64 kicked;
    _Atomic u64 writing[3];
};

static struct shared *s = MODEL_SHARED(struct shared);

static void set_up(void)
{
    revoke_list_init(&s->list, (void *)s->words, 1);
    model_require(revoke_list_add(&s->list, GFN, 0, false));
    model_constant(&s->words, &s->list.turns);
    model_private(CONSUMER, &s->list.turns, &s->list + 1);
    atomic_store_explicit(&s->trace.interest, BIT(CONSUMER), memory_order_relaxed);
}

static void revoke(void)
{
    if (trace_interest(&s->trace) & BIT(CONSUMER))
        revoke_entries(&s->list, (u8 *)&s->entry, GFN, 0, 0);
}

static void announce(u32 vcpu, u64 what)
{
    atomic_store_explicit(&s->writing[vcpu], what, what ? memory_order_seq_cst : memory_order_release);
}

static void giver(void)
{
    if (!model_makes(NOT_ANNOUNCED))
        announce(GIVER, 1);
    if (!model_makes(NOT_REVOKED) && !model_makes(REVOKED_LATE))
        revoke();
    u64 told = trace_give_up(&s->trace);
    if (model_makes(REVOKED_LATE))
        revoke_entries(&s->list, (u8 *)&s->entry, GFN, 0, 0);
    if (model_makes(TOLD_LATE))
        announce(GIVER, 0);
    if ((told & BIT(CONSUMER)) && !model_makes(NOT_TOLD))
        atomic_fetch_or_explicit(&s->posted, POSTED_LOOSE, memory_order_release);
    announce(GIVER, 0);
}

static void store(u64 value, bool mapped)
{
    if (mapped) {
        atomic_store_explicit(&s->primary, value, memory_order_relaxed);
        return;
    }
    announce(WRITER, 1);
    revoke();
    atomic_store_explicit(&s->primary, value, memory_order_seq_cst);
    if (trace_interest(&s->trace) & BIT(CONSUMER))
        atomic_fetch_or_explicit(&s->posted, POSTED_ENTRY, memory_order_release);
    announce(WRITER, 0);
}

static void writer(void)
{
    bool mapped = false;

    for (u64 value = 1; value <= STORES; value++) {
        if (atomic_load_explicit(&s->kicked, memory_order_acquire)) {
            trace_clear_writable(&s->trace, WRITER);
            mapped = false;
        }
        mapped = mapped || trace_allow_writable(&s->trace, BIT(WRITER));
        store(value, mapped);
        atomic_store_explicit(&s->done, value, memory_order_release);
    }
}

/* Returns what the entry was derived from. */
static u64 derive(bool loose)
{
    u64 now = atomic_load_explicit(&s->primary, memory_order_seq_cst);
    u64 none = loose && !model_makes(FORWARDED_LOOSE) ? ENTRY_ABSENT : ENTRY_FORWARDED;

    atomic_store_explicit(&s->entry, now ? now << PAGE_SHIFT | PRESENT : none, memory_order_release);
    return now;
}

static bool announced(void)
{
    return atomic_load_explicit(&s->writing[GIVER], memory_order_seq_cst) ||
           atomic_load_explicit(&s->writing[WRITER], memory_order_seq_cst);
}

static bool proven(void)
{
    revoke_list_turn(&s->list);
    return model_makes(NOT_LOOKED) ||
           (!announced() && !atomic_load_explicit(&s->posted, memory_order_acquire));
}

/* Is the table loose still? */
static bool trace_again(void)
{
    if (!(trace_install(&s->trace, CONSUMER) & ~BIT(CONSUMER)))
        return false;
    atomic_store_explicit(&s->kicked, 1, memory_order_release);
    return !model_makes(NOT_LOOSE);
}

static void consumer(void)
{
    bool loose = false, all_proven = true;
    u64 derived = 0;

    for (u32 event = 0; event < EVENTS; event++) {
        u64 known = atomic_load_explicit(&s->done, memory_order_acquire);
        bool again = announced();
        u64 posted = atomic_exchange_explicit(&s->posted, 0, memory_order_acquire);
        loose = loose || (posted & POSTED_LOOSE);
        if (loose || again || posted) {
            derived = derive(loose);
            all_proven = false;
        }
        model_require(derived >= known);
        if (loose && !(loose = trace_again()) && !model_makes(NOT_READ_AGAIN))
            derived = derive(loose);
        all_proven = all_proven || proven();
        u64 seen = atomic_load_explicit(&s->primary, memory_order_relaxed);
        u64 entry = atomic_load_explicit(&s->entry, memory_order_relaxed);
        model_require(!all_proven || entry != ENTRY_FORWARDED || !seen);
    }
}

static void check(void)
{
    model_require(s->primary == STORES);
}

int main(void)
{
    static const struct model m = {
        MODEL_NAME, set_up, {consumer, giver, writer}, check, sizeof(struct shared)};
    return model_run(&m, MODEL_BROKEN);
}
