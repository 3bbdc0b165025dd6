/* dump.c - every field of a VMCS as text; pure. */
#include "arch/format.h"
#include "vmx/check.h"

#define LINE_MAX 120
#define COLUMNS  2

static const char *heading(enum vmcs_type type)
{
    static const char names[4][17] = {"control", "exit information", "guest", "host"};

    return names[type];
}

void vmx_dump_fields(vmcs_read_fn read, void *read_ctx, vmx_line_fn line, void *line_ctx)
{
    static const u8 order[] = {VMCS_TYPE_GUEST, VMCS_TYPE_READ_ONLY, VMCS_TYPE_CONTROL, VMCS_TYPE_HOST};
    char text[LINE_MAX];

    for (size_t t = 0; t < ARRAY_SIZE(order); t++) {
        size_t n = 0, column = 0;

        format_string(text, sizeof text, "VMCS %s fields:", heading((enum vmcs_type)order[t]));
        line(line_ctx, text);
        for (size_t i = 0; i < vmcs_field_count(); i++) {
            enum vmcs_field field = vmcs_field_at(i);
            u64 value;

            if (vmcs_field_type(field) != (enum vmcs_type)order[t] || !read(read_ctx, field, &value))
                continue;
            n += format_string(text + n, sizeof text - n, "  %-32s %16lx", vmcs_field_name(field), value);
            if (++column == COLUMNS) {
                line(line_ctx, text);
                n = column = 0;
            }
        }
        if (column)
            line(line_ctx, text);
    }
}
