/* load_place.c - which guest memory is taken by what, and what the loaders say. */
#include "arch/format.h"
#include "arch/string.h"
#include "vmm/load_parts.h"

#include <stdarg.h>

enum err load_fail(const struct loader *l, enum err e, const char *name, const char *fmt, ...)
{
    char text[320];
    size_t used = format_string(text, sizeof(text), "%s: ", name ? name : "image");
    va_list args;

    va_start(args, fmt);
    format_args(text + used, sizeof(text) - used, fmt, args);
    va_end(args);
    if (l->request->report)
        l->request->report(l->request->report_ctx, text);
    return e;
}

enum err load_fault(const struct loader *l, u64 gpa)
{
    return load_fail(l, ERR_FAULT, l->request->kernel.name, "guest memory at 0x%llx cannot be written",
                     (unsigned long long)gpa);
}

struct load_text load_size_text(u64 bytes)
{
    struct load_text t;

    if (bytes >= MIB)
        format_string(t.text, sizeof(t.text), "%lluM", (unsigned long long)(ALIGN_UP(bytes, MIB) / MIB));
    else if (bytes >= KIB)
        format_string(t.text, sizeof(t.text), "%lluK", (unsigned long long)(ALIGN_UP(bytes, KIB) / KIB));
    else
        format_string(t.text, sizeof(t.text), "%llu bytes", (unsigned long long)bytes);
    return t;
}

bool load_is_ram(const struct loader *l, u64 base, u64 size)
{
    if (size > UINT64_MAX - base || base < LOAD_LOW_BASE)
        return false;
    if (base < GUEST_RESERVED_TOP && base + size > GUEST_RESERVED_BASE)
        return false;
    for (u32 i = 0; i < l->layout.count; i++) {
        const struct guest_range *r = &l->layout.ram[i];

        if (base >= r->base && base + size <= r->base + r->size)
            return true;
    }
    return false;
}

/* The taken span that [base, base + size) touches, or NULL. */
static const struct load_span *collision(const struct loader *l, u64 base, u64 size)
{
    for (u32 i = 0; i < l->used_count; i++) {
        if (base < l->used[i].end && base + size > l->used[i].base)
            return &l->used[i];
    }
    return NULL;
}

bool load_is_free(const struct loader *l, u64 base, u64 size)
{
    return load_is_ram(l, base, size) && !collision(l, base, size);
}

bool load_take(struct loader *l, u64 base, u64 size)
{
    if (l->used_count == LOAD_MAX_USED || !load_is_free(l, base, size))
        return false;
    l->used[l->used_count++] = (struct load_span){base, base + size};
    return true;
}

bool load_place(struct loader *l, u64 size, u64 align, u64 lo, u64 hi, enum load_end end, u64 *base)
{
    u64 at;

    if (size > hi || hi - size < lo)
        return false;
    at = end == LOAD_LOWEST ? ALIGN_UP(lo, align) : ALIGN_DOWN(hi - size, align);
    /* Every step passes one taken span, so there are at most as many steps. */
    for (u32 step = 0; step <= l->used_count && at >= lo && at <= hi - size; step++) {
        const struct load_span *hit = collision(l, at, size);

        if (!hit) {
            *base = at;
            return load_take(l, at, size);
        }
        if (end == LOAD_LOWEST)
            at = ALIGN_UP(hit->end, align);
        else if (hit->base < size)
            return false;
        else
            at = ALIGN_DOWN(hit->base - size, align);
    }
    return false;
}

bool load_write(const struct loader *l, u64 gpa, const void *data, u64 size)
{
    return size == 0 || l->request->mem.write(l->request->mem.ctx, GPA(gpa), data, size);
}

bool load_zero(const struct loader *l, u64 gpa, u64 size)
{
    return size == 0 || l->request->mem.zero(l->request->mem.ctx, GPA(gpa), size);
}
