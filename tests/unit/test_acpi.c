/* links: boot/acpi.c */
/* test_acpi.c - good, bad and randomly damaged ACPI tables. PB_SEED, PB_STEPS choose the random part. */
#include "boot/acpi.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* One piece of "physical memory" at MEMORY_AT; everything else cannot be read. */
#define MEMORY_AT   0x7F000000ull
#define MEMORY_SIZE 0x4000u
#define RSDP        (MEMORY_AT + 0x10)
#define XSDT        (MEMORY_AT + 0x100)
#define RSDT        (MEMORY_AT + 0x200)
#define MADT        (MEMORY_AT + 0x400)
#define FADT        (MEMORY_AT + 0x3000)

static u8 memory[MEMORY_SIZE];
static u32 madt_length;
static u64 reads;

static bool read_memory(void *ctx, u64 address, void *to, size_t bytes)
{
    (void)ctx;
    reads++;
    if (address < MEMORY_AT || address > MEMORY_AT + MEMORY_SIZE || bytes > MEMORY_AT + MEMORY_SIZE - address)
        return false;
    memcpy(to, memory + (address - MEMORY_AT), bytes);
    return true;
}

static const struct acpi_source source = {read_memory, NULL};
static struct acpi_info info;

static u8 *at(u64 address)
{
    return memory + (address - MEMORY_AT);
}
static void put(u64 address, u64 value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        at(address)[i] = (u8)(value >> 8 * i);
}
static void fix_sum(u64 address, u32 length, u32 field)
{
    u8 sum = 0;
    at(address)[field] = 0;
    for (u32 i = 0; i < length; i++)
        sum = (u8)(sum + at(address)[i]);
    at(address)[field] = (u8)-sum;
}
static void finish_table(u64 address, const char *signature, u32 length)
{
    memcpy(at(address), signature, 4);
    put(address + 4, length, 4);
    fix_sum(address, length, 9);
}
static void add_lapic(u8 id, u32 flags)
{
    u64 e = MADT + madt_length;
    put(e, 0x0800, 2);
    put(e + 2, id, 1);
    put(e + 3, id, 1);
    put(e + 4, flags, 4);
    madt_length += 8;
}
static void add_x2apic(u32 id, u32 flags)
{
    u64 e = MADT + madt_length;
    put(e, 0x1009, 2);
    put(e + 4, id, 4);
    put(e + 8, flags, 4);
    madt_length += 16;
}
static void add_ioapic(void)
{
    put(MADT + madt_length, 0x0C01, 2);
    put(MADT + madt_length + 4, 0xFEC00000, 4);
    madt_length += 12;
}
static void finish_all(void)
{
    finish_table(MADT, "APIC", madt_length);
    put(FADT + 76, 0x608, 4);
    finish_table(FADT, "FACP", 244);
    put(XSDT + 36, FADT, 8);
    put(XSDT + 44, MADT, 8);
    finish_table(XSDT, "XSDT", 52);
    put(RSDT + 36, MADT, 4);
    finish_table(RSDT, "RSDT", 40);
    memcpy(at(RSDP), "RSD PTR ", 8);
    put(RSDP + 15, 2, 1);
    put(RSDP + 16, RSDT, 4);
    put(RSDP + 20, 36, 4);
    put(RSDP + 24, XSDT, 8);
    fix_sum(RSDP, 20, 8);
    fix_sum(RSDP, 36, 32);
}

static int fresh(void **state)
{
    (void)state;
    memset(memory, 0, sizeof(memory));
    madt_length = 44;
    return 0;
}

static void make_good(void)
{
    add_lapic(0, 1);
    add_ioapic();
    add_lapic(2, 1);
    add_lapic(4, 0);   /* off */
    add_lapic(6, 2);   /* could be put online: is not */
    add_lapic(255, 1); /* no id */
    add_x2apic(2, 1);  /* the same CPU again */
    add_x2apic(300, 1);
    add_x2apic(301, 0);
    add_x2apic(~0u, 1);
    finish_all();
}

static void test_good(void **state)
{
    (void)state;
    make_good();
    assert_int_equal(acpi_read(&source, RSDP, &info), ERR_OK);
    assert_int_equal(info.cpu_count, 3);
    assert_int_equal(info.apic_ids[0], 0);
    assert_int_equal(info.apic_ids[1], 2);
    assert_int_equal(info.apic_ids[2], 300);
    assert_int_equal(info.disabled, 5);
    assert_int_equal(info.ioapic_count, 1);
    assert_int_equal(info.ioapics[0], 0xFEC00000);
    assert_int_equal(info.pm_timer, 0x608);
    assert_string_equal(info.why, "");
}

static void test_extended_pm_timer(void **state)
{
    (void)state;
    make_good();
    put(FADT + 208, 1, 1);
    put(FADT + 212, 0x1808, 8);
    finish_table(FADT, "FACP", 244);
    assert_int_equal(acpi_read(&source, RSDP, &info), ERR_OK);
    assert_int_equal(info.pm_timer, 0x1808);
    put(FADT + 212, 0x11808, 8); /* not a port */
    finish_table(FADT, "FACP", 244);
    assert_int_equal(acpi_read(&source, RSDP, &info), ERR_OK);
    assert_int_equal(info.pm_timer, 0);
}

static void test_rsdt_when_xsdt_is_bad(void **state)
{
    (void)state;
    make_good();
    at(XSDT)[40] ^= 1;
    assert_int_equal(acpi_read(&source, RSDP, &info), ERR_OK);
    assert_int_equal(info.cpu_count, 3);
    assert_int_equal(info.pm_timer, 0); /* our RSDT does not list the FADT */
    at(RSDT)[37] ^= 1;
    assert_int_equal(acpi_read(&source, RSDP, &info), ERR_BAD_IMAGE);
}

static void test_old_rsdp(void **state)
{
    (void)state;
    make_good();
    put(RSDP + 15, 0, 1);
    fix_sum(RSDP, 20, 8);
    assert_int_equal(acpi_read(&source, RSDP, &info), ERR_OK);
    assert_int_equal(info.cpu_count, 3);
}

static void test_no_madt(void **state)
{
    (void)state;
    make_good();
    put(XSDT + 4, 44, 4);
    finish_table(XSDT, "XSDT", 44);
    assert_int_equal(acpi_read(&source, RSDP, &info), ERR_NOT_FOUND);
    assert_int_equal(info.pm_timer, 0x608);
}

static void test_damage(void **state)
{
    (void)state;
    make_good();
    at(MADT)[50] ^= 1; /* checksum */
    assert_int_equal(acpi_read(&source, RSDP, &info), ERR_NOT_FOUND);
    make_good();
    assert_int_equal(acpi_read(&source, RSDP + 1, &info), ERR_BAD_IMAGE);
    assert_int_equal(acpi_read(&source, 0, &info), ERR_BAD_IMAGE);
    assert_int_equal(acpi_read(&source, ~0ull - 3, &info), ERR_BAD_IMAGE);
}

static void test_bad_entry_lengths(void **state)
{
    static const u8 lengths[] = {0, 1, 200};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
        fresh(NULL);
        add_lapic(0, 1);
        add_lapic(1, 1);
        put(MADT + 44 + 8 + 1, lengths[i], 1);
        finish_all();
        assert_int_equal(acpi_read(&source, RSDP, &info), ERR_BAD_IMAGE);
    }
    fresh(NULL);
    add_lapic(0, 1);
    put(MADT + 44 + 1, 4, 1); /* shorter than a local APIC entry: passed over, and so is its second half */
    put(MADT + 44 + 5, 4, 1);
    finish_all();
    assert_int_equal(acpi_read(&source, RSDP, &info), ERR_BAD_IMAGE);
    assert_string_equal(info.why, "the MADT lists no enabled CPU");
}

static void test_more_cpus_than_fit(void **state)
{
    (void)state;
    for (u32 i = 0; i < ACPI_MAX_CPUS + 10; i++)
        add_x2apic(i * 2, 1);
    finish_all();
    assert_int_equal(acpi_read(&source, RSDP, &info), ERR_OK);
    assert_int_equal(info.cpu_count, ACPI_MAX_CPUS);
    assert_int_equal(info.not_listed, 10);
}

static void test_tables_that_lie_about_their_length(void **state)
{
    static const u32 lengths[] = {0, 8, 35, MEMORY_SIZE, 1u << 20, (1u << 20) + 1, ~0u};
    static const u64 tables[] = {XSDT, MADT, FADT};

    (void)state;
    for (size_t t = 0; t < ARRAY_SIZE(tables); t++)
        for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
            fresh(NULL);
            make_good();
            put(tables[t] + 4, lengths[i], 4);
            reads = 0;
            enum err e = acpi_read(&source, RSDP, &info);
            assert_true(e == ERR_OK || e == ERR_NOT_FOUND);
            assert_true(reads < 100000);
        }
}

static void test_random_damage(void **state)
{
    const char *seed_text = getenv("PB_SEED"), *steps_text = getenv("PB_STEPS");
    u64 seed = seed_text ? strtoull(seed_text, NULL, 0) : 1,
        steps = steps_text ? strtoull(steps_text, NULL, 0) : 20000;

    (void)state;
    print_message("seed %llu, %llu steps\n", (unsigned long long)seed, (unsigned long long)steps);
    srand((unsigned)seed);
    for (u64 i = 0; i < steps; i++) {
        fresh(NULL);
        make_good();
        static const u64 tables[] = {XSDT, RSDT, MADT, FADT};
        static const u32 lengths[] = {52, 40, 160, 244};
        u32 t = (u32)rand() % 4;
        for (u32 n = 1 + (u32)rand() % 4; n; n--)
            at(tables[t])[rand() % (int)lengths[t]] = (u8)rand();
        u32 length;
        memcpy(&length, at(tables[t]) + 4, 4);
        if (length >= 36 && length < 0x1000) /* let it through the checksum */
            fix_sum(tables[t], length, 9);
        reads = 0;
        enum err e = acpi_read(&source, RSDP, &info);
        assert_true(e == ERR_OK || e == ERR_NOT_FOUND || e == ERR_BAD_IMAGE);
        assert_true(info.cpu_count <= ACPI_MAX_CPUS);
        assert_true(e != ERR_OK || info.cpu_count);
        assert_true(reads < 2000000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_good, fresh),
        cmocka_unit_test_setup(test_extended_pm_timer, fresh),
        cmocka_unit_test_setup(test_rsdt_when_xsdt_is_bad, fresh),
        cmocka_unit_test_setup(test_old_rsdp, fresh),
        cmocka_unit_test_setup(test_no_madt, fresh),
        cmocka_unit_test_setup(test_damage, fresh),
        cmocka_unit_test_setup(test_bad_entry_lengths, fresh),
        cmocka_unit_test_setup(test_more_cpus_than_fit, fresh),
        cmocka_unit_test_setup(test_tables_that_lie_about_their_length, fresh),
        cmocka_unit_test_setup(test_random_damage, fresh),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
