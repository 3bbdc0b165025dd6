/*
 * ipc_world.h - VMs with pages, a p2m and a TLB each, for tests of ipc/. The page operations check, whenever
 * they are called, that nobody can see what must not be seen any more or not yet.
 */
#pragma once
#include "ipc/ipc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define WORLD_VMS    4u
#define WORLD_RAM    12u /* gfn 0..11 */
#define WORLD_WINDOW 8u  /* gfn 12..19 */
#define WORLD_GFNS   (WORLD_RAM + WORLD_WINDOW)
#define WORLD_LOG    64u

struct world_page {
    u64 frame; /* 0: nothing there */
    enum ipc_map how;
};

struct world_frame {
    u64 content[8];
};

enum world_call { CALL_UNMAP = 1, CALL_MAP, CALL_ZERO, CALL_NOTIFY };

struct world_event {
    enum world_call call;
    u32 vm;
    u64 gfn;
    u32 how; /* of map; 1 for a forced notify */
};

struct world {
    struct ipc ipc;
    struct ipc_vm vm[WORLD_VMS];
    aligned_to(4096) u8 queue[WORLD_VMS][PAGE_SIZE];
    _Atomic u64 grants[WORLD_VMS][WORLD_GFNS];
    struct world_page p2m[WORLD_VMS][WORLD_GFNS];
    struct world_page tlb[WORLD_VMS][WORLD_GFNS]; /* what a vCPU may still use */
    struct world_frame frame[WORLD_VMS * WORLD_RAM];
    struct world_event log[WORLD_LOG];
    u32 logged;
};

static inline u64 world_env(const char *name, u64 value)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 0) : value;
}

static inline u64 world_random(u64 *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state >> 11;
}

static inline void world_log(struct world *w, struct world_event e)
{
    w->log[w->logged++ % WORLD_LOG] = e;
}

static inline hpa_t world_frame_of(void *ctx, u32 vm, u64 gfn)
{
    struct world *w = ctx;

    assert_in_range(gfn, 0, WORLD_GFNS - 1);
    assert_int_not_equal(w->p2m[vm][gfn].frame, 0);
    return HPA(w->p2m[vm][gfn].frame);
}

static inline void world_unmap(void *ctx, u32 vm, u64 gfn, hpa_t frame)
{
    struct world *w = ctx;

    assert_int_equal(w->p2m[vm][gfn].frame, frame.v);
    w->p2m[vm][gfn].frame = 0;
    w->tlb[vm][gfn].frame = 0;
    world_log(w, (struct world_event){CALL_UNMAP, vm, gfn, 0});
}

/* A page that is mapped for one VM alone must be out of everybody else's p2m and TLB; one that others may
 * only read is writable for its owner at most. */
static inline void world_map(void *ctx, u32 vm, u64 gfn, hpa_t frame, enum ipc_map how)
{
    struct world *w = ctx;

    for (u32 v = 0; v < WORLD_VMS; v++)
        for (u64 g = 0; g < WORLD_GFNS; g++) {
            if (v == vm && g == gfn)
                continue;
            if (how == IPC_MAP_OWN && (w->p2m[v][g].frame == frame.v || w->tlb[v][g].frame == frame.v))
                fail_msg("VM %u still sees at %lu what VM %u alone gets at %lu", v, (unsigned long)g, vm,
                         (unsigned long)gfn);
            if (how == IPC_MAP_SHARED && w->p2m[v][g].frame == frame.v)
                assert_int_equal(w->p2m[v][g].how, IPC_MAP_SHARED);
        }
    if (w->p2m[vm][gfn].frame)
        assert_int_equal(w->p2m[vm][gfn].frame, frame.v);
    w->p2m[vm][gfn] = (struct world_page){frame.v, how};
    w->tlb[vm][gfn].frame = 0;
    world_log(w, (struct world_event){CALL_MAP, vm, gfn, how});
}

static inline void world_zero(void *ctx, hpa_t frame)
{
    memset((void *)frame.v, 0, sizeof(struct world_frame));
    world_log(ctx, (struct world_event){CALL_ZERO, 0, 0, 0});
}

static inline void world_notify(void *ctx, u32 vm, bool now)
{
    world_log(ctx, (struct world_event){CALL_NOTIFY, vm, 0, now});
}

static inline struct msg_queue *world_queue(struct world *w, u32 vm)
{
    return (struct msg_queue *)(void *)w->queue[vm];
}

/* All VMs with all modes between them, but for VM 3, which has no channel to VM 2. */
static inline struct world *world_new(u32 depth)
{
    static const struct ipc_ops ops = {world_frame_of, world_unmap, world_map, world_zero, world_notify};
    struct world *w = aligned_alloc(PAGE_SIZE, ALIGN_UP(sizeof(*w), PAGE_SIZE));

    assert_non_null(w);
    memset(w, 0, sizeof(*w));
    w->ipc = (struct ipc){.ops = &ops, .ctx = w, .count = WORLD_VMS};
    for (u32 v = 0; v < WORLD_VMS; v++) {
        w->ipc.vm[v] = &w->vm[v];
        ipc_vm_init(&w->vm[v], msg_queue_init(w->queue[v]));
        grants_init(&w->vm[v].grants, w->grants[v], WORLD_GFNS);
        grants_set(&w->vm[v].grants, 0, WORLD_RAM, GRANT_OWNED);
        grants_set(&w->vm[v].grants, WORLD_RAM, WORLD_WINDOW, GRANT_EMPTY);
        for (u64 g = 0; g < WORLD_RAM; g++) {
            struct world_frame *f = &w->frame[v * WORLD_RAM + g];
            f->content[0] = v << 16 | g;
            w->p2m[v][g] = (struct world_page){(u64)(uintptr_t)f, IPC_MAP_OWN};
        }
    }
    for (u32 a = 0; a < WORLD_VMS; a++)
        for (u32 b = a + 1; b < WORLD_VMS; b++)
            if (a != 2 || b != 3)
                ipc_connect(&w->ipc, a, b, PB_MODE_ALL, depth);
    return w;
}

static inline enum grant_state world_state(struct world *w, u32 vm, u64 gfn)
{
    return grants_get(&w->vm[vm].grants, gfn).state;
}

/* A guest access: fills the TLB. */
static inline void world_touch(struct world *w, u32 vm, u64 gfn)
{
    w->tlb[vm][gfn] = w->p2m[vm][gfn];
}

static inline u32 world_send(struct world *w, u32 from, u32 to, u16 kind, u64 gfn, u32 flags, u64 tag)
{
    struct pb_message m = {.sender = ~0u,
                           .receiver = to,
                           .sequence = ~0ull,
                           .kind = kind,
                           .length = 8,
                           .flags = flags,
                           .page = gfn << PAGE_SHIFT};

    memset(m.data, 0xee, sizeof(m.data));
    memcpy(m.data, &tag, sizeof(tag));
    return ipc_send(&w->ipc, from, world_queue(w, from), &m);
}

static inline u64 world_tag(const struct pb_message *m)
{
    u64 tag;
    memcpy(&tag, m->data, sizeof(tag));
    return tag;
}

/* What must hold between any two operations. */
static inline void world_check_page(struct world *w, u32 v, u64 g)
{
    static const struct {
        bool there;
        enum ipc_map how;
        enum grant_state other;
    } is[GRANT_STATES] = {
        [GRANT_OWNED] = {true, IPC_MAP_OWN, GRANT_NONE},
        [GRANT_PINNED] = {true, IPC_MAP_OWN, GRANT_NONE},
        [GRANT_SHARED_RO] = {true, IPC_MAP_OWN, GRANT_HELD_RO},
        [GRANT_SHARED_RW] = {true, IPC_MAP_SHARED, GRANT_HELD_RW},
        [GRANT_LENT] = {false, IPC_MAP_OWN, GRANT_HELD_LENT},
        [GRANT_HELD_RO] = {true, IPC_MAP_READ, GRANT_SHARED_RO},
        [GRANT_HELD_RW] = {true, IPC_MAP_SHARED, GRANT_SHARED_RW},
        [GRANT_HELD_LENT] = {true, IPC_MAP_OWN, GRANT_LENT},
    };
    struct grant at = grants_get(&w->vm[v].grants, g), other;

    assert_int_not_equal(at.state, GRANT_MOVING);
    assert_int_equal(w->p2m[v][g].frame != 0, is[at.state].there);
    if (is[at.state].there)
        assert_int_equal(w->p2m[v][g].how, is[at.state].how);
    if (w->tlb[v][g].frame) {
        assert_int_equal(w->tlb[v][g].frame, w->p2m[v][g].frame);
        assert_int_equal(w->tlb[v][g].how, w->p2m[v][g].how);
    }
    if (is[at.state].other == GRANT_NONE)
        return;
    other = grants_get(&w->vm[at.peer].grants, at.peer_gfn);
    assert_int_equal(other.state, is[at.state].other);
    assert_int_equal(other.peer, v);
    assert_int_equal(other.peer_gfn, g);
    if (is[at.state].there && is[other.state].there)
        assert_int_equal(w->p2m[v][g].frame, w->p2m[at.peer][at.peer_gfn].frame);
}

static inline void world_check(struct world *w)
{
    u32 having[WORLD_VMS * WORLD_RAM] = {0};

    for (u32 v = 0; v < WORLD_VMS; v++)
        for (u64 g = 0; g < WORLD_GFNS; g++) {
            enum grant_state s = world_state(w, v, g);
            world_check_page(w, v, g);
            if (w->p2m[v][g].frame && s != GRANT_HELD_RO && s != GRANT_HELD_RW)
                having[(struct world_frame *)(uintptr_t)w->p2m[v][g].frame - w->frame]++;
        }
    for (u32 f = 0; f < WORLD_VMS * WORLD_RAM; f++)
        assert_int_equal(having[f], 1); /* no page is lost, none is had twice */
}
