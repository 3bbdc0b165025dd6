/*
 * string.c - the C library functions of arch/string.h. Bulk work is done by REP MOVSQ/STOSQ: eight bytes an
 * iteration, and the CPUs' fast-string paths.
 */
#include "arch/string.h"
#include "arch/cpu.h"

#define EVERY_BYTE 0x0101010101010101ull

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
    size_t quads = n / 8;
    cpu_copy_quads(to, from, quads);
    cpu_copy_bytes((u8 *)to + quads * 8, (const u8 *)from + quads * 8, n % 8);
    return to;
}

void *memmove(void *to, const void *from, size_t n)
{
    u8 *t = to;
    const u8 *f = from;

    if (t <= f || t >= f + n) { /* upwards is safe: an overlap below only reads what is not yet written */
        cpu_copy_bytes(t, f, n);
        return to;
    }
    cpu_copy_bytes_down(t, f, n);
    return to;
}

void *memset(void *to, int byte, size_t n)
{
    size_t quads = n / 8;
    cpu_fill_quads(to, (u8)byte * EVERY_BYTE, quads);
    cpu_fill_bytes((u8 *)to + quads * 8, (u8)byte, n % 8);
    return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const u8 *x = a, *y = b;
    for (size_t i = 0; i < n; i++)
        if (x[i] != y[i])
            return x[i] - y[i];
    return 0;
}

void *memchr(const void *s, int byte, size_t n)
{
    const u8 *p = s;
    for (size_t i = 0; i < n; i++)
        if (p[i] == (u8)byte)
            return (void *)(uintptr_t)(p + i);
    return NULL;
}

size_t strnlen(const char *s, size_t max)
{
    size_t n = 0;
    while (n < max && s[n])
        n++;
    return n;
}

size_t strlen(const char *s)
{
    return strnlen(s, PTRDIFF_MAX);
}

int strncmp(const char *a, const char *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (a[i] != b[i])
            return (u8)a[i] - (u8)b[i];
        if (!a[i])
            break;
    }
    return 0;
}

int strcmp(const char *a, const char *b)
{
    return strncmp(a, b, PTRDIFF_MAX);
}

char *strchr(const char *s, int c)
{
    for (;; s++) {
        if (*s == (char)c)
            return (char *)(uintptr_t)s;
        if (!*s)
            return NULL;
    }
}
