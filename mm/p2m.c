/* p2m.c - the array of what a VM's physical pages are. */
#include "mm/p2m.h"

void p2m_init(struct p2m *p2m, void *memory, u64 count)
{
    p2m->entry = memory;
    p2m->count = count;
    for (u64 gfn = 0; gfn < count; gfn++)
        atomic_init(&p2m->entry[gfn], P2M_NONE);
}

u64 p2m_set(struct p2m *p2m, u64 gfn, hpa_t frame, enum p2m_type type, bool shared)
{
    u64 entry = (u64)type;

    if (gfn >= p2m->count)
        return P2M_NONE;
    if (type == P2M_RAM_RW || type == P2M_RAM_RO)
        entry |= (frame.v & P2M_FRAME_MASK) | (shared ? P2M_SHARED : 0);
    return atomic_exchange_explicit(&p2m->entry[gfn], entry, memory_order_acq_rel);
}

enum err p2m_map_ram(struct p2m *p2m, u64 gfn, hpa_t first, u64 pages)
{
    if (gfn > p2m->count || pages > p2m->count - gfn)
        return ERR_RANGE;
    if (first.v & ~P2M_FRAME_MASK)
        return ERR_INVALID;
    for (u64 i = 0; i < pages; i++)
        p2m_set(p2m, gfn + i, HPA(first.v + i * PAGE_SIZE), P2M_RAM_RW, false);
    return ERR_OK;
}
