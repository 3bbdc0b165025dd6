/* memmap.c - sorting out the firmware's memory map. */
#include "boot/memmap.h"
#include "arch/string.h"

/* EFI_MEMORY_DESCRIPTOR, UEFI 2.9 7.2 */
struct descriptor {
    u32 type, reserved;
    u64 physical, virtual, pages, attributes;
};
_Static_assert(sizeof(struct descriptor) == 40, "UEFI 2.9 7.2");

enum {
    LOADER_CODE = 1,
    LOADER_DATA,
    BOOT_CODE,
    BOOT_DATA,
    RUNTIME_CODE,
    RUNTIME_DATA,
    CONVENTIONAL,
    UNUSABLE,
    ACPI_RECLAIM,
    ACPI_NVS
};
#define ATTRIBUTE_WB  BIT(3)
#define ADDRESS_LIMIT (1ull << 47) /* what mm/hostmap.h can map */

/* Inserts a range in order; overlap with what is there is cut off the new one (the part above it is dropped).
 */
static void insert(struct memmap_ranges *r, u64 start, u64 end)
{
    u32 at = 0;

    while (at < r->count && r->range[at].start <= start)
        at++;
    if (at > 0)
        start = MAX(start, r->range[at - 1].end);
    if (at < r->count)
        end = MIN(end, r->range[at].start);
    if (start >= end)
        return;
    if (at > 0 && r->range[at - 1].end == start) {
        r->range[at - 1].end = end;
        if (at < r->count && r->range[at].start == end) {
            r->range[at - 1].end = r->range[at].end;
            r->count--;
            memmove(&r->range[at], &r->range[at + 1], (r->count - at) * sizeof(r->range[0]));
        }
    } else if (at < r->count && r->range[at].start == end) {
        r->range[at].start = start;
    } else if (r->count == MEMMAP_MAX_RANGES) {
        r->lost += end - start;
    } else {
        memmove(&r->range[at + 1], &r->range[at], (r->count - at) * sizeof(r->range[0]));
        r->range[at] = (struct memmap_range){start, end};
        r->count++;
    }
}

/* Inserts what of [start, end) no range of `keep` touches. */
static void insert_without(struct memmap_ranges *r, u64 start, u64 end, const struct memmap_range *keep,
                           u32 keeps)
{
    while (start < end) {
        u64 stop = end, next = end;
        for (u32 i = 0; i < keeps; i++) {
            if (keep[i].end <= start || keep[i].start >= stop)
                continue;
            stop = MAX(keep[i].start, start);
            next = MIN(keep[i].end, end);
        }
        if (stop > start)
            insert(r, start, stop);
        start = next;
    }
}

static bool is_memory(u32 type)
{
    return type >= LOADER_CODE && type <= ACPI_NVS && type != UNUSABLE;
}
static bool is_usable(u32 type)
{
    return type >= LOADER_CODE && type <= CONVENTIONAL && type != RUNTIME_CODE && type != RUNTIME_DATA;
}

enum err memmap_read(const struct memmap_source *source, const struct memmap_range *keep, u32 keeps,
                     struct memmap *map)
{
    struct descriptor d;

    memset(map, 0, sizeof(*map));
    if (source->stride < sizeof(d) || source->stride > PAGE_SIZE)
        return ERR_INVALID;
    for (u64 at = 0; at + sizeof(d) <= source->bytes; at += source->stride) {
        memcpy(&d, source->descriptors + at, sizeof(d));
        if (!is_memory(d.type) || (d.physical & PAGE_MASK) || d.physical >= ADDRESS_LIMIT ||
            d.pages > (ADDRESS_LIMIT - d.physical) / PAGE_SIZE)
            continue;
        u64 start = MAX(d.physical, MEMMAP_LOWEST), end = d.physical + d.pages * PAGE_SIZE;
        map->total += d.pages * PAGE_SIZE;
        if (!is_usable(d.type) || !(d.attributes & ATTRIBUTE_WB) || start >= end)
            continue;
        insert(&map->ram, start, end);
        insert_without(d.type == CONVENTIONAL ? &map->free_now : &map->free_later, start, end, keep, keeps);
    }
    return ERR_OK;
}
