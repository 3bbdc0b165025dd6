/* format.c - formatted text; pure. See format.h for the language. */
#include "arch/format.h"

struct out {
    char *buf;
    size_t size, used; /* used counts what is stored, never the final NUL */
};

struct spec {
    bool left, zero, has_precision;
    unsigned width, precision;
    unsigned length; /* bytes of the integer argument */
};

static void put(struct out *o, char c)
{
    if (o->used + 1 < o->size)
        o->buf[o->used++] = c;
}

static void put_padded(struct out *o, const struct spec *s, const char *text, size_t n)
{
    size_t pad = s->width > n ? s->width - n : 0;

    for (size_t i = 0; !s->left && i < pad; i++)
        put(o, ' ');
    for (size_t i = 0; i < n; i++)
        put(o, text[i]);
    for (size_t i = 0; s->left && i < pad; i++)
        put(o, ' ');
}

#define MAX_DIGITS 64 /* enough for any precision a caller asks for; larger ones are cut */

static void put_number(struct out *o, const struct spec *s, u64 value, unsigned base, const char *prefix,
                       bool capitals)
{
    const char *digits = capitals ? "0123456789ABCDEF" : "0123456789abcdef";
    char text[MAX_DIGITS + 4];
    size_t at = sizeof(text), prefix_length = 0, least = s->has_precision ? s->precision : 1;

    while (prefix[prefix_length])
        prefix_length++;
    if (s->zero && !s->left && !s->has_precision && s->width > prefix_length)
        least = MAX(least, s->width - prefix_length);
    least = MIN(least, (size_t)MAX_DIGITS);
    for (size_t n = 0; value || n < least; n++, value /= base)
        text[--at] = digits[value % base];
    for (size_t i = prefix_length; i > 0; i--)
        text[--at] = prefix[i - 1];
    put_padded(o, s, text + at, sizeof(text) - at);
}

static unsigned read_count(const char **fmt, va_list *args)
{
    unsigned n = 0;

    if (**fmt == '*') {
        int given = va_arg(*args, int);
        ++*fmt;
        return given > 0 ? (unsigned)given : 0;
    }
    for (; **fmt >= '0' && **fmt <= '9'; ++*fmt)
        n = n < 10000 ? n * 10 + (unsigned)(**fmt - '0') : n;
    return n;
}

static struct spec read_spec(const char **fmt, va_list *args)
{
    struct spec s = {.length = sizeof(int)};

    for (; **fmt == '-' || **fmt == '0'; ++*fmt)
        *(**fmt == '-' ? &s.left : &s.zero) = true;
    s.width = read_count(fmt, args);
    if (**fmt == '.') {
        ++*fmt;
        s.has_precision = true;
        s.precision = read_count(fmt, args);
    }
    for (;; ++*fmt) {
        if (**fmt == 'l' || **fmt == 'z')
            s.length = sizeof(long);
        else if (**fmt != 'h')
            return s;
    }
}

static void put_string(struct out *o, const struct spec *s, const char *text)
{
    size_t n = 0;

    if (!text)
        text = "(null)";
    while ((!s->has_precision || n < s->precision) && text[n])
        n++;
    put_padded(o, s, text, n);
}

static void put_signed(struct out *o, const struct spec *s, s64 value)
{
    u64 magnitude = value < 0 ? 0 - (u64)value : (u64)value;
    put_number(o, s, magnitude, 10, value < 0 ? "-" : "", false);
}

size_t format_args(char *buf, size_t size, const char *fmt, va_list caller_args)
{
    struct out o = {.buf = buf, .size = size};
    va_list args;

    va_copy(args, caller_args);
    while (*fmt) {
        if (*fmt != '%') {
            put(&o, *fmt++);
            continue;
        }
        const char *start = fmt++;
        struct spec s = read_spec(&fmt, &args);
        bool wide = s.length == sizeof(long);
        char character;

        switch (*fmt) {
        case 'd':
        case 'i': put_signed(&o, &s, wide ? va_arg(args, long) : va_arg(args, int)); break;
        case 'u':
            put_number(&o, &s, wide ? va_arg(args, unsigned long) : va_arg(args, unsigned), 10, "", false);
            break;
        case 'x':
        case 'X':
            put_number(&o, &s, wide ? va_arg(args, unsigned long) : va_arg(args, unsigned), 16, "",
                       *fmt == 'X');
            break;
        case 'p': put_number(&o, &s, (uintptr_t)va_arg(args, void *), 16, "0x", false); break;
        case 's': put_string(&o, &s, va_arg(args, const char *)); break;
        case 'c':
            character = (char)va_arg(args, int);
            put_padded(&o, &s, &character, 1);
            break;
        case '%': put(&o, '%'); break;
        default: /* unknown: as it stands */
            put(&o, *start);
            fmt = start + 1;
            continue;
        }
        fmt++;
    }
    va_end(args);
    if (size)
        buf[o.used] = 0;
    return o.used;
}

size_t format_string(char *buf, size_t size, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    size_t n = format_args(buf, size, fmt, args);
    va_end(args);
    return n;
}
