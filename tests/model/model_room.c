/*
 * model_room.c - a sender that is refused, asks for word of room, and a receiver that makes room (ipc/send.c,
 * ipc/receive.c, Q10): it is never left waiting. Likewise for a landing slot (ipc/page.c).
 */
#include "tests/model/ipc_model.h"

static void set_up(void)
{
    struct pb_message m = {.receiver = 1, .kind = PB_KIND_DATA};

    ipc_model_set_up(1);
    if (!ROOM_FOR_PAGE) /* the one place is taken */
        model_require(ipc_send(&model_ipc, 0, &s->queue[0], &m) == PB_STATUS_OK);
}

static void sender(void)
{
    struct pb_message m = {
        .receiver = 1, .flags = PB_FLAG_ROOM, .kind = ROOM_FOR_PAGE ? PB_KIND_DONATE : PB_KIND_DATA};

    s->result[0] = ipc_send(&model_ipc, 0, &s->queue[0], &m);
}

static void receiver(void)
{
    struct pb_message m;
    u64 accepted;

    if (ROOM_FOR_PAGE)
        s->result[1] = ipc_offer(&model_ipc, 1, 1, 1, &accepted);
    else
        s->result[1] = ipc_receive(&model_ipc, 1, &m);
}

static void check(void)
{
    struct pb_message m;

    model_require(s->result[1] == PB_STATUS_OK);
    if (s->result[0] == PB_STATUS_OK)
        return;
    model_require(s->result[0] == (ROOM_FOR_PAGE ? PB_STATUS_NO_LANDING : PB_STATUS_QUEUE_FULL));
    bool told = ipc_receive(&model_ipc, 0, &m) == PB_STATUS_OK && m.kind == PB_KIND_ROOM && m.sender == 1;
    model_require(told);
}

int main(void)
{
    static const struct model m = {MODEL_NAME, set_up, {sender, receiver}, check, sizeof(struct ipc_model)};
    return model_run(&m, MODEL_BROKEN);
}
