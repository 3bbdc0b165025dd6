/*
 * model_trace.c - installing a trace against making a writable mapping (mm/trace.c), followed by a store of
 * the guest and a coherency event of the vCPU that derived from the table.
 *
 * The writer tells the guest of the store (`done`); the other vCPU looks at that, then has its event: what it
 * derived must not be older than what it knew of. It may rely on the trace only if nobody was in the writable
 * mask. Without the announcement (`writing`, shadow_write_begin) the guest could see the new entry and have
 * its event before the patch is posted.
 */
#include "mm/trace.h"
#include "tests/model/explore.h"

#define INSTALLER 0
#define WRITER    1

struct shared {
    struct trace trace;
    _Atomic u64 primary;
    _Atomic u64 posted;
    _Atomic u64 done;
    _Atomic u64 writing; /* the table that is being stored to (shadow_write_begin) */
    u64 derived;
};

static struct shared *s = MODEL_SHARED(struct shared);

static void set_up(void) {}

static void writer(void)
{
    if (trace_allow_writable(&s->trace, BIT(WRITER))) { /* the guest stores by itself, as any store */
        atomic_store_explicit(&s->primary, 1, memory_order_relaxed);
    } else {
        if (!model_makes(NOT_ANNOUNCED))
            atomic_store_explicit(&s->writing, 1, memory_order_seq_cst);
        atomic_store_explicit(&s->primary, 1, memory_order_seq_cst);
        if (trace_interest(&s->trace) & BIT(INSTALLER))
            atomic_store_explicit(&s->posted, 1, memory_order_release);
        atomic_store_explicit(&s->writing, 0, memory_order_release);
    }
    atomic_store_explicit(&s->done, 1, memory_order_release);
}

static void installer(void)
{
    bool loose = (trace_install(&s->trace, INSTALLER) & ~BIT(INSTALLER)) && !model_makes(NOT_LOOSE);

    s->derived = atomic_load_explicit(&s->primary, memory_order_seq_cst);
    for (u32 event = 0; event < 2; event++) {
        /* What the guest on this vCPU can know: from a message, or from looking at the entry itself. */
        u64 known = atomic_load_explicit(&s->done, memory_order_acquire);
        u64 seen = atomic_load_explicit(&s->primary, memory_order_relaxed);
        bool again = loose || atomic_load_explicit(&s->writing, memory_order_seq_cst);
        if (atomic_load_explicit(&s->posted, memory_order_acquire) || again)
            s->derived = atomic_load_explicit(&s->primary, memory_order_seq_cst);
        model_require(s->derived >= known);
        model_require(s->derived >= seen);
    }
}

static void check(void)
{
    model_require(s->primary == 1);
}

int main(void)
{
    static const struct model m = {MODEL_NAME, set_up, {installer, writer}, check, sizeof(struct shared)};
    return model_run(&m, MODEL_BROKEN);
}
