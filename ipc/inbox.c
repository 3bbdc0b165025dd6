/* inbox.c - see inbox.h. */
#include "ipc/inbox.h"

void inbox_open(struct inbox *in, struct pb_inbox *page)
{
    in->page = page;
    in->written = 0;
    __atomic_store_n(&page->read, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&page->write, 0, __ATOMIC_RELEASE);
}

u32 inbox_used(const struct inbox *in)
{
    u32 used = in->written - __atomic_load_n(&in->page->read, __ATOMIC_ACQUIRE);

    return MIN(used, PB_INBOX_DEPTH);
}

bool inbox_put(struct inbox *in, const struct pb_message *m)
{
    if (inbox_used(in) == PB_INBOX_DEPTH)
        return false;
    in->page->message[in->written % PB_INBOX_DEPTH] = *m;
    in->written++;
    __atomic_store_n(&in->page->write, in->written, __ATOMIC_RELEASE);
    return true;
}
