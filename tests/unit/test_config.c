/* links: vmm/config.c vmm/config_text.c vmm/config_keys.c vmm/config_numbers.c vmm/config_say.c
 * vmm/config_check.c */
/* libs: -linih */
/* test_config.c - patchbay.ini: what is understood, and the exact words of every error. */
#include "vmm/config.h"
#include "vmm/demo/builtin_ini.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct config config;
static char said[32768];
static struct config_report report;

static void keep(void *ctx, const char *text)
{
    (void)ctx;
    size_t used = strlen(said);
    snprintf(said + used, sizeof(said) - used, "%s\n", text);
}

static void reset(void)
{
    said[0] = 0;
    report = (struct config_report){.line = keep, .file = "p.ini"};
}

static enum err parse_bytes(const char *text, size_t size)
{
    /* An exact copy, so that the sanitizer sees any read past the end. */
    char *copy = malloc(size ? size : 1);
    enum err e;

    memcpy(copy, text, size);
    reset();
    e = config_parse(copy, size, &config, &report);
    free(copy);
    return e;
}

static enum err parse(const char *text)
{
    return parse_bytes(text, strlen(text));
}

static void expect(const char *text, const char *errors)
{
    enum err e = parse(text);

    assert_string_equal(said, errors);
    assert_int_equal(e, *errors ? ERR_INVALID : ERR_OK);
}

#define VM_A "[vm a]\nkernel = k\n"
#define VM_B "[vm b]\nkernel = k\n"

static void test_complete(void **state)
{
    (void)state;
    expect(
        "; a comment\n# another\n"
        "[machine]\nconsole = serial\nlog=debug\nexit = on\nkeyboard = linux\nescape=ctrl-B\naudit=every\n\n"
        "[vm linux]  ; with a comment\n  kernel = EFI/patchbay/vmlinuz\ninitrd: initrd\n"
        "cmdline = console=ttyS0 root=/dev/ram0 a=\"b c\"\nformat = linux\nmemory = 256M\nvcpus = 4\n"
        "cpus = 0,2-3, 63\nshadow = shared\npaging = ept\nunpaged = shadow\nrestart = on\ntestdev = off\r\n"
        "[vm mb]\nkernel = k\nmodules = one a b , two,  three x\nmemory = 4GiB\n"
        "[channel linux mb]\nmodes = message, share-ro,donate\ndepth = 48\n",
        "");
    assert_int_equal(config.console, CONSOLE_SERIAL);
    assert_int_equal(config.log, LOG_DEBUG);
    assert_true(config.exit && config.audit == CONFIG_AUDIT_EVERY);
    assert_string_equal(config.keyboard, "linux");
    assert_int_equal(config.escape, 2);
    assert_int_equal(config.vm_count, 2);
    const struct vm_config *vm = &config.vms[0];
    assert_string_equal(vm->name, "linux");
    assert_string_equal(vm->kernel, "EFI/patchbay/vmlinuz");
    assert_string_equal(vm->initrd, "initrd");
    assert_string_equal(vm->cmdline, "console=ttyS0 root=/dev/ram0 a=\"b c\"");
    assert_int_equal(vm->format, FORMAT_LINUX);
    assert_int_equal(vm->memory, 256 * MIB);
    assert_int_equal(vm->vcpus, 4);
    assert_true(vm->cpus == (BIT(0) | BIT(2) | BIT(3) | BIT(63)));
    assert_int_equal(vm->shadow, SHADOW_SHARED);
    assert_int_equal(vm->paging, PAGING_EPT);
    assert_int_equal(vm->unpaged, UNPAGED_SHADOW);
    assert_true(vm->restart && !vm->testdev);
    assert_int_equal(vm->line, 11);
    assert_int_equal(vm->at[CONFIG_VM_MEMORY], 16);
    vm = &config.vms[1];
    assert_int_equal(vm->module_count, 3);
    assert_string_equal(vm->modules[0].path, "one");
    assert_string_equal(vm->modules[0].args, "a b");
    assert_string_equal(vm->modules[1].path, "two");
    assert_string_equal(vm->modules[1].args, "");
    assert_string_equal(vm->modules[2].args, "x");
    assert_true(vm->memory == 4 * GIB);
    assert_int_equal(config.channel_count, 1);
    assert_int_equal(config.channels[0].a, 0);
    assert_int_equal(config.channels[0].b, 1);
    assert_int_equal(config.channels[0].modes,
                     CONFIG_MODE_MESSAGE | CONFIG_MODE_SHARE_RO | CONFIG_MODE_DONATE);
    assert_int_equal(config.channels[0].depth, 48);
}

static void test_defaults(void **state)
{
    (void)state;
    expect("\xEF\xBB\xBF[vm a]\nkernel=k", "");
    assert_int_equal(config.console, CONSOLE_BOTH);
    assert_int_equal(config.escape, 1);
    assert_int_equal(config.vms[0].memory, CONFIG_DEFAULT_MEMORY);
    assert_int_equal(config.vms[0].vcpus, 1);
    assert_false(config.vms[0].testdev);
    assert_true(config.vms[0].cpus == 0);
}

static void test_builtin(void **state)
{
    (void)state;
    expect(builtin_ini, "");
    assert_int_equal(config.vm_count, 2);
    assert_int_equal(config.channel_count, 1);
}

static void test_all_errors_at_once(void **state)
{
    (void)state;
    expect("stray = 1\n[vm a]\nkernel = k\nmemroy = 1M\nmemory = 12Q\nnonsense\n[vn b]\nkernel = x\n",
           "p.ini:1:1: error: 'stray' stands before any section; put it under [machine] or [vm NAME]\n"
           "p.ini:4:1: error: unknown key 'memroy' in [vm a]; did you mean 'memory'?\n"
           "p.ini:5:10: error: memory '12Q' is not a size; write a number with K, M or G, such as 256M\n"
           "p.ini:6:1: error: this is neither 'key = value' nor a [section]; comments begin with ';' or '#'\n"
           "p.ini:7:2: error: unknown section 'vn'; did you mean 'vm'?\n");
    assert_int_equal(report.errors, 5);
    assert_int_equal(report.bad_vms, 1);
}

static void test_sections(void **state)
{
    (void)state;
    expect(VM_A "[vm a]\nkernel = z\n",
           "p.ini:3:5: error: VM 'a' is declared already in line 1; give one of them another name\n");
    expect(VM_A "[vm]\n", "p.ini:3:2: error: a 'vm' section is written [vm NAME]\n");
    expect(VM_A "[vm a b]\n", "p.ini:3:2: error: a 'vm' section is written [vm NAME]\n");
    expect(VM_A "[]\n", "p.ini:3:1: error: the section header is empty; write it as in [vm alpha]\n");
    expect(VM_A "[vm b\n", "p.ini:3:1: error: the section header has no ']'; write it as in [vm alpha]\n");
    expect(VM_A "[machine] log = on\n",
           "p.ini:3:11: error: there is text after the section header; put it on a line of its own\n");
    expect(VM_A "[vm 9x]\n",
           "p.ini:3:5: error: '9x' cannot be the name of a VM; write a letter, then letters, "
           "digits, '-' or '_'\n");
    expect(VM_A "[vm abcdefghijklmnop]\n",
           "p.ini:3:5: error: the name 'abcdefghijklmnop' is too long; at most 15 characters are possible\n");
    expect(VM_A "[xyzzyxyzzy]\n",
           "p.ini:3:2: error: unknown section 'xyzzyxyzzy'; there are 'machine', 'vm NAME' "
           "and 'channel NAME NAME'\n");
    expect("",
           "p.ini:1:1: error: there is no VM to run; add a section [vm NAME] with a line 'kernel = FILE'\n");
    expect("[vm a]\nmemory = 8M\n", "p.ini:1:1: error: VM 'a' has no kernel; add a line 'kernel = FILE'\n");
    expect("[vm a]\n", "p.ini:1:1: error: VM 'a' has no kernel; add a line 'kernel = FILE'\n");
    assert_int_equal(report.bad_vms, 1);
}

static void test_channels(void **state)
{
    (void)state;
    expect(VM_A VM_B "[channel a c]\n", "p.ini:5:1: error: there is no VM 'c'; did you mean 'a'?\n");
    expect(VM_A VM_B "[channel a gamma]\n",
           "p.ini:5:1: error: there is no VM 'gamma'; declare it with [vm gamma]\n");
    expect(VM_A "[channel a a]\n", "p.ini:3:12: error: the channel joins 'a' with itself; name two VMs\n");
    expect(VM_A VM_B "[channel a b]\n[channel b a]\n",
           "p.ini:6:10: error: the channel of 'b' and 'a' is declared already in line 5; join the two\n");
    expect(VM_A VM_B "[channel a b]\nmodes = message, shared-ro\n",
           "p.ini:6:18: error: modes cannot be 'shared-ro'; did you mean 'share-ro'?\n");
    expect(VM_A VM_B "[channel a b]\ndepth = 0\n",
           "p.ini:6:9: error: depth 0 is out of range; write a number from 1 to 48\n");
    expect(VM_A VM_B "[channel a b]\nmodes = lend,,donate\n",
           "p.ini:6:14: error: modes has an empty item; write a list of message, share-ro, share-rw, lend, "
           "donate\n");
    expect("[channel a b]\n" VM_A VM_B, "");
}

static void expect_vm(const char *line, const char *error)
{
    char text[2048], all[2048];

    snprintf(text, sizeof(text), VM_A "%s\n", line);
    snprintf(all, sizeof(all), "%s%s%s", *error ? "p.ini:3:" : "", error, *error ? "\n" : "");
    expect(text, all);
}

static void test_values(void **state)
{
    (void)state;
    expect_vm("kernel = j", "1: error: 'kernel' is given already in line 2; remove one of them");
    expect_vm("memory =", "1: error: 'memory' has no value; write a size from 4M to 64G, such as 256M");
    expect_vm("memory = 256", "10: error: memory 256 is that many bytes; did you mean '256M'?");
    expect_vm("memory = 2", "10: error: memory '2' is out of range; write a size from 4M to 64G");
    expect_vm("memory = 1M", "10: error: memory '1M' is out of range; write a size from 4M to 64G");
    expect_vm("memory = 65G", "10: error: memory '65G' is out of range; write a size from 4M to 64G");
    expect_vm("memory = 64G", "");
    expect_vm("memory = 4194305",
              "10: error: memory '4194305' is not a whole number of 4K pages; write 4100K");
    expect_vm("memory = 99999999999999999999M",
              "10: error: memory '99999999999999999999M' is not a size; write a "
              "number with K, M or G, such as 256M");
    expect_vm("memory = 9007199254740992G",
              "10: error: memory '9007199254740992G' is not a size; write a number "
              "with K, M or G, such as 256M");
    expect_vm("memory = -1M",
              "10: error: memory '-1M' is not a size; write a number with K, M or G, such as 256M");
    expect_vm("vcpus = 0", "9: error: vcpus 0 is out of range; write a number from 1 to 64");
    expect_vm("vcpus = 65", "9: error: vcpus 65 is out of range; write a number from 1 to 64");
    expect_vm("vcpus = two", "9: error: vcpus 'two' is not a number; write a number from 1 to 64");
    expect_vm("cpus = 64",
              "8: error: cpus has CPU 64, which is out of range; CPUs are numbered from 0 to 63");
    expect_vm("cpus = 1, 3-2", "11: error: cpus has the range '3-2' backwards; write 2-3");
    expect_vm("cpus = 1 ;2", "");
    expect_vm("cpus = x",
              "8: error: cpus has 'x', which is no CPU number or range; write CPU numbers and ranges to "
              "run on, such as 0,2-3");
    expect_vm("format = linus", "10: error: format cannot be 'linus'; did you mean 'linux'?");
    expect_vm("format = qqqqqqq",
              "10: error: format cannot be 'qqqqqqq'; write auto, linux, multiboot, elf or flat");
    expect_vm("shadow = pervcpu", "10: error: shadow cannot be 'pervcpu'; did you mean 'per-vcpu'?");
    expect_vm("initrd = a|b",
              "10: error: initrd 'a|b' has a '|', which no file on the EFI system partition can have");
}

static void test_values2(void **state)
{
    (void)state;
    expect("[vm a]\nkernel = builtin:gamma\n",
           "p.ini:2:10: error: kernel cannot be 'builtin:gamma'; did you mean "
           "'builtin:alpha'?\n");
    expect("[vm a]\nkernel = builtin:alpa\n",
           "p.ini:2:10: error: kernel cannot be 'builtin:alpa'; did you mean "
           "'builtin:alpha'?\n");
    expect("[machine]\nkeyboard = aa\n" VM_A, "p.ini:2:1: error: there is no VM 'aa'; did you mean 'a'?\n");
    expect("[machine]\nescape = alt-x\n" VM_A,
           "p.ini:2:10: error: escape 'alt-x' is not a control key; write ctrl-a to ctrl-z\n");
    expect(VM_A "format = flat\ninitrd = x\n",
           "p.ini:4:1: error: initrd is for linux and multiboot kernels only; "
           "remove the line or the 'format' in line 3\n");
    expect(VM_A "format = linux\nmodules = x\n",
           "p.ini:4:1: error: modules are for multiboot kernels only; remove the "
           "line or the 'format' in line 3\n");
    expect(VM_A "modules = 1,2,3,4,5,6,7,8,9\n",
           "p.ini:3:27: error: modules has more than 8 files; leave some out\n");
    expect(VM_A "vcpus = 33\n" VM_B "vcpus = 32\n",
           "p.ini:4:1: error: the VMs have more than 64 vCPUs from here on; "
           "lower some 'vcpus'\n");
}

static void test_lines(void **state)
{
    char text[3000], expected[200];

    (void)state;
    snprintf(text, sizeof(text), VM_A "cmdline = %01500d\nmemory = 8M\n", 0);
    expect(text, "p.ini:3:1025: error: the line is 1510 bytes long; at most 1024 are possible\n");
    assert_int_equal(config.vms[0].memory, 8 * MIB);
    snprintf(text, sizeof(text), VM_A "cmdline = %01014d\n", 7);
    expect(text, "");
    assert_int_equal(strlen(config.vms[0].cmdline), 1014);
    snprintf(text, sizeof(text), "[vm a]\nkernel = %0100d\n", 7);
    snprintf(expected, sizeof(expected),
             "p.ini:2:10: error: kernel is 100 bytes long; at most 95 are possible\n");
    expect(text, expected);
    expect(VM_A "cmdline = a\xFFz\n",
           "p.ini:3:12: error: byte 0xff is not UTF-8 text; save the file as UTF-8\n");
    expect(VM_A "cmdline = caf\xC3\xA9\n", "");
    expect(VM_A "cmdline = \xC0\x80\n",
           "p.ini:3:11: error: byte 0xc0 is not UTF-8 text; save the file as UTF-8\n");
    expect(VM_A "cmdline = \xED\xA0\x80\n",
           "p.ini:3:11: error: byte 0xed is not UTF-8 text; save the file as UTF-8\n");
    expect(VM_A "cmdline = \xE2\x82\n",
           "p.ini:3:11: error: byte 0xe2 is not UTF-8 text; save the file as UTF-8\n");
    expect(VM_A "cmdline = a\x1Bz\n",
           "p.ini:3:12: error: the line has a control character (0x1b); remove it\n");
    assert_int_equal(parse_bytes("[vm a]\nkernel = a\0b\n", 20), ERR_INVALID);
    assert_non_null(strstr(said, "p.ini:2:11: error: the line has a control character (0x0); remove it\n"));
    char *big = calloc(1, CONFIG_MAX_TEXT + 1);
    assert_int_equal(parse_bytes(big, CONFIG_MAX_TEXT + 1), ERR_INVALID);
    assert_string_equal(said, "p.ini:1:1: error: the file is larger than 64K; is it the right one?\n");
    free(big);
}

static void test_many(void **state)
{
    static char text[60000];
    size_t n = 0;

    (void)state;
    for (int i = 0; i < 17; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "[vm v%d]\nkernel = k%d\n", i, i);
    expect(text, "p.ini:33:5: error: VM 'v16' is one too many; at most 16 are possible\n");
    text[0] = 0;
    n = 0;
    for (int i = 0; i < 16; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "[vm v%d]\nkernel = k%d\n", i, i);
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < i; j++)
            n += (size_t)snprintf(text + n, sizeof(text) - n, "[channel v%d v%d]\n", i, j);
    expect(text, "");
    assert_int_equal(config.channel_count, CONFIG_MAX_CHANNELS);
}

static void list(void *ctx, const char *path, u32 line)
{
    (void)ctx;
    size_t used = strlen(said);
    snprintf(said + used, sizeof(said) - used, "%u %s\n", line, path);
}

static void test_list_files(void **state)
{
    (void)state;
    expect("[vm a]\nkernel = k\ninitrd = i\nmodules = m x, k, n, m y\n[vm b]\nkernel = builtin:beta\n[vm c]\n"
           "kernel=z\ninitrd=i\n",
           "");
    config_list_files(&config, list, NULL);
    assert_string_equal(said, "2 k\n3 i\n4 m\n4 n\n8 z\n");
}

static enum err file_size(void *ctx, const char *path, u64 *size)
{
    (void)ctx;
    *size = strcmp(path, "empty") == 0 ? 0 : 5000;
    if (strcmp(path, "gone") == 0)
        return ERR_NOT_FOUND;
    return strcmp(path, "broken") == 0 ? ERR_IO : ERR_OK;
}

static void check(const char *text, const struct platform_support *have, const char *errors)
{
    assert_int_equal(parse(text), ERR_OK);
    assert_int_equal(config_check(&config, have, &report), *errors ? ERR_INVALID : ERR_OK);
    assert_string_equal(said, errors);
}

static u64 overhead(const struct vm_config *vm)
{
    return vm->paging == PAGING_EPT ? 2 * MIB : MIB;
}

static void test_check(void **state)
{
    struct platform_support have = {.cpus = 2,
                                    .memory = 100 * MIB,
                                    .overhead = overhead,
                                    .max_vcpus = 1,
                                    .modes = CONFIG_MODE_MESSAGE | CONFIG_MODE_SHARE_RO | CONFIG_MODE_DONATE,
                                    .file_size = file_size};

    (void)state;
    check(builtin_ini, &have, "");
    check("[vm a]\nkernel=gone\ninitrd=empty\nmodules=broken\n", &have,
          "p.ini:2:1: error: file 'gone' is not on the EFI system partition; copy it there or correct the "
          "name\n"
          "p.ini:3:1: error: file 'empty' is empty; copy it again\n"
          "p.ini:4:1: error: file 'broken' cannot be read: input/output error\n");
    check(VM_A "memory = 128M\n" VM_B "memory = 32M\n", &have,
          "p.ini:3:1: error: VM 'a' has 128M of memory, but only 99M are left for it on this machine; lower "
          "'memory'\n");
    assert_int_equal(report.bad_vms, 1);
    check(VM_A "memory = 64M\n" VM_B "memory = 64M\n", &have,
          "p.ini:6:1: error: VM 'b' has 64M of memory, but only 34M are left for it on this machine; lower "
          "'memory'\n");
    assert_int_equal(report.bad_vms, 2);
    have.ept = true;
    check(VM_A "memory = 50M\npaging = ept\n" VM_B "memory = 48M\n", &have,
          "p.ini:7:1: error: VM 'b' has 48M of memory, but only 47M are left for it on this machine; lower "
          "'memory'\n");
    have.ept = false;
    check(VM_A "cpus = 0-3\n", &have,
          "p.ini:3:1: error: VM 'a' asks for CPU 3, but this machine has 2 CPUs; use 0 to 1\n");
    check(VM_A "vcpus = 2\nshadow = shared\npaging = ept\nrestart = on\n", &have,
          "p.ini:3:1: error: this version of Patchbay runs VMs of at most 1 vCPU; write vcpus = 1\n"
          "p.ini:5:1: error: this machine's CPUs have no EPT; write paging = shadow\n"
          "p.ini:6:1: error: this version of Patchbay cannot start a VM again yet; write restart = off\n");
    have.ept = true;
    have.memory = GIB;
    have.cpus = 1;
    check(VM_A "paging = ept\ncpus = 1\n" VM_B "[channel b a]\nmodes = share-rw,lend\n", &have,
          "p.ini:4:1: error: VM 'a' asks for CPU 1, but this machine has CPU 0 only; remove the line\n"
          "p.ini:8:1: error: this version of Patchbay has no channel mode 'share-rw' yet; remove it\n"
          "p.ini:8:1: error: this version of Patchbay has no channel mode 'lend' yet; remove it\n");
}

static void ignore(void *ctx, const char *path, u32 line)
{
    (void)ctx;
    (void)line;
    assert_in_range(strlen(path), 1, CONFIG_MAX_PATH - 1);
}

/* Damaged copies of a good file: no crash, and ERR_OK exactly when nothing was said. */
static void test_random_damage(void **state)
{
    static const char *const seeds[] = {
        builtin_ini,
        "[machine]\nlog=debug\nescape=ctrl-a\n" VM_A "memory=64M\ncpus=0-3,5\nmodules=a b,c\n" VM_B
        "cmdline = x y z\n[channel a b]\nmodes=lend\ndepth=3\n",
    };
    static const char spice[] = "[]=:;#\n\r\t ,-\0\xFF\xC3\xA9\"'k";
    const char *env = getenv("PB_SEED");
    unsigned seed = env ? (unsigned)strtoul(env, NULL, 0) : 1;
    int steps = (env = getenv("PB_STEPS")) ? atoi(env) : 20000;
    struct platform_support have = {.cpus = 2, .memory = 100 * MIB, .max_vcpus = 1, .file_size = file_size};

    (void)state;
    print_message("seed %u, %d steps\n", seed, steps);
    srand(seed);
    for (int i = 0; i < steps; i++) {
        char text[2048];
        const char *from = seeds[rand() % 2];
        size_t n = strlen(from);

        memcpy(text, from, n);
        for (int k = rand() % 6; k >= 0; k--) {
            size_t at = (size_t)rand() % n;
            int what = rand() % 4;

            if (what == 0)
                text[at] = (char)rand();
            else if (what == 1)
                text[at] = spice[(size_t)rand() % sizeof(spice)];
            else if (what == 2)
                n = at + 1;
            else {
                size_t length = (size_t)rand() % (n - at), to = (size_t)rand() % (sizeof(text) - length);
                memmove(text + MIN(to, n), text + at, MIN(length, sizeof(text) - MIN(to, n)));
                n = MAX(n, MIN(to, n) + length);
            }
        }
        enum err e = parse_bytes(text, n);
        assert_int_equal(e == ERR_OK, said[0] == 0);
        assert_int_equal(e == ERR_OK, report.errors == 0);
        config_list_files(&config, ignore, NULL);
        (void)!config_check(&config, &have, &report);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_complete),      cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_builtin),       cmocka_unit_test(test_all_errors_at_once),
        cmocka_unit_test(test_sections),      cmocka_unit_test(test_channels),
        cmocka_unit_test(test_values),        cmocka_unit_test(test_values2),
        cmocka_unit_test(test_lines),         cmocka_unit_test(test_many),
        cmocka_unit_test(test_list_files),    cmocka_unit_test(test_check),
        cmocka_unit_test(test_random_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
