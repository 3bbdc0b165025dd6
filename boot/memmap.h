/*
 * memmap.h - the firmware's memory map as ranges we may use. Pure.
 *
 * Only memory from 1 MiB up that can be cached write-back counts; what `keep` lists (our image, files) is
 * ours already.
 */
#pragma once
#include "arch/err.h"
#include "arch/types.h"

#define MEMMAP_MAX_RANGES 256u
#define MEMMAP_MAX_KEEP   80u
#define MEMMAP_LOWEST     MIB

struct memmap_range {
    u64 start, end; /* bytes; start < end, page-aligned */
};

struct memmap_ranges {
    struct memmap_range range[MEMMAP_MAX_RANGES];
    u32 count;
    u64 lost; /* bytes that did not fit in the array */
};

struct memmap {
    struct memmap_ranges ram; /* all memory that we may ever use, with `keep`; sorted, adjacent ones merged */
    struct memmap_ranges
        free_now; /* conventional memory: nobody's, even while we run on the firmware's tables */
    struct memmap_ranges
        free_later; /* the firmware's and the loader's, free once we run on our own; without `keep` */
    u64 total;      /* bytes of memory of any use that the map shows */
};

/* The firmware's descriptor array: `bytes` long, `stride` from one to the next (UEFI 2.9 7.2). */
struct memmap_source {
    const u8 *descriptors;
    u64 bytes, stride;
};

/* INVALID for a stride that cannot be. Overlapping and odd descriptors are cut back or dropped. */
enum err memmap_read(const struct memmap_source *source, const struct memmap_range *keep, u32 keeps,
                     struct memmap *map) must_check;
