/*
 * revoke.h - entries of one vCPU's shadow that another vCPU takes out of use before it stores to the guest's table: so
 * that faults of the guest's own cost no exit in VMs of several vCPUs (mm/README.md). Pure.
 *
 * An entry that is forwarded (0) is the guest's own fault while its primary has P=0; and the way to it must be what the
 * guest's upper tables say. When another vCPU's store changes either, the entry must be out of use before the store is
 * visible, and nobody waits:
 *
 *      owner c (on its exit path)                  producer p, at a store to table T
 *      list T's page                     (C1)      announce T (shadow_write_begin)        seq_cst (P1)
 *      write entries: 0, or a link       (C2)      look for T in c's list, and revoke     (P2)
 *      a locked operation                (C3)      the store                              (P3)
 *      is T announced? a patch there?    (C4)      post the patch; end the announcement   (P4)
 *      yes: every fault exits for now
 *
 * If C4 sees neither, all of P comes after C4, so P2 finds the page and what is in it. If P2 comes before C1 or C2, C4
 * sees the announcement or, after P4, the patch. Every order: tests/model (model_revoke.c, revoke.pml).
 *
 * Frames: an owner gives a frame that was listed another use only when nobody announces a store to its table, which it
 * looks up after taking it out of its list: so what p finds is a table until p has ended.
 */
#pragma once
#include "arch/types.h"
#include <stdatomic.h>

/* An entry that is not derived (mm/shadow_internal.h). */
#define ENTRY_ABSENT    (~0ull)
#define ENTRY_FORWARDED 0ull
/* In a link: another vCPU has revoked it; an access exits, as at an absent one. Reserved in hardware wherever entries
 * are forwarded; an absent entry has it too. */
#define ENTRY_REVOKED   BIT(51)

#define REVOKE_WAYS     8u /* a cache line */
#define REVOKE_PAGE_MAX (1u << 23)

/* The pages of one vCPU in which others may have to revoke entries: sets of words, by the table's gfn. */
struct revoke_list {
    /* Constant. Words: owner (seq_cst); the others read them (seq_cst), between P1 and P3. NULL: nothing is listed */
    _Atomic u64 *word;
    u64 set_mask;
    _Atomic u64 turns; /* of C3: the owner alone */
    /* Links were revoked: ways down that the owner remembers may be cut. Writers: the others (1, release); the owner (0). */
    _Atomic u64 cut;
};

/* Bytes for so many pages, to be zeroed and 64-byte aligned. */
u64 revoke_list_size(u32 pages);
void revoke_list_init(struct revoke_list *l, void *memory, u32 pages);

/* C1. upper: its entries are links. False: no room for this table. */
bool must_check revoke_list_add(struct revoke_list *l, u64 gfn, u32 page, bool upper);
void revoke_list_remove(struct revoke_list *l, u64 gfn, u32 page);

/* C3: what this CPU wrote before is visible before it reads what comes after. (A locked operation empties the store
 * buffer, SDM Vol 3A 8.2.2.) */
static inline void revoke_list_turn(struct revoke_list *l)
{
    atomic_fetch_add_explicit(&l->turns, 1, memory_order_seq_cst);
}

/* On the owner's CPU: takes bits (A) from a link, which may be revoked just now, and stays so. */
static inline void revoke_clear_bits(_Atomic u64 *link, u64 bits)
{
    atomic_fetch_and_explicit(link, ~bits, memory_order_relaxed);
}

/* On the owner's CPU: have links been revoked since it was last asked? */
static inline bool revoke_list_cut(struct revoke_list *l)
{
    return atomic_load_explicit(&l->cut, memory_order_relaxed) &&
           atomic_exchange_explicit(&l->cut, 0, memory_order_acquire);
}

/* P2: entries first .. last of every page listed for that table. frames: where page 0 is. */
void revoke_entries(struct revoke_list *l, u8 *frames, u64 gfn, u32 first, u32 last);
