/*
 * inbox.h - the inbox page in guest memory (struct pb_inbox), filled by the hypervisor and read by the guest
 * without an exit. Pure. The page is the guest's: its indices may hold anything, at any time.
 */
#pragma once
#include "arch/types.h"
#include "ipc/abi.h"

/* The hypervisor's own view of one inbox: only `written` counts, what the guest sees is a copy. */
struct inbox {
    struct pb_inbox *page; /* host pointer to guest memory */
    u32 written;
};

/* Starts an empty inbox. */
void inbox_open(struct inbox *in, struct pb_inbox *page);
/* Messages the guest has not read, by its own word; PB_INBOX_DEPTH if that makes no sense. */
u32 inbox_used(const struct inbox *in);
/* Appends one message; false: full. */
bool must_check inbox_put(struct inbox *in, const struct pb_message *m);
