/*
 * audit.h - compares a whole shadow with a naive walk of the guest's tables (design "Shadow MMU" point 11).
 *
 * For debug builds and tests: slow, shares no code with the fill path. Differences that the architecture
 * allows (a patch not yet drained, a loose table before its event) are ruled out by draining first, which is
 * always legal; loose tables are checked for structure only.
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

/* Prints it with both paths on the log. */
void shadow_audit_print(const struct audit_report *report);

const char *audit_kind_name(enum audit_kind kind);
