/*
 * landing.h - the guest pages a VM has offered for incoming pages, in the order offered. Pure.
 *
 * A bounded ring with any number of producers (the VM's vCPUs) and of consumers (senders on any CPU), no
 * lock: each cell has a turn. A cell at position p is free when turn == p, filled when turn == p + 1. Whoever
 * advances tail (head) by compare-exchange has the cell, and publishes by the turn (release; the other side
 * reads it with acquire). Offering a page is followed by a look whether a sender waits (ipc_tell_room), and a
 * sender says that it waits before it looks again: that store-then-load handshake makes the filling of a cell
 * and the look at it seq_cst (tests/model/model_room.c).
 */
#pragma once
#include "arch/types.h"
#include <stdatomic.h>

#define LANDING_SLOTS 256u /* power of two */

struct landing {
    aligned_to(64) _Atomic u64 tail; /* writers: producers */
    aligned_to(64) _Atomic u64 head; /* writers: consumers */
    struct {
        _Atomic u64 turn;
        u64 gfn; /* whoever has the cell */
    } cell[LANDING_SLOTS];
};

void landing_init(struct landing *l);
/* False: full. */
bool must_check landing_put(struct landing *l, u64 gfn);
/* False: none is offered. */
bool must_check landing_take(struct landing *l, u64 *gfn);
