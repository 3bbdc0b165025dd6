/*
 * boot.h - what the steps of the boot (boot/efi.c has the list) share. Private to boot/.
 */
#pragma once
#include "arch/err.h"
#include "boot/acpi.h"
#include "boot/memmap.h"
#include "vmm/main.h"
#include <efi.h>

struct boot {
    EFI_HANDLE self;
    EFI_SYSTEM_TABLE *system;
    EFI_BOOT_SERVICES *services;

    struct boot_info info; /* what vmm_main() gets */

    struct memmap_range keep[MEMMAP_MAX_KEEP]; /* memory of the loader's that stays in use */
    u32 keeps;
    u8 *map_buffer; /* for the firmware's memory map */
    struct memmap_source map_source;
    struct memmap map;

    u32 apic_ids[ACPI_MAX_CPUS]; /* [0] is the CPU we run on */
    u32 cpu_count;
    u16 pm_timer;
    u64 ioapics[ACPI_MAX_IOAPICS];
    u32 ioapic_count;
    u64 start_page; /* where the other CPUs begin, below 1 MiB */
};

/* Remembers that [start, start + bytes) must not become free memory; whole pages. */
void boot_keep(struct boot *b, u64 start, u64 bytes);

/* Loader memory, whole pages below `below`, kept. NULL: none. */
void *boot_allocate(struct boot *b, u64 bytes, u64 below);

/* Reads the firmware's memory map into map_buffer; *key is for ExitBootServices. */
EFI_STATUS boot_read_memory_map(struct boot *b, UINTN *key);

/* ---- steps while the firmware runs ---- */
enum err boot_prepare(struct boot *b);        /* efi.c */
enum err boot_find_screen(struct boot *b);    /* efi.c */
enum err boot_read_files(struct boot *b);     /* files.c */
enum err boot_list_cpus(struct boot *b);      /* cpus.c */
enum err boot_leave_firmware(struct boot *b); /* efi.c */

/* ---- steps on our own ---- */
enum err boot_collect_memory(struct boot *b); /* own.c */
enum err boot_build_map(struct boot *b);      /* own.c */
enum err boot_enter_map(struct boot *b);      /* own.c; the step after it runs on our own stack */
enum err boot_bring_up_first(struct boot *b); /* own.c */
enum err boot_take_memory(struct boot *b);    /* own.c */
enum err boot_start_cpus(struct boot *b);     /* ap.c */
enum err boot_check_rights(struct boot *b);   /* own.c */

/* Lets the other CPUs go into vmm_cpu_main(). */
void boot_release_cpus(void); /* ap.c */
