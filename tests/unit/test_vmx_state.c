/* links: vmx/cr.c vmx/guest.c vmx/msr_bitmap.c vmx/feature.c vmx/vmcs.c vmx/exit.c */
/* test_vmx_state.c - control registers, MSR bitmap, feature control, field and exit names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/msr.h"
#include "arch/regs.h"
#include "vmx/cr.h"
#include "vmx/enable.h"
#include "vmx/exit.h"
#include "vmx/guest.h"
#include "vmx/msr_bitmap.h"
#include "vmx/vmcs.h"

static const struct vmx_cr_env shadow_env = {.cr0_fixed0 = CR0_PE | CR0_NE | CR0_PG,
                                             .cr0_fixed1 = 0xFFFFFFFF,
                                             .cr4_fixed0 = CR4_VMXE,
                                             .cr4_fixed1 = 0x3FFFFF,
                                             .cr4_host = CR4_PAE | CR4_VMXE | CR4_MCE};

/* Every combination of the bits of CR0. */
static void real_cr0_always_pages(void **state)
{
    static const u64 bits[] = {CR0_PE, CR0_MP, CR0_EM, CR0_TS, CR0_ET, CR0_NE,
                               CR0_WP, CR0_AM, CR0_NW, CR0_CD, CR0_PG};

    (void)state;
    for (unsigned n = 0; n < 1u << ARRAY_SIZE(bits); n++) {
        u64 guest = 0;
        for (unsigned i = 0; i < ARRAY_SIZE(bits); i++)
            guest |= n >> i & 1 ? bits[i] : 0;
        u64 real = vmx_cr0_real(&shadow_env, guest);
        assert_int_equal(real & (CR0_PG | CR0_PE | CR0_WP | CR0_NE), CR0_PG | CR0_PE | CR0_WP | CR0_NE);
        assert_int_equal(real & (CR0_CD | CR0_NW), 0);
        assert_int_equal(real & vmx_cr0_guest_owned, guest & vmx_cr0_guest_owned);
        assert_int_equal(vmx_cr_view(real, guest, vmx_cr0_guest_owned), guest);
        bool legal = !(guest & CR0_PG && !(guest & CR0_PE)) && !(guest & CR0_NW && !(guest & CR0_CD));
        assert_int_equal(vmx_cr0_legal(guest, CR0_PE, CR4_PAE, EFER_LME), legal);
    }
    assert_false(vmx_cr0_legal(BIT(32) | CR0_PE, CR0_PE, 0, 0));
    /* paging with LME needs PAE, but only at the moment it is switched on */
    assert_false(vmx_cr0_legal(CR0_PE | CR0_PG, CR0_PE, 0, EFER_LME));
    assert_true(vmx_cr0_legal(CR0_PE | CR0_PG, CR0_PE, 0, 0));
    assert_true(vmx_cr0_legal(CR0_PE | CR0_PG | CR0_TS, CR0_PE | CR0_PG, CR4_PAE, EFER_LME));
}

static void the_guest_sees_what_it_changes_itself(void **state)
{
    u64 guest = CR0_PE | CR0_PG, real = vmx_cr0_real(&shadow_env, guest);

    (void)state;
    real |= CR0_TS; /* the guest did that without an exit */
    assert_int_equal(vmx_cr_view(real, guest, vmx_cr0_guest_owned), guest | CR0_TS);
}

static void real_cr4_hides_and_adds(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 25; bit++) {
        u64 guest = BIT(bit), real = vmx_cr4_real(&shadow_env, CR0_PG | CR0_PE, guest);
        assert_int_equal(real & (CR4_PAE | CR4_VMXE | CR4_MCE), CR4_PAE | CR4_VMXE | CR4_MCE);
        if (!((CR4_PAE | CR4_VMXE | CR4_MCE) & guest))
            assert_int_equal(!!(real & guest), bit < 22 && !(vmx_cr4_hidden & guest));
        assert_int_equal(vmx_cr4_legal(guest, 0, ~0ull), !(vmx_cr4_hidden & guest));
        assert_false(vmx_cr4_legal(guest, 0, ~guest));
    }
    /* without paging the stand-in tables allow users everything */
    assert_int_equal(vmx_cr4_real(&shadow_env, CR0_PE, CR4_SMEP | CR4_SMAP) & (CR4_SMEP | CR4_SMAP), 0);
    assert_int_equal(vmx_cr4_real(&shadow_env, CR0_PE | CR0_PG, CR4_SMEP) & CR4_SMEP, CR4_SMEP);
    assert_false(vmx_cr4_legal(0, EFER_LMA, ~0ull)); /* PAE cannot go in IA-32e mode */
    assert_true(vmx_cr4_legal(CR4_PAE, EFER_LMA, ~0ull));
    assert_int_equal(vmx_cr4_guest_owned & (CR4_PGE | CR4_PAE | CR4_PSE | CR4_SMEP | CR4_SMAP), 0);
}

static void ept_leaves_paging_to_the_guest(void **state)
{
    struct vmx_cr_env env = shadow_env;

    (void)state;
    env.ept = true;
    env.unrestricted = true;
    assert_int_equal(vmx_cr0_real(&env, CR0_ET) & (CR0_PG | CR0_PE | CR0_WP), 0);
    assert_int_equal(vmx_cr0_real(&env, CR0_ET) & CR0_NE, CR0_NE);
    assert_int_equal(vmx_cr4_real(&env, 0, 0) & (CR4_PAE | CR4_VMXE), CR4_VMXE);
    env.unrestricted = false;
    assert_int_equal(vmx_cr0_real(&env, 0) & (CR0_PG | CR0_PE), CR0_PG | CR0_PE);
}

static void feature_control_has_four_states(void **state)
{
    u64 value;

    (void)state;
    for (unsigned smx = 0; smx < 2; smx++) {
        u64 other = (smx ? FEATURE_CONTROL_VMX_IN_SMX : 0) | BIT(20);
        assert_int_equal(vmx_feature_control_decide(other, &value), VMX_FEATURE_WRITE);
        assert_int_equal(value, other | FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMX_OUT_OF_SMX);
        assert_int_equal(vmx_feature_control_decide(other | FEATURE_CONTROL_VMX_OUT_OF_SMX, &value),
                         VMX_FEATURE_WRITE);
        assert_int_equal(value, other | FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMX_OUT_OF_SMX);
        assert_int_equal(
            vmx_feature_control_decide(other | FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMX_OUT_OF_SMX, &value),
            VMX_FEATURE_READY);
        assert_int_equal(vmx_feature_control_decide(other | FEATURE_CONTROL_LOCK, &value),
                         VMX_FEATURE_LOCKED_OFF);
    }
}

static void fixed_bits_are_applied(void **state)
{
    struct vmx_caps caps = {.cr0_fixed0 = CR0_PE | CR0_NE | CR0_PG,
                            .cr0_fixed1 = 0xFFFFFFFF,
                            .cr4_fixed0 = CR4_VMXE,
                            .cr4_fixed1 = 0x67FF};
    u64 cr0 = CR0_PE | CR0_PG, cr4 = CR4_PAE | CR4_PKE;

    (void)state;
    assert_true(vmx_fixed_apply(&caps, &cr0, &cr4));
    assert_int_equal(cr0, CR0_PE | CR0_PG | CR0_NE | CR0_WP);
    assert_int_equal(cr4, CR4_PAE | CR4_VMXE);
    caps.cr0_fixed1 &= ~CR0_WP;
    assert_false(vmx_fixed_apply(&caps, &cr0, &cr4));
}

/* As the CPU looks it up, SDM Vol 3C 24.6.9. */
static bool exits(const struct vmx_msr_bitmap *map, u32 msr, bool write)
{
    u32 at = (msr & 0x1FFF) / 8 + (msr >= 0xC0000000 ? 1024 : 0) + (write ? 2048 : 0);

    return ((const u8 *)map)[at] >> msr % 8 & 1;
}

static void the_msr_bitmap_lets_pass_what_is_switched(void **state)
{
    static struct vmx_msr_bitmap map;
    static const u32 passes[] = {0x174,      0x175,      0x176,      0xC0000081, 0xC0000082,
                                 0xC0000083, 0xC0000084, 0xC0000100, 0xC0000101, 0xC0000102};
    u32 found = 0;

    (void)state;
    vmx_msr_bitmap_exit_all(&map);
    vmx_msr_bitmap_pass_switched(&map);
    for (u32 i = 0; i < 0x4000; i++) {
        u32 msr = i < 0x2000 ? i : 0xC0000000 + i - 0x2000;
        bool listed = found < ARRAY_SIZE(passes) && passes[found] == msr;

        found += listed;
        assert_int_equal(exits(&map, msr, false), !listed);
        assert_int_equal(exits(&map, msr, true), !listed);
    }
    assert_int_equal(found, ARRAY_SIZE(passes));
}

static void every_field_has_one_name_and_one_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < vmcs_field_count(); i++) {
        enum vmcs_field f = vmcs_field_at(i);
        const char *name = vmcs_field_name(f);
        assert_string_not_equal(name, "?");
        /* the name says what the encoding says */
        assert_int_equal(!strncmp(name, "HOST_", 5), vmcs_field_type(f) == VMCS_TYPE_HOST);
        if (!strncmp(name, "GUEST_", 6))
            assert_true(vmcs_field_type(f) == VMCS_TYPE_GUEST || f == VMCS_GUEST_PHYSICAL_ADDRESS ||
                        f == VMCS_GUEST_LINEAR_ADDRESS);
        for (size_t j = 0; j < i; j++) {
            assert_int_not_equal(f, vmcs_field_at(j));
            assert_string_not_equal(name, vmcs_field_name(vmcs_field_at(j)));
        }
    }
    assert_string_equal(vmcs_field_name(VMCS_GUEST_RIP), "GUEST_RIP");
    assert_int_equal(VMCS_GUEST_RIP, 0x681E);
    assert_int_equal(VMCS_HOST_RIP, 0x6C16);
    assert_int_equal(VMCS_EXIT_REASON, 0x4402);
    assert_int_equal(VMCS_GUEST_TR_ACCESS, 0x4822);
    assert_int_equal(vmcs_segment_field(VMCS_GUEST_ES_BASE, VMX_SEG_TR), VMCS_GUEST_TR_BASE);
    assert_string_equal(vmcs_field_name((enum vmcs_field)0x7777), "?");
}

static void exits_and_errors_have_words(void **state)
{
    (void)state;
    assert_string_equal(vmx_exit_name(VMX_EXIT_CPUID), "CPUID");
    assert_string_equal(vmx_exit_name(48), "EPT_VIOLATION");
    assert_string_equal(vmx_exit_name(VMX_EXIT_TDCALL), "TDCALL");
    assert_string_equal(vmx_exit_name(35), "?");
    assert_string_equal(vmx_exit_name(1000), "?");
    assert_string_equal(vmx_instruction_error_text(7), "VM entry with invalid control fields");
    assert_string_equal(vmx_instruction_error_text(13), "VMWRITE to read-only field");
    assert_string_equal(vmx_instruction_error_text(26), "VM entry with events blocked by MOV SS");
    assert_string_equal(vmx_instruction_error_text(28), "invalid operand to INVEPT or INVVPID");
    assert_string_equal(vmx_instruction_error_text(29), "?");
}

static void qualifications_are_taken_apart(void **state)
{
    (void)state;
    assert_int_equal(vmx_cr_number(0x613), 3);
    assert_int_equal(vmx_cr_type(0x613), VMX_CR_MOV_FROM);
    assert_int_equal(vmx_cr_gpr(0x613), 6);
    assert_int_equal(vmx_io_size(0x03F80009), 2);
    assert_true(vmx_io_is_in(0x03F80009));
    assert_int_equal(vmx_io_port(0x03F80009), 0x3F8);
    assert_int_equal(vmx_task_source(3ull << 30 | 0x28), VMX_TASK_GATE);
    assert_int_equal(vmx_task_selector(3ull << 30 | 0x28), 0x28);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_cr0_always_pages),
        cmocka_unit_test(the_guest_sees_what_it_changes_itself),
        cmocka_unit_test(real_cr4_hides_and_adds),
        cmocka_unit_test(ept_leaves_paging_to_the_guest),
        cmocka_unit_test(feature_control_has_four_states),
        cmocka_unit_test(fixed_bits_are_applied),
        cmocka_unit_test(the_msr_bitmap_lets_pass_what_is_switched),
        cmocka_unit_test(every_field_has_one_name_and_one_place),
        cmocka_unit_test(exits_and_errors_have_words),
        cmocka_unit_test(qualifications_are_taken_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
