/* test_string.c - arch/string.c, under other names, against the C library. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define memcpy  our_memcpy
#define memmove our_memmove
#define memset  our_memset
#define memcmp  our_memcmp
#define memchr  our_memchr
#define strlen  our_strlen
#define strnlen our_strnlen
#define strcmp  our_strcmp
#define strncmp our_strncmp
#define strchr  our_strchr
#include "arch/string.c" // NOLINT(bugprone-suspicious-include): the names are replaced above
#undef memcpy
#undef memmove
#undef memset
#undef memcmp
#undef memchr
#undef strlen
#undef strnlen
#undef strcmp
#undef strncmp
#undef strchr

#define SIZE 96u

static u8 a[SIZE], b[SIZE];

static void fill(void)
{
    for (size_t i = 0; i < SIZE; i++)
        a[i] = b[i] = (u8)(i * 7 + 1);
}

static void test_copies(void **state)
{
    (void)state;
    for (size_t n = 0; n < 40; n++)
        for (size_t from = 0; from < 50; from += 7)
            for (size_t to = 0; to < 50; to += 3) {
                fill();
                assert_ptr_equal(our_memmove(a + to, a + from, n), a + to);
                memmove(b + to, b + from, n);
                assert_memory_equal(a, b, SIZE);
            }
    for (size_t n = 0; n < 40; n++) {
        fill();
        assert_ptr_equal(our_memcpy(a + 1, a + 50, n), a + 1);
        memcpy(b + 1, b + 50, n);
        our_memset(a + 45, (int)n, n);
        memset(b + 45, (int)n, n);
        assert_memory_equal(a, b, SIZE);
    }
}

static int sign(int x)
{
    return (x > 0) - (x < 0);
}

static void test_comparisons(void **state)
{
    static const char *const words[] = {"", "a", "ab", "abc", "abd", "\xff", "b"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        assert_int_equal(our_strlen(words[i]), strlen(words[i]));
        assert_ptr_equal(our_strchr(words[i], 'b'), strchr(words[i], 'b'));
        assert_ptr_equal(our_strchr(words[i], 0), strchr(words[i], 0));
        for (size_t j = 0; j < ARRAY_SIZE(words); j++) {
            assert_int_equal(sign(our_strcmp(words[i], words[j])), sign(strcmp(words[i], words[j])));
            for (size_t n = 0; n < 4; n++)
                assert_int_equal(sign(our_strncmp(words[i], words[j], n)),
                                 sign(strncmp(words[i], words[j], n)));
        }
    }
    assert_int_equal(our_strnlen("abcdef", 3), 3);
    assert_ptr_equal(our_memchr(words[3], 'c', 2), NULL);
    assert_ptr_equal(our_memchr(words[3], 'c', 3), words[3] + 2);
    assert_int_equal(sign(our_memcmp("ab\x01", "ab\xff", 3)), -1);
    assert_int_equal(our_memcmp("abx", "aby", 2), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_comparisons),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
