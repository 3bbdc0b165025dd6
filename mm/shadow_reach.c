/*
 * shadow_reach.c - which roots may lead to a shadow page, so that a load of CR3 reads only those loose tables again that
 * the new address space may use: those of a parent do not cost its child anything, nor those of a process that has ended.
 *
 * A name is an over-approximation that costs next to nothing to keep: it is looked at only where a link is made. A page
 * that comes into reach of a second root has REACH_ANY from then on, and what is below it, too; one whose root is gone
 * is out of reach of all, and takes the name of the next one. Either way a page is gone through at most once for each
 * time it changes.
 */
#include "mm/shadow_internal.h"

#define REACH_PAGE_MASK ((1u << REACH_PAGE_BITS) - 1)

static u32 name_of(const struct shadow *sh, u32 no)
{
    return sh->root_serial << REACH_PAGE_BITS | no;
}

/* Is there still a root of that name? Roots are the only pages of level 4, and no link leads to one. */
static bool root_lives(const struct shadow *sh, u32 name)
{
    const struct shadow_page *p = &sh->page[name & REACH_PAGE_MASK];

    return key_level(p->key) == 4 && p->reach == name;
}

/*
 * The numbers begin anew: those of all living roots become 1, the next is 2. No page keeps the name of a root that is gone,
 * and no root one from before, which the same page's next root could get while tables still have it.
 */
static rarely_run void renumber(struct shadow *sh)
{
    sh->root_serial = 1;
    for (u32 no = 0; no < sh->frame_count; no++) {
        struct shadow_page *p = &sh->page[no];
        if (p->reach != REACH_ANY && key_level(p->key) < 4)
            p->reach = root_lives(sh, p->reach) ? name_of(sh, p->reach & REACH_PAGE_MASK) : REACH_NONE;
    }
    for (u32 no = 0; no < sh->frame_count; no++) /* last: the others are compared with them */
        if (key_level(sh->page[no].key) == 4)
            sh->page[no].reach = name_of(sh, no);
}

void shadow_reach_name(struct shadow *sh, u32 no)
{
    if (sh->root_serial == REACH_SERIAL_MAX)
        renumber(sh);
    sh->root_serial++;
    sh->page[no].reach = name_of(sh, no);
}

void shadow_reach_join(struct shadow *sh, u32 no, u32 from)
{
    struct shadow_page *p = &sh->page[no];
    u32 left;

    if (p->reach == from || p->reach == REACH_ANY || from == REACH_NONE || key_direct(p->key))
        return;
    p->reach = p->reach == REACH_NONE || !root_lives(sh, p->reach) ? from : REACH_ANY;
    left = key_level(p->key) > 1 ? p->live : 0;
    for (u32 slot = 0; left && slot < ENTRIES; slot++) {
        u64 e = entry_was(entry_raw(sh, no, slot));
        if (!e)
            continue;
        left--;
        shadow_reach_join(sh, link_page(sh, e), p->reach);
    }
}
