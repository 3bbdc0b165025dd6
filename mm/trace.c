/* trace.c - the interest and writable masks; see trace.h for the handshake. */
#include "mm/trace.h"

void trace_map_init(struct trace_map *map, void *memory, u64 count)
{
    map->frame = memory;
    map->count = count;
    for (u64 i = 0; i < count; i++) {
        atomic_init(&map->frame[i].interest, 0);
        atomic_init(&map->frame[i].writable, 0);
    }
}

u64 trace_install(struct trace *t, u32 vcpu)
{
    atomic_fetch_or_explicit(&t->interest, BIT(vcpu), memory_order_seq_cst); /* S1 */
    return atomic_load_explicit(&t->writable, memory_order_seq_cst);         /* L1 */
}

void trace_remove(struct trace *t, u32 vcpu)
{
    atomic_fetch_and_explicit(&t->interest, ~BIT(vcpu), memory_order_seq_cst);
}

u64 trace_give_up(struct trace *t)
{
    return atomic_exchange_explicit(&t->interest, 0, memory_order_seq_cst);
}

bool trace_allow_first(struct trace *t, u64 vcpus)
{
    u64 before =
        atomic_load_explicit(&t->writable, memory_order_relaxed); /* these bits are the caller's alone */

    atomic_fetch_or_explicit(&t->writable, vcpus, memory_order_seq_cst);   /* S2 */
    if (likely(!atomic_load_explicit(&t->interest, memory_order_seq_cst))) /* L2 */
        return true;
    /* What was set before is not taken back: its vCPU has yet to flush what it had mapped. */
    atomic_fetch_and_explicit(&t->writable, ~vcpus | before, memory_order_seq_cst);
    return false;
}

void trace_clear_writable(struct trace *t, u32 vcpu)
{
    atomic_fetch_and_explicit(&t->writable, ~BIT(vcpu), memory_order_seq_cst);
}
