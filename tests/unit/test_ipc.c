/* links: ipc/send.c ipc/receive.c ipc/page.c ipc/grant.c ipc/landing.c ipc/queue.c */
/* test_ipc.c - sending, receiving and page operations, case by case (Q1-Q4, Q6, Q9-Q11). */
#include "tests/unit/ipc_world.h"

static void assert_unchanged(struct world *w, const struct world *before)
{
    assert_memory_equal(w->grants, before->grants, sizeof(w->grants));
    assert_memory_equal(w->p2m, before->p2m, sizeof(w->p2m));
    for (u32 v = 0; v < WORLD_VMS; v++)
        assert_int_equal(world_queue(w, v)->credits, ((const struct msg_queue *)before->queue[v])->credits);
    assert_int_equal(w->logged, before->logged);
}

#define FLAG_OWN (5u << 16) /* the guest's own flags */

#define REFUSED(expression, status)                                                       \
    do {                                                                                  \
        struct world *before = aligned_alloc(PAGE_SIZE, ALIGN_UP(sizeof(*w), PAGE_SIZE)); \
        memcpy((void *)before, (void *)w, sizeof(*w));                                    \
        assert_int_equal((expression), (status));                                         \
        assert_unchanged(w, before);                                                      \
        free(before);                                                                     \
    } while (0)

static void test_data_message(void **state)
{
    struct world *w = world_new(4);
    struct pb_message m;

    (void)state;
    assert_int_equal(ipc_receive(&w->ipc, 1, &m), PB_STATUS_EMPTY);
    assert_int_equal(world_send(w, 0, 1, PB_KIND_DATA, 0, PB_FLAG_NOTIFY | FLAG_OWN, 77), PB_STATUS_OK);
    assert_int_equal(w->log[0].call, CALL_NOTIFY);
    assert_int_equal(w->log[0].vm, 1);
    assert_int_equal(w->log[0].how, 1);
    assert_int_equal(world_send(w, 2, 1, PB_KIND_DATA, 0, 0, 78), PB_STATUS_OK);
    assert_int_equal(w->log[1].how, 0);
    assert_int_equal(ipc_receive(&w->ipc, 1, &m), PB_STATUS_OK);
    assert_int_equal(m.sender, 0); /* whatever the guest wrote there */
    assert_int_equal(m.receiver, 1);
    assert_int_equal(m.sequence, 1);
    assert_int_equal(m.kind, PB_KIND_DATA);
    assert_int_equal(m.length, 8);
    assert_int_equal(m.flags, PB_FLAG_NOTIFY | FLAG_OWN);
    assert_int_equal(world_tag(&m), 77);
    for (u32 i = 8; i < PB_INLINE_BYTES; i++)
        assert_int_equal(m.data[i], 0); /* only what was meant to be sent */
    assert_int_equal(ipc_receive(&w->ipc, 1, &m), PB_STATUS_OK);
    assert_int_equal(m.sender, 2);
    assert_int_equal(m.sequence, 1); /* counted for each pair */
    assert_int_equal(ipc_receive(&w->ipc, 1, &m), PB_STATUS_EMPTY);
    world_check(w);
    free(w);
}

static void test_refused_messages(void **state)
{
    struct world *w = world_new(4);
    struct pb_message m = {.receiver = 1, .kind = PB_KIND_DATA};

    (void)state;
    for (u32 kind = 0; kind <= UINT16_MAX; kind += kind < 64 ? 1 : 997)
        if (kind < PB_KIND_DATA || kind > PB_KIND_DONATE)
            REFUSED(world_send(w, 0, 1, (u16)kind, 0, 0, 0), PB_STATUS_BAD_KIND);
    REFUSED(world_send(w, 0, WORLD_VMS, PB_KIND_DATA, 0, 0, 0), PB_STATUS_NO_SUCH_VM);
    REFUSED(world_send(w, 0, ~0u, PB_KIND_DATA, 0, 0, 0), PB_STATUS_NO_SUCH_VM);
    REFUSED(world_send(w, 0, 0, PB_KIND_DATA, 0, 0, 0), PB_STATUS_SELF);
    REFUSED(world_send(w, 2, 3, PB_KIND_DATA, 0, 0, 0), PB_STATUS_NO_CHANNEL);
    REFUSED(world_send(w, 0, 1, PB_KIND_DATA, 1, 0, 0), PB_STATUS_BAD_PAGE);
    for (u32 bit = 2; bit < 16; bit++)
        REFUSED(world_send(w, 0, 1, PB_KIND_DATA, 0, 1u << bit, 0), PB_STATUS_BAD_FLAGS);
    for (u32 length = PB_INLINE_BYTES + 1; length <= UINT16_MAX; length += 101) {
        m.length = (u16)length;
        REFUSED(ipc_send(&w->ipc, 0, world_queue(w, 0), &m), PB_STATUS_BAD_LENGTH);
    }
    ipc_connect(&w->ipc, 0, 1, PB_MODE_MESSAGE | PB_MODE_SHARE_RO, 4);
    assert_int_equal(ipc_modes(&w->ipc, 1, 0), PB_MODE_MESSAGE | PB_MODE_SHARE_RO);
    REFUSED(world_send(w, 0, 1, PB_KIND_DONATE, 1, 0, 0), PB_STATUS_NOT_PERMITTED);
    REFUSED(world_send(w, 0, 1, PB_KIND_LEND, 1, 0, 0), PB_STATUS_NOT_PERMITTED);
    REFUSED(world_send(w, 0, 1, PB_KIND_SHARE_RW, 1, 0, 0), PB_STATUS_NOT_PERMITTED);
    REFUSED(world_send(w, 0, 1, PB_KIND_SHARE_RO, 1, 0, 0), PB_STATUS_NO_LANDING);
    w->ipc.vm[1] = NULL; /* a VM that could not be started */
    REFUSED(world_send(w, 0, 1, PB_KIND_DATA, 0, 0, 0), PB_STATUS_NO_SUCH_VM);
    w->ipc.vm[1] = &w->vm[1];
    w->vm[1].alive = false;
    REFUSED(world_send(w, 0, 1, PB_KIND_DATA, 0, 0, 0), PB_STATUS_VM_DEAD);
    free(w);
}

static void offer(struct world *w, u32 vm, u64 gfn, u64 count)
{
    u64 accepted;

    assert_int_equal(ipc_offer(&w->ipc, vm, gfn, count, &accepted), PB_STATUS_OK);
    assert_int_equal(accepted, count);
}

/* Q2: no copy, the page is the receiver's, and the sender's translations go first. */
static void test_donate(void **state)
{
    struct world *w = world_new(4);
    u64 frame = w->p2m[0][3].frame, accepted;
    struct pb_message m;

    (void)state;
    REFUSED(world_send(w, 0, 1, PB_KIND_DONATE, 3, 0, 5), PB_STATUS_NO_LANDING);
    offer(w, 1, 14, 2);
    world_touch(w, 0, 3);
    w->logged = 0;
    assert_int_equal(world_send(w, 0, 1, PB_KIND_DONATE, 3, 0, 5), PB_STATUS_OK);
    assert_int_equal(w->logged, 3);
    assert_int_equal(w->log[0].call, CALL_UNMAP);
    assert_int_equal(w->log[0].vm, 0);
    assert_int_equal(w->log[1].call, CALL_MAP);
    assert_int_equal(w->log[1].vm, 1);
    assert_int_equal(w->log[2].call, CALL_NOTIFY);
    assert_int_equal(w->p2m[1][14].frame, frame);
    assert_int_equal(world_state(w, 1, 14), GRANT_OWNED);
    assert_int_equal(world_state(w, 0, 3), GRANT_EMPTY);
    assert_int_equal(ipc_receive(&w->ipc, 1, &m), PB_STATUS_OK);
    assert_int_equal(m.page, 14 << PAGE_SHIFT);
    REFUSED(world_send(w, 0, 1, PB_KIND_DONATE, 3, 0, 5), PB_STATUS_PAGE_EMPTY);
    REFUSED(ipc_reclaim(&w->ipc, 0, 3), PB_STATUS_PAGE_EMPTY);
    /* the empty place can take another page, and the page can be sent on */
    offer(w, 0, 3, 1);
    REFUSED(ipc_offer(&w->ipc, 0, 3, 1, &accepted), PB_STATUS_SLOT_IN_USE);
    REFUSED(world_send(w, 0, 1, PB_KIND_DONATE, 3, 0, 5), PB_STATUS_PAGE_EMPTY);
    assert_int_equal(world_send(w, 1, 0, PB_KIND_DONATE, 14, 0, 5), PB_STATUS_OK);
    assert_int_equal(w->p2m[0][3].frame, frame);
    world_check(w);
    free(w);
}

static void test_share_read_only(void **state)
{
    struct world *w = world_new(4);
    struct pb_message m;

    (void)state;
    offer(w, 1, 12, 2);
    world_touch(w, 0, 3);
    w->logged = 0;
    assert_int_equal(world_send(w, 0, 1, PB_KIND_SHARE_RO, 3, 0, 5), PB_STATUS_OK);
    assert_int_equal(w->logged, 2); /* the sender is not disturbed */
    assert_int_equal(w->p2m[1][12].how, IPC_MAP_READ);
    world_check(w);
    REFUSED(world_send(w, 0, 1, PB_KIND_DONATE, 3, 0, 5), PB_STATUS_PAGE_SHARED);
    REFUSED(world_send(w, 1, 0, PB_KIND_DONATE, 12, 0, 5), PB_STATUS_PAGE_FOREIGN);
    REFUSED(ipc_reclaim(&w->ipc, 1, 12), PB_STATUS_PAGE_FOREIGN);
    REFUSED(ipc_return(&w->ipc, 0, 3), PB_STATUS_PAGE_NOT_OUT);
    world_touch(w, 1, 12);
    assert_int_equal(ipc_reclaim(&w->ipc, 0, 3), PB_STATUS_OK);
    assert_int_equal(world_state(w, 0, 3), GRANT_OWNED);
    assert_int_equal(world_state(w, 1, 12), GRANT_EMPTY);
    assert_int_equal(((struct world_frame *)w->p2m[0][3].frame)->content[0], 3); /* not forgotten */
    world_check(w);
    assert_int_equal(ipc_receive(&w->ipc, 1, &m), PB_STATUS_OK);
    assert_int_equal(m.kind, PB_KIND_SHARE_RO);
    assert_int_equal(ipc_receive(&w->ipc, 1, &m), PB_STATUS_OK);
    assert_int_equal(m.kind, PB_KIND_REVOKED);
    assert_int_equal(m.sender, 0);
    assert_int_equal(m.sequence, 2);
    assert_int_equal(m.page, 12 << PAGE_SHIFT);
    REFUSED(ipc_reclaim(&w->ipc, 0, 3), PB_STATUS_PAGE_NOT_OUT);
    free(w);
}

static void test_share_read_write_and_lend(void **state)
{
    struct world *w = world_new(4);
    struct pb_message m;

    (void)state;
    offer(w, 1, 12, 3);
    world_touch(w, 0, 1);
    w->logged = 0;
    assert_int_equal(world_send(w, 0, 1, PB_KIND_SHARE_RW, 1, 0, 0), PB_STATUS_OK);
    assert_int_equal(w->log[0].call, CALL_MAP); /* the owner's becomes "others write it" before they can */
    assert_int_equal(w->log[0].vm, 0);
    assert_int_equal(w->log[0].how, IPC_MAP_SHARED);
    world_check(w);
    assert_int_equal(world_send(w, 0, 1, PB_KIND_LEND, 2, 0, 0), PB_STATUS_OK);
    assert_int_equal(w->p2m[0][2].frame, 0);
    world_check(w);
    REFUSED(world_send(w, 0, 1, PB_KIND_LEND, 2, 0, 0), PB_STATUS_PAGE_LENT);
    /* returned by the holder: content as it left it */
    ((struct world_frame *)w->p2m[1][13].frame)->content[0] = 99;
    world_touch(w, 1, 13);
    assert_int_equal(ipc_return(&w->ipc, 1, 13), PB_STATUS_OK);
    assert_int_equal(((struct world_frame *)w->p2m[0][2].frame)->content[0], 99);
    assert_int_equal(ipc_receive(&w->ipc, 0, &m), PB_STATUS_OK);
    assert_int_equal(m.kind, PB_KIND_RETURNED);
    assert_int_equal(m.page, 2 << PAGE_SHIFT);
    assert_int_equal(ipc_return(&w->ipc, 1, 12), PB_STATUS_OK);
    assert_int_equal(w->p2m[0][1].how, IPC_MAP_OWN);
    /* taken back by force: zeroed */
    assert_int_equal(world_send(w, 0, 1, PB_KIND_LEND, 2, 0, 0), PB_STATUS_OK);
    assert_int_equal(ipc_reclaim(&w->ipc, 0, 2), PB_STATUS_OK);
    assert_int_equal(((struct world_frame *)w->p2m[0][2].frame)->content[0], 0);
    world_check(w);
    free(w);
}

static void test_pages_that_cannot_go(void **state)
{
    struct world *w = world_new(4);
    struct pb_message m = {.receiver = 1, .kind = PB_KIND_DONATE, .page = 1};
    u64 accepted;

    (void)state;
    offer(w, 1, 12, 1);
    REFUSED(ipc_send(&w->ipc, 0, world_queue(w, 0), &m), PB_STATUS_BAD_PAGE); /* not aligned */
    REFUSED(world_send(w, 0, 1, PB_KIND_DONATE, WORLD_GFNS, 0, 0), PB_STATUS_BAD_PAGE);
    REFUSED(world_send(w, 0, 1, PB_KIND_DONATE, ~0ull >> PAGE_SHIFT, 0, 0), PB_STATUS_BAD_PAGE);
    REFUSED(world_send(w, 0, 1, PB_KIND_DONATE, 12, 0, 0), PB_STATUS_PAGE_EMPTY);
    grants_set(&w->vm[0].grants, 9, 1, GRANT_NONE);
    REFUSED(world_send(w, 0, 1, PB_KIND_DONATE, 9, 0, 0), PB_STATUS_BAD_PAGE);
    REFUSED(ipc_offer(&w->ipc, 0, 9, 1, &accepted), PB_STATUS_BAD_PAGE);
    grants_set(&w->vm[0].grants, 9, 1, GRANT_MOVING);
    REFUSED(world_send(w, 0, 1, PB_KIND_DONATE, 9, 0, 0), PB_STATUS_PAGE_BUSY);
    REFUSED(ipc_reclaim(&w->ipc, 0, 9), PB_STATUS_PAGE_BUSY);
    REFUSED(ipc_offer(&w->ipc, 0, 9, 1, &accepted), PB_STATUS_PAGE_BUSY);
    grants_set(&w->vm[0].grants, 9, 1, GRANT_OWNED);
    assert_int_equal(ipc_pin(&w->ipc, 0, 9), PB_STATUS_OK);
    REFUSED(ipc_pin(&w->ipc, 0, 9), PB_STATUS_PAGE_BUSY);
    REFUSED(world_send(w, 0, 1, PB_KIND_DONATE, 9, 0, 0), PB_STATUS_PAGE_BUSY); /* the inbox */
    ipc_unpin(&w->ipc, 0, 9);
    ipc_unpin(&w->ipc, 0, 9);
    assert_int_equal(world_send(w, 0, 1, PB_KIND_DONATE, 9, 0, 0), PB_STATUS_OK);
    REFUSED(ipc_offer(&w->ipc, 0, 0, 4, &accepted), PB_STATUS_SLOT_IN_USE);
    REFUSED(ipc_offer(&w->ipc, 0, WORLD_GFNS, 4, &accepted), PB_STATUS_BAD_PAGE);
    assert_int_equal(ipc_offer(&w->ipc, 0, 18, 4, &accepted), PB_STATUS_BAD_PAGE);
    assert_int_equal(accepted, 2); /* those before the first bad one stay offered */
    world_check(w);
    free(w);
}

/* One end is just being moved by another CPU: the other operation is refused, and neither end is changed. */
static void test_other_end_busy(void **state)
{
    struct world *w = world_new(4);

    (void)state;
    offer(w, 1, 12, 1);
    assert_int_equal(world_send(w, 0, 1, PB_KIND_LEND, 3, 0, 0), PB_STATUS_OK);
    u64 holder = w->grants[1][12], owner = w->grants[0][3];
    grants_set(&w->vm[1].grants, 12, 1, GRANT_MOVING);
    REFUSED(ipc_reclaim(&w->ipc, 0, 3), PB_STATUS_PAGE_BUSY);
    w->grants[1][12] = holder;
    grants_set(&w->vm[0].grants, 3, 1, GRANT_MOVING);
    REFUSED(ipc_return(&w->ipc, 1, 12), PB_STATUS_PAGE_BUSY);
    w->grants[0][3] = owner;
    assert_int_equal(ipc_return(&w->ipc, 1, 12), PB_STATUS_OK);
    world_check(w);
    free(w);
}

/* Q10: the channel's depth, the queue's size, and a wake-up when there is room. */
static void test_back_pressure(void **state)
{
    struct world *w = world_new(3);
    struct pb_message m;

    (void)state;
    for (u32 i = 0; i < 3; i++)
        assert_int_equal(world_send(w, 0, 1, PB_KIND_DATA, 0, 0, i), PB_STATUS_OK);
    REFUSED(world_send(w, 0, 1, PB_KIND_DATA, 0, 0, 3), PB_STATUS_QUEUE_FULL);
    assert_int_equal(world_send(w, 2, 1, PB_KIND_DATA, 0, 0, 9), PB_STATUS_OK); /* its own depth */
    REFUSED(world_send(w, 0, 1, PB_KIND_DATA, 0, PB_FLAG_ROOM, 3), PB_STATUS_QUEUE_FULL);
    assert_int_equal(ipc_receive(&w->ipc, 0, &m), PB_STATUS_EMPTY);
    assert_int_equal(ipc_receive(&w->ipc, 1, &m), PB_STATUS_OK);
    assert_int_equal(ipc_receive(&w->ipc, 0, &m), PB_STATUS_OK);
    assert_int_equal(m.kind, PB_KIND_ROOM);
    assert_int_equal(m.sender, 1);
    assert_int_equal(world_send(w, 0, 1, PB_KIND_DATA, 0, 0, 3), PB_STATUS_OK);
    for (u32 i = 1; i < 3; i++)
        assert_int_equal(ipc_receive(&w->ipc, 1, &m), PB_STATUS_OK);
    assert_int_equal(ipc_receive(&w->ipc, 0, &m), PB_STATUS_EMPTY); /* told once */
    /* for want of a landing slot */
    REFUSED(world_send(w, 0, 1, PB_KIND_DONATE, 3, PB_FLAG_ROOM, 3), PB_STATUS_NO_LANDING);
    offer(w, 1, 12, 1);
    assert_int_equal(ipc_receive(&w->ipc, 0, &m), PB_STATUS_OK);
    assert_int_equal(m.kind, PB_KIND_ROOM);
    world_check(w);
    free(w);
}

static void test_queue_full_by_several(void **state)
{
    struct world *w = world_new(MSG_QUEUE_DEPTH);
    struct pb_message m;

    (void)state;
    for (u32 i = 0; i < MSG_QUEUE_DEPTH; i++)
        assert_int_equal(world_send(w, i % 2 ? 2 : 0, 1, PB_KIND_DATA, 0, 0, i), PB_STATUS_OK);
    REFUSED(world_send(w, 0, 1, PB_KIND_DATA, 0, 0, 0), PB_STATUS_QUEUE_FULL);
    assert_int_equal(w->vm[0].to[1].in_flight, MSG_QUEUE_DEPTH / 2); /* taken back by the refusal */
    /* told when there is room, even if at first there was no room to tell it */
    for (u32 i = 0; i < MSG_QUEUE_DEPTH; i++)
        assert_int_equal(world_send(w, i % 2 ? 2 : 1, 0, PB_KIND_DATA, 0, 0, i), PB_STATUS_OK);
    REFUSED(world_send(w, 0, 1, PB_KIND_DATA, 0, PB_FLAG_ROOM, 0), PB_STATUS_QUEUE_FULL);
    assert_int_equal(ipc_receive(&w->ipc, 1, &m), PB_STATUS_OK);
    assert_int_equal(w->vm[1].wants[IPC_WANTS_ROOM], 1);
    assert_int_equal(ipc_receive(&w->ipc, 0, &m), PB_STATUS_OK);
    assert_int_equal(ipc_receive(&w->ipc, 1, &m), PB_STATUS_OK);
    assert_int_equal(w->vm[1].wants[IPC_WANTS_ROOM], 0);
    u32 left = 0;
    while (ipc_receive(&w->ipc, 0, &m) == PB_STATUS_OK)
        left++;
    assert_int_equal(left, MSG_QUEUE_DEPTH);
    assert_int_equal(m.kind, PB_KIND_ROOM);
    free(w);
}

static void test_inbox(void **state)
{
    struct world *w = world_new(MSG_QUEUE_DEPTH);
    struct pb_inbox *page = aligned_alloc(PAGE_SIZE, sizeof(*page));
    struct ipc_inbox in;

    (void)state;
    memset(page, 0xaa, sizeof(*page));
    ipc_inbox_init(&in, page);
    assert_false(ipc_inbox_ready(&in));
    assert_int_equal(ipc_inbox_fill(&w->ipc, 1, &in), 0);
    for (u32 i = 0; i < 40; i++)
        assert_int_equal(world_send(w, 0, 1, PB_KIND_DATA, 0, 0, i), PB_STATUS_OK);
    assert_int_equal(ipc_inbox_fill(&w->ipc, 1, &in), PB_INBOX_DEPTH);
    assert_true(ipc_inbox_ready(&in));
    assert_int_equal(page->write, PB_INBOX_DEPTH);
    for (u32 i = 0; i < PB_INBOX_DEPTH; i++)
        assert_int_equal(world_tag(&page->message[i]), i);
    page->read = 5;
    assert_int_equal(ipc_inbox_fill(&w->ipc, 1, &in), 5);
    assert_int_equal(world_tag(&page->message[4]), 36);
    assert_int_equal(page->message[4].sequence, 37);
    /* a guest that lies about either index harms itself alone */
    for (u32 lie = 0; lie < 3; lie++) {
        page->read = (u32[]){38, ~0u, 1u << 31}[lie];
        page->write = ~0u;
        assert_int_equal(ipc_inbox_fill(&w->ipc, 1, &in), 0);
        assert_int_equal(in.write, 37);
    }
    page->read = 37;
    assert_int_equal(ipc_inbox_fill(&w->ipc, 1, &in), 3);
    assert_int_equal(page->write, 40);
    /* indices wrap */
    in.write = page->read = ~0u;
    assert_int_equal(world_send(w, 0, 1, PB_KIND_DATA, 0, 0, 41), PB_STATUS_OK);
    assert_int_equal(world_send(w, 0, 1, PB_KIND_DATA, 0, 0, 42), PB_STATUS_OK);
    assert_int_equal(ipc_inbox_fill(&w->ipc, 1, &in), 2);
    assert_int_equal(page->write, 1);
    assert_int_equal(world_tag(&page->message[0]), 42);
    free(page);
    free(w);
}

static void test_end_of_a_vm(void **state)
{
    struct world *w = world_new(8);
    struct pb_message m;
    u32 kinds[32] = {0}, n = 0;

    (void)state;
    offer(w, 1, 12, 8);
    offer(w, 0, 12, 8);
    offer(w, 2, 12, 8);
    assert_int_equal(world_send(w, 0, 1, PB_KIND_LEND, 1, 0, 0), PB_STATUS_OK);
    assert_int_equal(world_send(w, 0, 1, PB_KIND_SHARE_RO, 2, 0, 0), PB_STATUS_OK);
    assert_int_equal(world_send(w, 2, 1, PB_KIND_SHARE_RW, 3, 0, 0), PB_STATUS_OK);
    assert_int_equal(world_send(w, 1, 0, PB_KIND_LEND, 4, 0, 0), PB_STATUS_OK);
    assert_int_equal(world_send(w, 1, 2, PB_KIND_SHARE_RO, 5, 0, 0), PB_STATUS_OK);
    for (u32 v = 0; v < WORLD_VMS; v++)
        for (u64 g = 0; g < WORLD_GFNS; g++)
            world_touch(w, v, g);
    ipc_vm_ended(&w->ipc, 1);
    world_check(w);
    for (u64 g = 0; g < WORLD_GFNS; g++) {
        assert_true(world_state(w, 1, g) <= GRANT_OFFERED);
        assert_true(world_state(w, 0, g) <= GRANT_OFFERED);
        assert_true(world_state(w, 2, g) <= GRANT_OFFERED);
    }
    assert_int_equal(((struct world_frame *)w->p2m[0][1].frame)->content[0],
                     0); /* lent to the dead: zeroed */
    assert_int_equal(((struct world_frame *)w->p2m[0][2].frame)->content[0], 2); /* it could not write this */
    assert_int_equal(((struct world_frame *)w->p2m[1][4].frame)->content[0], 0);
    while (ipc_receive(&w->ipc, 0, &m) == PB_STATUS_OK)
        kinds[m.kind]++, n++;
    assert_int_equal(n, 5);
    assert_int_equal(kinds[PB_KIND_RETURNED], 2);
    assert_int_equal(kinds[PB_KIND_REVOKED], 1);
    assert_int_equal(kinds[PB_KIND_STOPPED], 1);
    assert_int_equal(m.kind, PB_KIND_STOPPED); /* the last */
    REFUSED(world_send(w, 0, 1, PB_KIND_DATA, 0, 0, 0), PB_STATUS_VM_DEAD);
    free(w);
}

/* The plan alone: what is decided before anything is done. */
static void test_plan(void **state)
{
    static const u8 donate[] = {SEND_RESERVE, SEND_CLAIM,  SEND_LAND,    SEND_UNMAP,
                                SEND_MAP,     SEND_SETTLE, SEND_ENQUEUE, SEND_NOTIFY};
    struct world *w = world_new(4);
    struct pb_message m = {.sender = 3, .receiver = 1, .kind = PB_KIND_DONATE, .page = 5 << PAGE_SHIFT};
    struct send_plan plan;

    (void)state;
    assert_int_equal(send_plan(&w->ipc, 0, &m, &plan), PB_STATUS_OK);
    for (u32 i = 0; i < sizeof(donate); i++)
        assert_int_equal(plan.steps[i], donate[i]);
    assert_int_equal(plan.steps[sizeof(donate)], SEND_END);
    assert_int_equal(plan.message.sender, 0);
    assert_int_equal(plan.gfn, 5);
    /* between plan and run somebody else takes the page */
    offer(w, 1, 12, 2);
    assert_int_equal(world_send(w, 0, 1, PB_KIND_DONATE, 5, 0, 0), PB_STATUS_OK);
    REFUSED(send_run(&w->ipc, &plan), PB_STATUS_PAGE_EMPTY);
    free(w);
}

static void test_layout(void **state)
{
    (void)state;
    assert_int_equal(offsetof(struct pb_message, sequence), 8);
    assert_int_equal(offsetof(struct pb_message, kind), 16);
    assert_int_equal(offsetof(struct pb_message, length), 18);
    assert_int_equal(offsetof(struct pb_message, flags), 20);
    assert_int_equal(offsetof(struct pb_message, page), 24);
    assert_int_equal(offsetof(struct pb_message, data), 32);
    assert_int_equal(offsetof(struct pb_info, window_gpa), 40);
    assert_int_equal(offsetof(struct pb_info, tsc_hz), 64);
    assert_int_equal(offsetof(struct pb_inbox, read), 64);
    assert_int_equal(offsetof(struct pb_inbox, message), 2048);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_data_message),
        cmocka_unit_test(test_refused_messages),
        cmocka_unit_test(test_plan),
        cmocka_unit_test(test_donate),
        cmocka_unit_test(test_share_read_only),
        cmocka_unit_test(test_share_read_write_and_lend),
        cmocka_unit_test(test_pages_that_cannot_go),
        cmocka_unit_test(test_other_end_busy),
        cmocka_unit_test(test_back_pressure),
        cmocka_unit_test(test_queue_full_by_several),
        cmocka_unit_test(test_inbox),
        cmocka_unit_test(test_end_of_a_vm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
