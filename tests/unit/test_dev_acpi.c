/* links: vmm/dev/vacpi_tables.c */
/* test_dev_acpi.c - the guest's ACPI tables: found as an operating system finds them, checksums, contents. */
#include "tests/unit/test_dev_machine.h"
#include <sys/stat.h>
#include <unistd.h>

static u8 sum(const u8 *p, u32 size)
{
    u8 total = 0;
    for (u32 i = 0; i < size; i++)
        total = (u8)(total + p[i]);
    return total;
}

static u32 get32(const u8 *p)
{
    u32 v;
    memcpy(&v, p, sizeof v);
    return v;
}
static u64 get64(const u8 *p)
{
    u64 v;
    memcpy(&v, p, sizeof v);
    return v;
}

struct tables {
    u8 memory[VACPI_TABLES_SIZE];
    const u8 *rsdp, *xsdt, *fadt, *madt, *dsdt, *facs;
};

static const u8 *at(const struct tables *t, u64 gpa)
{
    assert_in_range(gpa, VACPI_TABLES_BASE, VACPI_TABLES_BASE + VACPI_TABLES_SIZE - 8);
    return t->memory + (gpa - VACPI_TABLES_BASE);
}

static struct tables *build(u32 vcpus)
{
    struct tables *t = calloc(1, sizeof *t);
    gpa_t rsdp = GPA(0);
    memset(t->memory, 0xCC, sizeof t->memory);
    assert_int_equal(vacpi_build(t->memory, sizeof t->memory, GPA(VACPI_TABLES_BASE), vcpus, &rsdp), ERR_OK);
    t->rsdp = at(t, rsdp.v);
    t->xsdt = at(t, get64(t->rsdp + 24));
    u32 entries = (get32(t->xsdt + 4) - 36) / 8;
    for (u32 i = 0; i < entries; i++) {
        const u8 *table = at(t, get64(t->xsdt + 36 + 8 * i));
        if (memcmp(table, "FACP", 4) == 0)
            t->fadt = table;
        if (memcmp(table, "APIC", 4) == 0)
            t->madt = table;
    }
    assert_non_null(t->fadt);
    assert_non_null(t->madt);
    t->facs = at(t, get32(t->fadt + 36));
    t->dsdt = at(t, get64(t->fadt + 140));
    return t;
}

static void checksums_and_signatures(void **state)
{
    (void)state;
    struct tables *t = build(3);
    assert_memory_equal(t->rsdp, "RSD PTR ", 8);
    assert_int_equal((t->rsdp - t->memory) % 16, 0);
    assert_int_equal(sum(t->rsdp, 20), 0);
    assert_int_equal(sum(t->rsdp, 36), 0);
    const u8 *all[] = {t->xsdt, t->fadt, t->madt, t->dsdt};
    const char *names[] = {"XSDT", "FACP", "APIC", "DSDT"};
    for (u32 i = 0; i < ARRAY_SIZE(all); i++) {
        assert_memory_equal(all[i], names[i], 4);
        assert_int_equal(sum(all[i], get32(all[i] + 4)), 0);
    }
    assert_memory_equal(t->facs, "FACS", 4);
    assert_int_equal((t->facs - t->memory) % 64, 0);
    assert_int_equal(get32(t->fadt + 40), get64(t->fadt + 140)); /* DSDT and X_DSDT */
    free(t);
}

static void fixed_hardware(void **state)
{
    (void)state;
    struct tables *t = build(1);
    const u8 *f = t->fadt;
    assert_int_equal(get32(f + 4), 276);
    assert_int_equal(f[46], 9);             /* SCI */
    assert_int_equal(get32(f + 48), 0);     /* no SMI command: always in ACPI mode */
    assert_int_equal(get32(f + 56), 0x600); /* PM1a event */
    assert_int_equal(get32(f + 64), 0x604); /* PM1a control */
    assert_int_equal(get32(f + 76), 0x608); /* PM timer */
    assert_int_equal(f[88], 4);
    assert_int_equal(f[89], 2);
    assert_int_equal(f[91], 4);
    u32 flags = get32(f + 112);
    assert_true(flags & BIT(10));  /* reset register */
    assert_true(flags & BIT(8));   /* 32-bit timer */
    assert_false(flags & BIT(20)); /* not hardware-reduced */
    assert_int_equal(get64(f + 120), 0xCF9);
    assert_int_equal(f[128], 6);
    assert_int_equal(get64(f + 152), 0x600);
    assert_int_equal(get64(f + 212), 0x608);
    free(t);
}

static void processors_and_overrides(void **state)
{
    (void)state;
    static const u32 counts[] = {1, 2, 64};
    for (u32 c = 0; c < ARRAY_SIZE(counts); c++) {
        struct tables *t = build(counts[c]);
        u32 cpus = 0, ioapics = 0, overrides = 0, size = get32(t->madt + 4);
        assert_int_equal(get32(t->madt + 36), 0xFEE00000);
        for (u32 i = 44; i < size; i += t->madt[i + 1]) {
            const u8 *e = t->madt + i;
            assert_true(e[1] >= 6);
            if (e[0] == 0) {
                assert_int_equal(e[3], cpus++);
                assert_int_equal(get32(e + 4), 1);
            } else if (e[0] == 1) {
                ioapics++;
                assert_int_equal(get32(e + 4), 0xFEC00000);
            } else if (e[0] == 2) {
                overrides++;
                assert_int_equal(get32(e + 4), e[3] == 0 ? 2 : 9);
                assert_int_equal(e[8], e[3] == 0 ? 0 : 0xD);
            }
        }
        assert_int_equal(cpus, counts[c]);
        assert_int_equal(ioapics, 1);
        assert_int_equal(overrides, 2);
        free(t);
    }
}

static void refuses_what_does_not_fit(void **state)
{
    (void)state;
    u8 *memory = calloc(1, VACPI_TABLES_SIZE);
    gpa_t rsdp;
    assert_int_equal(vacpi_build(memory, 256, GPA(VACPI_TABLES_BASE), 1, &rsdp), ERR_RANGE);
    assert_int_equal(memory[0], 0);
    assert_int_equal(vacpi_build(memory, VACPI_TABLES_SIZE, GPA(VACPI_TABLES_BASE + 1), 1, &rsdp), ERR_RANGE);
    assert_int_equal(vacpi_build(memory, VACPI_TABLES_SIZE, GPA(VACPI_TABLES_BASE), 0, &rsdp), ERR_RANGE);
    assert_int_equal(vacpi_build(memory, VACPI_TABLES_SIZE, GPA(VACPI_TABLES_BASE), 65, &rsdp), ERR_RANGE);
    assert_int_equal(vacpi_build(memory, VACPI_TABLES_SIZE, GPA(0xFFFFF000), 1, &rsdp), ERR_RANGE);
    for (u64 size = 0; size < 1200; size++) { /* every truncation: ASan watches the end */
        u8 *exact = malloc(size + 1);
        (void)!vacpi_build(exact, size, GPA(VACPI_TABLES_BASE), 2, &rsdp);
        free(exact);
    }
    free(memory);
}

/* iasl, the reference compiler, must read every table back without a complaint. */
static void the_reference_disassembler_agrees(void **state)
{
    (void)state;
    if (system("command -v iasl >/dev/null 2>&1") != 0)
        skip();
    struct tables *t = build(4);
    const u8 *all[] = {t->fadt, t->madt, t->dsdt};
    char folder[] = "/tmp/test_dev_acpi.XXXXXX", command[256], name[64];
    assert_non_null(mkdtemp(folder));
    for (u32 i = 0; i < ARRAY_SIZE(all); i++) {
        snprintf(name, sizeof name, "%s/table%u.dat", folder, i);
        FILE *f = fopen(name, "wb");
        assert_non_null(f);
        assert_int_equal(fwrite(all[i], 1, get32(all[i] + 4), f), get32(all[i] + 4));
        fclose(f);
        snprintf(command, sizeof command,
                 "cd %s && iasl -d table%u.dat >log 2>&1 && ! grep -Ei 'error|warning|invalid' log "
                 "table%u.dsl >&2",
                 folder, i, i);
        assert_int_equal(system(command), 0);
    }
    snprintf(command, sizeof command, "grep -q PNP0501 %s/table2.dsl && rm -r %s", folder, folder);
    assert_int_equal(system(command), 0);
    free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checksums_and_signatures),          cmocka_unit_test(fixed_hardware),
        cmocka_unit_test(processors_and_overrides),          cmocka_unit_test(refuses_what_does_not_fit),
        cmocka_unit_test(the_reference_disassembler_agrees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
