/*
 * rmap.h - from a host frame to the shadow entries of one vCPU that map it.
 *
 * Needed to write-protect a frame when it becomes a page table and to remove every mapping of a frame that
 * leaves the VM. Keyed by host frame, because a frame may be known under several gfns and may change its VM.
 * A two-level array; second-level chunks and overflow nodes are made on first use from frames that the owner
 * gives.
 *
 *   directory[hfn / 1024] -> chunk[hfn % 1024] = 0             no mapping
 *                                              = location + 1  one
 *                                              = NODE | index  up to 8, in a node
 *                                              = MANY          more, or no memory for a node:
 *                                                              the caller must scan
 *
 * Only leaves of guest page tables are recorded; those of direct pages (shadow_internal.h) are found by their
 * gfn. Private to one vCPU: no atomics.
 */
#pragma once
#include "arch/types.h"

/* A shadow entry: (shadow page number << 9 | slot). */
typedef u32 rmap_location;
#define RMAP_LOCATION(page, slot) ((rmap_location)((page) << 9 | (slot)))
#define RMAP_LOCATION_PAGE(l)     ((l) >> 9)
#define RMAP_LOCATION_SLOT(l)     ((l)&511)
#define RMAP_PAGES_MAX            (1u << 21) /* shadow pages a location can name */

#define RMAP_NODE_SLOTS 8

struct rmap_node {
    rmap_location at[RMAP_NODE_SLOTS]; /* location + 1; 0 = free; a free node links through at[0] */
};

struct rmap {
    u64 hfn_base, hfn_count; /* frames that can be mapped at all */
    u32 *directory;          /* [hfn / 1024]: index of a frame in frames[] + 1 */
    u32 *node_frames;        /* the frames that hold nodes: indexes as above, in order */
    u32 node_frame_count, node_frames_max;
    u32 free_node;                   /* node index + 1 */
    u8 *frames;                      /* base of the frame pool the indexes refer to */
    u32 (*get_frame)(void *context); /* a zeroed frame's index, or RMAP_NO_FRAME */
    void *context;
};

#define RMAP_NO_FRAME 0xffffffffu

/* Bytes of metadata for hfn_count frames and node frames as below (multiple of 8). */
u64 rmap_metadata_size(u64 hfn_count);
void rmap_init(struct rmap *r, u64 hfn_base, u64 hfn_count, void *metadata, void *frames,
               u32 (*get_frame)(void *), void *context);

#define RMAP_CHUNK_BITS    10
#define RMAP_CHUNK_ENTRIES (1u << RMAP_CHUNK_BITS)

/* The record of hfn; NULL if it is out of range or its chunk has not been made. */
static inline u32 *rmap_record(const struct rmap *r, u64 hfn)
{
    u64 i = hfn - r->hfn_base;
    u32 chunk;

    if (unlikely(i >= r->hfn_count))
        return NULL;
    chunk = r->directory[i >> RMAP_CHUNK_BITS];
    if (unlikely(!chunk))
        return NULL;
    return (u32 *)(r->frames + (u64)(chunk - 1) * PAGE_SIZE) + (i & (RMAP_CHUNK_ENTRIES - 1));
}

bool must_check rmap_add_other(struct rmap *r, u64 hfn, rmap_location at);
void rmap_remove_other(struct rmap *r, u64 hfn, rmap_location at);

/* False: hfn is out of range, or no frame could be had for its chunk. Then the entry must not be made. */
static inline bool must_check rmap_add(struct rmap *r, u64 hfn, rmap_location at)
{
    u32 *record = rmap_record(r, hfn);

    if (unlikely(!record || *record))
        return rmap_add_other(r, hfn, at);
    *record = at + 1;
    return true;
}

static inline void rmap_remove(struct rmap *r, u64 hfn, rmap_location at)
{
    u32 *record = rmap_record(r, hfn);

    if (likely(record && *record == at + 1))
        *record = 0;
    else
        rmap_remove_other(r, hfn, at);
}

/*
 * Copies up to RMAP_NODE_SLOTS locations of hfn to at[] and returns how many, or -1: there may be others,
 * look through everything.
 */
int rmap_find(const struct rmap *r, u64 hfn, rmap_location at[RMAP_NODE_SLOTS]);

/* After the caller removed every mapping of hfn found by a scan: nothing is recorded for it. */
void rmap_forget(struct rmap *r, u64 hfn);
