/* caps.c - reading the capabilities, narrowing them, and one line of text about them. */
#include "vmx/caps.h"
#include "arch/format.h"
#include "arch/msr.h"
#include "vmx/bits.h"
#include "vmx/names.h"

static const u8 control_numbers[] = {
#define VMX_CONTROL(group, name, bit, use) VMX_##group##_##name,
#include "vmx/controls.def"
#undef VMX_CONTROL
};
static const char control_names[] =
#define VMX_CONTROL(group, name, bit, use) #name "\0"
#include "vmx/controls.def"
#undef VMX_CONTROL
    ;

const char *vmx_group_name(enum vmx_group group)
{
    static const char names[VMX_GROUP_COUNT][10] = {"pin", "primary", "secondary", "exit", "entry"};

    return group < VMX_GROUP_COUNT ? names[group] : "?";
}

const char *vmx_control_name(enum vmx_control control)
{
    for (size_t i = 0; i < ARRAY_SIZE(control_numbers); i++)
        if (control_numbers[i] == (u32)control)
            return names_at(control_names, i);
    return "?";
}

/* One capability MSR of controls: allowed 0-settings in the low half, allowed 1-settings in the high (A.2).
 */
static void read_group(struct vmx_caps *caps, enum vmx_group group, u64 value)
{
    caps->must_be_1[group] = (u32)value;
    caps->may_be_1[group] = (u32)(value >> 32);
}

void vmx_caps_read(struct vmx_caps *caps, vmx_msr_read_fn read, void *ctx)
{
    u64 basic = read(ctx, MSR_IA32_VMX_BASIC);
    bool exact = basic & VMX_BASIC_TRUE_CONTROLS;

    *caps = (struct vmx_caps){.revision = basic & VMX_BASIC_REVISION_MASK,
                              .address_32bit = basic & VMX_BASIC_ADDRESS_32BIT};
    read_group(caps, VMX_PIN,
               read(ctx, exact ? MSR_IA32_VMX_TRUE_PINBASED_CTLS : MSR_IA32_VMX_PINBASED_CTLS));
    read_group(caps, VMX_PRIMARY,
               read(ctx, exact ? MSR_IA32_VMX_TRUE_PROCBASED_CTLS : MSR_IA32_VMX_PROCBASED_CTLS));
    read_group(caps, VMX_EXIT, read(ctx, exact ? MSR_IA32_VMX_TRUE_EXIT_CTLS : MSR_IA32_VMX_EXIT_CTLS));
    read_group(caps, VMX_ENTRY, read(ctx, exact ? MSR_IA32_VMX_TRUE_ENTRY_CTLS : MSR_IA32_VMX_ENTRY_CTLS));
    if (vmx_caps_has(caps, VMX_PRIMARY_SECONDARY_CONTROLS))
        read_group(caps, VMX_SECONDARY, read(ctx, MSR_IA32_VMX_PROCBASED_CTLS2));
    if (vmx_caps_has(caps, VMX_SECONDARY_EPT) || vmx_caps_has(caps, VMX_SECONDARY_VPID))
        caps->ept_vpid = read(ctx, MSR_IA32_VMX_EPT_VPID_CAP);
    caps->misc = read(ctx, MSR_IA32_VMX_MISC);
    caps->cr0_fixed0 = read(ctx, MSR_IA32_VMX_CR0_FIXED0);
    caps->cr0_fixed1 = read(ctx, MSR_IA32_VMX_CR0_FIXED1);
    caps->cr4_fixed0 = read(ctx, MSR_IA32_VMX_CR4_FIXED0);
    caps->cr4_fixed1 = read(ctx, MSR_IA32_VMX_CR4_FIXED1);
}

enum err vmx_caps_intersect(struct vmx_caps *a, const struct vmx_caps *b)
{
    u64 targets_a = a->misc >> VMX_MISC_CR3_TARGETS_SHIFT & VMX_MISC_CR3_TARGETS_MASK;
    u64 targets_b = b->misc >> VMX_MISC_CR3_TARGETS_SHIFT & VMX_MISC_CR3_TARGETS_MASK;
    u64 flags = VMX_MISC_STORES_LMA | VMX_MISC_ACTIVITY_HLT | VMX_MISC_ACTIVITY_SHUTDOWN |
                VMX_MISC_ACTIVITY_SIPI | VMX_MISC_INJECT_LENGTH_0;

    if (a->revision != b->revision || vmx_caps_timer_shift(a) != vmx_caps_timer_shift(b))
        return ERR_INVALID;
    for (unsigned i = 0; i < VMX_GROUP_COUNT; i++) {
        a->must_be_1[i] |= b->must_be_1[i];
        a->may_be_1[i] &= b->may_be_1[i];
    }
    a->misc = (a->misc & b->misc & flags) | vmx_caps_timer_shift(a) |
              MIN(targets_a, targets_b) << VMX_MISC_CR3_TARGETS_SHIFT;
    a->address_32bit |= b->address_32bit;
    a->ept_vpid &= b->ept_vpid;
    a->cr0_fixed0 |= b->cr0_fixed0;
    a->cr0_fixed1 &= b->cr0_fixed1;
    a->cr4_fixed0 |= b->cr4_fixed0;
    a->cr4_fixed1 &= b->cr4_fixed1;
    return ERR_OK;
}

/* The columns of the table, in order. */
static const struct {
    char heading[8];
    u8 control;
} columns[] = {
    {"EPT", VMX_SECONDARY_EPT},
    {"VPID", VMX_SECONDARY_VPID},
    {"UG", VMX_SECONDARY_UNRESTRICTED_GUEST},
    {"TIMER", VMX_PIN_PREEMPTION_TIMER},
    {"MSRBM", VMX_PRIMARY_MSR_BITMAPS},
    {"EFER", VMX_ENTRY_LOAD_EFER},
    {"VNMI", VMX_PIN_VIRTUAL_NMIS},
    {"TPR", VMX_PRIMARY_TPR_SHADOW},
    {"APICV", VMX_SECONDARY_APIC_REGISTER_VIRTUALIZATION},
    {"X2V", VMX_SECONDARY_VIRTUALIZE_X2APIC},
    {"POSTED", VMX_PIN_POSTED_INTERRUPTS},
    {"PML", VMX_SECONDARY_PML},
    {"INVPCID", VMX_SECONDARY_INVPCID},
    {"XSAVES", VMX_SECONDARY_XSAVES},
};

void vmx_caps_heading(char *line, size_t size)
{
    size_t n = format_string(line, size, "%-8s", "REV");

    for (size_t i = 0; i < ARRAY_SIZE(columns); i++)
        n += format_string(line + n, size - n, " %s", columns[i].heading);
}

void vmx_caps_describe(const struct vmx_caps *caps, char *line, size_t size)
{
    size_t n = format_string(line, size, "%-8x", caps->revision);

    for (size_t i = 0; i < ARRAY_SIZE(columns); i++)
        n += format_string(line + n, size - n, " %-*s", (int)strlen(columns[i].heading),
                           vmx_caps_has(caps, (enum vmx_control)columns[i].control) ? "+" : "-");
}
