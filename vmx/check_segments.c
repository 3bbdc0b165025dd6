/* check_segments.c - guest segment registers, 26.3.1.2. */
#include "arch/regs.h"
#include "vmx/check_internal.h"
#include "vmx/guest.h"

#define TYPE_DATA_RW_ACCESSED      3u
#define TYPE_DATA_RW_DOWN_ACCESSED 7u
#define TYPE_CODE_ACCESSED         9u  /* and 11, readable */
#define TYPE_CONFORMING            13u /* and 15, readable */
#define VM86_ACCESS                0xF3u
#define LIMIT_LOW                  0xFFFu
#define LIMIT_HIGH                 0xFFF00000u

struct mode {
    bool long_mode, vm86, unrestricted;
    unsigned ss_dpl;
    u64 cr0;
};

static u32 access_of(const struct checker *c, enum vmx_segment s)
{
    return (u32)check_segment(c, VMCS_GUEST_ES_ACCESS, s);
}
static enum vmcs_field access_field(enum vmx_segment s)
{
    return vmcs_segment_field(VMCS_GUEST_ES_ACCESS, s);
}

/* Rules that hold for every usable register outside virtual-8086 mode. */
static void check_common(struct checker *c, enum vmx_segment s, bool system)
{
    u32 access = access_of(c, s), limit = (u32)check_segment(c, VMCS_GUEST_ES_LIMIT, s);
    enum vmcs_field f = access_field(s);

    check_need(c, !(access & VMX_AR_S) == system, f, system ? "S is not 0" : "S is not 1");
    check_need(c, access & VMX_AR_P, f, "not present");
    check_need(c, !(access & VMX_AR_RESERVED), f, "reserved bits");
    check_need(c, (limit & LIMIT_LOW) == LIMIT_LOW || !(access & VMX_AR_G), f,
               "G is 1, but limit bits 11:0 are not all 1");
    check_need(c, !(limit & LIMIT_HIGH) || access & VMX_AR_G, f,
               "G is 0, but limit bits 31:20 are not all 0");
}

static void check_code(struct checker *c, const struct mode *m)
{
    const enum vmcs_field f = VMCS_GUEST_CS_ACCESS;
    u32 access = access_of(c, VMX_SEG_CS), type = access & VMX_AR_TYPE_MASK;
    bool data = m->unrestricted && type == TYPE_DATA_RW_ACCESSED;
    unsigned dpl = vmx_access_dpl(access);

    check_need(c, data || (type >= TYPE_CODE_ACCESSED && type & VMX_AR_ACCESSED), f,
               "type is not accessed code");
    if (data)
        check_need(c, dpl == 0, f, "DPL is not 0");
    else if (type >= TYPE_CONFORMING)
        check_need(c, dpl <= m->ss_dpl, f, "conforming, with a DPL above that of SS");
    else
        check_need(c, dpl == m->ss_dpl, f, "DPL is not that of SS");
    check_need(c, !(m->long_mode && access & VMX_AR_L && access & VMX_AR_DB), f, "L and D at once");
    check_common(c, VMX_SEG_CS, false);
}

static void check_stack(struct checker *c, const struct mode *m)
{
    const enum vmcs_field f = VMCS_GUEST_SS_ACCESS;
    u32 access = access_of(c, VMX_SEG_SS), type = access & VMX_AR_TYPE_MASK;
    u64 selector = check_get(c, VMCS_GUEST_SS_SELECTOR);
    u32 cs_type = access_of(c, VMX_SEG_CS) & VMX_AR_TYPE_MASK;

    if (!m->unrestricted) {
        check_need(c, !((selector ^ check_get(c, VMCS_GUEST_CS_SELECTOR)) & SELECTOR_RPL),
                   VMCS_GUEST_SS_SELECTOR, "RPL is not that of CS");
        check_need(c, m->ss_dpl == (selector & SELECTOR_RPL), f, "DPL is not the selector's RPL");
    }
    check_need(c, m->ss_dpl == 0 || (cs_type != TYPE_DATA_RW_ACCESSED && m->cr0 & CR0_PE), f,
               "DPL is not 0 in real mode");
    if (access & VMX_AR_UNUSABLE)
        return;
    check_need(c, type == TYPE_DATA_RW_ACCESSED || type == TYPE_DATA_RW_DOWN_ACCESSED, f,
               "type is not accessed writable data");
    check_common(c, VMX_SEG_SS, false);
}

static void check_data(struct checker *c, const struct mode *m, enum vmx_segment s)
{
    u32 access = access_of(c, s), type = access & VMX_AR_TYPE_MASK;
    u64 selector = check_segment(c, VMCS_GUEST_ES_SELECTOR, s);

    if (access & VMX_AR_UNUSABLE)
        return;
    check_need(c, type & VMX_AR_ACCESSED, access_field(s), "type is not accessed");
    check_need(c, !(type & VMX_AR_CODE) || type & VMX_AR_WRITABLE, access_field(s),
               "code that is not readable");
    if (!m->unrestricted && type < TYPE_CONFORMING - 1)
        check_need(c, vmx_access_dpl(access) >= (selector & SELECTOR_RPL), access_field(s),
                   "DPL is below the selector's RPL");
    check_common(c, s, false);
}

static void check_bases(struct checker *c)
{
    static const u8 low[] = {VMX_SEG_ES, VMX_SEG_SS, VMX_SEG_DS};

    check_canonical(c, VMCS_GUEST_TR_BASE);
    check_canonical(c, VMCS_GUEST_FS_BASE);
    check_canonical(c, VMCS_GUEST_GS_BASE);
    if (!(access_of(c, VMX_SEG_LDTR) & VMX_AR_UNUSABLE))
        check_canonical(c, VMCS_GUEST_LDTR_BASE);
    check_need(c, !(check_get(c, VMCS_GUEST_CS_BASE) >> 32), VMCS_GUEST_CS_BASE, "bits 63:32 are not 0");
    for (size_t i = 0; i < ARRAY_SIZE(low); i++) {
        enum vmx_segment s = (enum vmx_segment)low[i];
        check_need(c, access_of(c, s) & VMX_AR_UNUSABLE || !(check_segment(c, VMCS_GUEST_ES_BASE, s) >> 32),
                   vmcs_segment_field(VMCS_GUEST_ES_BASE, s), "bits 63:32 are not 0");
    }
}

static void check_vm86(struct checker *c)
{
    for (unsigned i = VMX_SEG_ES; i <= VMX_SEG_GS; i++) {
        enum vmx_segment s = (enum vmx_segment)i;
        u64 selector = check_segment(c, VMCS_GUEST_ES_SELECTOR, s);
        check_need(c, check_segment(c, VMCS_GUEST_ES_BASE, s) == selector << 4,
                   vmcs_segment_field(VMCS_GUEST_ES_BASE, s),
                   "not 16 times the selector in virtual-8086 mode");
        check_need(c, check_segment(c, VMCS_GUEST_ES_LIMIT, s) == UINT16_MAX,
                   vmcs_segment_field(VMCS_GUEST_ES_LIMIT, s), "not 0xFFFF in virtual-8086 mode");
        check_need(c, access_of(c, s) == VM86_ACCESS, access_field(s), "not 0xF3 in virtual-8086 mode");
    }
}

static void check_system(struct checker *c, const struct mode *m)
{
    u32 tr = access_of(c, VMX_SEG_TR), ldtr = access_of(c, VMX_SEG_LDTR);
    u32 type = tr & VMX_AR_TYPE_MASK;

    check_need(c, !(check_get(c, VMCS_GUEST_TR_SELECTOR) & SELECTOR_TI), VMCS_GUEST_TR_SELECTOR,
               "TI is not 0");
    check_need(c, type == VMX_TYPE_TSS || (type == VMX_TYPE_TSS16 && !m->long_mode), VMCS_GUEST_TR_ACCESS,
               "type is not a busy TSS of the mode");
    check_need(c, !(tr & VMX_AR_UNUSABLE), VMCS_GUEST_TR_ACCESS, "unusable");
    check_common(c, VMX_SEG_TR, true);
    if (ldtr & VMX_AR_UNUSABLE)
        return;
    check_need(c, !(check_get(c, VMCS_GUEST_LDTR_SELECTOR) & SELECTOR_TI), VMCS_GUEST_LDTR_SELECTOR,
               "TI is not 0");
    check_need(c, (ldtr & VMX_AR_TYPE_MASK) == VMX_TYPE_LDT, VMCS_GUEST_LDTR_ACCESS, "type is not LDT");
    check_common(c, VMX_SEG_LDTR, true);
}

void check_segments(struct checker *c)
{
    struct mode m = {.long_mode = check_on(c, VMX_ENTRY_GUEST_64),
                     .vm86 = check_get(c, VMCS_GUEST_RFLAGS) & RFLAGS_VM,
                     .unrestricted = check_on(c, VMX_SECONDARY_UNRESTRICTED_GUEST),
                     .ss_dpl = vmx_access_dpl(access_of(c, VMX_SEG_SS)),
                     .cr0 = check_get(c, VMCS_GUEST_CR0)};

    check_bases(c);
    check_system(c, &m);
    if (m.vm86) {
        check_vm86(c);
        return;
    }
    check_code(c, &m);
    check_stack(c, &m);
    check_data(c, &m, VMX_SEG_ES);
    check_data(c, &m, VMX_SEG_DS);
    check_data(c, &m, VMX_SEG_FS);
    check_data(c, &m, VMX_SEG_GS);
}
