/*
 * check_internal.h - what the three parts of the entry checks share.
 */
#pragma once
#include "vmx/bits.h"
#include "vmx/check.h"

struct checker {
    const struct vmx_check_env *env;
    vmcs_read_fn read;
    void *read_ctx;
    vmx_line_fn line;
    void *line_ctx;
    u32 broken;
    u32 control[VMX_GROUP_COUNT]; /* secondary: 0 unless activated */
};

/* Fields the CPU does not have are 0. */
u64 check_get(const struct checker *c, enum vmcs_field field);
/* Unless ok: a line "NAME 0xvalue: why". */
void check_need(struct checker *c, bool ok, enum vmcs_field field, const char *why);
/* A physical address that is `align`-aligned (a power of 2) and within the CPU's width. */
void check_physical(struct checker *c, enum vmcs_field field, u64 align);
void check_canonical(struct checker *c, enum vmcs_field field);
void check_pat(struct checker *c, enum vmcs_field field);

static inline bool check_on(const struct checker *c, enum vmx_control control)
{
    return c->control[vmx_control_group(control)] & vmx_control_mask(control);
}
static inline u64 check_segment(const struct checker *c, enum vmcs_field es_field, enum vmx_segment s)
{
    return check_get(c, vmcs_segment_field(es_field, s));
}

void check_controls(struct checker *c); /* 26.2.1 */
void check_host(struct checker *c);     /* 26.2.2 to 26.2.4 */
void check_guest(struct checker *c);    /* 26.3.1 but segments */
void check_segments(struct checker *c); /* 26.3.1.2 */
