/*
 * trace.h - which guest frames are page tables, and who can write them (P60).
 *
 * Per guest frame two atomic masks, one bit per vCPU of the VM:
 *   interest - vCPUs that hold entries derived from this frame and want a patch for every write to it
 *   writable - vCPUs that may hold a writable shadow mapping of this frame
 * A frame is traced while its interest mask is not zero.
 *
 * The handshake (store, then load, on both sides; sequentially consistent; model-checked in
 * tests/model/model_trace.c):
 *
 *      installing a trace (vCPU c)              making a writable mapping (vCPU w)
 *      interest |= c         (S1)               writable |= w        (S2)
 *      read writable         (L1)               read interest        (L2)
 *      others in it: kick, stay loose           traced: take the bit back, map read-only
 *
 * At least one of L1, L2 sees the other's store, so no frame ends up traced and silently writable. A vCPU
 * that is kicked drops its writable mappings of the frame itself (shadow_service_kicks) and clears its bit;
 * until then the installer treats the table as loose, that is, it re-reads it at each of its coherency
 * events. Nobody waits.
 */
#pragma once
#include "arch/types.h"
#include <stdatomic.h>

#define TRACE_VCPUS_MAX 64

/* One guest frame. Writers and readers: every vCPU of the VM. All accesses seq_cst unless said otherwise. */
struct trace {
    _Atomic u64 interest;
    _Atomic u64 writable;
};

struct trace_map {
    struct trace *frame; /* count records, zeroed */
    u64 count;           /* gfns 0 .. count - 1; the p2m's count */
};

void trace_map_init(struct trace_map *map, void *memory, u64 count);
static inline u64 trace_map_size(u64 count)
{
    return count * sizeof(struct trace);
}

/* NULL for a gfn out of range. */
static inline struct trace *trace_of(const struct trace_map *map, u64 gfn)
{
    return gfn < map->count ? &map->frame[gfn] : NULL;
}

/* S1, L1. Returns the writable mask as it was after interest was set (own bit included). */
u64 trace_install(struct trace *t, u32 vcpu);

/* vCPU has no derived entry of this frame any more. */
void trace_remove(struct trace *t, u32 vcpu);

/* Ends the trace for everybody; returns the interest mask that was, for telling them. */
u64 trace_give_up(struct trace *t);

/* S2, L2, for the vCPUs that may then use the mapping (one, or all whose tables it is in). True: a writable mapping may
 * be made. False: the frame is traced, map it read-only. */
bool trace_allow_first(struct trace *t, u64 vcpus);
static inline bool trace_allow_writable(struct trace *t, u64 vcpus)
{
    /* Nobody else sets these bits: if they are set already, S2 was done by whoever set them, before the load below. */
    if (unlikely(~atomic_load_explicit(&t->writable, memory_order_relaxed) & vcpus))
        return trace_allow_first(t, vcpus);
    return likely(!atomic_load_explicit(&t->interest, memory_order_seq_cst)); /* L2 */
}

/* vCPU has no writable mapping of this frame any more (all found through its rmap and made read-only). */
void trace_clear_writable(struct trace *t, u32 vcpu);

static inline bool trace_active(const struct trace *t)
{
    return atomic_load_explicit(&t->interest, memory_order_seq_cst) != 0;
}
static inline u64 trace_interest(const struct trace *t)
{
    return atomic_load_explicit(&t->interest, memory_order_seq_cst);
}
