/* guest_mem.c - access to guest memory by guest-physical address (declared in p2m.h). Other vCPUs write the
 * same bytes at the same time: every access is a relaxed atomic of its natural size, at most 8 bytes wide. */
#include "arch/string.h"
#include "mm/p2m.h"

void *guest_mem_pointer(const struct p2m *p2m, gpa_t gpa, bool write)
{
    u64 entry = p2m_get(p2m, gpa.v >> PAGE_SHIFT);

    if (write ? p2m_entry_type(entry) != P2M_RAM_RW : !p2m_entry_is_ram(entry))
        return NULL;
    return (u8 *)hpa_to_ptr(p2m_entry_hpa(entry)) + (gpa.v & PAGE_MASK);
}

/* The widest atomic access that alignment and the rest of the length allow. */
static u32 chunk_size(const void *guest, u64 left)
{
    for (u32 size = 8; size > 1; size /= 2)
        if (!((uintptr_t)guest & (size - 1)) && left >= size)
            return size;
    return 1;
}

static void load_atomic(void *to, const void *guest, u32 size)
{
    switch (size) {
    case 8: {
        u64 v = atomic_load_explicit((const _Atomic u64 *)guest, memory_order_relaxed);
        memcpy(to, &v, sizeof v);
        break;
    }
    case 4: {
        u32 v = atomic_load_explicit((const _Atomic u32 *)guest, memory_order_relaxed);
        memcpy(to, &v, sizeof v);
        break;
    }
    case 2: {
        u16 v = atomic_load_explicit((const _Atomic u16 *)guest, memory_order_relaxed);
        memcpy(to, &v, sizeof v);
        break;
    }
    default: *(u8 *)to = atomic_load_explicit((const _Atomic u8 *)guest, memory_order_relaxed);
    }
}

/* seq_cst: a store to a page table is the first half of the patch channel's handshake. */
static void store_atomic(void *guest, const void *from, u32 size)
{
    switch (size) {
    case 8: {
        u64 v;
        memcpy(&v, from, sizeof v);
        atomic_store_explicit((_Atomic u64 *)guest, v, memory_order_seq_cst);
        break;
    }
    case 4: {
        u32 v;
        memcpy(&v, from, sizeof v);
        atomic_store_explicit((_Atomic u32 *)guest, v, memory_order_seq_cst);
        break;
    }
    case 2: {
        u16 v;
        memcpy(&v, from, sizeof v);
        atomic_store_explicit((_Atomic u16 *)guest, v, memory_order_seq_cst);
        break;
    }
    default: atomic_store_explicit((_Atomic u8 *)guest, *(const u8 *)from, memory_order_seq_cst);
    }
}

/* Every page of [gpa, gpa + length) must allow the access. */
static enum err check_range(const struct p2m *p2m, gpa_t gpa, u64 length, bool write)
{
    if (length == 0)
        return ERR_OK;
    if (gpa.v + (length - 1) < gpa.v)
        return ERR_FAULT;
    for (u64 gfn = gpa.v >> PAGE_SHIFT; gfn <= (gpa.v + length - 1) >> PAGE_SHIFT; gfn++) {
        u64 entry = p2m_get(p2m, gfn);
        if (!p2m_entry_is_ram(entry))
            return ERR_FAULT;
        if (write && p2m_entry_type(entry) != P2M_RAM_RW)
            return ERR_DENIED;
    }
    return ERR_OK;
}

enum err guest_mem_read(const struct p2m *p2m, gpa_t gpa, void *to, u64 length)
{
    enum err e = check_range(p2m, gpa, length, false);

    while (e == ERR_OK && length) {
        u64 in_page = MIN(length, PAGE_SIZE - (gpa.v & PAGE_MASK));
        const u8 *guest = guest_mem_pointer(p2m, gpa, false);
        if (!guest) /* the page went away between the check and now */
            return ERR_FAULT;
        for (u64 done = 0; done < in_page;) {
            u32 size = chunk_size(guest + done, in_page - done);
            load_atomic((u8 *)to + done, guest + done, size);
            done += size;
        }
        to = (u8 *)to + in_page;
        gpa.v += in_page;
        length -= in_page;
    }
    return e;
}

static enum err write_or_zero(const struct p2m *p2m, gpa_t gpa, const void *from, u64 length)
{
    static const u64 zero;
    enum err e = check_range(p2m, gpa, length, true);

    while (e == ERR_OK && length) {
        u64 in_page = MIN(length, PAGE_SIZE - (gpa.v & PAGE_MASK));
        u8 *guest = guest_mem_pointer(p2m, gpa, true);
        if (!guest)
            return ERR_FAULT;
        for (u64 done = 0; done < in_page;) {
            u32 size = chunk_size(guest + done, in_page - done);
            store_atomic(guest + done, from ? (const u8 *)from + done : (const u8 *)&zero, size);
            done += size;
        }
        if (from)
            from = (const u8 *)from + in_page;
        gpa.v += in_page;
        length -= in_page;
    }
    return e;
}

enum err guest_mem_write(const struct p2m *p2m, gpa_t gpa, const void *from, u64 length)
{
    return write_or_zero(p2m, gpa, from, length);
}

enum err guest_mem_zero(const struct p2m *p2m, gpa_t gpa, u64 length)
{
    return write_or_zero(p2m, gpa, NULL, length);
}

/* Exchanges one object of that type; *old is widened without sign. */
#define EXCHANGE(type)                                                                   \
    do {                                                                                 \
        type expected = (type)*old;                                                      \
        atomic_compare_exchange_strong((_Atomic type *)guest, &expected, (type)desired); \
        *old = expected;                                                                 \
    } while (0)

enum err guest_mem_cmpxchg(const struct p2m *p2m, gpa_t gpa, u32 size, u64 *old, u64 desired)
{
    enum err e;
    void *guest;

    if ((size != 1 && size != 2 && size != 4 && size != 8) || (gpa.v & (size - 1)))
        return ERR_INVALID;
    e = check_range(p2m, gpa, size, true);
    if (e != ERR_OK)
        return e;
    guest = guest_mem_pointer(p2m, gpa, true);
    if (!guest)
        return ERR_FAULT;
    switch (size) {
    case 1: EXCHANGE(u8); break;
    case 2: EXCHANGE(u16); break;
    case 4: EXCHANGE(u32); break;
    default: EXCHANGE(u64);
    }
    return ERR_OK;
}
