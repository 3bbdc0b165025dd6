/*
 * main.h - the one door between boot/ and the hypervisor proper.
 *
 * boot/ runs first as a UEFI application, learns what only the firmware can tell, takes the machine from it
 * and then calls vmm_main() on the boot CPU and vmm_cpu_main() on every other one, with our own descriptor
 * tables, page tables and stack in place, interrupts off, and the frame allocator (mm/frames.h) ready.
 */
#pragma once
#include "arch/err.h"
#include "arch/types.h"

struct cpu; /* arch/percpu.h */

#define BOOT_MAX_FILES   64 /* guest kernels, initrds and modules in all */
#define BOOT_MAX_PATH    96 /* on the EFI system partition, with its final zero */
#define BOOT_CONFIG_PATH "EFI/patchbay/patchbay.ini"

/* One file of the EFI system partition that the configuration names. */
struct boot_file {
    char path[BOOT_MAX_PATH]; /* as written in the configuration */
    const u8 *data;           /* page-aligned; NULL if err is not OK */
    u64 size;                 /* bytes */
    enum err err;             /* why it could not be read: NOT_FOUND, NO_MEMORY, IO, RANGE (path too long) */
    u32 config_line;          /* where the configuration names it first */
};

struct boot_info {
    const char *config_text; /* patchbay.ini as read, zero-terminated; NULL: none, run the demonstration */
    u64 config_size;         /* bytes, without the zero */
    struct boot_file files[BOOT_MAX_FILES];
    u32 file_count;

    const char *cpu_source; /* "ACPI MADT", "MP Services", "boot CPU alone" */
    u32 cpus_found;         /* by the firmware's word; cpu_count() says how many of them came up */
    u64 ram_top;            /* end of the highest RAM range */
    u64 ram_bytes;          /* all of the machine's memory, ours and free */
    u64 own_bytes;          /* image, stacks, page tables: what the hypervisor took before vmm_main() */
    u64 time_seconds;       /* wall clock at time_tsc, seconds since 1970, 0 if the firmware has none */
    u64 time_tsc;
    u64 entry_tsc; /* TSC at the first instruction of efi_main() */
};

/* The file with this path, as read or not; NULL if boot did not know that it was wanted. vmm/vm_create.c. */
const struct boot_file *boot_file_find(const struct boot_info *info, const char *path);

/* Called by boot/ before ExitBootServices with the configuration's text: calls found() once for each file
 * that has to be read from the partition, in order, without repeats. Pure; errors in the text are reported
 * later, by vmm_main(). */
void vmm_list_files(const char *text, u64 size, void (*found)(void *ctx, const char *path, u32 line),
                    void *ctx);

/* Runs the hypervisor on the boot CPU. `info` and what it points to stay valid for ever. */
no_return void vmm_main(const struct boot_info *info);

/* Runs the hypervisor on every other CPU, once that is up. */
no_return void vmm_cpu_main(struct cpu *cpu);
