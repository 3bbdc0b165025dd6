/* revoke.c - see revoke.h. */
#include "mm/revoke.h"

/*   63          24   23   22      0
 *  +--------------+-----+----------+
 *  |     gfn      |upper| page + 1 |     0: free
 *  +--------------+-----+----------+  */
#define WORD_GFN_SHIFT 24
#define WORD_UPPER     BIT(23)
#define WORD_PAGE_MASK (WORD_UPPER - 1)
#define HASH_FACTOR    0x9e3779b97f4a7c15ull /* 2^64 / golden ratio */
#define HASH_SHIFT     32

static u64 sets_for(u32 pages)
{
    u64 sets = 1;

    while (sets * REVOKE_WAYS < 2 * (u64)pages)
        sets *= 2;
    return sets;
}

static inline _Atomic u64 *set_of(const struct revoke_list *l, u64 gfn)
{
    return l->word + (gfn * HASH_FACTOR >> HASH_SHIFT & l->set_mask) * REVOKE_WAYS;
}

u64 revoke_list_size(u32 pages)
{
    return sets_for(pages) * REVOKE_WAYS * sizeof(u64);
}

void revoke_list_init(struct revoke_list *l, void *memory, u32 pages)
{
    l->word = memory;
    l->set_mask = sets_for(pages) - 1;
}

bool revoke_list_add(struct revoke_list *l, u64 gfn, u32 page, bool upper)
{
    _Atomic u64 *set = set_of(l, gfn);

    for (u32 i = 0; i < REVOKE_WAYS; i++) {
        if (atomic_load_explicit(&set[i], memory_order_relaxed))
            continue;
        atomic_store_explicit(&set[i], gfn << WORD_GFN_SHIFT | (upper ? WORD_UPPER : 0) | (page + 1),
                              memory_order_seq_cst);
        return true;
    }
    return false;
}

void revoke_list_remove(struct revoke_list *l, u64 gfn, u32 page)
{
    _Atomic u64 *set = set_of(l, gfn);

    for (u32 i = 0; i < REVOKE_WAYS; i++)
        if ((atomic_load_explicit(&set[i], memory_order_relaxed) & ~WORD_UPPER) ==
            (gfn << WORD_GFN_SHIFT | (page + 1)))
            atomic_store_explicit(&set[i], 0, memory_order_seq_cst);
}

/* A link keeps what it was, for its owner to account for. The exchange fails only when the CPU sets A in a link, once, or
 * the owner writes the entry, who looks for our announcement afterwards. */
static void revoke_entry(_Atomic u64 *entry, bool upper)
{
    u64 e = atomic_load_explicit(entry, memory_order_seq_cst);

    while (e == ENTRY_FORWARDED || (upper && !(e & ENTRY_REVOKED)))
        if (atomic_compare_exchange_strong(entry, &e,
                                           e == ENTRY_FORWARDED ? ENTRY_ABSENT : e | ENTRY_REVOKED))
            return;
}

void revoke_entries(struct revoke_list *l, u8 *frames, u64 gfn, u32 first, u32 last)
{
    _Atomic u64 *set = set_of(l, gfn);

    for (u32 i = 0; i < REVOKE_WAYS; i++) {
        u64 word = atomic_load_explicit(&set[i], memory_order_seq_cst);
        if (word >> WORD_GFN_SHIFT != gfn || !word)
            continue;
        _Atomic u64 *entries = (_Atomic u64 *)(frames + ((word & WORD_PAGE_MASK) - 1) * PAGE_SIZE);
        for (u32 slot = first; slot <= last; slot++)
            revoke_entry(&entries[slot], word & WORD_UPPER);
        if (word & WORD_UPPER)
            atomic_store_explicit(&l->cut, 1, memory_order_release);
    }
}
