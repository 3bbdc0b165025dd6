/*
 * grant.h - who owns a page and who has it: a state machine per guest page of each VM (Q9). Pure.
 *
 *   of the owner                                       of the other VM
 *                                                        +-------+ offer    +---------+
 *   +-------+ share-ro, share-rw +---------------+       | EMPTY |--------->| OFFERED |
 *   | OWNED |------------------->| SHARED_RO/_RW |       +-------+          +---------+
 *   |       |<-------------------|               |           ^               |  |
 *   |       | taken back         +---------------+           | leaves        |  | lands
 *   |       | lend               +---------------+       +-----------------+ |  |
 *   |       |------------------->| LENT          |       | HELD_RO/_RW     |<+  |
 *   |       |<-------------------|               |       | HELD_LENT       |    |
 *   |       | taken back         +---------------+       +-----------------+    |
 *   |       | donate             +-------+               +-------+              |
 *   |       |------------------->| EMPTY |               | OWNED |<-------------+
 *   +-------+                    +-------+               +-------+   lands (donated)
 *   OWNED <-> PINNED: a page that the hypervisor writes to (inbox); it cannot be sent.
 *   MOVING: some CPU is changing this page right now; anyone else gets PB_STATUS_PAGE_BUSY.
 *
 * A change is begun (checks, claims the page), then either committed or aborted; nobody waits for anybody.
 */
#pragma once
#include "arch/types.h"
#include "ipc/abi.h"
#include <stdatomic.h>

enum grant_state {
    GRANT_NONE, /* neither RAM nor a place for it */
    GRANT_OWNED,
    GRANT_PINNED,
    GRANT_EMPTY,
    GRANT_OFFERED,
    GRANT_SHARED_RO,
    GRANT_SHARED_RW,
    GRANT_LENT,
    GRANT_HELD_RO,
    GRANT_HELD_RW,
    GRANT_HELD_LENT,
    GRANT_MOVING,
    GRANT_STATES
};

enum grant_event {
    GRANT_NOTHING, /* always refused */
    /* of the owner */
    GRANT_SHARE_RO,
    GRANT_SHARE_RW,
    GRANT_LEND,
    GRANT_DONATE,
    GRANT_TAKE_BACK, /* reclaimed, returned, or the holder has died */
    GRANT_PIN,
    GRANT_UNPIN,
    /* of the place where a page arrives */
    GRANT_OFFER,
    GRANT_LAND_RO,
    GRANT_LAND_RW,
    GRANT_LAND_LENT,
    GRANT_LAND_DONATED,
    GRANT_LEAVE, /* the holder's page goes back to its owner */
    GRANT_EVENTS
};

/* A page: its state and, when it is shared, lent or held, which page of which VM is the other end. */
struct grant {
    enum grant_state state;
    u32 peer;
    u64 peer_gfn;
};

/* The table of the state machine: the state after, or PB_STATUS_* why not (then *after is unchanged). */
u32 must_check grant_next(enum grant_state now, enum grant_event event, enum grant_state *after);

/*
 * All pages of one VM: one atomic word each.
 *   63                16 15      8 7       0
 *  | peer's gfn         | peer VM |  state  |
 * Writers: any CPU, by compare-exchange to MOVING (acquire), then a store by that CPU alone (release).
 * Readers: any CPU.
 */
struct grants {
    _Atomic u64 *word;
    u64 count; /* gfns 0 .. count-1; all others are GRANT_NONE */
};

static inline u64 grants_size(u64 count)
{
    return count * sizeof(u64);
}
void grants_init(struct grants *g, void *memory, u64 count); /* all GRANT_NONE */
/* The pages [gfn, gfn + pages), before the VM runs. */
void grants_set(struct grants *g, u64 gfn, u64 pages, enum grant_state state);
struct grant grants_get(const struct grants *g, u64 gfn);

/* Claims the page for this event. PB_STATUS_OK: *was is what it was, and commit or abort must follow. */
u32 must_check grant_begin(struct grants *g, u64 gfn, enum grant_event event, struct grant *was);
void grant_abort(struct grants *g, u64 gfn, const struct grant *was);
/* The state that the event leads to from was; peer and its gfn as they are to be remembered (0: none). */
void grant_commit(struct grants *g, u64 gfn, enum grant_event event, const struct grant *was, u32 peer,
                  u64 peer_gfn);
