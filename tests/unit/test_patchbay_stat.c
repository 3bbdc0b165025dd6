/* links: arch/err.c */
/* test_patchbay_stat.c - the host tool that shows a dump of PB_CALL_STATS: binary, hexadecimal in several dresses,
 * damaged ones; and that ipc/README.md lists the counters as they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/abi.h"
#include "tests/unit/run_tool.h"

static char dump_file[] = "/tmp/patchbay-stat-XXXXXX";
static char readme[32768];

static void dump(const void *data, size_t size)
{
    FILE *file = fopen(dump_file, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    fclose(file);
}

static int show(const char *options)
{
    char arguments[256];

    snprintf(arguments, sizeof(arguments), "%s %s", options, dump_file);
    return run(arguments);
}

static void silent_about(const char *text)
{
    if (strstr(output, text))
        fail_msg("'%s' is in:\n%s", text, output);
}

static struct pb_stats example(void)
{
    struct pb_stats s = {.magic = PB_STATS_MAGIC,
                         .version = PB_STATS_VERSION,
                         .counters_at = offsetof(struct pb_stats, counter),
                         .exits_at = offsetof(struct pb_stats, exits),
                         .counters = PB_STAT_COUNT,
                         .reasons = 78,
                         .bytes = sizeof(s),
                         .vm = 2,
                         .vcpu = 1,
                         .vcpus = 4,
                         .tsc = 123456789,
                         .tsc_hz = 2000000000};

    s.counter[PB_STAT_EXITS] = 12345678901234567ull;
    s.counter[PB_STAT_POSTED] = 77;
    s.counter[PB_STAT_CHANNELS] = 4096;
    s.exits[10] = 1000;
    s.exits[35] = 3;
    return s;
}

static void expect_example(void)
{
    said("VM 2, vCPU 1 of 4, tsc 123456789, 2000000000 Hz\n");
    said("exits                           12345678901234567  exits\n");
    said("posted                                         77  patches\n");
    said("channel-bytes                                4096  bytes, now\n");
    said("  CPUID                                      1000\n");
    said("  35                                            3\n");
    silent_about("overflows");
    silent_about("missing");
}

static void a_binary_dump(void **state)
{
    struct pb_stats s = example();

    (void)state;
    dump(&s, sizeof(s));
    assert_int_equal(show(""), 0);
    expect_example();
    assert_int_equal(show("--all"), 0);
    said("overflows                                       0  patches\n");
    said("  VMCALL                                        0\n");
    assert_int_equal(show("--raw"), 0);
    said("exits\t12345678901234567\nposted\t77\nchannel-bytes\t4096\nexit:CPUID\t1000\nexit:35\t3\n");
    silent_about("VM 2");
}

/* before, between and behind the bytes of a line */
static void dump_text(const struct pb_stats *s, const char *offset, int group, const char *behind)
{
    const unsigned char *bytes = (const void *)s;
    FILE *file = fopen(dump_file, "w");

    assert_non_null(file);
    for (size_t i = 0; i < sizeof(*s); i += 16) {
        if (*offset)
            fprintf(file, offset, (unsigned)i);
        for (size_t k = i; k < i + 16; k++)
            fprintf(file, "%02x%s", bytes[k],
                    group && (k + 1) % (size_t)group == 0 && k + 1 < i + 16 ? " " : "");
        fprintf(file, "%s\n", behind);
    }
    fclose(file);
}

static void hexadecimal_in_any_dress(void **state)
{
    struct pb_stats s = example();

    (void)state;
    dump_text(&s, "%08x: ", 2, "  PBST.............."); /* xxd */
    assert_int_equal(show(""), 0);
    expect_example();
    dump_text(&s, "%08x  ", 1, "  |PBST..............|"); /* hexdump -C */
    assert_int_equal(show(""), 0);
    expect_example();
    dump_text(&s, "", 0, ""); /* xxd -p */
    assert_int_equal(show(""), 0);
    expect_example();
    dump_text(&s, "", 1, "");
    assert_int_equal(show(""), 0);
    expect_example();
}

static void what_is_no_dump(void **state)
{
    struct pb_stats s = example();

    (void)state;
    dump("", 0);
    assert_int_equal(show(""), 1);
    said("too short");
    dump(&s, PB_STATS_HEADER - 1);
    assert_int_equal(show(""), 1);
    s.version++;
    dump(&s, sizeof(s));
    assert_int_equal(show(""), 1);
    said("another version");
    s = example();
    s.magic++;
    dump(&s, sizeof(s));
    assert_int_equal(show(""), 1);
    assert_int_equal(run("/nowhere/at/all"), 2);
    assert_int_equal(run("--what"), 2);
    assert_int_equal(run("a b"), 2);
    assert_int_equal(run("--help"), 0);
}

/* Whatever the header says, nothing outside the dump is read (ASan watches). */
static void headers_that_lie(void **state)
{
    struct pb_stats s = example();
    unsigned seed = 1;

    (void)state;
    s.bytes = 72;
    dump(&s, sizeof(s));
    assert_int_equal(show(""), 0);
    said("exits                           12345678901234567  exits\n");
    said("118 numbers are missing");
    for (int i = 0; i < 40; i++) {
        unsigned char *bytes = (void *)&s;
        s = example();
        for (size_t k = 6; k < 16; k++)
            bytes[k] = (unsigned char)(rand_r(&seed) >> 8);
        dump(&s, (size_t)rand_r(&seed) % sizeof(s));
        assert_true(show("--all") <= 1);
    }
}

static void the_readme_has_every_counter(void **state)
{
    FILE *file = fopen("ipc/README.md", "r");
    size_t n;

    (void)state;
    assert_non_null(file);
    n = fread(readme, 1, sizeof(readme) - 1, file);
    readme[n] = 0;
    fclose(file);
    assert_int_equal(run("--counters"), 0);
    if (!strstr(readme, output))
        fail_msg("ipc/README.md does not have the output of patchbay-stat --counters");
}

static int setup(void **state)
{
    int fd = mkstemp(dump_file);

    (void)state;
    return fd < 0 || close(fd);
}

static int teardown(void **state)
{
    (void)state;
    return unlink(dump_file);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_binary_dump),
        cmocka_unit_test(hexadecimal_in_any_dress),
        cmocka_unit_test(what_is_no_dump),
        cmocka_unit_test(headers_that_lie),
        cmocka_unit_test(the_readme_has_every_counter),
    };

    tool_is(argc ? argv[0] : "", "patchbay-stat");
    return cmocka_run_group_tests(tests, setup, teardown);
}
