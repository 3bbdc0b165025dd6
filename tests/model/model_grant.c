/*
 * model_grant.c - one page, wanted by several CPUs at once (ipc/grant.c, ipc/page.c, ipc/send.c, Q9): its
 * owner takes it back while the holder returns it, and another CPU of the owner sends it on. It ends in one
 * place, and those who came too late are told.
 */
#include "tests/model/ipc_model.h"

static const struct pb_message lend = {.receiver = 1, .kind = PB_KIND_LEND};

static void set_up(void)
{
    struct pb_message m;
    u64 accepted;

    ipc_model_set_up(2);
    model_require(ipc_offer(&model_ipc, 1, 1, 2, &accepted) == PB_STATUS_OK);
    model_require(ipc_send(&model_ipc, 0, &s->queue[0], &lend) == PB_STATUS_OK);
    model_require(ipc_receive(&model_ipc, 1, &m) == PB_STATUS_OK);
}

static void owner(void)
{
    s->result[0] = ipc_reclaim(&model_ipc, 0, 0);
}
static void holder(void)
{
    s->result[1] = ipc_return(&model_ipc, 1, 1);
}
static void other_sender(void)
{
    struct send_plan plan;

    s->result[2] = send_plan(&model_ipc, 0, &lend, &plan);
    if (s->result[2] == PB_STATUS_OK)
        s->result[2] = send_run(&model_ipc, &plan);
}

static void check(void)
{
    ipc_model_check_frames();
    /* one of the two took it back, but for the case that each met the other busy */
    model_require(s->result[0] != PB_STATUS_OK || s->result[1] != PB_STATUS_OK ||
                  s->result[2] == PB_STATUS_OK);
    for (u32 i = 0; i < 2; i++)
        model_require(s->result[i] == PB_STATUS_OK || s->result[i] == PB_STATUS_PAGE_BUSY ||
                      s->result[i] == (i ? PB_STATUS_PAGE_EMPTY : PB_STATUS_PAGE_NOT_OUT));
}

int main(void)
{
    static const struct model m = {
        MODEL_NAME, set_up, {owner, holder, other_sender}, check, sizeof(struct ipc_model)};
    return model_run(&m, MODEL_BROKEN);
}
