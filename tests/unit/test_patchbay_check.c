/* links: arch/err.c */
/* test_patchbay_check.c - the host tool: its exit codes, its options, and files looked up as on FAT. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "tests/unit/run_tool.h"

static char folder[] = "/tmp/patchbay-check-XXXXXX";

static void write_file(const char *name, const char *text)
{
    char path[256];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

/* Runs the tool; %s in `arguments` is the folder. */
static int run_in(const char *arguments)
{
    char with[512];

    snprintf(with, sizeof(with), arguments, folder, folder);
    return run(with);
}

static int set_up(void **state)
{
    static const char *const folders[] = {"EFI", "EFI/patchbay"};
    char path[256];

    (void)state;
    if (!mkdtemp(folder))
        return -1;
    for (size_t i = 0; i < sizeof(folders) / sizeof(*folders); i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, folders[i]);
        mkdir(path, 0700);
    }
    write_file("EFI/patchbay/VMLINUZ", "kernel");
    write_file("EFI/patchbay/patchbay.ini",
               "[vm linux]\nkernel = efi\\patchbay\\vmlinuz\nmemory = 256M\ncpus = 2\n");
    write_file("bad.ini", "[vm linux]\nkernel = nowhere\nmemroy = 1\n");
    return 0;
}

static int tear_down(void **state)
{
    char command[256];

    (void)state;
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command) != 0 ? -1 : 0;
}

static void test_good(void **state)
{
    (void)state;
    assert_int_equal(run_in("%s/EFI/patchbay/patchbay.ini"), 0);
    said("good: 1 VM: linux (256 MiB); 0 channels\n");
    assert_int_equal(run_in("--quiet --cpus 4 --memory 1G --esp %s %s/EFI/patchbay/patchbay.ini"), 0);
    assert_string_equal(output, "");
}

static void test_errors(void **state)
{
    (void)state;
    assert_int_equal(run_in("--cpus 2 --memory 100M %s/EFI/patchbay/patchbay.ini"), 1);
    said("patchbay.ini:4:1: error: VM 'linux' asks for CPU 2");
    said("patchbay.ini:3:1: error: VM 'linux' has 256M of memory, but only 100M are left");
    assert_int_equal(run_in("--esp %s %s/bad.ini"), 1);
    said("bad.ini:3:1: error: unknown key 'memroy' in [vm linux]; did you mean 'memory'?\n");
    said("bad.ini:2:1: error: file 'nowhere' is not on the EFI system partition");
    said("2 errors\n");
}

static void test_usage(void **state)
{
    (void)state;
    assert_int_equal(run_in("--help"), 0);
    said("usage: patchbay-check");
    assert_int_equal(run_in("--keys"), 0);
    said("[channel NAME NAME]");
    assert_int_equal(run_in(""), 2);
    assert_int_equal(run_in("--cpus 0 x"), 2);
    assert_int_equal(run_in("--memory much x"), 2);
    assert_int_equal(run_in("--strange x"), 2);
    assert_int_equal(run_in("%s/none.ini"), 2);
    said("No such file or directory");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_usage),
    };

    tool_is(argc ? argv[0] : "", "patchbay-check");
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
