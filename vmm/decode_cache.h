/*
 * decode_cache.h - instructions decoded before. The few that write a guest's page tables come again and
 * again; what was decoded is kept together with its bytes, and is used again only for the same bytes.
 *
 *   rip --> slot: bytes, their mask (as many as the instruction has), struct insn
 *
 * Pure. One per vCPU, used by its CPU only; zeroed memory is an empty cache.
 */
#pragma once
#include "vmm/decode.h"

#define DECODE_CACHE_SLOTS 16u
#define DECODE_WINDOW      16u /* bytes to look at; one more than an instruction has */

struct decode_slot {
    u64 bytes[2], mask[2];
    struct insn insn; /* mode 0: empty */
};

struct decode_cache {
    struct decode_slot slot[DECODE_CACHE_SLOTS];
};

/* Decodes anew into a slot: as decode_insn(). */
must_check enum err decode_cache_fill(struct decode_slot *slot, const u64 window[2], size_t n,
                                      enum cpu_mode mode);

/*
 * As decode_insn() of the n bytes in window (whose other bytes are ignored). *out stays valid until the next
 * call. rip only chooses the slot.
 */
must_check static inline enum err decode_cached(struct decode_cache *cache, u64 rip, const u64 window[2],
                                                size_t n, enum cpu_mode mode, const struct insn **out)
{
    struct decode_slot *s = &cache->slot[(rip ^ rip >> 4) % DECODE_CACHE_SLOTS];

    *out = &s->insn;
    if (likely(!(((window[0] ^ s->bytes[0]) & s->mask[0]) | ((window[1] ^ s->bytes[1]) & s->mask[1])) &&
               s->insn.mode == mode && s->insn.length <= n))
        return ERR_OK;
    return decode_cache_fill(s, window, n, mode);
}
