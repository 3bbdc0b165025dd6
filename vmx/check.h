/*
 * check.h - why would this VM entry fail? All checks of SDM Vol. 3C 26.2 (controls, host state) and 26.3
 * (guest state), said field by field. Pure: the VMCS is read through a function, so that a test gives its
 * own.
 */
#pragma once
#include "arch/types.h"
#include "vmx/caps.h"
#include "vmx/vmcs.h"

/* Reads one field into *value; false if the CPU has no such field (it then counts as 0). */
typedef bool (*vmcs_read_fn)(void *ctx, enum vmcs_field field, u64 *value);

struct vmx_check_env {
    const struct vmx_caps *caps;
    u8 physical_bits; /* MAXPHYADDR */
    u8 linear_bits;   /* 48, or 57 with LA57 */
};

/* Explains: one line per broken rule, "GUEST_CR3 0x...: beyond the physical address width" and so on. Returns
 * the number of broken rules; 0: no rule known here is broken. */
u32 vmx_entry_check(const struct vmx_check_env *env, vmcs_read_fn read, void *read_ctx, vmx_line_fn line,
                    void *line_ctx);

/* Every field the CPU has, with name and value, two or more to a line, grouped as in the SDM. */
void vmx_dump_fields(vmcs_read_fn read, void *read_ctx, vmx_line_fn line, void *line_ctx);
