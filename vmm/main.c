/*
 * main.c - the hypervisor's own start, one step after the other, and its end.
 *
 *   boot CPU                                     every other CPU
 *   vmm_main                                     vmm_cpu_main
 *     read the configuration
 *     VMX on, first guest instruction    ||        VMX on, first guest instruction
 *     wait for the others  <---------------------- ready
 *     make the VMs
 *     go ----------------------------------------> run vCPUs
 *     run vCPUs
 *     all VMs have ended: say so, stop
 */
#include "vmm/main.h"

#include "arch/console.h"
#include "arch/format.h"
#include "arch/log.h"
#include "arch/machine.h"
#include "arch/string.h"
#include "arch/tsc.h"
#include "mm/frames.h"
#include "vmm/console.h"
#include "vmm/demo/builtin_ini.h"
#include "vmm/fpu.h"
#include "vmm/inih_shim.h"
#include "vmm/probe.h"
#include "vmm/sched.h"
#include "vmm/vm_create.h"
#include "vmm/vm_size.h"

#define CPUS_MAX         CONFIG_MAX_CPUS
#define CPU_WAIT_MS      5000u /* for VMX on another CPU: microseconds, but emulated ones share a thread */
#define CODE_NOT_STARTED 103u

enum cpu_phase { PHASE_STARTING, PHASE_READY, PHASE_REFUSED };

static struct vmm_cpu cpus[CPUS_MAX];
static struct config config;
static _Atomic bool go; /* release by the boot CPU when everything is made; others acquire */

static u32 cpus_used(void)
{
    return MIN(cpu_count(), CPUS_MAX);
}

/* ---- configuration ---- */

static const char *config_name(const struct boot_info *info)
{
    return info->config_text ? BOOT_CONFIG_PATH : BUILTIN_INI_NAME;
}

static void config_line(void *ctx, const char *text)
{
    (void)ctx;
    log_line("%s", text);
}

static void silent(void *ctx, const char *text)
{
    (void)ctx;
    (void)text;
}

void vmm_list_files(const char *text, u64 size, void (*found)(void *ctx, const char *path, u32 line),
                    void *ctx)
{
    struct config_report report = {.line = silent, .file = ""};

    /* what is wrong with the text is said by vmm_main() */
    (void)!config_parse_boot(text, size, &config, &report);
    config_list_files(&config, found, ctx);
}

static enum err file_size(void *ctx, const char *path, u64 *size)
{
    const struct boot_file *f = boot_file_find(ctx, path);

    if (!f)
        return ERR_NOT_FOUND;
    *size = f->size;
    return f->err;
}

static void read_config(const struct boot_info *info, struct config_report *report)
{
    const char *text = info->config_text ? info->config_text : builtin_ini;
    u64 size = info->config_text ? info->config_size : sizeof(builtin_ini) - 1;

    report->line = config_line;
    report->file = config_name(info);
    if (!info->config_text)
        log_line("no %s: running the demonstration", BOOT_CONFIG_PATH);
    enum err parsed = config_parse_boot(text, size, &config, report);
    log_debug = config.log == LOG_DEBUG;
    audit_mode = config.audit;
    if (parsed != ERR_OK)
        log_line("configuration: %u errors", report->errors);
}

static void check_config(const struct boot_info *info, const struct vmx_caps *caps,
                         struct config_report *report)
{
    struct platform_support have = {
        .cpus = cpus_used(),
        .memory = host_frames.free_pages << PAGE_SHIFT,
        .overhead = vm_overhead,
        .ept = vmx_caps_ept_usable(caps),
        .file_size = file_size,
        .ctx = (void *)(uintptr_t)info,
    };
    u32 before = report->errors;

    config_this_version(&have);
    if (config_check(&config, &have, report) != ERR_OK)
        log_line("configuration: %u errors concerning this machine", report->errors - before);
}

/* ---- CPUs ---- */

/* Kept, and said by the boot CPU once for all CPUs that have the same reason. */
static void refuse(void *ctx, const char *text)
{
    struct vmm_cpu *me = ctx;

    if (me->refusals < ARRAY_SIZE(me->refusal))
        format_string(me->refusal[me->refusals++], sizeof(me->refusal[0]), "%s", text);
}

static bool same_refusal(const struct vmm_cpu *cpu, const char *text)
{
    for (u32 i = 0; i < cpu->refusals; i++)
        if (strcmp(cpu->refusal[i], text) == 0)
            return true;
    return false;
}

static void print_refusal(u32 first, const char *text)
{
    u32 more = 0;

    for (u32 i = 0; i < first; i++)
        if (same_refusal(&cpus[i], text))
            return;
    for (u32 i = first + 1; i < cpus_used(); i++)
        more += same_refusal(&cpus[i], text);
    if (more)
        log_line("cannot run here: %s (cpu %u and %u more)", text, first, more);
    else
        log_line("cannot run here: %s (cpu %u)", text, first);
}

static void print_refusals(void)
{
    for (u32 i = 0; i < cpus_used(); i++)
        for (u32 n = 0; n < cpus[i].refusals; n++)
            print_refusal(i, cpus[i].refusal[n]);
}

/* VMX operation and a first guest on the CPU that executes it. */
static enum err start_cpu(struct vmm_cpu *me)
{
    hpa_t memory;

    fpu_enable();
    enum err e = frames_alloc(&host_frames, 1 + PROBE_PAGES, PAGE_SIZE, 4 * GIB, &memory);
    if (e != ERR_OK) {
        refuse(me, "no memory below 4 GiB");
        return e;
    }
    e = vmx_cpu_enable(&me->vmx, memory, refuse, me);
    if (e == ERR_OK)
        e = probe_run(me, HPA(memory.v + PAGE_SIZE));
    return e;
}

static struct vmm_cpu *enter_cpu(struct cpu *cpu)
{
    struct vmm_cpu *me = &cpus[cpu->index];

    me->cpu = cpu;
    cpu->private = me;
    enum err e = start_cpu(me);
    atomic_store_explicit(&me->phase, e == ERR_OK ? PHASE_READY : PHASE_REFUSED, memory_order_release);
    return me;
}

void vmm_cpu_main(struct cpu *cpu)
{
    if (cpu->index >= CPUS_MAX)
        machine_stop_cpu();
    struct vmm_cpu *me = enter_cpu(cpu);
    while (!atomic_load_explicit(&go, memory_order_acquire))
        cpu_pause();
    sched_run(me);
    machine_stop_cpu();
}

/* All CPUs of one kind: a vCPU may run on any of them. */
static bool cpus_ready(struct vmx_caps *common)
{
    u64 until = tsc_read() + tsc_ns_to_ticks(CPU_WAIT_MS * 1000000ull, tsc_hz());
    bool ok = true;

    for (u32 i = 0; i < cpus_used(); i++) {
        u32 phase;
        do {
            phase = atomic_load_explicit(&cpus[i].phase, memory_order_acquire);
        } while (phase == PHASE_STARTING && tsc_read() < until);
        if (phase == PHASE_STARTING)
            refuse(&cpus[i], "did not come into VMX operation");
        ok &= phase == PHASE_READY;
        if (phase != PHASE_READY)
            continue;
        if (i == 0)
            *common = cpus[0].vmx.caps;
        else if (vmx_caps_intersect(common, &cpus[i].vmx.caps) != ERR_OK) {
            refuse(&cpus[i], "its VMX revision is not that of cpu 0");
            ok = false;
        }
    }
    print_refusals();
    return ok;
}

static void print_cpus(const struct boot_info *info)
{
    char text[160];
    u64 last = 0;

    vmx_caps_heading(text, sizeof(text));
    log_line("          apic %s", text);
    for (u32 i = 0; i < cpus_used(); i++) {
        vmx_caps_describe(&cpus[i].vmx.caps, text, sizeof(text));
        log_line("cpu %3u:  %4u %s", i, cpus[i].cpu->apic_id, text);
        last = MAX(last, cpus[i].first_instruction);
    }
    log_line("boot: %lu ticks from efi_main to the first guest instruction on every CPU",
             last - info->entry_tsc);
    if (cpu_count() > CPUS_MAX)
        log_line("%u CPUs: only the first %u are used", cpu_count(), CPUS_MAX);
}

/* ---- VMs ---- */

static void print_vm(const struct vm *vm)
{
    char on[80] = "";
    size_t n = 0;

    for (u32 i = 0; i < vm->vcpus && n < sizeof(on) - 8; i++)
        n += format_string(on + n, sizeof(on) - n, " %u", vm->vcpu[i]->on->cpu->index);
    log_line("vm %s: %llu MiB, %u vCPU%s on cpu%s%s, %s", vm->name, vm->config->memory / MIB, vm->vcpus,
             vm->vcpus == 1 ? "" : "s", vm->vcpus == 1 ? "" : "s", on, load_format_name(vm->format));
}

static u32 create_vms(const struct boot_info *info, const struct vmx_caps *caps, struct config_report *report)
{
    const struct vm_create with = {info, &config, caps, cpus, cpus_used()};
    u32 made = 0;

    vm_count = config.vm_count;
    for (u32 i = 0; i < config.vm_count; i++) {
        const struct vm_config *c = &config.vms[i];
        if (report->bad_vms >> i & 1) {
            log_line("vm %s: not started: see the errors above", c->name);
            continue;
        }
        if (vm_create(&with, i) != ERR_OK) {
            report->errors++;
            continue;
        }
        vm_started();
        made++;
        print_vm(vms[i]);
    }
    return made;
}

static void print_memory(const struct boot_info *info)
{
    u64 own = info->own_bytes, guests = 0;

    for (u32 i = 0; i < vm_count; i++)
        if (vms[i]) {
            own += vms[i]->own_bytes;
            guests += vms[i]->ram_pages << PAGE_SHIFT;
        }
    log_line("memory: %llu KiB for the hypervisor, %llu KiB for guests, %llu KiB free", own / KIB,
             guests / KIB, (host_frames.free_pages << PAGE_SHIFT) / KIB);
}

/* The VM of the configuration, else the first that runs. */
static void select_keyboard(void)
{
    u32 vm = config.keyboard[0] ? config_find_vm(&config, config.keyboard) : 0;

    for (u32 i = 0; i < vm_count && (vm >= vm_count || !vms[vm]); i++)
        vm = i;
    vmm_console_select(vm);
}

static no_return void finish(const struct config_report *report)
{
    u32 code = report->errors ? CODE_NOT_STARTED : 0;

    for (u32 i = 0; i < vm_count; i++)
        if (vms[i] && vms[i]->exit_code && !code)
            code = vms[i]->exit_code;
    log_line("all VMs have ended, code %u", code);
    console_flush();
    if (config.exit)
        machine_exit((u8)code);
    machine_halt();
}

static no_return void cannot_run(void)
{
    log_line("the machine is stopped");
    console_flush();
    if (config.exit)
        machine_exit(CODE_NOT_STARTED);
    machine_halt();
}

void vmm_main(const struct boot_info *info)
{
    struct config_report report = {0};
    struct vmx_caps common = {0};

    vmx_enter_init();
    read_config(info, &report);
    vmm_console_init(config.escape);
    struct vmm_cpu *me = enter_cpu(cpu_by_index(0));
    if (!cpus_ready(&common))
        cannot_run();
    print_cpus(info);
    check_config(info, &common, &report);
    if (!create_vms(info, &common, &report)) {
        log_line("no VM could be started");
        cannot_run();
    }
    messages_connect(&config);
    print_memory(info);
    select_keyboard();
    atomic_store_explicit(&go, true, memory_order_release);
    sched_run(me);
    finish(&report);
}
