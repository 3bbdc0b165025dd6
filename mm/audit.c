/* audit.c - see audit.h. Shares no code with shadow_derive.c or gwalk.c, on purpose. */
#include "mm/audit.h"
#include "arch/log.h"
#include "arch/string.h"
#include "mm/shadow_shared.h"

#define ADDR_4K_MASK32 0xfffff000u
#define ADDR_4M_MASK32 0xffc00000u
#define SECOND_LOOKS   3u
#define SEARCH_BUDGET  (1u << 20) /* shadow entries looked at to find a linear address for the report */

static const char *const kind_names[] = {
    [AUDIT_CLEAN] = "clean",
    [AUDIT_WRONG_FRAME] = "maps a frame that the guest's entry does not",
    [AUDIT_TOO_PERMISSIVE] = "gives a right that the guest's entry does not",
    [AUDIT_NOT_IN_PRIMARY] = "present, the guest's entry is not usable",
    [AUDIT_TRACED_WRITABLE] = "writable mapping of a traced table",
    [AUDIT_UNMARKED] = "writable mapping that the writable mask does not show",
    [AUDIT_WRONG_CHILD] = "leads to a table made from something else",
    [AUDIT_UNTRACED_TABLE] = "table is neither traced nor loose",
    [AUDIT_RMAP] = "mapping that the rmap does not know",
    [AUDIT_FORWARDED] = "the guest would get a fault that is not its own",
};

const char *audit_kind_name(enum audit_kind kind)
{
    return (unsigned)kind < ARRAY_SIZE(kind_names) ? kind_names[kind] : "unknown";
}

/* What the audit knows about one entry, bit by bit from the guest's table. */
struct meaning {
    bool usable, large, write, user, exec;
    u64 address; /* of the page or next table */
};

static struct meaning meaning_of(const struct shadow *sh, u64 key, u32 slot, u64 v)
{
    struct meaning m = {0};
    u32 level = key_level(key);
    bool wide = key_mode(key) != GWALK_32BIT;
    u32 shift = wide ? PAGE_SHIFT + ENTRY_BITS * (level - 1) : level == 2 ? 22 : PAGE_SHIFT;

    m.large = level > 1 && level < 4 && (v & PTE_PS) && (wide || (key & KEY_PSE));
    m.usable = (v & PTE_P) && (v & PTE_A);
    m.write = v & PTE_W;
    m.user = v & PTE_U;
    m.exec = !(v >> 63);
    if (wide) {
        for (u32 bit = sh->maxphyaddr; bit < (key_mode(key) == GWALK_PAE ? 63u : 52u); bit++)
            m.usable &= !(v >> bit & 1);
        if (!m.exec && !(key & KEY_NXE))
            m.usable = false;
        if (level == 4 && (v & PTE_PS))
            m.usable = false;
        for (u32 bit = 13; m.large && bit < shift; bit++)
            m.usable &= !(v >> bit & 1);
        m.address = v & PTE_ADDR_MASK;
    } else {
        m.address = v & ADDR_4K_MASK32;
        if (m.large) {
            u32 top = sh->maxphyaddr < 40 ? sh->maxphyaddr : 40;
            for (u32 bit = top - 19; bit <= 21; bit++)
                m.usable &= !(v >> bit & 1);
            m.address = (v & ADDR_4M_MASK32) | (v >> 13 & 255) << 32;
        }
    }
    if (m.large) {
        m.address = m.address >> shift << shift;
        if (!wide)
            m.address += (u64)(slot & 1) << 21;
    }
    if ((m.large || level == 1) && !(v & PTE_D))
        m.write = false;
    return m;
}

static enum audit_kind audit_rights(u64 key, const struct meaning *m, bool final, u64 e)
{
    if (key & KEY_WP0) {
        if (final && (e & PTE_W) && (e & PTE_U) && !(m->write && (key & KEY_INHERIT_W)))
            return AUDIT_TOO_PERMISSIVE;
    } else if ((e & PTE_W) && !m->write) {
        return AUDIT_TOO_PERMISSIVE;
    }
    if (((e & PTE_U) && !m->user) || (!(e & PTE_NX) && !m->exec))
        return AUDIT_TOO_PERMISSIVE;
    return AUDIT_CLEAN;
}

static bool own_traced_table(const struct shadow *sh, u64 gfn)
{
    FOR_PAGES_OF(sh, gfn, no)
    {
        if (!(sh->page[no].flags & PAGE_LOOSE))
            return true;
    }
    return false;
}

static enum audit_kind audit_leaf(struct shadow *sh, u32 no, u32 slot, u64 gfn, u64 e, bool gfn_known)
{
    rmap_location at[RMAP_NODE_SLOTS];
    int count = rmap_find(&sh->rmap, (e & PTE_ADDR_MASK) >> PAGE_SHIFT, at);
    bool known = count < 0 || key_direct(sh->page[no].key);

    for (int i = 0; i < count; i++)
        known |= at[i] == RMAP_LOCATION(no, slot);
    if (!known)
        return AUDIT_RMAP;
    if (gfn_known) {
        u64 map = p2m_get(sh->vm->p2m, gfn);
        struct trace *t = trace_of(sh->vm->traces, gfn);
        if (!p2m_entry_is_ram(map) || (map & P2M_FRAME_MASK) != (e & PTE_ADDR_MASK))
            return AUDIT_WRONG_FRAME;
        if (!(e & PTE_W))
            return AUDIT_CLEAN;
        if (p2m_entry_type(map) != P2M_RAM_RW)
            return AUDIT_TOO_PERMISSIVE;
        if (own_traced_table(sh, gfn))
            return AUDIT_TRACED_WRITABLE;
        if (~atomic_load(&t->writable) & sh->users)
            return AUDIT_UNMARKED;
    }
    return AUDIT_CLEAN;
}

static bool child_matches(const struct shadow *sh, u64 key, u32 slot, const struct meaning *m, u64 e)
{
    u64 child = sh->page[link_page(sh, e)].key;
    u64 gfn =
        m ? m->address >> PAGE_SHIFT : key_gfn(key) + ((u64)slot << (ENTRY_BITS * (key_level(key) - 1)));

    if (sh->page[link_page(sh, e)].state == PAGE_STALE)
        return true; /* leads nowhere until it is linked again */
    return key_gfn(child) == gfn && key_level(child) == key_level(key) - 1 &&
           key_direct(child) == (!m || m->large) && key_ept(child) == key_ept(key);
}

static enum audit_kind audit_entry(struct shadow *sh, u32 no, u32 slot, u64 *primary)
{
    u64 key = sh->page[no].key, e = entry_get(sh, no, slot);
    bool loose = sh->page[no].flags & PAGE_LOOSE, final;
    struct meaning m;
    enum audit_kind kind;

    if (key_direct(key)) {
        if (key_level(key) == 1)
            return audit_leaf(sh, no, slot, key_gfn(key) + slot, e, true);
        return child_matches(sh, key, slot, NULL, e) ? AUDIT_CLEAN : AUDIT_WRONG_CHILD;
    }
    *primary = shadow_primary(sh, key, slot);
    m = meaning_of(sh, key, slot, *primary);
    final = key_level(key) == 1 || m.large;
    if (!loose && !m.usable)
        return AUDIT_NOT_IN_PRIMARY;
    if (!loose) {
        kind = audit_rights(key, &m, final, e);
        if (kind != AUDIT_CLEAN)
            return kind;
    }
    if (key_level(key) == 1)
        return audit_leaf(sh, no, slot, m.address >> PAGE_SHIFT, e, !loose);
    return loose || child_matches(sh, key, slot, &m, e) ? AUDIT_CLEAN : AUDIT_WRONG_CHILD;
}

static enum audit_kind audit_forwarded(const struct shadow *sh, u32 no, u32 slot, u64 *primary)
{
    const struct shadow_page *p = &sh->page[no];

    if (key_direct(p->key) || (p->flags & PAGE_LOOSE) || !p->forwarded || !sh->can_forward ||
        (sh->vm->vcpus > 1 && !(p->flags & PAGE_LISTED)))
        return AUDIT_FORWARDED;
    *primary = shadow_primary(sh, p->key, slot);
    return *primary & PTE_P ? AUDIT_FORWARDED : AUDIT_CLEAN;
}

/* Finds a linear address that leads through page `wanted`; fills the path. */
static bool find_path(const struct shadow *sh, struct audit_report *r, u32 no, u32 wanted, u32 slot, u64 gva,
                      u32 *budget)
{
    u64 key = sh->page[no].key;
    u32 level = key_level(key);
    u32 first = no == wanted ? slot : 0, last = no == wanted ? slot : ENTRIES - 1;

    for (u32 i = first; i <= last && *budget; i++) {
        u64 e = entry_get(sh, no, i), below = gva | (u64)i << (PAGE_SHIFT + ENTRY_BITS * (level - 1));
        --*budget;
        if (!e || (no != wanted && level == 1))
            continue;
        r->path_derived[level] = e;
        r->path_primary[level] = key_direct(key) ? 0 : shadow_primary(sh, key, i);
        if (no == wanted) {
            r->gva = GVA((u64)((s64)(below << 16) >> 16));
            return true;
        }
        if (find_path(sh, r, link_page(sh, e), wanted, slot, below, budget))
            return true;
    }
    return false;
}

static void locate(const struct shadow *sh, struct audit_report *r, u32 no)
{
    u32 budget = SEARCH_BUDGET;

    if (!sh->pae_root) {
        r->path_levels = find_path(sh, r, sh->root_page, no, r->slot, 0, &budget) ? 4 : 0;
        return;
    }
    for (u32 i = 0; i < 4 && !r->path_levels; i++) {
        u64 e = sh->low_frame[sh->root_page * 4 + i];
        if (e && find_path(sh, r, link_page(sh, e), no, r->slot, (u64)i << 30, &budget))
            r->path_levels = 2;
    }
}

struct finding {
    enum audit_kind kind;
    u32 no, slot;
    u64 primary;
};

static void report_finding(const struct shadow *sh, struct audit_report *r, const struct finding *f)
{
    u64 key = sh->page[f->no].key;

    memset(r, 0, sizeof *r);
    r->kind = f->kind;
    r->table_gfn = key_gfn(key);
    r->level = (u8)key_level(key);
    r->slot = f->slot;
    r->primary = f->primary;
    r->derived = entry_get(sh, f->no, f->slot);
    locate(sh, r, f->no);
}

/* The other way round: is the table that a page was made from writable through this vCPU's own shadow? */
static bool writable_somewhere(const struct shadow *sh, u64 gfn, struct finding *f)
{
    u64 frame = p2m_entry_hpa(p2m_get(sh->vm->p2m, gfn)).v;
    rmap_location at[RMAP_NODE_SLOTS];
    int count = rmap_find(&sh->rmap, frame >> PAGE_SHIFT, at);

    FOR_DIRECT_PAGES(sh, gfn, page)
    {
        if (count >= 0 && count < RMAP_NODE_SLOTS)
            at[count++] = RMAP_LOCATION(page, gfn & (ENTRIES - 1));
    }
    for (int i = 0; i < count; i++) {
        u32 no = RMAP_LOCATION_PAGE(at[i]), slot = RMAP_LOCATION_SLOT(at[i]);
        u64 e = entry_get(sh, no, slot);
        if (!(e & PTE_W) || (e & PTE_ADDR_MASK) != frame)
            continue;
        *f = (struct finding){AUDIT_TRACED_WRITABLE, no, slot, 0};
        return true;
    }
    return false;
}

static bool page_differs(struct shadow *sh, u32 no, struct finding *f)
{
    struct shadow_page *p = &sh->page[no];

    *f = (struct finding){.no = no};
    if (!key_direct(p->key) && !(p->flags & PAGE_LOOSE)) {
        struct trace *t = trace_of(sh->vm->traces, key_gfn(p->key));
        if (!t || !(trace_interest(t) & BIT(sh->consumer)))
            f->kind = AUDIT_UNTRACED_TABLE;
        else if (writable_somewhere(sh, key_gfn(p->key), f))
            return true;
    }
    for (f->slot = 0; f->kind == AUDIT_CLEAN && f->slot < ENTRIES; f->slot++)
        if (entry_get(sh, no, f->slot))
            f->kind = audit_entry(sh, no, f->slot, &f->primary);
        else if (sh->absent && !key_ept(p->key) && entry_raw(sh, no, f->slot) == ENTRY_FORWARDED)
            f->kind = audit_forwarded(sh, no, f->slot, &f->primary);
    f->slot -= f->slot != 0;
    return f->kind != AUDIT_CLEAN;
}

bool audit_page(struct shadow *sh, u32 no, struct audit_report *report)
{
    struct finding f;

    for (u32 looks = 0; sh->page[no].state == PAGE_LIVE && page_differs(sh, no, &f); looks++) {
        if (looks == SECOND_LOOKS) {
            report_finding(sh, report, &f);
            return false;
        }
        shadow_drain(sh);
        shadow_settle(sh);
    }
    return true;
}

bool shadow_audit(struct shadow *sh, struct audit_report *report, struct flush *flush)
{
    bool clean = true;

    if (shadow_is_view(sh)) {
        struct shadow *tables = shadow_shared_enter(sh);
        clean = shadow_audit(tables, report, flush);
        shadow_shared_leave(sh, tables);
        return clean;
    }
    memset(report, 0, sizeof *report);
    shadow_drain(sh);
    shadow_settle(sh);
    for (u32 no = 0; clean && no < sh->frame_count; no++)
        clean = audit_page(sh, no, report);
    *flush = shadow_take_owed(sh);
    return clean;
}

void shadow_audit_print(const struct audit_report *r)
{
    log_line("shadow audit: table at gfn %llx, level %d, slot %d: %s", (unsigned long long)r->table_gfn,
             r->level, r->slot, audit_kind_name(r->kind));
    log_line("  guest's entry %016llx, shadow entry %016llx", (unsigned long long)r->primary,
             (unsigned long long)r->derived);
    if (!r->path_levels)
        return;
    log_line("  reached at linear address %llx:", (unsigned long long)r->gva.v);
    for (u32 level = r->path_levels; level >= r->level; level--)
        log_line("    level %d: guest's %016llx, shadow %016llx", level,
                 (unsigned long long)r->path_primary[level], (unsigned long long)r->path_derived[level]);
}
