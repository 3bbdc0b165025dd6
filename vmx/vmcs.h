/*
 * vmcs.h - VMCS fields, their names, and the memory a VMCS lives in. Pure: nothing here touches the CPU.
 *
 * Reading and writing the current VMCS is in vmx/insn.h.
 */
#pragma once
#include "arch/types.h"

enum vmcs_field {
#define VMCS_FIELD(name, encoding, width) VMCS_##name = (encoding),
#include "vmx/vmcs.def"
#undef VMCS_FIELD
};

#define VMCS_FIELD_COUNT 256 /* upper bound of the number of fields in vmcs.def, checked in vmcs.c */

/* Bits 14:13 and 11:10 of an encoding (SDM Vol. 3C 24.11.2, table 24-21). */
enum vmcs_width { VMCS_WIDTH_16, VMCS_WIDTH_64, VMCS_WIDTH_32, VMCS_WIDTH_NATURAL };
enum vmcs_type { VMCS_TYPE_CONTROL, VMCS_TYPE_READ_ONLY, VMCS_TYPE_GUEST, VMCS_TYPE_HOST };

static inline enum vmcs_width vmcs_field_width(enum vmcs_field field)
{
    return (enum vmcs_width)(((u32)field >> 13) & 3);
}
static inline enum vmcs_type vmcs_field_type(enum vmcs_field field)
{
    return (enum vmcs_type)(((u32)field >> 10) & 3);
}

/* "GUEST_RIP" for VMCS_GUEST_RIP; "?" for what is no field. */
const char *vmcs_field_name(enum vmcs_field field);
/* The fields in the order of vmcs.def: index 0 .. vmcs_field_count() - 1. */
size_t vmcs_field_count(void);
enum vmcs_field vmcs_field_at(size_t index);

/* Fields that come in one per segment register, two encodings apart, in this order (also Vol. 2's order of
 * segment registers, up to GS). */
enum vmx_segment {
    VMX_SEG_ES,
    VMX_SEG_CS,
    VMX_SEG_SS,
    VMX_SEG_DS,
    VMX_SEG_FS,
    VMX_SEG_GS,
    VMX_SEG_LDTR,
    VMX_SEG_TR,
    VMX_SEG_COUNT
};
static inline enum vmcs_field vmcs_segment_field(enum vmcs_field es_field, enum vmx_segment segment)
{
    return (enum vmcs_field)((u32)es_field + 2 * (u32)segment);
}

/* "invalid guest state" and so on: the words for VMCS_INSTRUCTION_ERROR after a VMfailValid (Vol. 3C 30.4).
 */
const char *vmx_instruction_error_text(u32 error);

/*
 * What stands behind one VMCS: the region the CPU knows (its first word is the revision identifier, the
 * second the abort indicator, 24.2), and on the next page that VMCS's message queue (ipc/queue.h), which is
 * opaque here. Page-aligned, below the CPU's VMCS address limit (vmx_caps.address_32bit).
 */
struct vmcs_block {
    u32 revision;
    u32 abort_indicator;
    u8 data[PAGE_SIZE - 8];
    u8 queue[PAGE_SIZE];
    u32 virtual_apic[PAGE_SIZE / sizeof(u32)]; /* the CPU uses VMX_VIRTUAL_TPR of it, if TPR_SHADOW is on */
} aligned_to(PAGE_SIZE);
_Static_assert(sizeof(struct vmcs_block) == 3 * PAGE_SIZE, "VMCS region, queue page, virtual-APIC page");
#define VMX_VIRTUAL_TPR (0x80 / sizeof(u32)) /* SDM Vol 3C 29.1.1 */
_Static_assert(offsetof(struct vmcs_block, queue) == PAGE_SIZE, "the queue has its own page");
