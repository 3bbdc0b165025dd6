/* rmap.c - see rmap.h. */
#include "mm/rmap.h"
#include "arch/string.h"

#define IS_NODE         0x80000000u
#define MANY            0xffffffffu
#define NODES_PER_FRAME (PAGE_SIZE / sizeof(struct rmap_node))
#define NODE_FRAMES_MAX 128

_Static_assert(sizeof(struct rmap_node) == RMAP_NODE_SLOTS * sizeof(u32), "a node is its slots");
_Static_assert((u64)RMAP_PAGES_MAX << 9 < IS_NODE, "locations and nodes must be told apart");

static u64 directory_entries(u64 hfn_count)
{
    return (hfn_count + RMAP_CHUNK_ENTRIES - 1) >> RMAP_CHUNK_BITS;
}

u64 rmap_metadata_size(u64 hfn_count)
{
    return ALIGN_UP((directory_entries(hfn_count) + NODE_FRAMES_MAX) * sizeof(u32), 8);
}

void rmap_init(struct rmap *r, u64 hfn_base, u64 hfn_count, void *metadata, void *frames,
               u32 (*get_frame)(void *), void *context)
{
    memset(r, 0, sizeof *r);
    r->hfn_base = hfn_base;
    r->hfn_count = hfn_count;
    r->directory = metadata;
    r->node_frames = r->directory + directory_entries(hfn_count);
    r->node_frames_max = NODE_FRAMES_MAX;
    r->frames = frames;
    r->get_frame = get_frame;
    r->context = context;
    memset(metadata, 0, rmap_metadata_size(hfn_count));
}

static inline u32 *frame_at(const struct rmap *r, u32 index)
{
    return (u32 *)(r->frames + (u64)index * PAGE_SIZE);
}

/* The record of hfn, made if need be; NULL if it cannot be. */
static u32 *record_make(struct rmap *r, u64 hfn)
{
    u64 i = hfn - r->hfn_base;
    u32 frame;

    if (i >= r->hfn_count)
        return NULL;
    if (!r->directory[i >> RMAP_CHUNK_BITS]) {
        frame = r->get_frame(r->context);
        if (frame == RMAP_NO_FRAME)
            return NULL;
        r->directory[i >> RMAP_CHUNK_BITS] = frame + 1;
    }
    return rmap_record(r, hfn);
}

static struct rmap_node *node_at(const struct rmap *r, u32 index)
{
    struct rmap_node *frame = (struct rmap_node *)frame_at(r, r->node_frames[index / NODES_PER_FRAME]);

    return &frame[index % NODES_PER_FRAME];
}

static void node_free(struct rmap *r, u32 index)
{
    struct rmap_node *n = node_at(r, index);

    memset(n, 0, sizeof *n);
    n->at[0] = r->free_node;
    r->free_node = index + 1;
}

/* A zeroed node's index + 1, or 0. */
static u32 node_new(struct rmap *r)
{
    u32 got;

    if (!r->free_node) {
        u32 frame = r->node_frame_count < r->node_frames_max ? r->get_frame(r->context) : RMAP_NO_FRAME;
        u32 first = r->node_frame_count * (u32)NODES_PER_FRAME;
        if (frame == RMAP_NO_FRAME)
            return 0;
        r->node_frames[r->node_frame_count++] = frame;
        for (u32 i = (u32)NODES_PER_FRAME; i-- > 0;)
            node_free(r, first + i);
    }
    got = r->free_node;
    r->free_node = node_at(r, got - 1)->at[0];
    node_at(r, got - 1)->at[0] = 0;
    return got;
}

static void add_second(struct rmap *r, u32 *record, rmap_location at)
{
    u32 node = node_new(r);

    if (!node) {
        *record = MANY;
        return;
    }
    node_at(r, node - 1)->at[0] = *record;
    node_at(r, node - 1)->at[1] = at + 1;
    *record = IS_NODE | (node - 1);
}

static void add_to_node(struct rmap *r, u32 *record, rmap_location at)
{
    u32 index = *record & ~IS_NODE;
    struct rmap_node *n = node_at(r, index);

    for (u32 i = 0; i < RMAP_NODE_SLOTS; i++)
        if (!n->at[i]) {
            n->at[i] = at + 1;
            return;
        }
    node_free(r, index);
    *record = MANY;
}

bool rmap_add_other(struct rmap *r, u64 hfn, rmap_location at)
{
    u32 *record = record_make(r, hfn);

    if (!record)
        return false;
    if (!*record)
        *record = at + 1;
    else if (*record == MANY)
        return true;
    else if (*record & IS_NODE)
        add_to_node(r, record, at);
    else
        add_second(r, record, at);
    return true;
}

void rmap_remove_other(struct rmap *r, u64 hfn, rmap_location at)
{
    u32 *record = rmap_record(r, hfn);
    struct rmap_node *n;
    u32 left = 0;

    if (!record || *record == MANY || !(*record & IS_NODE))
        return;
    n = node_at(r, *record & ~IS_NODE);
    for (u32 i = 0; i < RMAP_NODE_SLOTS; i++) {
        if (n->at[i] == at + 1)
            n->at[i] = 0;
        left += n->at[i] != 0;
    }
    if (!left) {
        node_free(r, *record & ~IS_NODE);
        *record = 0;
    }
}

int rmap_find(const struct rmap *r, u64 hfn, rmap_location at[RMAP_NODE_SLOTS])
{
    u32 *record = rmap_record(r, hfn);
    int count = 0;

    if (record && *record == MANY)
        return -1;
    if (!record || !*record)
        return 0;
    if (!(*record & IS_NODE)) {
        at[0] = *record - 1;
        return 1;
    }
    for (u32 i = 0; i < RMAP_NODE_SLOTS; i++) {
        u32 l = node_at(r, *record & ~IS_NODE)->at[i];
        if (l)
            at[count++] = l - 1;
    }
    return count;
}

void rmap_forget(struct rmap *r, u64 hfn)
{
    u32 *record = rmap_record(r, hfn);

    if (!record)
        return;
    if (*record != MANY && (*record & IS_NODE))
        node_free(r, *record & ~IS_NODE);
    *record = 0;
}
