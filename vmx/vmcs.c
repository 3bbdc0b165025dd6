/* vmcs.c - names and order of the VMCS fields. */
#include "vmx/vmcs.h"
#include "vmx/names.h"

/* Bits 14:13 of each encoding say the width that the table says, and no reserved bit is set. */
#define WIDTH_16      VMCS_WIDTH_16
#define WIDTH_32      VMCS_WIDTH_32
#define WIDTH_64      VMCS_WIDTH_64
#define WIDTH_NATURAL VMCS_WIDTH_NATURAL
#define FIELD_BITS    0x6FFE /* width, type, index; the lowest bit is for high halves */
#define VMCS_FIELD(name, encoding, width)                                                                    \
    _Static_assert((((encoding) >> 13) & 3) == WIDTH_##width, #name ": width does not agree with encoding"); \
    _Static_assert(((encoding) & ~FIELD_BITS) == 0, #name ": reserved bits of the encoding");
#include "vmx/vmcs.def"
#undef VMCS_FIELD

static const u16 encodings[] = {
#define VMCS_FIELD(name, encoding, width) encoding,
#include "vmx/vmcs.def"
#undef VMCS_FIELD
};
_Static_assert(ARRAY_SIZE(encodings) <= VMCS_FIELD_COUNT, "VMCS_FIELD_COUNT");

static const char names[] =
#define VMCS_FIELD(name, encoding, width) #name "\0"
#include "vmx/vmcs.def"
#undef VMCS_FIELD
    ;

size_t vmcs_field_count(void)
{
    return ARRAY_SIZE(encodings);
}

enum vmcs_field vmcs_field_at(size_t index)
{
    return (enum vmcs_field)encodings[index];
}

const char *vmcs_field_name(enum vmcs_field field)
{
    for (size_t i = 0; i < ARRAY_SIZE(encodings); i++)
        if (encodings[i] == (u32)field)
            return names_at(names, i);
    return "?";
}

/* Vol. 3C 30.4, table 30-1 */
static const char instruction_errors[] =
    "no error\0"
    "VMCALL in VMX root operation\0"
    "VMCLEAR with invalid physical address\0"
    "VMCLEAR with VMXON pointer\0"
    "VMLAUNCH with non-clear VMCS\0"
    "VMRESUME with non-launched VMCS\0"
    "VMRESUME after VMXOFF\0"
    "VM entry with invalid control fields\0"
    "VM entry with invalid host-state fields\0"
    "VMPTRLD with invalid physical address\0"
    "VMPTRLD with VMXON pointer\0"
    "VMPTRLD with incorrect VMCS revision identifier\0"
    "VMREAD or VMWRITE of unsupported field\0"
    "VMWRITE to read-only field\0"
    "?\0"
    "VMXON in VMX root operation\0"
    "VM entry with invalid executive-VMCS pointer\0"
    "VM entry with non-launched executive VMCS\0"
    "VM entry with executive-VMCS pointer not VMXON pointer\0"
    "VMCALL with non-clear VMCS\0"
    "VMCALL with invalid VM-exit control fields\0"
    "?\0"
    "VMCALL with incorrect MSEG revision identifier\0"
    "VMXOFF under dual-monitor treatment\0"
    "VMCALL with invalid SMM-monitor features\0"
    "VM entry with invalid VM-execution control fields in executive VMCS\0"
    "VM entry with events blocked by MOV SS\0"
    "?\0"
    "invalid operand to INVEPT or INVVPID\0";
#define INSTRUCTION_ERRORS 29u

const char *vmx_instruction_error_text(u32 error)
{
    return error < INSTRUCTION_ERRORS ? names_at(instruction_errors, error) : "?";
}
