/*
 * image.h - where the hypervisor's own image lies; symbols of linker.ld. All bounds are page-aligned.
 *
 *   image_start  headers            | R
 *   text_start   code               | R X
 *   rodata_start constants          | R     from here to data_start: also what needs relocation but never
 * changes data_start   data, bss          | RW image_end
 */
#pragma once
#include "arch/types.h"

extern const u8 image_start[], text_start[], text_end[], rodata_start[], data_start[], image_end[];

/* Bytes between two of the symbols above. */
static inline u64 image_bytes(const u8 *from, const u8 *to)
{
    return (u64)to - (u64)from;
}

/* An address of ours as an offset into build/patchbay.elf, for addr2line. */
static inline u64 image_offset(u64 address)
{
    return address - (u64)image_start;
}
static inline bool image_has_text(u64 address)
{
    return address >= (u64)text_start && address < (u64)text_end;
}
