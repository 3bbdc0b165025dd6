/*
 * load_parts.h - what the loaders share; nobody else includes this.
 *
 *   load_guest.c      entry point: detection, dispatch, guest layout
 *   load_place.c      which guest memory is taken, messages
 *   load_entry.c      page tables, GDT and registers at the first instruction
 *   load_elf.c        ELF32 and ELF64 program headers; the elf format
 *   load_multiboot.c  load_linux.c  load_flat.c
 *
 * A 64-bit guest finds one block of low memory that is set up for it, at 0x1000 unless an ELF segment is
 * there:
 *
 *   +0x0000 command line   +0x0800 name of the image   +0x1000 GDT   +0x2000 boot_params (Linux)
 * +0x7000..0xF000 stacks +0xF000 PML4   +0x10000 PDPT   +0x11000 one page directory for each GiB, 2 MiB pages
 */
#pragma once
#include "vmm/load_guest.h"

#define LOAD_LOW_BASE   0x1000ull /* page 0 stays empty */
#define LOAD_LOW_TOP    GUEST_RESERVED_BASE
#define LOAD_FLAT_BASE  0x200000ull
#define LOAD_MIN_MAPPED (4 * GIB) /* identity-mapped at least, so that devices are reachable */

/* A program header table may have more entries; these are the loadable ones. */
#define LOAD_MAX_SEGMENTS 16
#define LOAD_MAX_USED     (LOAD_MAX_SEGMENTS + CONFIG_MAX_MODULES + 8)

struct load_span {
    u64 base, end;
};

struct loader {
    const struct load_request *request;
    struct guest_layout layout;
    u64 low_top; /* end of RAM below 3 GiB */
    struct load_span used[LOAD_MAX_USED];
    u32 used_count;
};

/* Reports "name: text" and returns e. */
enum err load_fail(const struct loader *l, enum err e, const char *name, const char *fmt, ...)
    printf_like(4, 5);

/* FAULT, reported: guest memory refused a write although it was checked to be there. */
enum err load_fault(const struct loader *l, u64 gpa);

/* Sizes for messages: 12M, 300K, 17 bytes. */
struct load_text {
    char text[24];
};
struct load_text load_size_text(u64 bytes);

/* Whether [base, base + size) is guest RAM that a guest may use and nothing else is in yet. */
bool load_is_ram(const struct loader *l, u64 base, u64 size);
bool load_is_free(const struct loader *l, u64 base, u64 size);

/* Takes a range that is free (it may be checked or not: false if it is not). */
bool load_take(struct loader *l, u64 base, u64 size);

/* Finds and takes `size` bytes in [lo, hi), lowest or highest place first; align is a power of two. */
enum load_end { LOAD_LOWEST, LOAD_HIGHEST };
bool load_place(struct loader *l, u64 size, u64 align, u64 lo, u64 hi, enum load_end end, u64 *base);

bool load_write(const struct loader *l, u64 gpa, const void *data, u64 size);
bool load_zero(const struct loader *l, u64 gpa, u64 size);

static inline u64 load_le(const u8 *p, u32 bytes)
{
    u64 v = 0;

    while (bytes--)
        v = v << 8 | p[bytes];
    return v;
}
#define load_u16(p) ((u16)load_le((p), 2))
#define load_u32(p) ((u32)load_le((p), 4))
#define load_u64(p) load_le((p), 8)

/* Takes and fills the low block and sets *entry for 64-bit mode but for rip; *block is its address. */
enum err load_enter_long(struct loader *l, struct entry_state *entry, u64 *block) must_check;
#define LOAD_BLOCK_BOOT_PARAMS 0x2000

/* The registers of flat and elf guests. */
void load_plain_registers(const struct loader *l, struct entry_state *entry, u64 block, u64 rip);

/* 32-bit protected mode, no paging, GDT at `gdt` (LOAD_GDT_SIZE bytes, taken by the caller). */
#define LOAD_GDT_SIZE 40
enum err load_enter_prot(struct loader *l, struct entry_state *entry, u64 gdt, u32 rip) must_check;

struct load_segment {
    u64 vaddr, paddr, memory, file_offset, file_size;
};
struct load_elf {
    u32 bits; /* 32 or 64 */
    struct load_segment segments[LOAD_MAX_SEGMENTS];
    u32 count;
    u64 entry; /* physical */
    u64 top;   /* end of the highest segment */
};

/* Reads and checks an ELF file against guest memory and takes its segments; nothing is written yet. */
enum err load_elf_read(struct loader *l, const struct image *file, struct load_elf *elf) must_check;
enum err load_elf_write(const struct loader *l, const struct image *file,
                        const struct load_elf *elf) must_check;

/* 32 or 64 for an ELF file of that class, 0 if it is none. */
u32 load_elf_bits(const struct image *file);
/* Offset of a multiboot1 header, or -1. */
s64 load_multiboot_find(const struct image *file);
bool load_linux_find(const struct image *file);

enum err load_linux(struct loader *l, struct entry_state *entry) must_check;
enum err load_multiboot(struct loader *l, struct entry_state *entry) must_check;
enum err load_elf(struct loader *l, struct entry_state *entry) must_check;
enum err load_flat(struct loader *l, struct entry_state *entry) must_check;
