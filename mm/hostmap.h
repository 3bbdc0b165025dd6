/*
 * hostmap.h - the hypervisor's own address space: virtual = physical (SDM Vol 3A 4.5, 4-level).
 *
 *   RAM                 read write, never execute     1G, 2M or 4K pages as the range allows
 *   image text          read execute                  4K
 *   image rodata        read only                     4K
 *   image data, stacks  read write, never execute     4K
 *   device registers    read write, never execute, uncached
 *   page 0, stack guards, everything else: not mapped
 *
 * Pure: builds tables in frames from a struct frames. No page is ever both writable and executable:
 * hostmap_map() refuses, hostmap_check() proves it by walking what is there.
 */
#pragma once
#include "arch/err.h"
#include "arch/types.h"
#include "mm/frames.h"

enum hostmap_kind {
    HOSTMAP_DATA,   /* RW NX, write-back */
    HOSTMAP_RODATA, /* R NX */
    HOSTMAP_TEXT,   /* R X */
    HOSTMAP_MMIO,   /* RW NX, uncached */
    HOSTMAP_NONE,   /* not mapped */
};

struct hostmap {
    hpa_t root; /* CR3; below 4 GiB, for the start of the other CPUs */
    struct frames *frames;
    bool page_1g;    /* the CPU has 1 GiB pages */
    u64 table_pages; /* frames used */
    u64 pages_4k, pages_2m, pages_1g;
};

/* What the caller must do after a change before relying on it. */
struct hostmap_flush {
    bool needed; /* a present entry changed: reload CR3 (or INVLPG) on every CPU that uses the map */
};

/* The rights of one address, as hardware would find them. */
struct hostmap_page {
    bool present, writable, executable, uncached;
    u64 size; /* bytes of the page that maps it (present) or of the hole in the table (not present) */
};

struct hostmap_report {
    u64 bad_address; /* first page that is writable and executable */
    u64 text_bytes, rodata_bytes, data_bytes, mmio_bytes;
};

/* Allocates the root. */
enum err hostmap_init(struct hostmap *map, struct frames *frames, bool page_1g) must_check;

/* Gives every page that touches [start, start + bytes) the kind's rights, splitting larger pages at the
 * edges. NO_MEMORY leaves the map usable, partly changed. INVALID: empty or beyond 48 bits. */
enum err hostmap_map(struct hostmap *map, u64 start, u64 bytes, enum hostmap_kind kind,
                     struct hostmap_flush *flush) must_check;

/* Pure walk for one address. */
struct hostmap_page hostmap_query(const struct hostmap *map, u64 address);

/* Walks everything; false when a page is writable and executable, or page 0 is mapped. */
bool hostmap_check(const struct hostmap *map, struct hostmap_report *report) must_check;

/* The map all CPUs run on; filled by boot. */
extern struct hostmap host_map;
