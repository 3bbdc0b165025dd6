/*
 * model_revoke.c - a fault of the guest's own needs no exit only as long as no other vCPU's store has made it another's
 * (mm/revoke.h, real code), and a frame of the owner's is put to another use only when no other vCPU may be looking at it.
 *
 * The entry is in use when it is forwarded (scenario `revoke`) or a link on the way there (`cut`), made from the primary
 * as it was (0). The guest of the owner looks whether it has been told of the store, and reads the primary itself; a
 * fault with no exit after that is one that its tables do not give. Scenario `reuse`: the owner's page is killed, and its
 * frame holds something else, which may well be 0.
 */
#include "mm/revoke.h"
#include "tests/model/explore.h"

#define GFN    1
#define IN_USE (UPPER ? 0x1007ull : ENTRY_FORWARDED)

struct shared {
    _Atomic u64 words[4];
    struct revoke_list list;
    _Atomic u64 entry; /* the first of page 0 */
    _Atomic u64 primary, posted, storing, done;
    u64 used_again;
};

static struct shared *s = MODEL_SHARED(struct shared);

static void set_up(void)
{
    revoke_list_init(&s->list, (void *)s->words, 1);
    s->entry = ENTRY_ABSENT;
    if (REUSE && revoke_list_add(&s->list, GFN, 0, UPPER))
        s->entry = IN_USE;
    model_constant(&s->list, &s->list.turns);
}

static bool sure(void)
{
    if (!REUSE)
        revoke_list_turn(&s->list);
    return !LOOKS || (!atomic_load_explicit(&s->storing, memory_order_seq_cst) &&
                      !atomic_load_explicit(&s->posted, memory_order_acquire));
}

/* The owner's guest, until its next exit. */
static void run_guest(bool no_exit)
{
    u64 known = atomic_load_explicit(&s->done, memory_order_acquire);
    u64 seen = atomic_load_explicit(&s->primary, memory_order_relaxed);
    u64 entry = atomic_load_explicit(&s->entry, memory_order_relaxed);

    model_require(!(no_exit && entry == IN_USE && (known || seen)));
}

static void owner(void)
{
    bool listed = false;

    if (REUSE) {
        revoke_list_remove(&s->list, GFN, 0);
        if (!sure())
            return;
        atomic_store_explicit(&s->entry, 0, memory_order_release);
        s->used_again = 1;
        return;
    }
    for (u32 exit = 0; exit < 2; exit++) {
        atomic_exchange_explicit(&s->posted, 0, memory_order_acquire);
        if (!atomic_load_explicit(&s->primary, memory_order_seq_cst)) {
            listed = listed || revoke_list_add(&s->list, GFN, 0, UPPER);
            atomic_store_explicit(&s->entry, IN_USE, memory_order_release);
        } else {
            atomic_store_explicit(&s->entry, ENTRY_ABSENT, memory_order_release);
        }
        run_guest(sure());
    }
}

static void producer(void)
{
    if (ANNOUNCED)
        atomic_store_explicit(&s->storing, 1, memory_order_seq_cst);
    if (REVOKED_FIRST)
        revoke_entries(&s->list, (u8 *)&s->entry, GFN, 0, 0);
    atomic_store_explicit(&s->primary, 1, memory_order_seq_cst);
    if (!REVOKED_FIRST)
        revoke_entries(&s->list, (u8 *)&s->entry, GFN, 0, 0);
    atomic_store_explicit(&s->posted, 1, memory_order_release);
    atomic_store_explicit(&s->storing, 0, memory_order_release);
    atomic_store_explicit(&s->done, 1, memory_order_release);
}

static void check(void)
{
    model_require(!s->used_again || s->entry == 0);
}

int main(void)
{
    static const struct model m = {MODEL_NAME, set_up, {owner, producer}, check, sizeof(struct shared)};
    return model_run(&m, MODEL_BROKEN);
}
