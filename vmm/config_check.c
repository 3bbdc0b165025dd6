/* config_check.c - a parsed configuration against a machine and its disk; the files a configuration names. */
#include "arch/string.h"
#include "vmm/config_parser.h"

static bool is_builtin(const char *path)
{
    return strlen(path) >= strlen(CONFIG_BUILTIN_PREFIX) &&
           memcmp(path, CONFIG_BUILTIN_PREFIX, strlen(CONFIG_BUILTIN_PREFIX)) == 0;
}

/* File number `index` of a VM (kernel, initrd, modules); "" if that one is not given, NULL past the end. */
static const char *vm_file(const struct vm_config *vm, u32 index, u32 *line)
{
    if (index == 0) {
        *line = vm->at[CONFIG_VM_KERNEL];
        return is_builtin(vm->kernel) ? "" : vm->kernel;
    }
    if (index == 1) {
        *line = vm->at[CONFIG_VM_INITRD];
        return vm->initrd;
    }
    *line = vm->at[CONFIG_VM_MODULES];
    return index - 2 < vm->module_count ? vm->modules[index - 2].path : NULL;
}

static bool listed_before(const struct config *config, u32 vm, u32 file, const char *path)
{
    const char *other;
    u32 line;

    for (u32 v = 0; v <= vm; v++) {
        for (u32 f = 0; (v < vm || f < file) && (other = vm_file(&config->vms[v], f, &line)); f++) {
            if (strcmp(other, path) == 0)
                return true;
        }
    }
    return false;
}

void config_list_files(const struct config *config, void (*found)(void *ctx, const char *path, u32 line),
                       void *ctx)
{
    const char *path;
    u32 line;

    for (u32 v = 0; v < config->vm_count; v++) {
        for (u32 f = 0; (path = vm_file(&config->vms[v], f, &line)); f++) {
            if (*path && !listed_before(config, v, f, path))
                found(ctx, path, line);
        }
    }
}

static void check_files(const struct vm_config *vm, const struct platform_support *have,
                        struct config_report *report)
{
    const char *path;
    u32 line;

    for (u32 f = 0; (path = vm_file(vm, f, &line)); f++) {
        u64 size = 0;
        enum err e = *path ? have->file_size(have->ctx, path, &size) : ERR_OK;

        if (e == ERR_NOT_FOUND)
            config_say(report, line, 0,
                       "file '%s' is not on the EFI system partition; copy it there or correct the name",
                       config_clip(path).text);
        else if (e != ERR_OK)
            config_say(report, line, 0, "file '%s' cannot be read: %s", config_clip(path).text, err_text(e));
        else if (*path && size == 0)
            config_say(report, line, 0, "file '%s' is empty; copy it again", config_clip(path).text);
    }
}

static void check_cpus(const struct vm_config *vm, const struct platform_support *have,
                       struct config_report *report)
{
    u64 there = have->cpus >= 64 ? ~0ull : BIT(have->cpus) - 1;
    u32 line = vm->at[CONFIG_VM_CPUS], worst = 0;

    if (!(vm->cpus & ~there))
        return;
    for (u32 i = 0; i < 64; i++) {
        if (vm->cpus & BIT(i))
            worst = i;
    }
    if (have->cpus == 1)
        config_say(report, line, 0,
                   "VM '%s' asks for CPU %u, but this machine has CPU 0 only; remove the line", vm->name,
                   worst);
    else
        config_say(report, line, 0, "VM '%s' asks for CPU %u, but this machine has %u CPUs; use 0 to %u",
                   vm->name, worst, have->cpus, have->cpus - 1);
}

static void check_features(const struct vm_config *vm, const struct platform_support *have,
                           struct config_report *report)
{
    if (vm->vcpus > have->max_vcpus)
        config_say(report, vm->at[CONFIG_VM_VCPUS], 0,
                   "this version of Patchbay runs VMs of at most %u vCPU%s; write vcpus = %u",
                   have->max_vcpus, have->max_vcpus == 1 ? "" : "s", have->max_vcpus);
    if (vm->paging == PAGING_EPT && !have->ept)
        config_say(report, vm->at[CONFIG_VM_PAGING], 0,
                   "this machine's CPUs have no EPT; write paging = shadow");
    if (vm->restart && !have->restart)
        config_say(report, vm->at[CONFIG_VM_RESTART], 0,
                   "this version of Patchbay cannot start a VM again yet; write restart = off");
}

static void check_channel(const struct channel_config *c, const struct platform_support *have,
                          struct config_report *report)
{
    static const struct {
        u32 mode;
        const char *name;
    } modes[] = {{CONFIG_MODE_MESSAGE, "message"},
                 {CONFIG_MODE_SHARE_RO, "share-ro"},
                 {CONFIG_MODE_SHARE_RW, "share-rw"},
                 {CONFIG_MODE_LEND, "lend"},
                 {CONFIG_MODE_DONATE, "donate"}};

    for (u32 i = 0; i < ARRAY_SIZE(modes); i++) {
        if (c->modes & ~have->modes & modes[i].mode)
            config_say(report, c->at[CONFIG_CHANNEL_MODES], 0,
                       "this version of Patchbay has no channel mode '%s' yet; remove it", modes[i].name);
    }
}

static void check_memory(const struct config *config, const struct platform_support *have,
                         struct config_report *report)
{
    u64 needed = 0, available = have->memory;

    for (u32 i = 0; i < config->vm_count; i++) {
        const struct vm_config *vm = &config->vms[i];
        u64 before = needed;

        u64 overhead = have->overhead ? have->overhead(vm) : 0;

        needed += vm->memory + overhead;
        if (needed <= available)
            continue;
        /* The VM that goes too far is told; a smaller one after it may still fit. */
        config_say(
            report, vm->at[CONFIG_VM_MEMORY] ? vm->at[CONFIG_VM_MEMORY] : vm->line, 0,
            "VM '%s' has %s of memory, but only %lluM are left for it on this machine; lower 'memory'",
            vm->name, config_size_text(vm->memory).text,
            (unsigned long long)((available > before + overhead ? available - before - overhead : 0) / MIB));
        report->bad_vms |= 1u << i;
        needed = before;
    }
}

void config_this_version(struct platform_support *have)
{
    have->max_vcpus = CONFIG_MAX_VCPUS;
    have->restart = false;
    have->modes = CONFIG_MODE_MESSAGE | CONFIG_MODE_SHARE_RO | CONFIG_MODE_DONATE;
}

enum err config_check(const struct config *config, const struct platform_support *have,
                      struct config_report *report)
{
    u32 errors = report->errors;

    for (u32 i = 0; i < config->vm_count; i++) {
        const struct vm_config *vm = &config->vms[i];
        u32 before = report->errors;

        check_files(vm, have, report);
        check_cpus(vm, have, report);
        check_features(vm, have, report);
        if (report->errors != before)
            report->bad_vms |= 1u << i;
    }
    for (u32 i = 0; i < config->channel_count; i++)
        check_channel(&config->channels[i], have, report);
    check_memory(config, have, report);
    return report->errors == errors ? ERR_OK : ERR_INVALID;
}
