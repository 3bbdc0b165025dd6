/* links: vmm/dev/platform.c vmm/dev/vplat_io.c vmm/dev/vlapic.c vmm/dev/vlapic_reg.c vmm/dev/vlapic_timer.c
 * vmm/dev/vroute.c vmm/dev/vioapic.c vmm/dev/vpic.c vmm/dev/vpit.c vmm/dev/vrtc.c vmm/dev/vuart.c
 * vmm/dev/vacpi.c vmm/dev/vmsr.c vmm/dev/vcpuid.c arch/cpuid.c */
/* test_dev_cpuid_msr.c - what CPUID and device MSRs say to a guest. */
#include "tests/unit/test_dev_machine.h"

#define SKYLAKE_MAX 0x16
#define OLD_MAX     0x5

/* A host that claims every feature bit there is. */
struct host {
    u32 max, xcr0;
    u32 calls_out_of_range;
};

static void host_cpuid(void *ctx, u32 leaf, u32 subleaf, struct cpuid_regs *out)
{
    struct host *h = ctx;
    *out = (struct cpuid_regs){~0u, ~0u, ~0u, ~0u};
    if (leaf == 0)
        *out = (struct cpuid_regs){h->max, 0x756E6547, 0x6C65746E, 0x49656E69};
    else if (leaf == 0x80000000)
        out->eax = 0x80000008;
    else if (leaf == 1)
        out->eax = 0x506E3;
    else if (leaf == 4)
        *out = subleaf == 0   ? (struct cpuid_regs){0x1C004121, 0x01C0003F, 63, 0}
               : subleaf == 1 ? (struct cpuid_regs){0x1C03C163, 0x03C0003F, 8191, 6}
                              : (struct cpuid_regs){0, 0, 0, 0};
    else if (leaf == 0xD)
        *out = subleaf == 0   ? (struct cpuid_regs){h->xcr0, 0xA80, 0xA80, 0}
               : subleaf == 2 ? (struct cpuid_regs){256, 576, 0, 0}
                              : (struct cpuid_regs){0xF, 0x440, 0x100, 0};
    else if (leaf == 0x80000008)
        out->eax = 0x3027;
    h->calls_out_of_range += leaf < 0x40000000 && leaf > h->max;
}

static struct vcpuid_config config(struct host *h)
{
    return (struct vcpuid_config){
        .host = host_cpuid,
        .host_ctx = h,
        .tsc_hz = 2400000000,
        .crystal_hz = 24000000,
        .xcr0 = 7,
        .vcpus = 4,
        .maxphyaddr = 39,
        .abi_version = 0x10000,
        .vm_id = 7,
        .invariant_tsc = true,
        .pages_1g = true,
        .rdtscp = true,
        .rdrand = true,
    };
}

static struct cpuid_regs ask(const struct vcpuid *t, u32 leaf, u32 subleaf)
{
    struct vcpuid_state s = {.cr4 = 0, .xcr0 = 7, .apic_base = APIC_BASE_EN, .apic_id = 3};
    struct cpuid_regs r;
    vcpuid_query(t, &s, leaf, subleaf, &r);
    return r;
}

static void what_is_not_virtualised_is_hidden(void **state)
{
    (void)state;
    struct host h = {.max = SKYLAKE_MAX, .xcr0 = 0x2FF};
    struct vcpuid_config c = config(&h);
    struct vcpuid t;
    assert_int_equal(vcpuid_init(&t, &c), ERR_OK);
    struct cpuid_regs f = ask(&t, 1, 0), e = ask(&t, 7, 0);
    assert_false(f.ecx & (CPUID_VMX | CPUID_SMX | CPUID_MONITOR | CPUID_PDCM | CPUID_PCID | CPUID_DTES64 |
                          CPUID_EIST | CPUID_TM2 | CPUID_OSXSAVE));
    assert_false(f.edx & (u32)(CPUID_DS | CPUID_ACPI | CPUID_TM | CPUID_PBE));
    assert_true(f.ecx & CPUID_X2APIC && f.ecx & CPUID_TSC_DEADLINE && f.ecx & (u32)CPUID_HYPERVISOR);
    assert_false(e.ebx & (CPUID_SGX | CPUID_HLE | CPUID_RTM | CPUID_MPX | CPUID_AVX512F | CPUID_INTEL_PT |
                          CPUID_INVPCID | CPUID_AVX512DQ));
    assert_false(e.ecx & (CPUID_PKU | CPUID_OSPKE | CPUID_LA57 | CPUID_CET_SS));
    assert_false(e.edx & (u32)(CPUID_SPEC_CTRL | CPUID_STIBP | CPUID_ARCH_CAPABILITIES | CPUID_SSBD |
                               CPUID_CET_IBT | CPUID_L1D_FLUSH));
    assert_int_equal(e.eax, 0);
    static const u32 empty[] = {3, 5, 8, 9, 0xA, 0xC, 0xE, 0xF, 0x10, 0x12, 0x14, 0x80000005};
    for (u32 i = 0; i < ARRAY_SIZE(empty); i++) {
        struct cpuid_regs r = ask(&t, empty[i], 0);
        assert_int_equal(r.eax | r.ebx | r.ecx | r.edx, 0);
    }
    assert_int_equal(ask(&t, 6, 0).eax, 4); /* ARAT */
    assert_int_equal(ask(&t, 7, 1).eax | ask(&t, 7, 1).edx, 0);
    assert_int_equal(ask(&t, 0xD, 0).eax, 7);
    assert_int_equal(ask(&t, 0xD, 1).eax, 7); /* XSAVEOPT, XSAVEC, XGETBV 1; no XSAVES */
    assert_int_equal(ask(&t, 0xD, 9).eax, 0); /* PKRU */
    assert_int_equal(ask(&t, 0x80000007, 0).edx, 0x100);
    assert_int_equal(ask(&t, 0x80000008, 0).eax, 0x3027);
    assert_true(vcpuid_has(&t, 7, CPUID_EBX, CPUID_SMEP | CPUID_SMAP));
    assert_false(vcpuid_has(&t, 7, CPUID_EBX, CPUID_SMEP | CPUID_SGX));
    assert_true(t.cr4 & CR4_PGE && t.cr4 & CR4_OSXSAVE && t.cr4 & CR4_SMEP && t.cr4 & CR4_PCE);
    assert_false(t.cr4 & (CR4_VMXE | CR4_SMXE | CR4_PCIDE | CR4_PKE | CR4_LA57 | CR4_CET));
}

static void ids_and_dynamic_bits(void **state)
{
    (void)state;
    struct host h = {.max = SKYLAKE_MAX, .xcr0 = 7};
    struct vcpuid_config c = config(&h);
    struct vcpuid t;
    struct cpuid_regs r;
    assert_int_equal(vcpuid_init(&t, &c), ERR_OK);
    struct vcpuid_state s = {.cr4 = CR4_OSXSAVE, .xcr0 = 3, .apic_base = 0, .apic_id = 2};
    vcpuid_query(&t, &s, 1, 0, &r);
    assert_int_equal(r.ebx >> 24, 2);
    assert_int_equal(r.ebx >> 16 & 0xFF, 4);
    assert_true(r.edx & CPUID_HTT);
    assert_true(r.ecx & CPUID_OSXSAVE);
    assert_false(r.edx & CPUID_APIC);
    vcpuid_query(&t, &s, 0xD, 0, &r);
    assert_int_equal(r.ebx, 576);
    assert_int_equal(r.ecx, 832);
    s.xcr0 = 7;
    vcpuid_query(&t, &s, 0xD, 0, &r);
    assert_int_equal(r.ebx, 832);
    r = ask(&t, 0xB, 0);
    assert_true(r.eax == 0 && r.ebx == 1 && r.ecx == 0x100 && r.edx == 3);
    r = ask(&t, 0xB, 1);
    assert_true(r.eax == 2 && r.ebx == 4 && r.ecx == 0x201 && r.edx == 3);
    r = ask(&t, 0xB, 2);
    assert_true(r.eax == 0 && r.ebx == 0 && r.ecx == 2 && r.edx == 3);
    r = ask(&t, 4, 0);
    assert_int_equal(r.eax, 0x121 | 3u << 26); /* L1: one thread, 4 cores in the package */
    r = ask(&t, 4, 1);
    assert_int_equal(r.eax, 0x163 | 3u << 14 | 3u << 26); /* L3: all share it */
    assert_int_equal(ask(&t, 4, 2).eax, 0);
    assert_int_equal(ask(&t, 4, 77).eax, 0);
}

static void hypervisor_leaves_and_the_end_of_the_range(void **state)
{
    (void)state;
    struct host h = {.max = SKYLAKE_MAX, .xcr0 = 7};
    struct vcpuid_config c = config(&h);
    struct vcpuid t;
    assert_int_equal(vcpuid_init(&t, &c), ERR_OK);
    struct cpuid_regs r = ask(&t, 0x40000000, 0);
    assert_memory_equal(&r.ebx, "PatchbayVMM", 12);
    assert_int_equal(r.eax, 0x40000002);
    r = ask(&t, 0x40000001, 0);
    assert_true(r.eax == 0x10000 && r.ebx == 7);
    assert_int_equal(ask(&t, 0, 0).eax, 0x16);
    r = ask(&t, 0x15, 0);
    assert_true(r.eax == 1 && r.ebx == 100 && r.ecx == 24000000);
    struct cpuid_regs top = ask(&t, 0x16, 0);
    assert_int_equal(top.eax, 2400);
    static const u32 beyond[] = {0x17, 0x20, 0x3FFFFFFF, 0x40000003, 0x7FFFFFFF, 0x80000009, 0xFFFFFFFF};
    for (u32 i = 0; i < ARRAY_SIZE(beyond); i++) {
        r = ask(&t, beyond[i], 0);
        assert_memory_equal(&r, &top, sizeof r);
    }
}

static void an_old_host_gets_no_invented_features(void **state)
{
    (void)state;
    struct host h = {.max = OLD_MAX};
    struct vcpuid_config c = config(&h);
    struct vcpuid t;
    c.vcpus = 1;
    c.rdtscp = c.pages_1g = c.rdrand = c.invariant_tsc = false;
    assert_int_equal(vcpuid_init(&t, &c), ERR_OK);
    assert_int_equal(h.calls_out_of_range, 0);
    assert_int_equal(ask(&t, 0, 0).eax, 0x16);
    assert_int_equal(ask(&t, 0x15, 0).ecx, 24000000);
    struct cpuid_regs f = ask(&t, 1, 0);
    assert_false(f.ecx & (CPUID_XSAVE | CPUID_AVX | CPUID_FMA | CPUID_RDRAND));
    assert_false(f.edx & CPUID_HTT);
    assert_int_equal(f.ebx >> 16 & 0xFF, 1);
    assert_int_equal(ask(&t, 0xD, 0).eax, 0);
    assert_int_equal(ask(&t, 0xD, 0).ebx, 0);
    assert_false(ask(&t, 7, 0).ebx & ~CPUID_TSC_ADJUST);
    assert_false(ask(&t, 0x80000001, 0).edx & (CPUID_RDTSCP | CPUID_PAGE1GB));
    assert_int_equal(ask(&t, 0x80000007, 0).edx, 0);
    assert_false(t.cr4 & (CR4_SMEP | CR4_SMAP | CR4_UMIP | CR4_FSGSBASE | CR4_OSXSAVE));
    c.crystal_hz = 0;
    assert_int_equal(vcpuid_init(&t, &c), ERR_INVALID);
}

/* ------------------------------------------------------------------ MSRs */

static void mtrr_and_pat_are_checked(void **state)
{
    (void)state;
    struct machine *m = machine_new(1, TEST_HZ);
    u64 v;
    assert_true(rdmsr_ok(m, 0, MSR_IA32_MTRRCAP, &v));
    assert_int_equal(v, 0x508);
    assert_false(wrmsr_ok(m, 0, MSR_IA32_MTRRCAP, v));
    assert_true(rdmsr_ok(m, 0, MSR_IA32_MTRR_DEF_TYPE, &v));
    assert_int_equal(v, 0x806);
    assert_true(wrmsr_ok(m, 0, MSR_IA32_MTRR_DEF_TYPE, 0xC00));
    assert_false(wrmsr_ok(m, 0, MSR_IA32_MTRR_DEF_TYPE, 0xC02)); /* type 2 */
    assert_false(wrmsr_ok(m, 0, MSR_IA32_MTRR_DEF_TYPE, 0x1000));
    assert_true(wrmsr_ok(m, 0, 0x200, 0x80000006));
    assert_false(wrmsr_ok(m, 0, 0x200, 0x80000003));
    assert_false(wrmsr_ok(m, 0, 0x200, BIT(39) | 6));
    assert_true(wrmsr_ok(m, 0, 0x20F, 0x7FFF000800));
    assert_false(wrmsr_ok(m, 0, 0x20F, 0x7FFF000001));
    assert_true(rdmsr_ok(m, 0, 0x20F, &v));
    assert_int_equal(v, 0x7FFF000800);
    assert_false(rdmsr_ok(m, 0, 0x210, &v)); /* a ninth pair */
    static const u32 fixed[] = {0x250, 0x258, 0x259, 0x268, 0x269, 0x26A, 0x26B, 0x26C, 0x26D, 0x26E, 0x26F};
    for (u32 i = 0; i < ARRAY_SIZE(fixed); i++)
        assert_true(wrmsr_ok(m, 0, fixed[i], 0x0606060606060600ull | (i % 2 ? 4 : 5)));
    for (u32 i = 0; i < ARRAY_SIZE(fixed); i++) {
        assert_true(rdmsr_ok(m, 0, fixed[i], &v));
        assert_int_equal(v & 0xFF, i % 2 ? 4 : 5);
        assert_false(wrmsr_ok(m, 0, fixed[i], 0x0700000000000000));
    }
    assert_true(rdmsr_ok(m, 0, MSR_IA32_PAT, &v));
    assert_int_equal(v, 0x0007040600070406);
    assert_true(wrmsr_ok(m, 0, MSR_IA32_PAT, 0x0007010600070106));
    assert_false(wrmsr_ok(m, 0, MSR_IA32_PAT, 0x0007010600070206));
    assert_false(wrmsr_ok(m, 0, MSR_IA32_PAT, 0x0807010600070106));
    free(m);
}

static void known_and_unknown_msrs(void **state)
{
    (void)state;
    struct machine *m = machine_new(1, TEST_HZ);
    u64 v;
    assert_true(rdmsr_ok(m, 0, MSR_IA32_BIOS_SIGN_ID, &v));
    assert_int_equal(v, 0);
    assert_true(wrmsr_ok(m, 0, MSR_IA32_BIOS_SIGN_ID, 1));
    assert_true(rdmsr_ok(m, 0, MSR_IA32_FEATURE_CONTROL, &v));
    assert_int_equal(v, FEATURE_CONTROL_LOCK);
    assert_false(wrmsr_ok(m, 0, MSR_IA32_FEATURE_CONTROL, 5));
    assert_true(wrmsr_ok(m, 0, MSR_IA32_MISC_ENABLE, 0x400c51889));
    assert_true(rdmsr_ok(m, 0, MSR_IA32_MISC_ENABLE, &v));
    assert_int_equal(v, 0x400c51889);
    assert_true(rdmsr_ok(m, 0, MSR_IA32_DEBUGCTL, &v));
    assert_true(wrmsr_ok(m, 0, MSR_IA32_DEBUGCTL, 0));
    assert_false(wrmsr_ok(m, 0, MSR_IA32_DEBUGCTL, 0x40));
    static const u32 quiet[] = {0x48, 0xE7, 0xE8, 0x10A, 0x122, 0x345, 0x38F, 0x480, 0x491, 0xC1, 0x186};
    for (u32 i = 0; i < ARRAY_SIZE(quiet); i++) {
        assert_false(rdmsr_ok(m, 0, quiet[i], &v));
        assert_false(wrmsr_ok(m, 0, quiet[i], 0));
    }
    assert_int_equal(m->unclaimed, 0);
    assert_false(rdmsr_ok(m, 0, 0x4B564D00, &v));
    assert_false(wrmsr_ok(m, 0, 0xC0010015, 0));
    assert_int_equal(m->unclaimed, 2);
    m->vp.cpuid.arch_capabilities = 1;
    assert_true(rdmsr_ok(m, 0, MSR_IA32_ARCH_CAPABILITIES, &v));
    assert_int_equal(v, 1);
    assert_false(wrmsr_ok(m, 0, MSR_IA32_ARCH_CAPABILITIES, 1));
    free(m);
}

static void every_msr_has_a_defined_answer(void **state)
{
    (void)state;
    struct machine *m = machine_new(2, TEST_HZ);
    u64 seed = env_number("PB_SEED", 11), v;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (u32 pass = 0; pass < 2; pass++) {
        for (u32 msr = 0; msr < 0x1000; msr++) {
            u64 value = random_next(&seed) >> (random_next(&seed) & 63);
            bool read = rdmsr_ok(m, 1, msr, &v);
            (void)read;
            if (msr != MSR_IA32_APIC_BASE || pass)
                (void)(wrmsr_ok(m, 1, msr, value) && wrmsr_ok(m, 1, msr, ~value));
        }
        assert_true(wrmsr_ok(m, 1, MSR_IA32_APIC_BASE, 0xFEE00000)); /* off, then by the way to x2APIC */
        assert_true(wrmsr_ok(m, 1, MSR_IA32_APIC_BASE, 0xFEE00800));
        assert_true(wrmsr_ok(m, 1, MSR_IA32_APIC_BASE, 0xFEE00C00));
    }
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_virtualised_is_hidden),
        cmocka_unit_test(ids_and_dynamic_bits),
        cmocka_unit_test(hypervisor_leaves_and_the_end_of_the_range),
        cmocka_unit_test(an_old_host_gets_no_invented_features),
        cmocka_unit_test(mtrr_and_pat_are_checked),
        cmocka_unit_test(known_and_unknown_msrs),
        cmocka_unit_test(every_msr_has_a_defined_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
