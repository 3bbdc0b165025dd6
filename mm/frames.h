/*
 * frames.h - physical page frames of the host. Pure: works on the struct it is given; the free memory itself
 * holds the list (each free extent starts with its own header), so there is no table to run out of. First fit
 * from the top of memory downwards, so that low memory stays for those who need it.
 *
 * Used at boot and when VMs are created or destroyed, never on a guest's path of execution. Lock: inside.
 */
#pragma once
#include "arch/err.h"
#include "arch/spinlock.h"
#include "arch/types.h"

#define FRAMES_ANYWHERE (~0ull) /* for `below` */

struct frames_extent; /* header in a free extent; frames.c */

struct frames {
    struct spinlock lock;
    struct frames_extent *first; /* ascending, never adjacent */
    u64 total_pages;             /* given by frames_add() */
    u64 free_pages;
};

/* Empty allocator. */
void frames_init(struct frames *f);

/* Gives the memory [start, start + bytes) to the allocator; partial pages at both ends are dropped. INVALID
 * if it overlaps memory that is free already or wraps. */
enum err frames_add(struct frames *f, hpa_t start, u64 bytes) must_check;

/* `pages` (> 0) contiguous frames, zeroed, the first at a multiple of `align` bytes (a power of two, at least
 * a page), all of them below the address `below`. NO_MEMORY; INVALID for a bad argument. */
enum err frames_alloc(struct frames *f, u64 pages, u64 align, u64 below, hpa_t *out) must_check;

/* As frames_alloc() but with whatever was in them: only for memory whose every byte is written next. */
enum err frames_alloc_dirty(struct frames *f, u64 pages, u64 align, u64 below, hpa_t *out) must_check;

/* Gives frames back. INVALID (and nothing changes) if any of them is free already. */
enum err frames_free(struct frames *f, hpa_t start, u64 pages) must_check;

/* All free memory of the machine; filled by boot before vmm_main(). */
extern struct frames host_frames;
