/* check_guest.c - host state (26.2.2 to 26.2.4) and guest state but segments (26.3.1.1, .3 to .6). */
#include "arch/regs.h"
#include "vmx/check_internal.h"
#include "vmx/event.h"
#include "vmx/guest.h"

/* Bits that have to be 1 are, and bits that have to be 0 are not (appendix A.7, A.8). */
static void check_fixed(struct checker *c, enum vmcs_field field, u64 fixed0, u64 fixed1)
{
    u64 value = check_get(c, field);

    check_need(c, (value & fixed0) == fixed0, field, "bits that VMX operation fixes to 1 are 0");
    check_need(c, !(value & ~fixed1), field, "bits that VMX operation fixes to 0 are 1");
}

static void check_host_efer(struct checker *c)
{
    u64 efer = check_get(c, VMCS_HOST_EFER);
    bool host_64 = check_on(c, VMX_EXIT_HOST_64);

    check_need(c, !(efer & EFER_RESERVED), VMCS_HOST_EFER, "reserved bits");
    check_need(c, !(efer & EFER_LMA) == !host_64 && !(efer & EFER_LME) == !host_64, VMCS_HOST_EFER,
               "LMA and LME do not agree with the host address-space size");
}

static void check_host_segments(struct checker *c)
{
    for (unsigned i = 0; i < VMX_SEG_COUNT - 1; i++) {
        /* ES CS SS DS FS GS TR: the host area has no LDTR */
        enum vmcs_field field = (enum vmcs_field)(VMCS_HOST_ES_SELECTOR + 2 * i);
        check_need(c, !(check_get(c, field) & SELECTOR_RPL_TI), field, "RPL or TI is not 0");
    }
    check_need(c, check_get(c, VMCS_HOST_CS_SELECTOR), VMCS_HOST_CS_SELECTOR, "null selector");
    check_need(c, check_get(c, VMCS_HOST_TR_SELECTOR), VMCS_HOST_TR_SELECTOR, "null selector");
    check_need(c, check_on(c, VMX_EXIT_HOST_64) || check_get(c, VMCS_HOST_SS_SELECTOR), VMCS_HOST_SS_SELECTOR,
               "null selector");
}

void check_host(struct checker *c)
{
    static const u16 canonical[] = {VMCS_HOST_SYSENTER_ESP, VMCS_HOST_SYSENTER_EIP, VMCS_HOST_FS_BASE,
                                    VMCS_HOST_GS_BASE,      VMCS_HOST_GDTR_BASE,    VMCS_HOST_IDTR_BASE,
                                    VMCS_HOST_TR_BASE,      VMCS_HOST_RIP};
    const struct vmx_caps *caps = c->env->caps;

    check_fixed(c, VMCS_HOST_CR0, caps->cr0_fixed0, caps->cr0_fixed1);
    check_fixed(c, VMCS_HOST_CR4, caps->cr4_fixed0, caps->cr4_fixed1);
    check_need(c, !(check_get(c, VMCS_HOST_CR3) >> c->env->physical_bits), VMCS_HOST_CR3,
               "beyond the physical-address width");
    for (size_t i = 0; i < ARRAY_SIZE(canonical); i++)
        check_canonical(c, (enum vmcs_field)canonical[i]);
    if (check_on(c, VMX_EXIT_LOAD_PAT))
        check_pat(c, VMCS_HOST_PAT);
    if (check_on(c, VMX_EXIT_LOAD_EFER))
        check_host_efer(c);
    check_host_segments(c);
    /* 26.2.4; this hypervisor is always in IA-32e mode */
    check_need(c, check_on(c, VMX_EXIT_HOST_64), VMCS_EXIT_CONTROLS,
               "the host is in 64-bit mode: HOST_64 has to be 1");
    check_need(c, check_get(c, VMCS_HOST_CR4) & CR4_PAE, VMCS_HOST_CR4, "PAE is 0 in a 64-bit host");
}

/* 26.3.1.1 */
static void check_control_registers(struct checker *c)
{
    const struct vmx_caps *caps = c->env->caps;
    u64 cr0 = check_get(c, VMCS_GUEST_CR0), cr4 = check_get(c, VMCS_GUEST_CR4);
    u64 free_bits = check_on(c, VMX_SECONDARY_UNRESTRICTED_GUEST) ? CR0_PE | CR0_PG : 0;
    bool long_mode = check_on(c, VMX_ENTRY_GUEST_64);

    check_fixed(c, VMCS_GUEST_CR0, caps->cr0_fixed0 & ~free_bits, caps->cr0_fixed1);
    check_need(c, !(cr0 & CR0_PG) || cr0 & CR0_PE, VMCS_GUEST_CR0, "PG without PE");
    check_fixed(c, VMCS_GUEST_CR4, caps->cr4_fixed0, caps->cr4_fixed1);
    check_need(c, !(cr4 & CR4_CET) || cr0 & CR0_WP, VMCS_GUEST_CR4, "CET without CR0.WP");
    if (long_mode) {
        check_need(c, cr0 & CR0_PG, VMCS_GUEST_CR0, "IA-32e mode without PG");
        check_need(c, cr4 & CR4_PAE, VMCS_GUEST_CR4, "IA-32e mode without PAE");
    } else {
        check_need(c, !(cr4 & CR4_PCIDE), VMCS_GUEST_CR4, "PCIDE outside IA-32e mode");
    }
    check_need(c, !(check_get(c, VMCS_GUEST_CR3) >> c->env->physical_bits), VMCS_GUEST_CR3,
               "beyond the physical-address width");
}

static void check_guest_msrs(struct checker *c)
{
    bool long_mode = check_on(c, VMX_ENTRY_GUEST_64);
    u64 efer = check_get(c, VMCS_GUEST_EFER);

    if (check_on(c, VMX_ENTRY_LOAD_DEBUG_CONTROLS)) {
        check_need(c, !(check_get(c, VMCS_GUEST_DEBUGCTL) & ~DEBUGCTL_VALID), VMCS_GUEST_DEBUGCTL,
                   "reserved bits");
        check_need(c, !(check_get(c, VMCS_GUEST_DR7) & DR7_HIGH), VMCS_GUEST_DR7, "bits 63:32 are not 0");
    }
    check_canonical(c, VMCS_GUEST_SYSENTER_ESP);
    check_canonical(c, VMCS_GUEST_SYSENTER_EIP);
    if (check_on(c, VMX_ENTRY_LOAD_PAT))
        check_pat(c, VMCS_GUEST_PAT);
    if (check_on(c, VMX_ENTRY_LOAD_BNDCFGS))
        check_canonical(c, VMCS_GUEST_BNDCFGS);
    if (!check_on(c, VMX_ENTRY_LOAD_EFER))
        return;
    check_need(c, !(efer & EFER_RESERVED), VMCS_GUEST_EFER, "reserved bits");
    check_need(c, !(efer & EFER_LMA) == !long_mode, VMCS_GUEST_EFER,
               "LMA does not agree with the entry control GUEST_64");
    check_need(c, !(check_get(c, VMCS_GUEST_CR0) & CR0_PG) || !(efer & EFER_LMA) == !(efer & EFER_LME),
               VMCS_GUEST_EFER, "LME does not agree with LMA while CR0.PG is 1");
}

/* 26.3.1.3, 26.3.1.4 */
static void check_tables_and_flags(struct checker *c)
{
    bool long_mode = check_on(c, VMX_ENTRY_GUEST_64);
    u64 rflags = check_get(c, VMCS_GUEST_RFLAGS);
    struct vmx_event e = {(u32)check_get(c, VMCS_ENTRY_INTERRUPTION_INFO), 0, 0};

    check_canonical(c, VMCS_GUEST_GDTR_BASE);
    check_canonical(c, VMCS_GUEST_IDTR_BASE);
    check_need(c, check_get(c, VMCS_GUEST_GDTR_LIMIT) <= UINT16_MAX, VMCS_GUEST_GDTR_LIMIT,
               "bits 31:16 are not 0");
    check_need(c, check_get(c, VMCS_GUEST_IDTR_LIMIT) <= UINT16_MAX, VMCS_GUEST_IDTR_LIMIT,
               "bits 31:16 are not 0");
    if (long_mode && check_get(c, VMCS_GUEST_CS_ACCESS) & VMX_AR_L)
        check_canonical(c, VMCS_GUEST_RIP);
    else
        check_need(c, !(check_get(c, VMCS_GUEST_RIP) >> 32), VMCS_GUEST_RIP,
                   "above 4 GiB outside 64-bit mode");
    check_need(c, !(rflags & RFLAGS_RESERVED), VMCS_GUEST_RFLAGS, "reserved bits");
    check_need(c, rflags & RFLAGS_FIXED1, VMCS_GUEST_RFLAGS, "bit 1 is 0");
    check_need(c, !(rflags & RFLAGS_VM) || !(long_mode || !(check_get(c, VMCS_GUEST_CR0) & CR0_PE)),
               VMCS_GUEST_RFLAGS, "VM in IA-32e or real mode");
    check_need(c, !vmx_event_valid(e) || vmx_event_type(e) != VMX_EVENT_INTERRUPT || rflags & RFLAGS_IF,
               VMCS_GUEST_RFLAGS, "external interrupt injected with IF=0");
}

/* 26.3.1.5: activity */
static void check_activity(struct checker *c)
{
    static const u64 supported[] = {0, VMX_MISC_ACTIVITY_HLT, VMX_MISC_ACTIVITY_SHUTDOWN,
                                    VMX_MISC_ACTIVITY_SIPI};
    const enum vmcs_field f = VMCS_GUEST_ACTIVITY;
    u64 activity = check_get(c, f);
    u32 blocking = (u32)check_get(c, VMCS_GUEST_INTERRUPTIBILITY);
    struct vmx_event e = {(u32)check_get(c, VMCS_ENTRY_INTERRUPTION_INFO), 0, 0};
    enum vmx_event_type type = vmx_event_type(e);
    u8 vector = vmx_event_vector(e);
    bool nmi_or_mc = type == VMX_EVENT_NMI || (type == VMX_EVENT_EXCEPTION && vector == VECTOR_MC);

    if (activity == VMX_ACTIVITY_ACTIVE)
        return;
    check_need(c, activity < ARRAY_SIZE(supported) && c->env->caps->misc & supported[activity & 3], f,
               "state that the CPU does not have");
    check_need(c, !(blocking & (VMX_BLOCKING_STI | VMX_BLOCKING_MOV_SS)), f,
               "not active although STI or MOV SS blocks events");
    if (activity == VMX_ACTIVITY_HLT)
        check_need(c, !(check_get(c, VMCS_GUEST_SS_ACCESS) & VMX_AR_DPL_MASK), f,
                   "HLT above privilege level 0");
    if (!vmx_event_valid(e))
        return;
    check_need(c, activity != VMX_ACTIVITY_SIPI, f, "event injected while waiting for SIPI");
    check_need(c, activity != VMX_ACTIVITY_SHUTDOWN || nmi_or_mc, f,
               "event injected that does not end a shutdown");
    check_need(c,
               activity != VMX_ACTIVITY_HLT || nmi_or_mc || type == VMX_EVENT_INTERRUPT ||
                   (type == VMX_EVENT_EXCEPTION && vector == VECTOR_DB) || type == VMX_EVENT_OTHER,
               f, "event injected that does not end HLT");
}

/* 26.3.1.5: interruptibility, pending debug exceptions, link pointer */
static void check_interruptibility(struct checker *c)
{
    const enum vmcs_field f = VMCS_GUEST_INTERRUPTIBILITY;
    u32 blocking = (u32)check_get(c, f), sti_mov = blocking & (VMX_BLOCKING_STI | VMX_BLOCKING_MOV_SS);
    u64 rflags = check_get(c, VMCS_GUEST_RFLAGS), debug = check_get(c, VMCS_GUEST_PENDING_DEBUG);
    struct vmx_event e = {(u32)check_get(c, VMCS_ENTRY_INTERRUPTION_INFO), 0, 0};
    bool nmi = vmx_event_valid(e) && vmx_event_type(e) == VMX_EVENT_NMI;
    bool interrupt = vmx_event_valid(e) && vmx_event_type(e) == VMX_EVENT_INTERRUPT;
    bool step = rflags & RFLAGS_TF && !(check_get(c, VMCS_GUEST_DEBUGCTL) & DEBUGCTL_BTF);

    check_need(c, !(blocking & VMX_INTERRUPTIBILITY_RESERVED), f, "reserved bits");
    check_need(c, sti_mov != (VMX_BLOCKING_STI | VMX_BLOCKING_MOV_SS), f,
               "blocked by STI and MOV SS at once");
    check_need(c, !(blocking & VMX_BLOCKING_STI) || rflags & RFLAGS_IF, f, "blocked by STI with IF=0");
    check_need(c, !interrupt || !sti_mov, f, "external interrupt injected while STI or MOV SS blocks");
    check_need(c, !nmi || !(blocking & VMX_BLOCKING_MOV_SS), f, "NMI injected while MOV SS blocks");
    check_need(c, !(blocking & VMX_BLOCKING_SMI), f, "blocked by SMI outside SMM");
    check_need(c, !nmi || !check_on(c, VMX_PIN_VIRTUAL_NMIS) || !(blocking & VMX_BLOCKING_NMI), f,
               "NMI injected while NMIs are blocked");
    check_need(c, !(debug & ~VMX_PENDING_DEBUG_VALID), VMCS_GUEST_PENDING_DEBUG, "reserved bits");
    if (sti_mov || check_get(c, VMCS_GUEST_ACTIVITY) == VMX_ACTIVITY_HLT)
        check_need(c, !(debug & VMX_PENDING_DEBUG_BS) == !step, VMCS_GUEST_PENDING_DEBUG,
                   "single step (BS) does not agree with TF");
    if (check_get(c, VMCS_LINK_POINTER) != VMCS_LINK_NONE)
        check_physical(c, VMCS_LINK_POINTER, PAGE_SIZE);
}

/* 26.3.1.6; without EPT the CPU takes the PDPTEs from memory at CR3, which are not looked at here */
static void check_pdptes(struct checker *c)
{
    static const u16 fields[] = {VMCS_GUEST_PDPTE0, VMCS_GUEST_PDPTE1, VMCS_GUEST_PDPTE2, VMCS_GUEST_PDPTE3};

    if (!check_on(c, VMX_SECONDARY_EPT) || check_on(c, VMX_ENTRY_GUEST_64) ||
        !(check_get(c, VMCS_GUEST_CR0) & CR0_PG) || !(check_get(c, VMCS_GUEST_CR4) & CR4_PAE))
        return;
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        u64 pdpte = check_get(c, (enum vmcs_field)fields[i]);
        check_need(c,
                   !(pdpte & PTE_P) || (!(pdpte & PDPTE_PAE_RESERVED) && !(pdpte >> c->env->physical_bits)),
                   (enum vmcs_field)fields[i], "reserved bits");
    }
}

void check_guest(struct checker *c)
{
    check_control_registers(c);
    check_guest_msrs(c);
    check_tables_and_flags(c);
    check_activity(c);
    check_interruptibility(c);
    check_pdptes(c);
}
