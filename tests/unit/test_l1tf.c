/* links: */
/* test_l1tf.c - what is done about L1TF, for every combination of what a CPU says about it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "vmx/l1tf.h"

/* SDM Vol 4, IA32_ARCH_CAPABILITIES: bits 0 and 3; the others are of no account. */
#define RDCL_NO 0x1ull
#define SKIP    0x8ull
#define OTHERS  (~(RDCL_NO | SKIP))

static const struct {
    u64 capabilities;
    bool has_flush;
    enum l1tf expected;
} cases[] = {
    {0, false, L1TF_OPEN},
    {0, true, L1TF_FLUSH},
    {OTHERS, false, L1TF_OPEN},
    {OTHERS, true, L1TF_FLUSH},
    {RDCL_NO, false, L1TF_IMMUNE},
    {RDCL_NO, true, L1TF_IMMUNE},
    {SKIP, false, L1TF_IMMUNE},
    {SKIP, true, L1TF_IMMUNE},
    {RDCL_NO | SKIP, false, L1TF_IMMUNE},
    {RDCL_NO | SKIP | OTHERS, true, L1TF_IMMUNE},
};

static void every_combination(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_int_equal(l1tf_of(cases[i].capabilities, cases[i].has_flush), cases[i].expected);
}

/* SDM Vol 3C 24.8.2 and Vol 4: index, nothing, value; bit 0 of IA32_FLUSH_CMD. */
static void the_entry_of_the_msr_load_area(void **state)
{
    const u64 *words = (const u64 *)&vmx_flush_l1d;

    (void)state;
    assert_int_equal((uintptr_t)words % 16, 0);
    assert_int_equal(sizeof vmx_flush_l1d, 16);
    assert_int_equal(words[0], 0x10B);
    assert_int_equal(words[1], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_combination),
        cmocka_unit_test(the_entry_of_the_msr_load_area),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
