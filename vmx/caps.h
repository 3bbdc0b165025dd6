/*
 * caps.h - what a CPU's VMX offers, and the control words chosen from it. Pure.
 *
 * SDM Vol. 3D appendix A (capability MSRs), Vol. 3C 24.6 to 24.8 (controls). The controls and the use made of
 * each are the table controls.def.
 */
#pragma once
#include "arch/err.h"
#include "arch/types.h"

/* Receives lines of text, without newline; the text is only valid during the call. */
typedef void (*vmx_line_fn)(void *ctx, const char *line);

enum vmx_group { VMX_PIN, VMX_PRIMARY, VMX_SECONDARY, VMX_EXIT, VMX_ENTRY, VMX_GROUP_COUNT };

/* One control: VMX_PIN_NMI_EXITING, VMX_SECONDARY_EPT, VMX_ENTRY_GUEST_64 ... group * 32 + bit. */
enum vmx_control {
#define VMX_CONTROL(group, name, bit, use) VMX_##group##_##name = VMX_##group * 32 + (bit),
#include "vmx/controls.def"
#undef VMX_CONTROL
};

static inline enum vmx_group vmx_control_group(enum vmx_control control)
{
    return (enum vmx_group)((u32)control / 32);
}
static inline u32 vmx_control_mask(enum vmx_control control)
{
    return 1u << ((u32)control % 32);
}
/* "primary HLT_EXITING", in two words. Never NULL. */
const char *vmx_group_name(enum vmx_group group);
const char *vmx_control_name(enum vmx_control control);

struct vmx_caps {
    u32 revision;                   /* VMCS revision identifier (IA32_VMX_BASIC) */
    bool address_32bit;             /* VMXON, VMCS and what they point to have to lie below 4 GiB */
    u32 must_be_1[VMX_GROUP_COUNT]; /* "allowed 0-settings": bits that cannot be 0; from the TRUE MSRs if any
                                     */
    u32 may_be_1[VMX_GROUP_COUNT];  /* "allowed 1-settings": bits that can be 1 */
    u64 misc;                       /* IA32_VMX_MISC */
    u64 ept_vpid;                   /* IA32_VMX_EPT_VPID_CAP, 0 without either */
    u64 cr0_fixed0, cr0_fixed1;     /* bits of CR0 that have to be 1 / may be 1 in VMX operation */
    u64 cr4_fixed0, cr4_fixed1;
};

/* Reads one MSR; called only with VMX capability MSRs that exist according to those read before it. */
typedef u64 (*vmx_msr_read_fn)(void *ctx, u32 msr);

/* CPUID.1:ECX.VMX has to be set. */
void vmx_caps_read(struct vmx_caps *caps, vmx_msr_read_fn read, void *ctx);
/* What two CPUs have in common, for a vCPU that runs on both; *a is narrowed. INVALID if they cannot share a
 * VMCS at all (other revision). */
enum err must_check vmx_caps_intersect(struct vmx_caps *a, const struct vmx_caps *b);

static inline bool vmx_caps_has(const struct vmx_caps *caps, enum vmx_control control)
{
    return caps->may_be_1[vmx_control_group(control)] & vmx_control_mask(control);
}
/* EPT with walks of four levels, write-back tables and INVEPT (A.10), EFER controls, and no exits that a CPU forces for
 * the guest's own MOV CR3 and INVLPG: all that the EPT of a VM needs. Real CPUs with EPT have all of it. */
bool vmx_caps_ept_usable(const struct vmx_caps *caps);
/* VMX-preemption timer: it counts down once every 2^shift TSC ticks (IA32_VMX_MISC bits 4:0). */
static inline unsigned vmx_caps_timer_shift(const struct vmx_caps *caps)
{
    return caps->misc & 31;
}

/* One row of the table of CPUs: "2b       +   +    +  +     +     ..." with '-' where something is missing.
 * vmx_caps_heading() is the line above it. Both write at most `size` bytes, zero included. */
void vmx_caps_describe(const struct vmx_caps *caps, char *line, size_t size);
void vmx_caps_heading(char *line, size_t size);

/* ---- choosing ---- */
struct vmx_request {
    u32 required[VMX_GROUP_COUNT]; /* has to be 1 */
    u32 optional[VMX_GROUP_COUNT]; /* 1 where possible */
    u32 runtime[VMX_GROUP_COUNT];  /* 0 at first, and has to be changeable */
    u32 off[VMX_GROUP_COUNT];      /* has to be 0 */
};

/* The control words of a VMCS, and the bits that may be turned on in them later. */
struct vmx_controls {
    u32 word[VMX_GROUP_COUNT];
    u32 can[VMX_GROUP_COUNT];
};

static inline bool vmx_control_is_on(const struct vmx_controls *controls, enum vmx_control control)
{
    return controls->word[vmx_control_group(control)] & vmx_control_mask(control);
}
static inline bool vmx_control_can(const struct vmx_controls *controls, enum vmx_control control)
{
    return controls->can[vmx_control_group(control)] & vmx_control_mask(control);
}

/* One control that the CPU cannot give. */
struct vmx_missing {
    enum vmx_control control;
    bool must_be_1; /* the CPU's rule for the bit: what it has ... */
    bool may_be_1;
    bool need; /* ... and the value needed */
};
#define VMX_MISSING_MAX 32
struct vmx_report {
    u32 count; /* all that are missing; only the first VMX_MISSING_MAX are in item[] */
    struct vmx_missing item[VMX_MISSING_MAX];
};

/* The request of controls.def for a guest on shadow page tables. */
void vmx_request_shadow(struct vmx_request *request);
/* Adds: MOV CR8 goes to the virtual-APIC page instead of exiting. Nothing where the CPU cannot. */
void vmx_request_tpr_shadow(struct vmx_request *request, const struct vmx_caps *caps);
/* The same for a guest under EPT: EPT, optionally unrestricted guest (for CR0.PG=0), and no exits for the
 * guest's own paging. */
void vmx_request_ept(struct vmx_request *request, bool unrestricted);

/*
 * Chooses the control words: required and optional bits on, all others as low as the CPU allows. Controls
 * that come in pairs (EFER at entry and exit) are on together or not at all; INVLPG, CR3 and other policy is
 * the request's. UNSUPPORTED if anything is missing: then *report names every such control, and *controls is
 * unusable.
 */
enum err must_check vmx_controls_choose(const struct vmx_caps *caps, const struct vmx_request *request,
                                        struct vmx_controls *controls, struct vmx_report *report);
/* "VMX control primary HLT_EXITING: have 0, need 1": one item of a report as a line. */
void vmx_missing_describe(const struct vmx_missing *missing, char *line, size_t size);
