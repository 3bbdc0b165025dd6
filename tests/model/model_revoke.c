/*
 * model_revoke.c - a fault of the guest's own needs no exit only as long as no other vCPU's store has made it another's
 * (mm/revoke.h, real code), and a frame of the owner's is put to another use only when no other vCPU may be looking at it.
 *
 * The entry is in a leaf table (scenario `revoke`), forwarded where its primary is 0, or it is a link on the way to one
 * that is (`cut`). On its exits the owner drains and derives it; at the last one its guest has stored, too. The guest then
 * reads the primary itself: while faults need no exit, an entry in use is what the primary says. And what the owner wrote last
 * is there, but for what may be revoked: its accounts are right. Scenario `reuse`: the owner's page is killed, and its frame
 * holds something else, which may well be 0.
 */
#include "mm/revoke.h"
#include "tests/model/explore.h"

#define GFN       1
#define EXITS     3
#define OWN_VALUE 2
#define PRESENT   7
#define ACCESSED  32

struct shared {
    _Atomic u64 words[4];
    struct revoke_list list;
    _Atomic u64 entry; /* the first of page 0 */
    _Atomic u64 primary, posted, storing;
    u64 used_again;
    u64 last; /* what the owner wrote to the entry */
};

static struct shared *s = MODEL_SHARED(struct shared);

static u64 derived_from(u64 primary)
{
    return primary || UPPER ? (primary + 1) << PAGE_SHIFT | PRESENT : ENTRY_FORWARDED;
}

/* Can another vCPU take it out of use? */
static bool in_use(u64 entry)
{
    return UPPER ? !(entry & ENTRY_REVOKED) : entry == ENTRY_FORWARDED;
}

static void set_up(void)
{
    revoke_list_init(&s->list, (void *)s->words, 1);
    s->entry = s->last = ENTRY_ABSENT;
    if (REUSE && revoke_list_add(&s->list, GFN, 0, UPPER))
        s->entry = derived_from(0);
    model_constant(&s->list, &s->list.turns);
    model_private(0, &s->last, &s->last + 1);
}

static bool store_seen(void)
{
    return atomic_load_explicit(&s->storing, memory_order_seq_cst);
}

static bool patch_seen(void)
{
    return !model_makes(PATCH_NOT_LOOKED) && atomic_load_explicit(&s->posted, memory_order_acquire);
}

static bool proven(void)
{
    revoke_list_turn(&s->list);
    if (model_makes(NOT_LOOKED))
        return true;
    return model_makes(PATCH_LOOKED_FIRST) ? !patch_seen() && !store_seen() : !store_seen() && !patch_seen();
}

static void use_frame_again(void)
{
    revoke_list_remove(&s->list, GFN, 0);
    if (!model_makes(FRAME_NOT_LOOKED) && store_seen())
        return;
    atomic_store_explicit(&s->entry, 0, memory_order_release);
    s->used_again = 1;
}

static bool list(bool listed)
{
    return listed || revoke_list_add(&s->list, GFN, 0, UPPER);
}

/* The owner's guest, until its next exit. */
static void run_guest(void)
{
    u64 seen = atomic_load_explicit(&s->primary, memory_order_relaxed);
    u64 entry = atomic_load_explicit(&s->entry, memory_order_relaxed);

    model_require(!in_use(entry) || entry == derived_from(seen));
}

static void owner(void)
{
    bool listed = false;

    if (REUSE) {
        use_frame_again();
        return;
    }
    for (u32 exit = 0; exit < EXITS; exit++) {
        atomic_exchange_explicit(&s->posted, 0, memory_order_acquire);
        if (exit == EXITS - 1)
            atomic_store_explicit(&s->primary, OWN_VALUE, memory_order_seq_cst);
        s->last = derived_from(atomic_load_explicit(&s->primary, memory_order_seq_cst));
        listed = !model_makes(LISTED_LATE) && list(listed);
        atomic_store_explicit(&s->entry, s->last, memory_order_release);
        if (proven()) {
            if (UPPER) /* as a search for pages to give back does */
                revoke_clear_bits(&s->entry, ACCESSED);
            run_guest();
        }
        listed = list(listed);
    }
}

static void producer(void)
{
    if (!model_makes(NOT_ANNOUNCED))
        atomic_store_explicit(&s->storing, 1,
                              model_makes(ANNOUNCE_WITHOUT_ORDERING) ? memory_order_release
                                                                     : memory_order_seq_cst);
    if (!model_makes(REVOKED_LATE))
        revoke_entries(&s->list, (u8 *)&s->entry, GFN, 0, 0);
    atomic_store_explicit(&s->primary, 1, memory_order_seq_cst);
    if (model_makes(REVOKED_LATE))
        revoke_entries(&s->list, (u8 *)&s->entry, GFN, 0, 0);
    if (model_makes(ENDED_BEFORE_POSTED))
        atomic_store_explicit(&s->storing, 0, memory_order_release);
    atomic_store_explicit(&s->posted, 1, memory_order_release);
    atomic_store_explicit(&s->storing, 0, memory_order_release);
}

static void check(void)
{
    if (REUSE)
        model_require(!s->used_again || s->entry == 0);
    else
        model_require(s->entry == s->last || (in_use(s->last) && s->entry == (s->last | ENTRY_REVOKED)) ||
                      (s->last == ENTRY_FORWARDED && s->entry == ENTRY_ABSENT));
}

int main(void)
{
    static const struct model m = {MODEL_NAME, set_up, {owner, producer}, check, sizeof(struct shared)};
    return model_run(&m, MODEL_BROKEN);
}
