/* frames.c - free memory as a list of extents that live in that memory. */
#include "mm/frames.h"
#include "arch/string.h"

/* The first bytes of a free extent. */
struct frames_extent {
    struct frames_extent *next;
    u64 pages;
};

struct frames host_frames;

static u64 start_of(const struct frames_extent *e)
{
    return ptr_to_hpa(e).v;
}
static u64 end_of(const struct frames_extent *e)
{
    return start_of(e) + e->pages * PAGE_SIZE;
}

void frames_init(struct frames *f)
{
    memset(f, 0, sizeof(*f));
}

/* Puts [start, end) into the list; INVALID if it overlaps. */
static enum err insert(struct frames *f, u64 start, u64 end)
{
    struct frames_extent *before = NULL, *after = f->first;

    while (after && start_of(after) < start) {
        before = after;
        after = after->next;
    }
    if ((before && end_of(before) > start) || (after && end > start_of(after)))
        return ERR_INVALID;
    struct frames_extent *e = hpa_to_ptr(HPA(start));
    *e = (struct frames_extent){after, (end - start) / PAGE_SIZE};
    if (after && end_of(e) == start_of(after))
        *e = (struct frames_extent){after->next, e->pages + after->pages};
    if (!before) {
        f->first = e;
    } else if (end_of(before) == start) {
        before->pages += e->pages;
        before->next = e->next;
    } else {
        before->next = e;
    }
    f->free_pages += (end - start) / PAGE_SIZE;
    return ERR_OK;
}

enum err frames_add(struct frames *f, hpa_t start, u64 bytes)
{
    u64 from = ALIGN_UP(start.v, PAGE_SIZE), to = ALIGN_DOWN(start.v + bytes, PAGE_SIZE);

    if (start.v + bytes < start.v || from < start.v)
        return ERR_INVALID;
    if (from >= to)
        return ERR_OK;
    spinlock_acquire(&f->lock);
    enum err e = insert(f, from, to);
    if (e == ERR_OK)
        f->total_pages += (to - from) / PAGE_SIZE;
    spinlock_release(&f->lock);
    return e;
}

/* The highest aligned place for `bytes` inside e below `below`; 0: none (address 0 is never free memory). */
static u64 place_in(const struct frames_extent *e, u64 bytes, u64 align, u64 below)
{
    u64 end = MIN(end_of(e), ALIGN_DOWN(below, PAGE_SIZE));

    if (end < bytes)
        return 0;
    u64 at = ALIGN_DOWN(end - bytes, align);
    return at >= start_of(e) ? at : 0;
}

/* Takes [at, at + bytes) out of e, which contains it; before is e's predecessor or NULL. */
static void take(struct frames *f, struct frames_extent *before, struct frames_extent *e, u64 at, u64 bytes)
{
    struct frames_extent **link = before ? &before->next : &f->first;
    u64 end = end_of(e);

    f->free_pages -= bytes / PAGE_SIZE;
    *link = e->next;
    if (at + bytes < end) {
        struct frames_extent *rest = hpa_to_ptr(HPA(at + bytes));
        *rest = (struct frames_extent){*link, (end - at - bytes) / PAGE_SIZE};
        *link = rest;
    }
    if (at > start_of(e)) {
        e->pages = (at - start_of(e)) / PAGE_SIZE;
        e->next = *link;
        *link = e;
    }
}

enum err frames_alloc_dirty(struct frames *f, u64 pages, u64 align, u64 below, hpa_t *out)
{
    struct frames_extent *best = NULL, *before_best = NULL, *before = NULL;
    u64 at = 0;

    if (!pages || pages > UINT64_MAX / PAGE_SIZE || align < PAGE_SIZE || (align & (align - 1)))
        return ERR_INVALID;
    spinlock_acquire(&f->lock);
    for (struct frames_extent *e = f->first; e; before = e, e = e->next) {
        u64 place = place_in(e, pages * PAGE_SIZE, align, below);
        if (place) {
            best = e;
            before_best = before;
            at = place;
        }
    }
    if (best)
        take(f, before_best, best, at, pages * PAGE_SIZE);
    spinlock_release(&f->lock);
    *out = HPA(at);
    return best ? ERR_OK : ERR_NO_MEMORY;
}

enum err frames_alloc(struct frames *f, u64 pages, u64 align, u64 below, hpa_t *out)
{
    enum err e = frames_alloc_dirty(f, pages, align, below, out);

    if (e == ERR_OK)
        memset(hpa_to_ptr(*out), 0, pages * PAGE_SIZE);
    return e;
}

enum err frames_free(struct frames *f, hpa_t start, u64 pages)
{
    if ((start.v & PAGE_MASK) || !start.v || !pages || pages > (UINT64_MAX - start.v) / PAGE_SIZE)
        return ERR_INVALID;
    spinlock_acquire(&f->lock);
    enum err e = insert(f, start.v, start.v + pages * PAGE_SIZE);
    spinlock_release(&f->lock);
    return e;
}
