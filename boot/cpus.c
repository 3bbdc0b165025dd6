/*
 * cpus.c - which CPUs the machine has: by the ACPI MADT, else by MP Services (UEFI PI 1.7 volume 2, 13.4),
 * else the one we run on.
 */
#include "arch/cpu.h"
#include "arch/log.h"
#include "arch/string.h"
#include "boot/boot.h"

#define CPU_STATUS_ENABLED 0x2u
#define CPU_STATUS_HEALTHY 0x4u
#define CPU_STATUS_GOOD    (CPU_STATUS_ENABLED | CPU_STATUS_HEALTHY)
#define REAL_MODE_LIMIT    MIB

/* EFI_MP_SERVICES_PROTOCOL_GUID */
#define MP_SERVICES_GUID                                   \
    {                                                      \
        0x3fdda605, 0xa76e, 0x4f46,                        \
        {                                                  \
            0xad, 0x29, 0x12, 0xf4, 0x53, 0x1b, 0x3d, 0x08 \
        }                                                  \
    }

struct mp_cpu {
    UINT64 apic_id;
    UINT32 status;
    UINT32 location[3];
    UINT32 extended[6]; /* newer firmware writes more */
};
_Static_assert(sizeof(struct mp_cpu) == 48, "EFI_PROCESSOR_INFORMATION");

struct mp_services {
    EFI_STATUS(EFIAPI *get_count)(struct mp_services *self, UINTN *all, UINTN *enabled);
    EFI_STATUS(EFIAPI *get_info)(struct mp_services *self, UINTN number, struct mp_cpu *cpu);
};

static u32 own_apic_id(void)
{
    struct cpuid_regs r;

    if (cpuid_read(CPUID_LEAF_MAX, 0).eax >= CPUID_LEAF_TOPOLOGY) {
        r = cpuid_read(CPUID_LEAF_TOPOLOGY, 0);
        if (r.ebx)
            return r.edx;
    }
    return cpuid_read(CPUID_LEAF_FEATURES, 0).ebx >> 24;
}

static void add_cpu(struct boot *b, u32 apic_id)
{
    for (u32 i = 0; i < b->cpu_count; i++)
        if (b->apic_ids[i] == apic_id)
            return;
    if (b->cpu_count < ACPI_MAX_CPUS)
        b->apic_ids[b->cpu_count++] = apic_id;
}

/* Tables are read only where the firmware's memory map has memory of any kind. */
static bool read_memory(void *context, u64 address, void *to, size_t bytes)
{
    const struct memmap_source *map = &((const struct boot *)context)->map_source;

    for (u64 at = 0; at + sizeof(EFI_MEMORY_DESCRIPTOR) <= map->bytes; at += map->stride) {
        const EFI_MEMORY_DESCRIPTOR *d = (const void *)(map->descriptors + at);
        u64 end = d->PhysicalStart + d->NumberOfPages * PAGE_SIZE;
        if (d->Type == EfiMemoryMappedIO || d->Type == EfiMemoryMappedIOPortSpace ||
            d->Type == EfiUnusableMemory)
            continue;
        if (address >= d->PhysicalStart && address < end && bytes <= end - address) {
            memcpy(to, (const void *)address, bytes);
            return true;
        }
    }
    return false;
}

static u64 find_rsdp(const EFI_SYSTEM_TABLE *system)
{
    static const EFI_GUID acpi2 = ACPI_20_TABLE_GUID, acpi1 = ACPI_TABLE_GUID;
    u64 old = 0;

    for (UINTN i = 0; i < system->NumberOfTableEntries; i++) {
        const EFI_CONFIGURATION_TABLE *t = &system->ConfigurationTable[i];
        if (memcmp(&t->VendorGuid, &acpi2, sizeof(acpi2)) == 0)
            return (u64)t->VendorTable;
        if (memcmp(&t->VendorGuid, &acpi1, sizeof(acpi1)) == 0)
            old = (u64)t->VendorTable;
    }
    return old;
}

static bool list_by_acpi(struct boot *b)
{
    static struct acpi_info info;
    const struct acpi_source source = {read_memory, b};
    u64 rsdp = find_rsdp(b->system);
    UINTN key;

    if (!rsdp || EFI_ERROR(boot_read_memory_map(b, &key)))
        return false;
    enum err e = acpi_read(&source, rsdp, &info);
    b->pm_timer = info.pm_timer;
    b->ioapic_count = info.ioapic_count;
    memcpy(b->ioapics, info.ioapics, sizeof(b->ioapics));
    if (e != ERR_OK) {
        log_line("ACPI tables not used for the CPU list: %s", info.why);
        return false;
    }
    for (u32 i = 0; i < info.cpu_count; i++)
        add_cpu(b, info.apic_ids[i]);
    if (info.not_listed)
        log_line("%u CPUs beyond the first %u are left alone", info.not_listed, ACPI_MAX_CPUS);
    b->info.cpu_source = "ACPI MADT";
    return true;
}

static bool list_by_mp_services(struct boot *b)
{
    static EFI_GUID guid = MP_SERVICES_GUID;
    struct mp_services *mp = NULL;
    UINTN all = 0, enabled = 0;

    if (EFI_ERROR(b->services->LocateProtocol(&guid, NULL, (void **)&mp)) ||
        EFI_ERROR(mp->get_count(mp, &all, &enabled)))
        return false;
    for (UINTN i = 0; i < all; i++) {
        struct mp_cpu cpu = {0};
        if (!EFI_ERROR(mp->get_info(mp, i, &cpu)) && (cpu.status & CPU_STATUS_GOOD) == CPU_STATUS_GOOD)
            add_cpu(b, (u32)cpu.apic_id);
    }
    b->info.cpu_source = "MP Services";
    return true;
}

enum err boot_list_cpus(struct boot *b)
{
    add_cpu(b, own_apic_id());
    if (!list_by_acpi(b) && !list_by_mp_services(b)) {
        b->info.cpu_source = "boot CPU alone";
        log_line("neither ACPI tables nor MP Services: the boot CPU runs alone");
    }
    b->info.cpus_found = b->cpu_count;
    void *page = b->cpu_count > 1 ? boot_allocate(b, PAGE_SIZE, REAL_MODE_LIMIT) : NULL;
    b->start_page = (u64)page;
    if (b->cpu_count > 1 && !page) {
        log_line("no free page below 1 MiB for the start of the other CPUs");
        return ERR_NO_MEMORY;
    }
    return ERR_OK;
}
