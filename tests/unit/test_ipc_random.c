/* links: ipc/send.c ipc/receive.c ipc/page.c ipc/grant.c ipc/landing.c ipc/queue.c */
/* test_ipc_random.c - random operations of several VMs on each other's pages: after every one, no page is
 * lost or had twice, no stale translation is left, a refused operation has changed nothing, and messages come
 * out as they went in. PB_SEED, PB_STEPS. */
#include "tests/unit/ipc_world.h"

#define FIFO 4096u

/* What was sent from a to b and has not come out. */
struct pair {
    u64 tag[FIFO], in, out, sequence;
};
static struct pair pairs[WORLD_VMS][WORLD_VMS];
static u64 seed, next_tag, done[PB_STATUS_COUNT];
static u64 wanted[WORLD_VMS][WORLD_VMS]; /* PB_KIND_ROOM is owed: [sender][receiver] */

static u64 pick(u64 n)
{
    return world_random(&seed) % n;
}

static void receive(struct world *w, u32 vm)
{
    struct pb_message m;

    if (ipc_receive(&w->ipc, vm, &m) != PB_STATUS_OK)
        return;
    struct pair *p = &pairs[m.sender][vm];
    assert_int_equal(m.receiver, vm);
    assert_int_equal(m.sequence, ++p->sequence);
    if (m.kind == PB_KIND_ROOM)
        wanted[vm][m.sender] = 0;
    if (m.kind >= PB_KIND_RETURNED)
        return;
    assert_true(p->out < p->in);
    assert_int_equal(world_tag(&m), p->tag[p->out++ % FIFO]);
    if (m.kind != PB_KIND_DATA)
        assert_in_range(m.page >> PAGE_SHIFT, 0, WORLD_GFNS - 1);
}

static u32 send(struct world *w, u32 from)
{
    u32 to = (u32)pick(WORLD_VMS + 1), flags = pick(4) ? PB_FLAG_NOTIFY : PB_FLAG_ROOM;
    u16 kind = (u16)pick(7);
    u64 gfn = kind == PB_KIND_DATA ? 0 : pick(WORLD_GFNS + 1);
    u32 status = world_send(w, from, to, kind, gfn, flags, ++next_tag);

    if (status == PB_STATUS_OK) {
        struct pair *p = &pairs[from][to];
        p->tag[p->in++ % FIFO] = next_tag;
    }
    if (status == PB_STATUS_QUEUE_FULL && (flags & PB_FLAG_ROOM))
        wanted[from][to] = 1;
    return status;
}

static u32 one_step(struct world *w)
{
    u32 vm = (u32)pick(WORLD_VMS);
    u64 gfn = pick(WORLD_GFNS + 1), accepted = 0;
    u32 status;

    switch (pick(10)) {
    case 0:
    case 1:
    case 2: return send(w, vm);
    case 3:
        status = ipc_offer(&w->ipc, vm, gfn, 1 + pick(4), &accepted);
        return accepted ? PB_STATUS_OK : status;
    case 4: return ipc_reclaim(&w->ipc, vm, gfn);
    case 5: return ipc_return(&w->ipc, vm, gfn);
    case 6:
        if (gfn < WORLD_GFNS)
            world_touch(w, vm, gfn);
        return PB_STATUS_OK;
    default: receive(w, vm); return PB_STATUS_OK;
    }
}

static void check_counts(struct world *w)
{
    for (u32 to = 0; to < WORLD_VMS; to++) {
        const struct msg_queue *q = world_queue(w, to);
        u64 offered = 0, flying = 0;
        assert_int_equal(q->credits + (q->tail - q->head), MSG_QUEUE_DEPTH);
        for (u64 g = 0; g < WORLD_GFNS; g++)
            offered += world_state(w, to, g) == GRANT_OFFERED;
        assert_int_equal(offered, w->vm[to].landing.tail - w->vm[to].landing.head);
        for (u32 from = 0; from < WORLD_VMS; from++) {
            assert_int_equal(w->vm[from].to[to].in_flight, pairs[from][to].in - pairs[from][to].out);
            flying += pairs[from][to].in - pairs[from][to].out;
        }
        assert_true(flying <= q->tail - q->head);
    }
}

static void run(u64 steps, u32 depth)
{
    struct world *w = world_new(depth);

    memset(pairs, 0, sizeof(pairs));
    memset(wanted, 0, sizeof(wanted));
    for (u64 i = 0; i < steps; i++) {
        _Atomic u64 grants[WORLD_VMS][WORLD_GFNS];
        struct world_page p2m[WORLD_VMS][WORLD_GFNS];
        memcpy((void *)grants, (void *)w->grants, sizeof(grants));
        memcpy(p2m, w->p2m, sizeof(p2m));
        u32 status = one_step(w);
        done[status]++;
        if (status != PB_STATUS_OK) {
            assert_memory_equal(p2m, w->p2m, sizeof(p2m));
            assert_memory_equal((void *)grants, (void *)w->grants, sizeof(grants));
        }
        if (i % 4 == 0) {
            world_check(w);
            check_counts(w);
        }
    }
    /* everything that is still under way arrives, and who was promised word of room has had it */
    for (u32 round = 0; round < 200; round++)
        receive(w, round % WORLD_VMS);
    for (u32 a = 0; a < WORLD_VMS; a++)
        for (u32 b = 0; b < WORLD_VMS; b++) {
            assert_int_equal(pairs[a][b].in, pairs[a][b].out);
            assert_int_equal(wanted[a][b], 0);
        }
    for (u32 v = 0; v < WORLD_VMS - 1; v++) {
        ipc_vm_ended(&w->ipc, v);
        world_check(w);
        for (u64 g = 0; g < WORLD_GFNS; g++)
            assert_true(world_state(w, v, g) <= GRANT_OFFERED);
    }
    free(w);
}

static void test_random(void **state)
{
    u64 first = world_env("PB_SEED", 1), steps = world_env("PB_STEPS", 300000);

    (void)state;
    seed = first * 2654435761u + 1;
    print_message("PB_SEED=%lu PB_STEPS=%lu\n", (unsigned long)first, (unsigned long)steps);
    run(steps / 3, 2);
    run(steps / 3, 7);
    run(steps / 3, MSG_QUEUE_DEPTH);
    for (u32 s = 0; steps >= 50000 && s < PB_STATUS_COUNT; s++) /* the run was worth something */
        if (s == PB_STATUS_OK || s == PB_STATUS_QUEUE_FULL || s == PB_STATUS_NO_LANDING ||
            (s >= PB_STATUS_BAD_PAGE && s <= PB_STATUS_PAGE_FOREIGN) || s == PB_STATUS_SLOT_IN_USE)
            assert_int_not_equal(done[s] ? 0 : s + 1, s + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
