/*
 * descriptor.h - the eight bytes of a segment descriptor, as LGDT's and LLDT's tables hold them: for segment loads that
 * are emulated and for task switches. Pure.
 *
 *   63    56 55  52 51    48 47    40 39            16 15         0
 *  +--------+------+--------+--------+----------------+------------+
 *  | base   | G DB | limit  | P DPL  | base           | limit      |     SDM Vol 3A figure 3-8
 *  | 31:24  | L AVL| 19:16  | S type | 23:0           | 15:0       |
 *  +--------+------+--------+--------+----------------+------------+
 */
#pragma once
#include "vmx/guest.h"

#define DESCRIPTOR_SIZE        8u
#define DESCRIPTOR_ACCESS_BYTE 5u /* where type, S, DPL and P are */

/* As a VMCS has it: limit in bytes, access rights without UNUSABLE. L is as it stands there, though it means nothing
 * outside IA-32e mode. A system descriptor of long mode has base 63:32 in eight more bytes. */
struct vmx_seg descriptor_decode(u16 selector, u64 descriptor);

/* Whether SS (stack), or DS, ES, FS or GS, may be loaded with it at cpl, present or not (SDM Vol 2, MOV; Vol 3A table
 * 7-1). RPL is that of seg->selector. */
bool descriptor_fits_data(const struct vmx_seg *seg, bool stack, unsigned cpl);
