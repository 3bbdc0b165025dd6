/* access_internal.h - what access*.c share. */
#pragma once
#include "vmm/access.h"

#define WORD 8u

/* The bytes at gva if they are all in the page of the hint, else NULL. */
static inline u8 *access_hinted(const struct vcpu_access *a, gva_t gva, unsigned size)
{
    u64 offset = gva.v & PAGE_MASK;

    if (likely((gva.v ^ offset) + 1 == a->hint_page && offset + size <= PAGE_SIZE))
        return a->hint_bytes + offset;
    return NULL;
}

/* Accesses of any size and place. for_write: as the callback. */
enum emulate_status access_read_for(struct vcpu *v, gva_t gva, unsigned size, bool for_write, u64 value[2]);
enum emulate_status access_cmpxchg(struct vcpu *v, gva_t gva, unsigned size, const u64 desired[2],
                                   u64 seen[2]);

/* access_fetch() of bytes at the linear address `at`, by the guest's tables. */
enum emulate_status access_fetch_slowly(struct vcpu *v, gva_t at);
