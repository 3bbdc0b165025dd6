/*
 * patchbay-stat.c - shows what PB_CALL_STATS has written (ipc/abi.h, "patchbay-stat layout"): a dump of the page, in
 * binary or as hexadecimal text, becomes a table. It believes the dump's own header as to what is where.
 */
#include "ipc/abi.h"
#include "vmx/exit.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum exit_code { EXIT_GOOD, EXIT_NO_STATS, EXIT_USAGE };

#define DUMP_MAX 4096u

static const char help[] =
    "usage: patchbay-stat [options] [DUMP]\n"
    "\n"
    "Shows the counters that a guest got by PB_CALL_STATS. DUMP (standard input if there is none) holds "
    "struct\n"
    "pb_stats in binary, or as hexadecimal text: bytes in order, with blanks between them or without, and "
    "an\n"
    "offset with a colon before each line or none, as xxd and hexdump -C print them. Only the first is "
    "read.\n"
    "\n"
    "  --all       zeroes too\n"
    "  --raw       one line each: name, tab, number; for programs\n"
    "  --counters  list all counters with unit and meaning, as in ipc/README.md\n"
    "  --help      this text\n"
    "\n"
    "Exit code: 0 shown, 1 the dump holds no such structure, 2 wrong use or no such file.\n";

static const struct {
    const char *name, *unit, *when;
} rows[PB_STAT_COUNT] = {
#define PB_STAT_ROW(index, id, name, unit, when) [index] = {name, unit, when},
#include "ipc/stats.def"
};

static bool all, raw;

static void list_counters(void)
{
    printf("| index | name | unit | counts when |\n|---|---|---|---|\n");
    for (u32 i = 0; i < PB_STAT_COUNT; i++)
        printf("| %u | `%s` | %s | %s |\n", i, rows[i].name, rows[i].unit, rows[i].when);
}

/* ---- hexadecimal text ---- */

static int digit(char c)
{
    return isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10;
}

/* Bytes of one line of text, without the offset before them and the characters behind them. */
static size_t line_bytes(const char *s, const char *end, u8 *out, size_t room)
{
    const char *colon = memchr(s, ':', (size_t)(end - s));
    size_t n = 0;
    u32 digits = 0;

    if (colon)
        s = colon + 1;
    else if (end - s > 10 && s[8] == ' ' && s[9] == ' ') /* hexdump -C */
        s += 10;
    while (s < end && *s != '|') {
        if (isspace((unsigned char)*s)) {
            if (digits && colon && s + 1 < end && isspace((unsigned char)s[1]))
                break; /* xxd: two blanks, then text */
            s++;
        } else if (end - s >= 2 && isxdigit((unsigned char)s[0]) && isxdigit((unsigned char)s[1])) {
            if (n == room)
                return n;
            out[n++] = (u8)(digit(s[0]) << 4 | digit(s[1]));
            digits += 2;
            s += 2;
        } else {
            break;
        }
    }
    return n;
}

static size_t from_text(const char *text, size_t size, u8 *out)
{
    const char *s = text, *end = text + size;
    size_t n = 0;

    while (s < end) {
        const char *line = memchr(s, '\n', (size_t)(end - s));
        if (!line)
            line = end;
        n += line_bytes(s, line, out + n, DUMP_MAX - n);
        s = line + 1;
    }
    return n;
}

/* ---- the structure ---- */

static int no_stats(const char *why)
{
    fprintf(stderr, "patchbay-stat: this is no struct pb_stats: %s\n", why);
    return EXIT_NO_STATS;
}

/* Element i of an array of 8-byte numbers at `at`; false: the dump ends before it. */
static bool number(const u8 *dump, size_t size, u32 at, u32 i, u64 *value)
{
    u64 offset = at + (u64)i * sizeof(*value);

    if (offset + sizeof(*value) > size)
        return false;
    memcpy(value, dump + offset, sizeof(*value));
    return true;
}

static void print(bool reason, const char *name, u64 value, const char *unit)
{
    if (!value && !all)
        return;
    if (raw)
        printf("%s%s\t%llu\n", reason ? "exit:" : "", name, (unsigned long long)value);
    else
        printf("%s%-*s %20llu%s%s\n", reason ? "  " : "", reason ? 26 : 28, name, (unsigned long long)value,
               *unit ? "  " : "", unit);
}

static int show(const u8 *dump, size_t size)
{
    struct pb_stats head = {0};
    char name[32];
    u32 missing = 0;
    u64 value;

    if (size < PB_STATS_HEADER)
        return no_stats("it is too short");
    memcpy(&head, dump, PB_STATS_HEADER);
    if (head.magic != PB_STATS_MAGIC)
        return no_stats("it does not begin with PBST");
    if (head.version != PB_STATS_VERSION)
        return no_stats("another version of the layout");
    if (head.bytes < size)
        size = head.bytes;
    if (!raw)
        printf("VM %u, vCPU %u of %u, tsc %llu, %llu Hz\n", head.vm, head.vcpu, head.vcpus,
               (unsigned long long)head.tsc, (unsigned long long)head.tsc_hz);
    for (u32 i = 0; i < head.counters; i++) {
        if (!number(dump, size, head.counters_at, i, &value)) {
            missing++;
            continue;
        }
        snprintf(name, sizeof(name), "counter-%u", i);
        print(false, i < PB_STAT_COUNT ? rows[i].name : name, value, i < PB_STAT_COUNT ? rows[i].unit : "");
    }
    for (u32 i = 0; i < head.reasons; i++) {
        if (!number(dump, size, head.exits_at, i, &value)) {
            missing++;
            continue;
        }
        snprintf(name, sizeof(name), "%u", i);
        print(true, *vmx_exit_name(i) != '?' ? vmx_exit_name(i) : name, value, "");
    }
    if (missing)
        fprintf(stderr, "patchbay-stat: the dump ends early: %u numbers are missing\n", missing);
    return EXIT_GOOD;
}

static int decode(FILE *file)
{
    static char text[16 * DUMP_MAX];
    static u8 dump[DUMP_MAX];
    size_t size = fread(text, 1, sizeof(text), file);

    if (size >= 4 && memcmp(text, "PBST", 4) == 0)
        return show((const u8 *)text, size < DUMP_MAX ? size : DUMP_MAX);
    return show(dump, from_text(text, size, dump));
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"all", no_argument, NULL, 'a'},
                                            {"raw", no_argument, NULL, 'r'},
                                            {"counters", no_argument, NULL, 'c'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    int option, code;
    FILE *file = stdin;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        switch (option) {
        case 'a': all = true; break;
        case 'r': raw = true; break;
        case 'c': list_counters(); return EXIT_GOOD;
        case 'h': fputs(help, stdout); return EXIT_GOOD;
        default: fputs(help, stderr); return EXIT_USAGE;
        }
    if (argc - optind > 1) {
        fputs(help, stderr);
        return EXIT_USAGE;
    }
    if (optind < argc && !(file = fopen(argv[optind], "rb"))) {
        fprintf(stderr, "patchbay-stat: %s: %s\n", argv[optind], strerror(errno));
        return EXIT_USAGE;
    }
    code = decode(file);
    if (file != stdin)
        fclose(file);
    return code;
}
