/* links: vmm/descriptor.c */
/* test_descriptor.c - segment descriptors: their fields, and which register may be loaded with them at which CPL. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "vmm/descriptor.h"

enum { RO = 0x0, RW = 0x2, RW_DOWN = 0x6, XO = 0x8, XR = 0xA, XO_CONFORMING = 0xC, XR_CONFORMING = 0xE };
#define LEVELS 4u

static void fields_are_where_the_manual_has_them(void **state)
{
    (void)state;
    struct vmx_seg s = descriptor_decode(0x2B, 0x123456789ABCDEF0); /* no digit twice; G=0 */

    assert_int_equal(s.selector, 0x2B);
    assert_int_equal(s.base, 0x12789ABC);
    assert_int_equal(s.limit, 0x4DEF0);
    assert_int_equal(s.access, 0x3056);
    s = descriptor_decode(0, 0xFFFFFFFFFFFFFFFF);
    assert_int_equal(s.base, 0xFFFFFFFF);
    assert_int_equal(s.limit, 0xFFFFFFFF);
    assert_int_equal(s.access, 0xF0FF); /* neither UNUSABLE nor a reserved bit */
}

static void a_limit_of_pages_ends_with_a_page(void **state)
{
    (void)state;
    assert_int_equal(descriptor_decode(0, 0x00CF93000000FFFF).limit, 0xFFFFFFFF); /* flat */
    assert_int_equal(descriptor_decode(0, 0x00C0930000000000).limit, 0xFFF);
    assert_int_equal(descriptor_decode(0, 0x0040930000000000).limit, 0);
    assert_int_equal(descriptor_decode(0, 0x004F93000000FFFF).limit, 0xFFFFF);
}

/* For how many of the 64 combinations of DPL, RPL and CPL it fits. */
static unsigned fitting(unsigned type, unsigned more, bool stack)
{
    unsigned count = 0;

    for (unsigned dpl = 0; dpl < LEVELS; dpl++)
        for (unsigned rpl = 0; rpl < LEVELS; rpl++)
            for (unsigned cpl = 0; cpl < LEVELS; cpl++) {
                struct vmx_seg s = {.selector = (u16)(0x10 | rpl),
                                    .access = type | more | dpl << VMX_AR_DPL_SHIFT};
                bool fits = descriptor_fits_data(&s, stack, cpl);

                if (fits && stack)
                    assert_true(dpl == cpl && rpl == cpl);
                if (fits && !stack && type < XO_CONFORMING)
                    assert_true(dpl >= cpl && dpl >= rpl);
                count += fits;
            }
    return count;
}

static void privilege_and_type_decide(void **state)
{
    (void)state;
    const unsigned s = VMX_AR_S;

    /* DPL at least the greater of RPL and CPL: 1 + 4 + 9 + 16 ways */
    assert_int_equal(fitting(RO, s, false), 30);
    assert_int_equal(fitting(RW, s, false), 30);
    assert_int_equal(fitting(RW_DOWN, s, false), 30);
    assert_int_equal(fitting(XR, s, false), 30);
    assert_int_equal(fitting(XR_CONFORMING, s, false), 64); /* privilege does not matter */
    assert_int_equal(fitting(XO, s, false), 0);             /* cannot be read */
    assert_int_equal(fitting(XO_CONFORMING, s, false), 0);

    assert_int_equal(fitting(RW, s, true), 4);
    assert_int_equal(fitting(RW_DOWN, s, true), 4);
    assert_int_equal(fitting(RO, s, true), 0);
    assert_int_equal(fitting(XR, s, true), 0);
    assert_int_equal(fitting(XR_CONFORMING, s, true), 0);
}

static void a_system_descriptor_fits_nowhere(void **state)
{
    (void)state;
    for (unsigned type = 0; type <= VMX_AR_TYPE_MASK; type++) {
        assert_int_equal(fitting(type, 0, false), 0);
        assert_int_equal(fitting(type, 0, true), 0);
    }
}

/* Present or not is another exception, so it is another question. */
static void present_is_not_asked(void **state)
{
    (void)state;
    assert_int_equal(fitting(RW, VMX_AR_S | VMX_AR_P, false), fitting(RW, VMX_AR_S, false));
    assert_int_equal(fitting(RW, VMX_AR_S | VMX_AR_P, true), fitting(RW, VMX_AR_S, true));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_where_the_manual_has_them),
        cmocka_unit_test(a_limit_of_pages_ends_with_a_page),
        cmocka_unit_test(privilege_and_type_decide),
        cmocka_unit_test(a_system_descriptor_fits_nowhere),
        cmocka_unit_test(present_is_not_asked),
    };
    return cmocka_run_group_tests_name("descriptor", tests, NULL, NULL);
}
