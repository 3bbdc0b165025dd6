/* links: vmm/config.c vmm/config_text.c vmm/config_keys.c vmm/config_numbers.c vmm/config_say.c
 * vmm/config_check.c */
/* libs: -linih */
/*
 * fuzz_config.c - libFuzzer target: any text as patchbay.ini. Beyond the absence of memory errors: an error
 * is reported exactly when the result says so, every line is text, and what was understood is within its
 * limits.
 */
#include "vmm/config.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void on_line(void *ctx, const char *text)
{
    unsigned *lines = ctx;

    for (const char *c = text; *c; c++)
        require((u8)*c >= ' ' || *c == '\t');
    ++*lines;
}

static void on_file(void *ctx, const char *path, u32 line)
{
    (void)ctx;
    require(*path && strlen(path) < CONFIG_MAX_PATH && line > 0);
}

static enum err no_file(void *ctx, const char *path, u64 *size)
{
    (void)ctx;
    *size = strlen(path);
    return *size % 3 ? ERR_OK : ERR_NOT_FOUND;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct config config;
    unsigned lines = 0;
    struct config_report report = {.line = on_line, .ctx = &lines, .file = "fuzz.ini"};
    struct platform_support have = {.cpus = 3, .memory = GIB, .file_size = no_file};
    enum err e = config_parse((const char *)data, size, &config, &report);

    config_this_version(&have);
    require((e == ERR_OK) == (report.errors == 0) && lines == report.errors);
    require(config.vm_count <= CONFIG_MAX_VMS && config.channel_count <= CONFIG_MAX_CHANNELS);
    for (u32 i = 0; i < config.vm_count; i++) {
        const struct vm_config *vm = &config.vms[i];

        require(vm->memory >= CONFIG_MIN_MEMORY && vm->memory <= CONFIG_MAX_MEMORY &&
                !(vm->memory & PAGE_MASK));
        require(vm->vcpus >= 1 && vm->vcpus <= CONFIG_MAX_VCPUS && vm->module_count <= CONFIG_MAX_MODULES);
        require(strnlen(vm->cmdline, sizeof(vm->cmdline)) < sizeof(vm->cmdline));
        require(e != ERR_OK || vm->kernel[0]);
        require(config_find_vm(&config, vm->name) == i);
    }
    for (u32 i = 0; e == ERR_OK && i < config.channel_count; i++)
        require(config.channels[i].a < config.vm_count && config.channels[i].b < config.vm_count &&
                config.channels[i].a != config.channels[i].b);
    config_list_files(&config, on_file, NULL);
    (void)!config_check(&config, &have, &report);
    require(lines == report.errors);
    return 0;
}
