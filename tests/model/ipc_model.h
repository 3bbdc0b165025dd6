/* ipc_model.h - two VMs with a page or two each, for models of ipc/. The p2m is one word per page. */
#pragma once
#include "ipc/ipc.h"
#include "tests/model/explore.h"

#define IPC_MODEL_GFNS 3u /* 0: RAM, 1 and 2: empty places */

struct ipc_model {
    struct ipc_vm vm[2];
    aligned_to(64) struct msg_queue queue[2];
    aligned_to(64) _Atomic u64 grants[2][IPC_MODEL_GFNS];
    _Atomic u64 p2m[2][IPC_MODEL_GFNS]; /* the frame, 0: nothing there */
    _Atomic u64 notified;
    u64 result[3];
};

static struct ipc_model *s = MODEL_SHARED(struct ipc_model);

static hpa_t model_frame_of(void *ctx, u32 vm, u64 gfn)
{
    (void)ctx;
    return HPA(atomic_load_explicit(&s->p2m[vm][gfn], memory_order_acquire));
}
static void model_unmap(void *ctx, u32 vm, u64 gfn, hpa_t frame)
{
    (void)ctx;
    u64 old = atomic_exchange_explicit(&s->p2m[vm][gfn], 0, memory_order_seq_cst);
    model_require(old == frame.v);
}
static void model_map(void *ctx, u32 vm, u64 gfn, hpa_t frame, enum ipc_map how)
{
    (void)ctx;
    (void)how;
    u64 old = atomic_exchange_explicit(&s->p2m[vm][gfn], frame.v, memory_order_seq_cst);
    model_require(old == 0 && frame.v != 0);
}
static void model_zero(void *ctx, hpa_t frame)
{
    (void)ctx;
    (void)frame;
}
static void model_notify(void *ctx, u32 vm, bool now)
{
    (void)ctx;
    (void)vm;
    (void)now;
}

static const struct ipc_ops model_ops = {model_frame_of, model_unmap, model_map, model_zero, model_notify};
static struct ipc model_ipc = {.ops = &model_ops, .count = 2};

static void ipc_model_set_up(u32 depth)
{
    for (u32 v = 0; v < 2; v++) {
        model_ipc.vm[v] = &s->vm[v];
        ipc_vm_init(&s->vm[v], msg_queue_init(&s->queue[v]));
        grants_init(&s->vm[v].grants, s->grants[v], IPC_MODEL_GFNS);
        grants_set(&s->vm[v].grants, 0, 1, GRANT_OWNED);
        grants_set(&s->vm[v].grants, 1, 2, GRANT_EMPTY);
        s->p2m[v][0] = 100 + v;
    }
    ipc_connect(&model_ipc, 0, 1, PB_MODE_ALL, depth);
}

/* Every frame is in one place of one VM. */
static inline void ipc_model_check_frames(void)
{
    u32 places[2] = {0, 0};

    for (u32 v = 0; v < 2; v++)
        for (u32 g = 0; g < IPC_MODEL_GFNS; g++) {
            enum grant_state state = grants_get(&s->vm[v].grants, g).state;
            bool there = state == GRANT_OWNED || state == GRANT_HELD_LENT;
            model_require(state != GRANT_MOVING);
            model_require((s->p2m[v][g] != 0) == there);
            if (s->p2m[v][g])
                places[s->p2m[v][g] - 100]++;
        }
    model_require(places[0] == 1 && places[1] == 1);
}
