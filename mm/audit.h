/*
 * audit.h - compares a whole shadow with a naive walk of the guest's tables.
 *
 * For `[machine] audit` and tests: slow, shares no code with the fill path. Differences that the architecture
 * allows (a patch not yet drained, a loose table before its event) are ruled out by draining first, which is
 * always legal; loose tables are checked for structure only. Other vCPUs may write tables meanwhile: a difference
 * counts if it is still there after another drain.
 */
#pragma once
#include "arch/types.h"
#include "mm/shadow.h"

enum audit_kind {
    AUDIT_CLEAN,
    AUDIT_WRONG_FRAME,     /* leaf: maps another host frame than the primary and the p2m say */
    AUDIT_TOO_PERMISSIVE,  /* leaf or link: a right the primary does not give */
    AUDIT_NOT_IN_PRIMARY,  /* present although the primary is not, or has A=0, or reserved bits */
    AUDIT_TRACED_WRITABLE, /* writable mapping of a frame that is traced by this vCPU */
    AUDIT_UNMARKED,        /* writable mapping of a frame whose writable mask lacks this vCPU */
    AUDIT_WRONG_CHILD,     /* link to a table that was made from something else */
    AUDIT_UNTRACED_TABLE,  /* table derived from a frame without interest bit, and not loose */
    AUDIT_RMAP,            /* a leaf that the rmap does not know */
    AUDIT_FORWARDED,       /* its faults go to the guest, but the primary is present, or nobody watches it */
};

struct audit_report {
    enum audit_kind kind;
    u64 table_gfn; /* the guest table the first difference was made from */
    u32 slot;      /* shadow slot */
    u8 level;
    u64 primary, derived;
    gva_t gva; /* a linear address that leads there in the present address space, if path_levels != 0 */
    u8 path_levels;
    u64 path_primary[GWALK_LEVELS + 1], path_derived[GWALK_LEVELS + 1];
};

/* Returns true when clean; else *report is the first difference. flush: from the draining. */
bool shadow_audit(struct shadow *sh, struct audit_report *report, struct flush *flush);

/* What shadow_audit_changes() remembers of one shadow. */
struct audit_history {
    u64 elsewhere; /* counts of what changes entries anywhere */
    u64 pages;     /* looked at so far */
    u64 postponed; /* audits left to a later exit, because patches were on their way */
};

/*
 * The same after each exit, for the part that may have changed since the last time: pages that are new or have just
 * been traced, those on the way to the linear address `at`, and those made from the guest page at `at` (where a traced
 * write goes); everything after a frame was dropped, a request of another vCPU served, or pages reclaimed. Nothing is
 * drained: while a patch is on its way to this vCPU, the audit is left to the exit after its event, so the shadow
 * behaves as it does without audit. What other vCPUs' patches have changed is left to shadow_audit(). at: NULL where
 * the exit has no address.
 */
bool shadow_audit_changes(struct shadow *sh, struct audit_history *history, const gva_t *at,
                          struct audit_report *report, struct flush *flush);

/* Of audit*.c: one page, if it is in use. A page that differs counts if it still does after its patches have been
 * drained; other vCPUs may go on writing, so it is looked at more than once. */
bool audit_page(struct shadow *sh, u32 no, struct audit_report *report);

/* Prints it with both paths on the log. */
void shadow_audit_print(const struct audit_report *report);

const char *audit_kind_name(enum audit_kind kind);
