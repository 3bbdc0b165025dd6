/* guest_lib.c - text on the 16550, options, the end. */
#include "vmm/demo/guest.h"

#define COM1          0x3F8
#define COM1_LSR      0x3FD
#define LSR_THR_EMPTY 0x20
#define EXIT_PORT     0xF4

static void put_char(char c)
{
    while (!(guest_in8(COM1_LSR) & LSR_THR_EMPTY))
        ;
    guest_out8(COM1, (u8)c);
}

void say(const char *fmt, ...)
{
    char text[512];
    va_list args;

    va_start(args, fmt);
    format_args(text, sizeof(text), fmt, args);
    va_end(args);
    for (const char *c = text; *c; c++)
        put_char(*c);
    put_char('\n');
}

no_return void guest_exit(u32 code)
{
    guest_out8(EXIT_PORT, (u8)code);
    for (;;)
        __asm__ volatile("cli; hlt");
}

u64 guest_ticks(void)
{
    u32 low, high;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (u64)high << 32 | low;
}

void option_word(const char *cmdline, const char *key, char *to, size_t size)
{
    size_t length = strlen(key), n = 0;

    for (const char *s = cmdline; *s; s++) {
        if ((s == cmdline || s[-1] == ' ') && strncmp(s, key, length) == 0 && s[length] == '=') {
            for (s += length + 1; *s && *s != ' ' && n + 1 < size; s++)
                to[n++] = *s;
            break;
        }
    }
    to[n] = 0;
}

u64 option_number(const char *cmdline, const char *key, u64 otherwise)
{
    char word[24];
    u64 n = 0;

    option_word(cmdline, key, word, sizeof(word));
    if (strcmp(word, "forever") == 0)
        return UINT64_MAX;
    for (const char *c = word; *c; c++) {
        if (*c < '0' || *c > '9')
            return otherwise;
        n = n * 10 + (u64)(*c - '0');
    }
    return word[0] ? n : otherwise;
}
