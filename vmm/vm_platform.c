/* vm_platform.c - what the virtual devices cause (struct vplat_ops), and what the guest sees of the CPU. */
#include "vmm/vm_platform.h"

#include "arch/log.h"
#include "arch/tsc.h"
#include "vmm/console.h"
#include "vmm/fpu.h"
#include "vmm/stats.h"

static void deliver(void *ctx, u32 vcpu, enum vplat_deliver kind, u8 vector)
{
    struct vm *vm = ctx;

    (void)kind;
    (void)vector;
    vcpu_request(vm->vcpu[vcpu], REQUEST_EVENTS);
}

static bool console_out(void *ctx, u8 byte)
{
    if (!vmm_console_room(1))
        return false;
    vmm_console_byte(ctx, byte);
    return true;
}

static void debug_out(void *ctx, u8 byte)
{
    struct vm *vm = ctx;

    vmm_console_byte(vm, byte);
    if (vm->config->testdev)
        vm_bench_byte(vm, byte);
}

static void end(void *ctx, enum vplat_end why, u32 code)
{
    static const char *const words[] = {
        [VPLAT_END_EXIT] = "exit port", [VPLAT_END_POWER_OFF] = "power off", [VPLAT_END_RESET] = "reset"};

    vm_end(ctx, code, words[why]);
}

/* The vCPU that did it is current here: guests move their own TSC only. */
static void tsc_offset(void *ctx, u32 vcpu, u64 offset)
{
    struct vm *vm = ctx;

    if (vmx_control_can(&vm->vcpu[vcpu]->vmx.controls, VMX_PRIMARY_TSC_OFFSETTING)) {
        vmx_vcpu_control(&vm->vcpu[vcpu]->vmx, VMX_PRIMARY_TSC_OFFSETTING, offset != 0);
        vmcs_write(VMCS_TSC_OFFSET, offset);
    }
}

static void unclaimed(void *ctx, enum vplat_unclaimed kind, u64 where, u64 value)
{
    static const char *const what[] = {
        [VPLAT_UNCLAIMED_PORT_READ] = "read of port", [VPLAT_UNCLAIMED_PORT_WRITE] = "write to port",
        [VPLAT_UNCLAIMED_MMIO_READ] = "read of",      [VPLAT_UNCLAIMED_MMIO_WRITE] = "write to",
        [VPLAT_UNCLAIMED_MSR_READ] = "read of MSR",   [VPLAT_UNCLAIMED_MSR_WRITE] = "write to MSR",
    };

    if (log_debug)
        log_line("vm %s: %s 0x%lx (0x%lx): nothing there", ((struct vm *)ctx)->name, what[kind], where,
                 value);
}

static void host_cpuid(void *ctx, u32 leaf, u32 subleaf, struct cpuid_regs *out)
{
    (void)ctx;
    *out = cpuid_read(leaf, subleaf);
}

static enum err make_cpuid(struct vm *vm, const struct vmx_caps *caps)
{
    const struct vcpuid_config c = {
        .host = host_cpuid,
        .tsc_hz = tsc_hz(),
        .crystal_hz = vm->platform.crystal_hz,
        .xcr0 = fpu_components(),
        .vcpus = vm->vcpus,
        .maxphyaddr = cpu_maxphyaddr(),
        .abi_version = PB_ABI_VERSION,
        .vm_id = vm->id,
        .invariant_tsc = true, /* one clock source for all CPUs, never stopped while a guest runs */
        .pages_1g = cpu_has(CPUID_FEATURE_PAGE1GB),
        .rdtscp = vmx_caps_has(caps, VMX_SECONDARY_RDTSCP),
        .rdrand = cpu_has(CPUID_FEATURE_RDRAND),
    };

    return vcpuid_init(&vm->platform.cpuid, &c);
}

static enum err make_acpi(struct vm *vm)
{
    u8 *tables = vm->take(vm, VACPI_TABLES_SIZE); /* scratch first, so that guest memory is written once */

    if (!tables)
        return ERR_NO_MEMORY;
    enum err e = vacpi_build(tables, VACPI_TABLES_SIZE, GPA(VACPI_TABLES_BASE), vm->vcpus, &vm->rsdp);
    if (e != ERR_OK)
        return e;
    return guest_mem_write(&vm->p2m, GPA(VACPI_TABLES_BASE), tables, VACPI_TABLES_SIZE);
}

enum err vm_platform_init(struct vm *vm, const struct boot_info *info, const struct vmx_caps *caps)
{
    u64 now = tsc_read();
    struct vplat_config c = {
        .ops = {vm, deliver, console_out, debug_out, end, tsc_offset, unclaimed},
        .tsc_hz = tsc_hz(),
        .now = now,
        .time_seconds = info->time_seconds ? info->time_seconds + (now - info->time_tsc) / tsc_hz() : 0,
        .memory = vm->config->memory,
        .vcpus = vm->vcpus,
        .exit_port = true,
        .testdev = vm->config->testdev,
    };
    struct vplat_cpu *cpus = vm->take(vm, vm->vcpus * sizeof(*cpus));

    if (!cpus)
        return ERR_NO_MEMORY;
    if (c.testdev) {
        c.testdev_ram = vm->take(vm, VPLAT_TESTDEV_RAM_SIZE);
        if (!c.testdev_ram)
            return ERR_NO_MEMORY;
    }
    enum err e = vplat_init(&vm->platform, &c, cpus);
    if (e == ERR_OK)
        e = make_cpuid(vm, caps);
    if (e == ERR_OK)
        e = make_acpi(vm);
    return e;
}
