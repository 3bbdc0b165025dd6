/* decode_cache.c - see decode_cache.h. */
#include "vmm/decode_cache.h"

#include "arch/string.h"

static u64 low_bytes(unsigned n)
{
    return n >= 8 ? ~0ull : BIT(8 * n) - 1;
}

enum err decode_cache_fill(struct decode_slot *slot, const u64 window[2], size_t n, enum cpu_mode mode)
{
    u8 bytes[DECODE_WINDOW];
    struct insn insn;

    memcpy(bytes, window, sizeof bytes);
    enum err e = decode_insn(bytes, MIN(n, sizeof bytes), mode, &insn);
    if (e != ERR_OK)
        return e;
    slot->insn = insn;
    slot->mask[0] = low_bytes(insn.length);
    slot->mask[1] = insn.length > 8 ? low_bytes(insn.length - 8u) : 0;
    slot->bytes[0] = window[0];
    slot->bytes[1] = window[1];
    return ERR_OK;
}
