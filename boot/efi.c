/*
 * efi.c - efi_main(): the boot as one list of steps, and the steps that talk to the firmware.
 */
#include "arch/console.h"
#include "arch/cpu.h"
#include "arch/image.h"
#include "arch/log.h"
#include "arch/machine.h"
#include "arch/percpu.h"
#include "arch/screen.h"
#include "arch/string.h"
#include "boot/boot.h"

#define MAP_BUFFER_PAGES 32u
#define EXIT_ATTEMPTS    8u
#define DAYS_PER_YEAR    365u
#define SECONDS_PER_DAY  86400u

static struct boot boot;

struct boot_step {
    const char *name;
    enum err (*run)(struct boot *b);
    bool then_own_stack; /* what follows runs on this CPU's own stack */
};

static const struct boot_step steps[] = {
    /* with the firmware */
    {"prepare", boot_prepare, false},
    {"find the screen", boot_find_screen, false},
    {"read the configuration and its files", boot_read_files, false},
    {"list the CPUs", boot_list_cpus, false},
    {"leave the firmware (ExitBootServices)", boot_leave_firmware, false},
    /* the machine is ours: one CPU, interrupts off */
    {"collect free memory", boot_collect_memory, false},
    {"build the page tables", boot_build_map, false},
    {"switch to the page tables", boot_enter_map, true},
    {"set up the boot CPU", boot_bring_up_first, false},
    {"take the firmware's memory", boot_take_memory, false},
    {"start the other CPUs", boot_start_cpus, false},
    {"check that page rights hold", boot_check_rights, false},
};

static void run_steps_from(void *context)
{
    for (const struct boot_step *s = context; s < steps + ARRAY_SIZE(steps); s++) {
        enum err e = s->run(&boot);
        if (e != ERR_OK) {
            log_line("cannot start: step '%s' failed: %s", s->name, err_text(e));
            machine_halt();
        }
        if (s->then_own_stack)
            cpu_switch_stack(cpu_by_index(0)->stack_top, run_steps_from, (void *)(uintptr_t)(s + 1));
    }
    boot_release_cpus();
    vmm_main(&boot.info);
}

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system);
EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system)
{
    boot.info.entry_tsc = tsc_read();
    boot.self = self;
    boot.system = system;
    boot.services = system->BootServices;
    run_steps_from((void *)(uintptr_t)steps);
    return EFI_ABORTED; /* not reached */
}

void boot_keep(struct boot *b, u64 start, u64 bytes)
{
    assert_invariant(b->keeps < MEMMAP_MAX_KEEP);
    b->keep[b->keeps++] =
        (struct memmap_range){ALIGN_DOWN(start, PAGE_SIZE), ALIGN_UP(start + bytes, PAGE_SIZE)};
}

void *boot_allocate(struct boot *b, u64 bytes, u64 below)
{
    EFI_PHYSICAL_ADDRESS at = below - 1;
    u64 pages = ALIGN_UP(bytes, PAGE_SIZE) / PAGE_SIZE;

    if (EFI_ERROR(b->services->AllocatePages(AllocateMaxAddress, EfiLoaderData, pages, &at)))
        return NULL;
    boot_keep(b, at, pages * PAGE_SIZE);
    return (void *)at;
}

/* Seconds since 1970 of a UTC date, 0 if it cannot be. */
static u64 seconds_of(const EFI_TIME *t)
{
    static const u16 days_before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};

    if (t->Year < 1970 || t->Month < 1 || t->Month > 12 || t->Day < 1)
        return 0;
    u64 year = t->Year, past_leap = t->Month > 2 ? year : year - 1;
    u64 leaps = past_leap / 4 - past_leap / 100 + past_leap / 400 - (1969 / 4 - 1969 / 100 + 1969 / 400);
    u64 days = (year - 1970) * DAYS_PER_YEAR + leaps + days_before[t->Month - 1] + t->Day - 1u;
    return days * SECONDS_PER_DAY + t->Hour * 3600ull + t->Minute * 60ull + t->Second;
}

enum err boot_prepare(struct boot *b)
{
    EFI_TIME time;

    console_init();
    b->services->SetWatchdogTimer(0, 0, 0, NULL); /* reading large files may take its five minutes */
    if (!EFI_ERROR(b->system->RuntimeServices->GetTime(&time, NULL))) {
        b->info.time_seconds = seconds_of(&time);
        b->info.time_tsc = tsc_read();
    }
    boot_keep(b, (u64)image_start, image_bytes(image_start, image_end));
    b->map_buffer = boot_allocate(b, MAP_BUFFER_PAGES * PAGE_SIZE, 4 * GIB);
    return b->map_buffer ? ERR_OK : ERR_NO_MEMORY;
}

/* A machine without a usable GOP has serial output only. */
enum err boot_find_screen(struct boot *b)
{
    static EFI_GUID gop_guid = EFI_GRAPHICS_OUTPUT_PROTOCOL_GUID;
    EFI_GRAPHICS_OUTPUT_PROTOCOL *gop = NULL;

    if (EFI_ERROR(b->services->LocateProtocol(&gop_guid, NULL, (void **)&gop)) || !gop->Mode ||
        !gop->Mode->Info)
        return ERR_OK;
    const EFI_GRAPHICS_OUTPUT_MODE_INFORMATION *info = gop->Mode->Info;
    if (info->PixelFormat != PixelRedGreenBlueReserved8BitPerColor &&
        info->PixelFormat != PixelBlueGreenRedReserved8BitPerColor)
        return ERR_OK;
    struct screen s = {gop->Mode->FrameBufferBase, gop->Mode->FrameBufferSize, info->HorizontalResolution,
                       info->VerticalResolution, info->PixelsPerScanLine};
    screen_init(&s);
    return ERR_OK;
}

EFI_STATUS boot_read_memory_map(struct boot *b, UINTN *key)
{
    UINTN size = MAP_BUFFER_PAGES * PAGE_SIZE, stride = 0;
    UINT32 version = 0;
    EFI_STATUS status = b->services->GetMemoryMap(&size, (void *)b->map_buffer, key, &stride, &version);

    b->map_source = (struct memmap_source){b->map_buffer, EFI_ERROR(status) ? 0 : size, stride};
    return status;
}

/* The map's key is stale when the firmware allocated anything since (a timer of its own does): read it again.
 */
enum err boot_leave_firmware(struct boot *b)
{
    UINTN key = 0;

    for (u32 i = 0; i < EXIT_ATTEMPTS; i++) {
        EFI_STATUS status = boot_read_memory_map(b, &key);
        if (EFI_ERROR(status))
            return ERR_NO_MEMORY;
        if (!EFI_ERROR(b->services->ExitBootServices(b->self, key))) {
            cpu_disable_interrupts();
            b->system = NULL;
            b->services = NULL;
            return ERR_OK;
        }
    }
    return ERR_STATE;
}
