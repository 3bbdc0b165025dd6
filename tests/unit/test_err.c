/* links: arch/err.c */
/* test_err.c - every error has words of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/err.h"

static void every_error_has_its_own_words(void **state)
{
    (void)state;
    for (int a = 0; a < ERR_COUNT; a++) {
        assert_true(strlen(err_text((enum err)a)) > 0);
        for (int b = 0; b < a; b++)
            assert_string_not_equal(err_text((enum err)a), err_text((enum err)b));
    }
}

static void an_unknown_error_has_words_too(void **state)
{
    (void)state;
    assert_non_null(err_text((enum err)ERR_COUNT));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_error_has_its_own_words),
        cmocka_unit_test(an_unknown_error_has_words_too),
    };
    return cmocka_run_group_tests_name("err", tests, NULL, NULL);
}
