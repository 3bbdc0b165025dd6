/* audit_changes.c - the audit after each exit: which pages may have changed since the one before. */
#include "arch/string.h"
#include "mm/audit.h"
#include "mm/shadow_shared.h"

#define WRITE_MAX 64u /* bytes that one emulated store may touch */

static void doubt(struct shadow *sh, u32 no)
{
    sh->page[no].flags &= (u8)~PAGE_AUDITED;
}

static void doubt_way(struct shadow *sh, u64 gva)
{
    u32 no = sh->root_page, level = 4;

    if (sh->pae_root) {
        u64 e = sh->low_frame[sh->root_page * 4 + ((u32)gva >> 30)];
        if (!e)
            return;
        no = link_page(sh, e);
        level = 2;
    }
    for (;; level--) {
        u64 e = entry_get(sh, no, slot_of(gva, level));
        doubt(sh, no);
        if (level == 1 || !e)
            return;
        no = link_page(sh, e);
    }
}

static void doubt_table(struct shadow *sh, u64 gva)
{
    struct gwalk walk;

    if (!gwalk(sh->vm->p2m, &sh->paging, GVA(gva), GWALK_AC, &walk))
        return;
    FOR_PAGES_OF(sh, walk.gpa.v >> PAGE_SHIFT, no)
    {
        doubt(sh, no);
    }
}

/* A patch for this vCPU is there, or another vCPU is between a store and its patch. */
static bool patches_on_their_way(const struct shadow *sh)
{
    if (matrix_pending(sh->vm->matrix, sh->consumer))
        return true;
    for (u32 first = 0; first < sh->vm->vcpus; first += 8)
        if (shadow_others_storing(sh, first))
            return true;
    return false;
}

bool shadow_audit_changes(struct shadow *sh, struct audit_history *history, const gva_t *at,
                          struct audit_report *report, struct flush *flush)
{
    struct shadow_stats s;
    u64 elsewhere;
    bool clean = true;

    if (shadow_is_view(sh)) {
        struct shadow *tables = shadow_shared_enter(sh);
        clean = shadow_audit_changes(tables, history, at, report, flush);
        shadow_shared_leave(sh, tables);
        return clean;
    }
    s = shadow_stats_read(sh);
    elsewhere = s.frames_dropped + s.kicks_served + s.reclaims + s.resyncs;
    memset(report, 0, sizeof *report);
    *flush = FLUSH_NOTHING;
    if (at) {
        doubt_way(sh, at->v);
        doubt_table(sh, at->v);
        doubt_table(sh, at->v + WRITE_MAX - 1); /* it may cross a page */
    }
    for (u32 no = 0; elsewhere != history->elsewhere && no < sh->frame_count; no++)
        doubt(sh, no);
    history->elsewhere = elsewhere;
    if (patches_on_their_way(sh)) {
        history->postponed++;
        return true;
    }
    for (u32 no = 0; clean && no < sh->frame_count; no++) {
        struct shadow_page *p = &sh->page[no];
        if (p->flags & PAGE_LOOSE)
            doubt(sh, no); /* to be looked at when it is traced again */
        if (p->state != PAGE_LIVE || (p->flags & (PAGE_AUDITED | PAGE_LOOSE)))
            continue;
        history->pages++;
        clean = audit_page(sh, no, report);
        if (p->state == PAGE_LIVE && !(p->flags & PAGE_LOOSE))
            p->flags |= PAGE_AUDITED;
    }
    *flush = shadow_take_owed(sh);
    return clean;
}
