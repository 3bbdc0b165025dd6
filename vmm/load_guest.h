/*
 * load_guest.h - puts a guest image into guest memory and says how its first vCPU starts.
 *
 * Pure; images are hostile input: every offset and size is checked before use, nothing outside the image is
 * read and nothing outside the guest's memory is written. An image is checked whole before the first write.
 *
 *   what                     format      vCPU starts in
 *   Linux bzImage >= 2.12    linux       64-bit mode, SDM-style identity paging, rsi = boot_params
 *   multiboot1 (ELF, a.out)  multiboot   32-bit protected mode, no paging, eax = 0x2BADB002, ebx = info
 *   ELF64                    elf         64-bit mode, identity paging, registers as flat
 *   raw                      flat        64-bit mode at 0x200000, identity paging
 *
 * Registers of flat and elf: rdi = vCPU number, rsi = number of vCPUs, rdx = gpa of the command line
 * (zero-terminated; always 0x1000 for flat), rcx = gpa of the image's name, rsp valid, everything else 0.
 */
#pragma once
#include "arch/err.h"
#include "arch/types.h"
#include "vmm/config.h"

struct image {
    const char *name; /* for messages */
    const u8 *data;
    u64 size;
};

/* The guest's memory as the loader sees it. Both calls fail (false) for an address that is not RAM. */
struct guest_mem_ops {
    void *ctx;
    bool (*write)(void *ctx, gpa_t to, const void *data, u64 size);
    bool (*zero)(void *ctx, gpa_t to, u64 size);
};

/* Where guest RAM lies: [0, 3 GiB) and what is left from 4 GiB up. The bytes from 640 KiB to 1 MiB are RAM
 * too, but told to the guest as reserved: the ACPI tables are there. */
#define GUEST_LOW_RAM_TOP   0xC0000000ull
#define GUEST_HIGH_RAM_BASE 0x100000000ull
#define GUEST_RESERVED_BASE 0xA0000ull
#define GUEST_RESERVED_TOP  0x100000ull

struct guest_range {
    u64 base, size;
};
struct guest_layout {
    struct guest_range ram[2];
    u32 count;
};

/* Ranges for `memory` bytes (rounded down to whole pages). */
struct guest_layout guest_layout(u64 memory);

/* The same as the guest is told: usable (type 1) and reserved (type 2) ranges in ascending order. */
#define GUEST_MAP_MAX 4
struct guest_map_entry {
    u64 base, size;
    u32 type;
};
#define GUEST_MAP_USABLE   1
#define GUEST_MAP_RESERVED 2
u32 guest_map(const struct guest_layout *layout, struct guest_map_entry out[GUEST_MAP_MAX]);

enum entry_mode { ENTRY_LONG64, ENTRY_PROT32 };

/* A segment register as VMX wants it (access rights: SDM Vol 3C 24.4.1). */
struct entry_segment {
    u16 selector;
    u32 limit;
    u32 rights;
    u64 base;
};

/* The first vCPU at its first instruction. Every register not named here is 0 or at its reset value. */
struct entry_state {
    enum entry_mode mode;
    u64 rip, rflags;
    u64 gpr[16]; /* SDM numbering: 0 rax 1 rcx 2 rdx 3 rbx 4 rsp 5 rbp 6 rsi 7 rdi 8..15 */
    u64 cr0, cr3, cr4, efer;
    struct entry_segment cs, data, tr; /* data: ds, es, ss, fs and gs alike; tr: a busy TSS */
    u64 gdt_base;
    u32 gdt_limit;
    bool every_vcpu; /* flat and elf: all vCPUs start here; use entry_for_vcpu() */
};

/* Index of the registers above. */
enum { GPR_RAX, GPR_RCX, GPR_RDX, GPR_RBX, GPR_RSP, GPR_RBP, GPR_RSI, GPR_RDI };

struct load_request {
    const struct vm_config *vm; /* format, cmdline, memory, vcpus, module arguments */
    struct image kernel;
    struct image initrd; /* data NULL: none */
    struct image modules[CONFIG_MAX_MODULES];
    u32 module_count;
    u64 acpi_rsdp; /* gpa of the RSDP in the reserved range, 0: no ACPI tables */
    struct guest_mem_ops mem;
    /* Gets one line: file name, what is wrong, what was expected; no newline. */
    void (*report)(void *ctx, const char *text);
    void *report_ctx;
};

/* Loads; *entry is complete when OK. BAD_IMAGE, TRUNCATED, NO_MEMORY (does not fit into the VM's memory) or
 * FAULT (a mem op refused), with one line reported. */
enum err load_guest(const struct load_request *request, struct entry_state *entry) must_check;

/* *entry as vCPU number `index` starts with it, where entry->every_vcpu. */
struct entry_state entry_for_vcpu(const struct entry_state *entry, u32 index);

/* What the image says it is; FORMAT_AUTO if nothing known. */
enum config_format load_detect(const struct image *kernel);

/* "linux", "multiboot", ... */
const char *load_format_name(enum config_format format);
