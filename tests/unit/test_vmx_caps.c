/* links: vmx/caps.c vmx/choose.c vmx/tlb.c */
/* test_vmx_caps.c - capabilities from made-up MSRs, control words chosen from them, flushes chosen from them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/msr.h"
#include "vmx/bits.h"
#include "vmx/caps.h"
#include "vmx/tlb.h"

/* ---- a CPU as a list of MSRs ---- */
struct cpu_msrs {
    u64 basic, misc;
    u64 pin, primary, secondary, exit, entry; /* allowed 0-settings low, allowed 1-settings high */
    u64 true_primary;
    u64 ept_vpid;
    unsigned reads_of_missing;
};

/* What a Core 2 of 2008 has: no secondary controls worth mentioning, no TRUE MSRs. */
static const struct cpu_msrs core2 = {
    .basic = 0x0D | 4096ull << 32 | 6ull << 50,
    .pin = 0x0000003F00000016,
    .primary = 0x77B9FFFE0401E172, /* no secondary controls */
    .exit = 0x0003FFFF00036DFF,
    .entry = 0x00003FFF000011FF,
};
/* A Haswell: everything this hypervisor knows. */
static const struct cpu_msrs haswell = {
    .basic = 0x12 | 1024ull << 32 | 6ull << 50 | BIT(55),
    .pin = 0x0000007F00000016,
    .primary = 0xFFF9FFFE0401E172,
    .true_primary = 0xFFF9FFFE04006172,
    .secondary = 0x00007CFF00000000,
    .exit = 0x007FFFFF00036DFF,
    .entry = 0x0000FFFF000011FF,
    .ept_vpid = 0x00000F0106334141,
};

static u64 read_msr(void *ctx, u32 msr)
{
    struct cpu_msrs *m = ctx;
    bool exact = m->basic & BIT(55);

    switch (msr) {
    case MSR_IA32_VMX_BASIC: return m->basic;
    case MSR_IA32_VMX_MISC: return m->misc;
    case MSR_IA32_VMX_PINBASED_CTLS: return m->pin;
    case MSR_IA32_VMX_PROCBASED_CTLS: return m->primary;
    case MSR_IA32_VMX_EXIT_CTLS: return m->exit;
    case MSR_IA32_VMX_ENTRY_CTLS: return m->entry;
    case MSR_IA32_VMX_CR0_FIXED0: return 0x80000021;
    case MSR_IA32_VMX_CR0_FIXED1: return 0xFFFFFFFF;
    case MSR_IA32_VMX_CR4_FIXED0: return 0x2000;
    case MSR_IA32_VMX_CR4_FIXED1: return 0x27FF;
    default: break;
    }
    if (exact && msr == MSR_IA32_VMX_TRUE_PINBASED_CTLS)
        return m->pin;
    if (exact && msr == MSR_IA32_VMX_TRUE_PROCBASED_CTLS)
        return m->true_primary;
    if (exact && msr == MSR_IA32_VMX_TRUE_EXIT_CTLS)
        return m->exit;
    if (exact && msr == MSR_IA32_VMX_TRUE_ENTRY_CTLS)
        return m->entry;
    if (m->primary >> 63 && msr == MSR_IA32_VMX_PROCBASED_CTLS2)
        return m->secondary;
    if (m->secondary >> 32 & (BIT(1) | BIT(5)) && msr == MSR_IA32_VMX_EPT_VPID_CAP)
        return m->ept_vpid;
    m->reads_of_missing++;
    return 0;
}

static struct vmx_caps caps_of(const struct cpu_msrs *cpu)
{
    struct cpu_msrs copy = *cpu;
    struct vmx_caps caps;

    vmx_caps_read(&caps, read_msr, &copy);
    assert_int_equal(copy.reads_of_missing, 0);
    return caps;
}

static bool on(const struct vmx_controls *c, enum vmx_control control)
{
    return vmx_control_is_on(c, control);
}

static void a_core2_gets_a_shadow_guest(void **state)
{
    struct vmx_caps caps = caps_of(&core2);
    struct vmx_request request;
    struct vmx_controls c;
    struct vmx_report report;

    (void)state;
    vmx_request_shadow(&request);
    assert_int_equal(vmx_controls_choose(&caps, &request, &c, &report), ERR_OK);
    assert_true(on(&c, VMX_PRIMARY_HLT_EXITING) && on(&c, VMX_PRIMARY_INVLPG_EXITING));
    assert_true(on(&c, VMX_PRIMARY_CR3_LOAD_EXITING) && on(&c, VMX_PRIMARY_UNCONDITIONAL_IO_EXITING));
    assert_true(on(&c, VMX_PIN_NMI_EXITING) && on(&c, VMX_PIN_EXTERNAL_INTERRUPT_EXITING));
    assert_false(on(&c, VMX_PRIMARY_SECONDARY_CONTROLS) || on(&c, VMX_PRIMARY_RDTSC_EXITING));
    assert_int_equal(c.word[VMX_SECONDARY], 0);
    assert_false(on(&c, VMX_ENTRY_LOAD_EFER) || on(&c, VMX_EXIT_LOAD_EFER));
    assert_false(vmx_control_can(&c, VMX_PIN_PREEMPTION_TIMER));
    assert_true(vmx_control_can(&c, VMX_PRIMARY_INTERRUPT_WINDOW_EXITING));
    assert_false(on(&c, VMX_ENTRY_GUEST_64));
}

static void a_haswell_gets_more(void **state)
{
    struct vmx_caps caps = caps_of(&haswell);
    struct vmx_request request;
    struct vmx_controls c;
    struct vmx_report report;

    (void)state;
    vmx_request_shadow(&request);
    assert_int_equal(vmx_controls_choose(&caps, &request, &c, &report), ERR_OK);
    assert_true(on(&c, VMX_SECONDARY_VPID) && on(&c, VMX_PRIMARY_MSR_BITMAPS));
    assert_true(on(&c, VMX_ENTRY_LOAD_EFER) && on(&c, VMX_EXIT_LOAD_EFER));
    assert_false(on(&c, VMX_SECONDARY_EPT) || on(&c, VMX_SECONDARY_UNRESTRICTED_GUEST));
    assert_false(on(&c, VMX_PIN_PREEMPTION_TIMER));
    assert_true(vmx_control_can(&c, VMX_PIN_PREEMPTION_TIMER));
    vmx_request_ept(&request, true);
    assert_int_equal(vmx_controls_choose(&caps, &request, &c, &report), ERR_OK);
    assert_true(on(&c, VMX_SECONDARY_EPT) && on(&c, VMX_SECONDARY_UNRESTRICTED_GUEST));
    assert_false(on(&c, VMX_PRIMARY_CR3_LOAD_EXITING) || on(&c, VMX_PRIMARY_INVLPG_EXITING));
}

static void a_tpr_shadow_spares_the_exits_of_cr8(void **state)
{
    struct cpu_msrs without = haswell;
    struct vmx_caps caps = caps_of(&haswell);
    struct vmx_request request;
    struct vmx_controls c;
    struct vmx_report report;

    (void)state;
    vmx_request_shadow(&request);
    vmx_request_tpr_shadow(&request, &caps);
    assert_int_equal(vmx_controls_choose(&caps, &request, &c, &report), ERR_OK);
    assert_true(on(&c, VMX_PRIMARY_TPR_SHADOW));
    assert_false(on(&c, VMX_PRIMARY_CR8_LOAD_EXITING) || on(&c, VMX_PRIMARY_CR8_STORE_EXITING));
    without.primary &= ~BIT(32 + 21);
    without.true_primary &= ~BIT(32 + 21);
    caps = caps_of(&without);
    vmx_request_shadow(&request);
    vmx_request_tpr_shadow(&request, &caps);
    assert_int_equal(vmx_controls_choose(&caps, &request, &c, &report), ERR_OK);
    assert_false(on(&c, VMX_PRIMARY_TPR_SHADOW));
    assert_true(on(&c, VMX_PRIMARY_CR8_LOAD_EXITING) && on(&c, VMX_PRIMARY_CR8_STORE_EXITING));
}

static void ept_is_refused_by_name(void **state)
{
    struct vmx_caps caps = caps_of(&core2);
    struct vmx_request request;
    struct vmx_controls c;
    struct vmx_report report;
    char line[128];

    (void)state;
    vmx_request_ept(&request, false);
    assert_int_equal(vmx_controls_choose(&caps, &request, &c, &report), ERR_UNSUPPORTED);
    assert_int_equal(report.count, 6); /* secondary controls, no CR3 exits, EPT, EFER at exit and entry */
    vmx_missing_describe(&report.item[0], line, sizeof line);
    assert_string_equal(line, "VMX control primary SECONDARY_CONTROLS: have always 0, need 1");
    vmx_missing_describe(&report.item[1], line, sizeof line);
    assert_string_equal(line, "VMX control primary CR3_LOAD_EXITING: have always 1, need 0");
    vmx_missing_describe(&report.item[3], line, sizeof line);
    assert_string_equal(line, "VMX control secondary EPT: have always 0, need 1");
    caps = caps_of(&haswell);
    caps.ept_vpid &= ~VMX_EPT_CAP_WB;
    assert_int_equal(vmx_controls_choose(&caps, &request, &c, &report), ERR_UNSUPPORTED);
    assert_int_equal(report.count, 1);
}

/* It is said to be usable exactly if its controls can be had, with unrestricted guest or without, and its flushes. */
static void ept_is_usable_or_not(void **state)
{
    struct vmx_caps whole = caps_of(&haswell), none = caps_of(&core2);
    static const u64 needs[] = {VMX_EPT_CAP_WALK_4, VMX_EPT_CAP_WB, VMX_EPT_CAP_INVEPT,
                                VMX_EPT_CAP_INVEPT_ALL};
    struct vmx_request request;
    struct vmx_controls c;
    struct vmx_report report;

    (void)state;
    assert_true(vmx_caps_ept_usable(&whole));
    assert_false(vmx_caps_ept_usable(&none));
    for (size_t i = 0; i < ARRAY_SIZE(needs); i++) {
        struct vmx_caps caps = whole;
        caps.ept_vpid &= ~needs[i];
        assert_false(vmx_caps_ept_usable(&caps));
    }
    vmx_request_shadow(&request);
    for (u32 n = 0; n < VMX_GROUP_COUNT * 64; n++) {
        struct vmx_caps caps = whole;
        u32 group = n / 64, mask = 1u << n % 32;
        if (n & 32)
            caps.may_be_1[group] &= ~mask;
        else
            caps.must_be_1[group] |= mask;
        vmx_request_shadow(&request);
        if (vmx_controls_choose(&caps, &request, &c, &report) != ERR_OK)
            continue; /* such a CPU is refused for all */
        vmx_request_ept(&request, false);
        assert_int_equal(vmx_caps_ept_usable(&caps),
                         vmx_controls_choose(&caps, &request, &c, &report) == ERR_OK);
    }
}

/* Takes away each control in turn, and forces each in turn. */
static void every_missing_control_is_named(void **state)
{
    struct vmx_request request;
    char line[128];

    (void)state;
    vmx_request_shadow(&request);
    for (u32 n = 0; n < VMX_GROUP_COUNT * 32; n++) {
        enum vmx_control control = (enum vmx_control)n;
        u32 group = n / 32, mask = 1u << n % 32;
        struct vmx_caps caps = caps_of(&haswell);
        struct vmx_controls c;
        struct vmx_report report;
        bool needed = (request.required[group] | request.runtime[group]) & mask;
        bool unwanted = (request.off[group] | request.runtime[group]) & mask;

        caps.must_be_1[group] &= ~mask;
        caps.may_be_1[group] &= ~mask;
        assert_int_equal(vmx_controls_choose(&caps, &request, &c, &report),
                         needed ? ERR_UNSUPPORTED : ERR_OK);
        assert_int_equal(report.count, needed);
        if (needed) {
            assert_int_equal(report.item[0].control, control);
            vmx_missing_describe(&report.item[0], line, sizeof line);
            assert_non_null(strstr(line, vmx_control_name(control)));
            assert_non_null(strstr(line, "have always 0, need 1"));
        } else {
            assert_false(on(&c, control));
        }
        caps = caps_of(&haswell);
        caps.must_be_1[group] |= mask;
        caps.may_be_1[group] |= mask;
        assert_int_equal(vmx_controls_choose(&caps, &request, &c, &report),
                         unwanted ? ERR_UNSUPPORTED : ERR_OK);
        if (unwanted) {
            vmx_missing_describe(&report.item[0], line, sizeof line);
            assert_non_null(strstr(line, "have always 1, need 0"));
        } else {
            assert_true(on(&c, control));
        }
    }
}

static u64 random_state;
static u64 random_u64(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* Random CPUs and requests: the words obey the CPU, contain what is required, and nothing that nobody wants.
 */
static void words_obey_the_cpu(void **state)
{
    const char *seed = getenv("PB_SEED"), *steps = getenv("PB_STEPS");
    u64 start = seed ? strtoull(seed, NULL, 0) : 20080601;
    u64 n = steps ? strtoull(steps, NULL, 0) : 200000;
    u64 accepted = 0;

    (void)state;
    random_state = start | 1;
    for (u64 i = 0; i < n; i++) {
        struct vmx_caps caps = {.ept_vpid = random_u64()};
        struct vmx_request request = {{0}, {0}, {0}, {0}};
        struct vmx_controls c;
        struct vmx_report report;
        u32 expected = 0;

        for (unsigned g = 0; g < VMX_GROUP_COUNT; g++) {
            caps.may_be_1[g] = (u32)(random_u64() | random_u64() | random_u64() | random_u64());
            caps.must_be_1[g] = (u32)(random_u64() & random_u64() & random_u64()) & caps.may_be_1[g];
            request.required[g] =
                (u32)(random_u64() & random_u64() & random_u64() & random_u64() & random_u64());
            request.optional[g] = (u32)random_u64() & ~request.required[g];
            request.off[g] = (u32)(random_u64() & random_u64() & random_u64() & random_u64() & random_u64()) &
                             ~request.required[g] & ~request.optional[g];
            expected += (u32)__builtin_popcount(request.required[g] & ~caps.may_be_1[g]) +
                        (u32)__builtin_popcount(request.off[g] & caps.must_be_1[g]);
        }
        request.required[VMX_SECONDARY] &= ~vmx_control_mask(VMX_SECONDARY_EPT);
        expected = 0;
        for (unsigned g = 0; g < VMX_GROUP_COUNT; g++)
            expected += (u32)__builtin_popcount(request.required[g] & ~caps.may_be_1[g]) +
                        (u32)__builtin_popcount(request.off[g] & caps.must_be_1[g]);
        bool ok = vmx_controls_choose(&caps, &request, &c, &report) == ERR_OK;
        if (ok != (expected == 0) || report.count != expected)
            fail_msg("seed %llu step %llu: %u missing, %u expected", (unsigned long long)start,
                     (unsigned long long)i, report.count, expected);
        if (!ok)
            continue;
        accepted++;
        for (unsigned g = 0; g < VMX_GROUP_COUNT; g++) {
            u32 wanted = request.required[g] | request.optional[g] | caps.must_be_1[g];
            if ((c.word[g] & caps.must_be_1[g]) != caps.must_be_1[g] || c.word[g] & ~caps.may_be_1[g] ||
                c.word[g] & ~wanted || c.can[g] & (~caps.may_be_1[g] | request.off[g]))
                fail_msg("seed %llu step %llu: group %u word %08x", (unsigned long long)start,
                         (unsigned long long)i, g, c.word[g]);
        }
    }
    assert_true(n < 1000 || accepted > 0);
}

static void the_table_has_a_row_for_each_cpu(void **state)
{
    char heading[160], row[160], small[9];
    struct vmx_caps a = caps_of(&core2), b = caps_of(&haswell);

    (void)state;
    vmx_caps_heading(heading, sizeof heading);
    vmx_caps_describe(&b, row, sizeof row);
    assert_int_equal(strlen(heading), strlen(row));
    assert_int_equal(row[strstr(heading, "EPT") - heading], '+');
    assert_int_equal(row[strstr(heading, "XSAVES") - heading], '-');
    vmx_caps_describe(&a, row, sizeof row);
    assert_int_equal(strlen(heading), strlen(row));
    assert_int_equal(row[strstr(heading, "EPT") - heading], '-');
    vmx_caps_describe(&a, small, sizeof small); /* as much as fits, and a zero */
    assert_int_equal(strlen(small), 8);
}

static void two_cpus_have_in_common_what_both_have(void **state)
{
    struct vmx_caps a = caps_of(&haswell), b = caps_of(&haswell), c = caps_of(&core2);

    (void)state;
    b.may_be_1[VMX_SECONDARY] &= ~vmx_control_mask(VMX_SECONDARY_VPID);
    b.must_be_1[VMX_EXIT] |= 1u << 30;
    assert_int_equal(vmx_caps_intersect(&a, &b), ERR_OK);
    assert_false(vmx_caps_has(&a, VMX_SECONDARY_VPID));
    assert_true(vmx_caps_has(&a, VMX_SECONDARY_EPT));
    assert_true(a.must_be_1[VMX_EXIT] >> 30 & 1);
    assert_int_equal(vmx_caps_intersect(&a, &c), ERR_INVALID); /* another revision */
}

/* For each set of abilities: what is executed covers what was asked, and exists. */
static void a_missing_flush_becomes_a_wider_one(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits < 32; bits++) {
        struct vmx_caps caps = {
            .ept_vpid = (bits & 1 ? VMX_VPID_CAP_INVVPID : 0) | (bits & 2 ? VMX_VPID_CAP_ADDRESS : 0) |
                        (bits & 4 ? VMX_VPID_CAP_CONTEXT : 0) | (bits & 8 ? VMX_VPID_CAP_ALL : 0) |
                        (bits & 16 ? VMX_VPID_CAP_KEEP_GLOBAL : 0)};
        struct vmx_tlb_ops ops;

        assert_int_equal(vmx_tlb_ops_choose(&caps, true, false, &ops), (bits & 9) == 9);
        if ((bits & 9) != 9)
            continue;
        assert_int_equal(ops.all, VMX_INVVPID_ALL);
        assert_int_equal(ops.context, bits & 4 ? VMX_INVVPID_CONTEXT : VMX_INVVPID_ALL);
        assert_int_equal(ops.address, bits & 2 ? VMX_INVVPID_ADDRESS : ops.context);
        assert_int_equal(ops.context_keep_global, bits & 16 ? VMX_INVVPID_CONTEXT_KEEP_GLOBAL : ops.context);
        assert_int_equal(ops.ept_all, VMX_INVEPT_NOTHING);
    }
    for (unsigned bits = 0; bits < 8; bits++) {
        struct vmx_caps caps = {.ept_vpid = (bits & 1 ? VMX_EPT_CAP_INVEPT : 0) |
                                            (bits & 2 ? VMX_EPT_CAP_INVEPT_CONTEXT : 0) |
                                            (bits & 4 ? VMX_EPT_CAP_INVEPT_ALL : 0)};
        struct vmx_tlb_ops ops;

        assert_int_equal(vmx_tlb_ops_choose(&caps, false, true, &ops), (bits & 5) == 5);
        if ((bits & 5) == 5)
            assert_int_equal(ops.ept_context, bits & 2 ? VMX_INVEPT_CONTEXT : VMX_INVEPT_ALL);
        assert_int_equal(ops.address, VMX_INVVPID_NOTHING);
    }
}

/* VPIDs that cannot be flushed are not used. */
static void vpid_needs_its_flush(void **state)
{
    struct vmx_caps caps = caps_of(&haswell);
    struct vmx_request request;
    struct vmx_controls c;
    struct vmx_report report;

    (void)state;
    caps.ept_vpid &= ~VMX_VPID_CAP_ALL;
    vmx_request_shadow(&request);
    assert_int_equal(vmx_controls_choose(&caps, &request, &c, &report), ERR_OK);
    assert_false(on(&c, VMX_SECONDARY_VPID));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_core2_gets_a_shadow_guest),
        cmocka_unit_test(a_haswell_gets_more),
        cmocka_unit_test(a_tpr_shadow_spares_the_exits_of_cr8),
        cmocka_unit_test(ept_is_refused_by_name),
        cmocka_unit_test(ept_is_usable_or_not),
        cmocka_unit_test(every_missing_control_is_named),
        cmocka_unit_test(words_obey_the_cpu),
        cmocka_unit_test(the_table_has_a_row_for_each_cpu),
        cmocka_unit_test(two_cpus_have_in_common_what_both_have),
        cmocka_unit_test(a_missing_flush_becomes_a_wider_one),
        cmocka_unit_test(vpid_needs_its_flush),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
