/*
 * p2m.h - what a VM's physical pages are, and access to its memory by guest-physical address.
 *
 * One flat array per VM, indexed by gfn; each entry is one atomic word, so a lookup is one load and no lock.
 * An entry holds the host frame, the type, and whether somebody outside this VM (or another gfn of it) can
 * write the same frame ("shared"): such a page can hold guest page tables too, but writes to it cannot all be
 * traced.
 *
 *   63       52 51                        12 11      3  2      1:0
 *  +-----------+----------------------------+---------+--------+------+
 *  |     0     |  host frame (hpa 51:12)    |    0    | shared | type |
 *  +-----------+----------------------------+---------+--------+------+
 *
 * Writers: the thread that creates the VM, and page operations (donate, share, reclaim) in vmm/ while they
 * hold that page in their ownership state machine. Readers: every vCPU of the VM, at any time. The store is a
 * release and the load an acquire, so the contents of a page are visible before its address is.
 */
#pragma once
#include "arch/err.h"
#include "arch/types.h"
#include <stdatomic.h>

enum p2m_type {
    P2M_NONE,   /* nothing here: device memory (MMIO) or a hole */
    P2M_RAM_RW, /* the VM's own RAM */
    P2M_RAM_RO, /* RAM the VM may only read (shared in by another VM) */
    P2M_EMPTY,  /* a place for a page whose page is away (donated, not yet landed) */
};

#define P2M_TYPE_MASK  0x3ull
#define P2M_SHARED     0x4ull
#define P2M_FRAME_MASK 0x000ffffffffff000ull

struct p2m {
    _Atomic u64 *entry; /* count words, owned by the VM */
    u64 count;          /* gfns 0 .. count - 1 exist; everything above is P2M_NONE */
};

/* Takes count zeroed or unzeroed words at memory; all become P2M_NONE. */
void p2m_init(struct p2m *p2m, void *memory, u64 count);

/* The entry word of a gfn; gfns beyond the array read as P2M_NONE. */
static inline u64 p2m_get(const struct p2m *p2m, u64 gfn)
{
    if (unlikely(gfn >= p2m->count))
        return P2M_NONE;
    return atomic_load_explicit(&p2m->entry[gfn], memory_order_acquire);
}

static inline enum p2m_type p2m_entry_type(u64 entry)
{
    return (enum p2m_type)(entry & P2M_TYPE_MASK);
}
static inline hpa_t p2m_entry_hpa(u64 entry)
{
    return HPA(entry & P2M_FRAME_MASK);
}
static inline bool p2m_entry_is_ram(u64 entry)
{
    return p2m_entry_type(entry) == P2M_RAM_RW || p2m_entry_type(entry) == P2M_RAM_RO;
}
/* Only this gfn of this VM can write the frame: its writes can be traced. */
static inline bool p2m_entry_exclusive(u64 entry)
{
    return (entry & (P2M_TYPE_MASK | P2M_SHARED)) == P2M_RAM_RW;
}

/*
 * Replaces one entry. frame is ignored for P2M_NONE and P2M_EMPTY. Returns the old word (NONE for a gfn out
 * of range, and nothing is changed then). Narrowing a page that vCPUs may have mapped, or marking it shared,
 * is the first half only: the caller then has shadow_drop_frame() run for each vCPU of the VM, on its own
 * CPU, before anybody else gets the page.
 */
u64 p2m_set(struct p2m *p2m, u64 gfn, hpa_t frame, enum p2m_type type, bool shared);

/* Maps pages [gfn, gfn + pages) to contiguous host frames as exclusive RAM_RW. */
enum err must_check p2m_map_ram(struct p2m *p2m, u64 gfn, hpa_t first, u64 pages);

/*
 * Access to guest memory by guest-physical address, for emulation, loaders and messages. Any length, may
 * cross pages. An access of 1, 2, 4 or 8 naturally aligned bytes is one atomic access; longer ones are not
 * atomic as a whole. Nothing is written unless all of it can be: ERR_FAULT = not RAM, ERR_DENIED = read-only
 * RAM. They know nothing of traces: whoever writes a frame that may hold guest page tables reports it with
 * shadow_write_done().
 */
enum err must_check guest_mem_read(const struct p2m *p2m, gpa_t gpa, void *to, u64 length);
enum err must_check guest_mem_write(const struct p2m *p2m, gpa_t gpa, const void *from, u64 length);
enum err must_check guest_mem_zero(const struct p2m *p2m, gpa_t gpa, u64 length);

/*
 * Compare-and-exchange of size 1, 2, 4 or 8 bytes, naturally aligned (ERR_INVALID otherwise). *old is the
 * value to expect and becomes the value found; the exchange happened iff *old is unchanged. As the CPU does,
 * needs a writable page even when the comparison fails.
 */
enum err must_check guest_mem_cmpxchg(const struct p2m *p2m, gpa_t gpa, u32 size, u64 *old, u64 desired);

/* Host pointer to one guest page's bytes at gpa, NULL if it is not RAM (or write is asked for and not
 * RAM_RW). */
void *guest_mem_pointer(const struct p2m *p2m, gpa_t gpa, bool write);
