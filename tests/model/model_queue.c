/*
 * model_queue.c - two senders and a receiver on one message queue of two cells (ipc/queue.c, Q10): nothing is
 * lost, doubled or torn, and each sender's messages arrive in order.
 */
#include "ipc/queue.h"
#include "tests/model/explore.h"

struct shared {
    struct msg_queue q;
    u64 sent[2];  /* by sender: messages accepted */
    u64 taken[2]; /* by sender: the last received */
    u64 received;
};

static struct shared *s = MODEL_SHARED(struct shared);

static void set_up(void)
{
    msg_queue_init(&s->q);
}

static void send(u32 sender)
{
    struct pb_message m = {.sender = sender, .page = s->sent[sender] + 1, .sequence = ~(s->sent[sender] + 1)};

    if (!msg_queue_reserve(&s->q))
        return;
    msg_queue_put(&s->q, &m);
    s->sent[sender]++;
}

static void sender0(void)
{
    send(0);
    send(0);
}
static void sender1(void)
{
    send(1);
}

static bool receive(void)
{
    struct pb_message m;

    if (!msg_queue_take(&s->q, &m))
        return false;
    model_require(m.sender < 2 && m.page == s->taken[m.sender & 1] + 1 && m.sequence == ~m.page);
    s->taken[m.sender & 1] = m.page;
    s->received++;
    return true;
}

static void receiver(void)
{
    for (u32 i = 0; i < 2; i++)
        (void)receive();
}

static void check(void)
{
    while (receive() && s->received < 9)
        ;
    model_require(s->taken[0] == s->sent[0] && s->taken[1] == s->sent[1]);
    model_require(s->q.credits == MSG_QUEUE_DEPTH);
}

int main(void)
{
    static const struct model m = {
        MODEL_NAME, set_up, {sender0, sender1, receiver}, check, sizeof(struct shared)};
    return model_run(&m, MODEL_BROKEN);
}
