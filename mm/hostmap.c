/*
 * hostmap.c - builder and walkers of the hypervisor's page tables.
 *
 *   level 4 (PML4E 512G) -> level 3 (PDPTE 1G) -> level 2 (PDE 2M) -> level 1 (PTE 4K)
 *
 * Rights stand in the leaf only: table entries allow everything but user access.
 */
#include "mm/hostmap.h"
#include "arch/regs.h"
#include "arch/string.h"

#define LEVELS        4u
#define ENTRIES       512u
#define ADDRESS_LIMIT (1ull << 47) /* the lower half: no sign extension to think of */
#define BELOW_4G      (4 * GIB)

struct hostmap host_map;

static u64 span(u32 level) /* bytes one entry of this level covers */
{
    return PAGE_SIZE << 9 * (level - 1);
}

static u32 index_of(u64 address, u32 level)
{
    return (u32)(address / span(level)) % ENTRIES;
}

static u64 *table_at(hpa_t a)
{
    return hpa_to_ptr(a);
}

static bool is_leaf(u64 entry, u32 level)
{
    return level == 1 || (entry & PTE_PS);
}

static u64 leaf_bits(enum hostmap_kind kind, u32 level)
{
    /* accessed and dirty at once: the CPU never has to write here */
    static const u64 rights[] = {
        [HOSTMAP_DATA] = PTE_P | PTE_W | PTE_NX,
        [HOSTMAP_RODATA] = PTE_P | PTE_NX,
        [HOSTMAP_TEXT] = PTE_P,
        [HOSTMAP_MMIO] = PTE_P | PTE_W | PTE_NX | PTE_PCD | PTE_PWT,
        [HOSTMAP_NONE] = 0,
    };
    u64 bits = rights[kind];

    return bits ? bits | PTE_A | PTE_D | (level > 1 ? PTE_PS : 0) : 0;
}

static u64 *pages_of(struct hostmap *map, u32 level)
{
    return level == 1 ? &map->pages_4k : level == 2 ? &map->pages_2m : &map->pages_1g;
}

enum err hostmap_init(struct hostmap *map, struct frames *frames, bool page_1g)
{
    memset(map, 0, sizeof(*map));
    map->frames = frames;
    map->page_1g = page_1g;
    enum err e = frames_alloc(frames, 1, PAGE_SIZE, BELOW_4G, &map->root);
    if (e == ERR_OK)
        map->table_pages = 1;
    return e;
}

/* Makes the non-leaf entry that stands where `*entry` is: an empty table, or one that repeats the large page.
 */
static enum err make_table(struct hostmap *map, u64 *entry, u32 level)
{
    hpa_t table;
    enum err e = frames_alloc(map->frames, 1, PAGE_SIZE, FRAMES_ANYWHERE, &table);

    if (e != ERR_OK)
        return e;
    if (*entry & PTE_P) { /* split: SDM Vol 3A table 4-17 against 4-18, the PAT bit (12) is never set here */
        u64 piece = level == 2 ? *entry & ~PTE_PS : *entry;
        for (u32 i = 0; i < ENTRIES; i++)
            table_at(table)[i] = piece + i * span(level - 1);
        --*pages_of(map, level);
        *pages_of(map, level - 1) += ENTRIES;
    }
    map->table_pages++;
    *entry = table.v | PTE_P | PTE_W | PTE_A;
    return ERR_OK;
}

static void set_leaf(struct hostmap *map, u64 *entry, u64 value, u32 level, struct hostmap_flush *flush)
{
    if ((*entry & PTE_P) && *entry != value)
        flush->needed = true;
    *pages_of(map, level) += (u64)(value & PTE_P) - (u64)(*entry & PTE_P);
    *entry = value;
}

/* May one entry of this level take the whole of [at, at + span)? */
static bool fits(const struct hostmap *map, u64 entry, u64 at, u64 end, u32 level)
{
    if (level == 1)
        return true;
    if (level > 3 || (level == 3 && !map->page_1g))
        return false;
    if ((entry & PTE_P) && !(entry & PTE_PS))
        return false; /* a table is there: go down */
    return at % span(level) == 0 && end - at >= span(level);
}

/* Changes what it can of [at, end) with one entry; *next is where to go on. */
static enum err map_some(struct hostmap *map, u64 at, u64 end, enum hostmap_kind kind, u64 *next,
                         struct hostmap_flush *flush)
{
    u64 *table = table_at(map->root);

    for (u32 level = LEVELS;; level--) {
        u64 *entry = &table[index_of(at, level)];
        u64 bits = leaf_bits(kind, level);

        *next = MIN(ALIGN_DOWN(at, span(level)) + span(level), end);
        if (fits(map, *entry, at, end, level)) {
            set_leaf(map, entry, bits ? at | bits : 0, level, flush);
            return ERR_OK;
        }
        if (!(*entry & PTE_P) && kind == HOSTMAP_NONE)
            return ERR_OK; /* a hole already */
        if (!(*entry & PTE_P) || is_leaf(*entry, level)) {
            enum err e = make_table(map, entry, level);
            if (e != ERR_OK)
                return e;
        }
        table = table_at(HPA(*entry & PTE_ADDR_MASK));
    }
}

enum err hostmap_map(struct hostmap *map, u64 start, u64 bytes, enum hostmap_kind kind,
                     struct hostmap_flush *flush)
{
    if (!bytes || bytes > ADDRESS_LIMIT || start >= ADDRESS_LIMIT || start + bytes > ADDRESS_LIMIT)
        return ERR_INVALID;
    u64 end = ALIGN_UP(start + bytes, PAGE_SIZE);

    for (u64 at = ALIGN_DOWN(start, PAGE_SIZE); at < end;) {
        enum err e = map_some(map, at, end, kind, &at, flush);
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

struct hostmap_page hostmap_query(const struct hostmap *map, u64 address)
{
    const u64 *table = table_at(map->root);

    if (address >= ADDRESS_LIMIT)
        return (struct hostmap_page){.size = ADDRESS_LIMIT};
    for (u32 level = LEVELS;; level--) {
        u64 entry = table[index_of(address, level)];
        if (!(entry & PTE_P))
            return (struct hostmap_page){.size = span(level)};
        if (is_leaf(entry, level))
            return (struct hostmap_page){.present = true,
                                         .writable = entry & PTE_W,
                                         .executable = !(entry & PTE_NX),
                                         .uncached = entry & PTE_PCD,
                                         .size = span(level)};
        table = table_at(HPA(entry & PTE_ADDR_MASK));
    }
}

bool hostmap_check(const struct hostmap *map, struct hostmap_report *report)
{
    *report = (struct hostmap_report){0};
    for (u64 at = 0; at < ADDRESS_LIMIT;) {
        struct hostmap_page p = hostmap_query(map, at);
        u64 next = ALIGN_DOWN(at, p.size) + p.size;

        if (p.present && ((p.writable && p.executable) || at == 0)) {
            report->bad_address = at;
            return false;
        }
        if (p.present)
            *(p.uncached     ? &report->mmio_bytes
              : p.executable ? &report->text_bytes
              : p.writable   ? &report->data_bytes
                             : &report->rodata_bytes) += p.size;
        at = next;
    }
    return true;
}
