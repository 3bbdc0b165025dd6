/* config_say.c - diagnostics: file:line:column: error: what is wrong; what to do. */
#include "arch/format.h"
#include "arch/string.h"
#include "vmm/config_parser.h"

#include <stdarg.h>

#define MAX_WORD    24 /* longer words get no suggestion */
#define CLIP_BYTES  40
#define MAX_MESSAGE 512

static void emit(struct config_report *report, u32 line, u32 column, const char *fmt, va_list args)
{
    char text[MAX_MESSAGE];
    size_t used;

    used = format_string(text, sizeof(text), "%s:%u:%u: error: ", report->file, line, MAX(column, 1u));
    if (used < sizeof(text))
        format_args(text + used, sizeof(text) - used, fmt, args);
    report->errors++;
    if (report->line)
        report->line(report->ctx, text);
}

void config_say(struct config_report *report, u32 line, u32 column, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    emit(report, line, column, fmt, args);
    va_end(args);
}

void config_error(struct config_parser *p, const char *where, const char *fmt, ...)
{
    uintptr_t at = (uintptr_t)where, buffer = (uintptr_t)p->buffer;
    bool inside = p->buffer && at >= buffer && at < buffer + p->buffer_size;
    va_list args;

    if (p->section == SECTION_VM)
        p->report->bad_vms |= 1u << (p->vm - p->config->vms);
    va_start(args, fmt);
    emit(p->report, p->line, inside ? (u32)(at - buffer) + 1 : 1, fmt, args);
    va_end(args);
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* Levenshtein distance, two neighbours swapped counting as one; both at most MAX_WORD long. */
static u32 distance(const char *a, size_t na, const char *b, size_t nb)
{
    u8 row[3][MAX_WORD + 1];

    for (size_t j = 0; j <= nb; j++)
        row[0][j] = (u8)j;
    for (size_t i = 1; i <= na; i++) {
        u8 *now = row[i % 3], *before = row[(i + 2) % 3], *earlier = row[(i + 1) % 3];

        now[0] = (u8)i;
        for (size_t j = 1; j <= nb; j++) {
            bool same = lower(a[i - 1]) == lower(b[j - 1]);
            u8 best = (u8)MIN(before[j] + 1, now[j - 1] + 1);

            best = (u8)MIN(best, before[j - 1] + !same);
            if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) && lower(a[i - 2]) == lower(b[j - 1]))
                best = (u8)MIN(best, earlier[j - 2] + 1);
            now[j] = best;
        }
    }
    return row[na % 3][nb];
}

const char *config_nearest(const char *word, const void *words, size_t stride, u32 count)
{
    size_t length = strlen(word);
    const char *nearest = NULL;
    u32 best = 1 + (u32)length / 3; /* a third of the letters may be wrong */

    if (length > MAX_WORD)
        return NULL;
    for (u32 i = 0; i < count; i++) {
        const char *candidate = *(const char *const *)((const char *)words + i * stride);
        size_t n = strlen(candidate);
        u32 d = n > MAX_WORD ? UINT32_MAX : distance(word, length, candidate, n);

        if (d < best || (d == best && !nearest)) {
            best = d;
            nearest = candidate;
        }
    }
    return nearest;
}

struct config_clip config_clip(const char *s)
{
    struct config_clip clip;
    size_t n = strlen(s), keep = n;

    if (n > CLIP_BYTES) {
        keep = CLIP_BYTES;
        while (keep && UTF8_CONTINUES(s[keep])) /* not in the middle of a UTF-8 character */
            keep--;
    }
    memcpy(clip.text, s, keep);
    memcpy(clip.text + keep, n > keep ? "..." : "", n > keep ? 4 : 1);
    return clip;
}

struct config_clip config_size_text(u64 bytes)
{
    static const char units[] = {'K', 'M', 'G'};
    struct config_clip clip;
    int unit = -1;

    while (unit < 2 && bytes && bytes % KIB == 0) {
        bytes /= KIB;
        unit++;
    }
    if (unit < 0)
        format_string(clip.text, sizeof(clip.text), "%llu bytes", (unsigned long long)bytes);
    else
        format_string(clip.text, sizeof(clip.text), "%llu%c", (unsigned long long)bytes, units[unit]);
    return clip;
}
