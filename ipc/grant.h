/*
 * grant.h - who has a page: the ownership state of each guest page, and what may happen to it (Q9). Pure.
 *
 *                 share-ro, -rw                     offer
 *   SHARED_OUT <---------------- OWNED     EMPTY ---------> OFFERED
 *        |                        | | |      ^                 |  share: SHARED_IN   lend: LENT_IN   donate:
 * OWNED
 *        +-- reclaimed, returned ->| | |      +-- returned, reclaimed, donated away --+
 *   LENT_OUT <-------------------- lend |
 *                                       +-- donate --> EMPTY
 *
 * A page that is being moved is BUSY: whoever takes a page through an operation first claims it
 * (compare-and-exchange of its state to BUSY), decides with grant_check(), and stores the new state, or the
 * old one if it cannot be done.
 */
#pragma once
#include "arch/types.h"
#include "ipc/abi.h"
#include <stdatomic.h>

enum grant_state {
    GRANT_NONE, /* no place for a page: device memory, beyond the end */
    GRANT_OWNED,
    GRANT_EMPTY,      /* a place for a page, without one */
    GRANT_OFFERED,    /* the same, waiting for one */
    GRANT_SHARED_OUT, /* own page that another VM can read, or read and write */
    GRANT_LENT_OUT,   /* own page that another VM has */
    GRANT_SHARED_IN,  /* another VM's page */
    GRANT_LENT_IN,
    GRANT_BUSY, /* being moved */
    GRANT_STATES
};

enum grant_op {
    GRANT_OP_SHARE, /* read-only or read-write */
    GRANT_OP_LEND,
    GRANT_OP_DONATE,
    GRANT_OP_OFFER,
    GRANT_OP_TAKE_SHARED, /* the receiving side of the first three */
    GRANT_OP_TAKE_LENT,
    GRANT_OP_TAKE_DONATED,
    GRANT_OP_RECLAIM,   /* owner's side of a return, forced or not */
    GRANT_OP_GIVE_BACK, /* the other side of it */
    GRANT_OPS
};

/* May op happen to a page in this state? PB_STATUS_OK and the state after it, or the status that says why not
 * (*next is then the state as it was). state is not BUSY. */
u32 must_check grant_check(enum grant_state state, enum grant_op op, enum grant_state *next);

/* The state of each page of a VM. Writers and readers: any CPU that moves pages of this VM. */
struct grant_table {
    _Atomic u8 *state; /* enum grant_state, count of them */
    u64 count;
};

void grant_table_init(struct grant_table *t, void *zeroed, u64 count);
void grant_table_set(struct grant_table *t, u64 first, u64 pages, enum grant_state state);

/*
 * Claims page `gfn` for op. OK: it is BUSY now, *before and *after are the states to end with (grant_end()).
 * Any other status: nothing has changed.
 */
u32 must_check grant_begin(struct grant_table *t, u64 gfn, enum grant_op op, enum grant_state *before,
                           enum grant_state *after);
/* Ends what grant_begin() began; release: what was done to the page before is visible to who claims it next.
 */
void grant_end(struct grant_table *t, u64 gfn, enum grant_state state);
