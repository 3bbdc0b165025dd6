/* links: arch/tsc_math.c */
/* test_format.c - format_string() against the C library's snprintf(), its bounds; and the TSC conversions. */
#include "arch/cpuid.h"
#include "arch/format.h"
#include "arch/tsc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BOTH(...)                                                  \
    do {                                                           \
        char ours[200], theirs[200];                               \
        size_t n = format_string(ours, sizeof(ours), __VA_ARGS__); \
        int m = snprintf(theirs, sizeof(theirs), __VA_ARGS__);     \
        assert_string_equal(ours, theirs);                         \
        assert_int_equal(n, m);                                    \
    } while (0)

static void test_numbers_as_in_libc(void **state)
{
    (void)state;
    BOTH("%d %i %u", 0, -7, 7u);
    BOTH("%d|%ld|%lld", INT32_MIN, (long)INT64_MIN, (long long)INT64_MAX);
    BOTH("%x %X %lx %llx %zx", 0xbeefu, 0xbeefu, 0x123456789abcdeful, ~0ull, (size_t)16);
    BOTH("[%8d] [%-8d] [%08d] [%08x] [%2d]", 42, 42, -42, 0xabcu, 12345);
    BOTH("[%016lx] [%*d] [%-*d] [%.4u] [%8.4u]", 255ul, 6, 5, 6, 5, 77u, 77u);
    BOTH("%hd %hhu", (short)3, (unsigned char)4);
    BOTH("%lu %lu", 0ul, ~0ul);
    BOTH("%p", (void *)0x1234);
}

static void test_text_as_in_libc(void **state)
{
    (void)state;
    BOTH("plain");
    BOTH("%s|%8s|%-8s|%.2s|%.*s|%c|%3c|%%", "abc", "abc", "abc", "abc", 1, "abc", 'x', 'y');
}

static void test_odd_input(void **state)
{
    char text[40];
    const char *volatile unknown = "%q %", *volatile missing = NULL;

    (void)state;
    assert_int_equal(format_string(text, sizeof(text), unknown, 1), 4);
    assert_string_equal(text, "%q %");
    format_string(text, sizeof(text), "%s", missing);
    assert_string_equal(text, "(null)");
}

static void test_never_writes_past_the_end(void **state)
{
    (void)state;
    for (size_t size = 0; size < 24; size++) {
        char *text = malloc(size + 1); /* ASan guards the rest */
        memset(text, '#', size + 1);
        size_t n = format_string(text, size, "%s-%08x-%d", "abc", 0x1234u, -99);
        assert_int_equal(text[size], '#');
        if (size) {
            assert_int_equal(n, size - 1 < 16 ? size - 1 : 16);
            assert_int_equal(strlen(text), n);
        } else {
            assert_int_equal(n, 0);
        }
        free(text);
    }
}

static void test_wide_padding_is_bounded(void **state)
{
    char text[4000];

    (void)state;
    assert_int_equal(format_string(text, sizeof(text), "%0*d", 3000, 5), 3000);
    assert_int_equal(format_string(text, sizeof(text), "%*d", 3000, 5), 3000);
    assert_int_equal(format_string(text, 10, "%*d", 30000, 5), 9);
}

static void test_tsc_conversions(void **state)
{
    static const u64 rates[] = {2000000, 50000000, 1193182, 2400000123, 5000000000, 1ull << 34};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rates); i++) {
        u64 hz = rates[i];
        assert_int_equal(tsc_ticks_to_ns(hz, hz), 1000000000ull);
        assert_int_equal(tsc_ns_to_ticks(1000000000ull, hz), hz);
        assert_int_equal(tsc_ns_to_ticks(3600ull * 1000000000ull, hz), 3600 * hz);
        for (u64 ns = 1; ns < 1ull << 60; ns = ns * 7 + 3) { /* within one tick of exact */
            unsigned __int128 exact = (unsigned __int128)ns * hz / 1000000000ull;
            assert_true(exact - tsc_ns_to_ticks(ns, hz) <= 1);
        }
    }
}

static void test_tsc_from_cpuid(void **state)
{
    struct cpuid_regs none = {0}, crystal = {.eax = 2, .ebx = 250, .ecx = 24000000}, mhz = {.eax = 2400};

    (void)state;
    assert_int_equal(tsc_hz_from_cpuid(CPUID_LEAF_FREQUENCY, &crystal, &mhz), 3000000000ull);
    crystal.ecx = 0; /* crystal not told: the base frequency it is */
    assert_int_equal(tsc_hz_from_cpuid(CPUID_LEAF_FREQUENCY, &crystal, &mhz), 2400000000ull);
    assert_int_equal(tsc_hz_from_cpuid(CPUID_LEAF_TSC, &crystal, &mhz), 0);
    assert_int_equal(tsc_hz_from_cpuid(CPUID_LEAF_FREQUENCY, &none, &none), 0);
    assert_int_equal(tsc_hz_from_cpuid(CPUID_LEAF_XSAVE, &mhz, &mhz), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_as_in_libc),
        cmocka_unit_test(test_text_as_in_libc),
        cmocka_unit_test(test_odd_input),
        cmocka_unit_test(test_never_writes_past_the_end),
        cmocka_unit_test(test_wide_padding_is_bounded),
        cmocka_unit_test(test_tsc_conversions),
        cmocka_unit_test(test_tsc_from_cpuid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
