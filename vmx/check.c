/* check.c - the frame of the VM-entry checks, the checks of the controls (26.2.1) and of the host state. */
#include "arch/format.h"
#include "arch/regs.h"
#include "vmx/check_internal.h"
#include "vmx/event.h"

#define LINE_MAX 160

u64 check_get(const struct checker *c, enum vmcs_field field)
{
    u64 value = 0;

    return c->read(c->read_ctx, field, &value) ? value : 0;
}

void check_need(struct checker *c, bool ok, enum vmcs_field field, const char *why)
{
    char text[LINE_MAX];

    if (ok)
        return;
    c->broken++;
    format_string(text, sizeof text, "%s 0x%lx: %s", vmcs_field_name(field), check_get(c, field), why);
    c->line(c->line_ctx, text);
}

void check_physical(struct checker *c, enum vmcs_field field, u64 align)
{
    u64 value = check_get(c, field);
    u64 width = c->env->caps->address_32bit ? 32 : c->env->physical_bits;

    check_need(c, !(value & (align - 1)), field, "not aligned");
    check_need(c, !(value >> width), field, "beyond the physical-address width");
}

void check_canonical(struct checker *c, enum vmcs_field field)
{
    unsigned shift = 64u - c->env->linear_bits;
    s64 value = (s64)check_get(c, field);

    check_need(c, (s64)((u64)value << shift) >> shift == value, field, "not canonical");
}

void check_pat(struct checker *c, enum vmcs_field field)
{
    const u32 types = BIT(0) | BIT(1) | BIT(4) | BIT(5) | BIT(6) | BIT(7); /* UC WC WT WP WB UC- */
    u64 value = check_get(c, field);
    bool ok = true;

    for (unsigned i = 0; i < 64; i += 8) {
        u8 entry = value >> i & 0xFF;
        ok &= !(entry & PAT_ENTRY_RESERVED) && types >> entry & 1;
    }
    check_need(c, ok, field, "no valid memory types");
}

/* Each control word against what the CPU allows; every wrong bit is named. */
static void check_group(struct checker *c, enum vmx_group group)
{
    u32 word = c->control[group];
    u32 must = c->env->caps->must_be_1[group], may = c->env->caps->may_be_1[group];
    u32 wrong = (word & ~may) | (must & ~word);
    char text[LINE_MAX];

    for (unsigned bit = 0; bit < 32; bit++) {
        if (!(wrong >> bit & 1))
            continue;
        c->broken++;
        format_string(text, sizeof text, "%s control bit %u %s: the CPU wants %u", vmx_group_name(group), bit,
                      vmx_control_name((enum vmx_control)((u32)group * 32 + bit)), !(word >> bit & 1));
        c->line(c->line_ctx, text);
    }
}

/* control a without control b is forbidden */
static void check_dependencies(struct checker *c)
{
    static const struct {
        u8 control, needs;
    } pairs[] = {
        {VMX_PIN_VIRTUAL_NMIS, VMX_PIN_NMI_EXITING},
        {VMX_PRIMARY_NMI_WINDOW_EXITING, VMX_PIN_VIRTUAL_NMIS},
        {VMX_SECONDARY_VIRTUALIZE_X2APIC, VMX_PRIMARY_TPR_SHADOW},
        {VMX_SECONDARY_APIC_REGISTER_VIRTUALIZATION, VMX_PRIMARY_TPR_SHADOW},
        {VMX_SECONDARY_VIRTUAL_INTERRUPT_DELIVERY, VMX_PRIMARY_TPR_SHADOW},
        {VMX_SECONDARY_VIRTUAL_INTERRUPT_DELIVERY, VMX_PIN_EXTERNAL_INTERRUPT_EXITING},
        {VMX_PIN_POSTED_INTERRUPTS, VMX_SECONDARY_VIRTUAL_INTERRUPT_DELIVERY},
        {VMX_PIN_POSTED_INTERRUPTS, VMX_EXIT_ACKNOWLEDGE_INTERRUPT},
        {VMX_SECONDARY_UNRESTRICTED_GUEST, VMX_SECONDARY_EPT},
        {VMX_SECONDARY_PML, VMX_SECONDARY_EPT},
        {VMX_SECONDARY_MODE_BASED_EPT_EXECUTE, VMX_SECONDARY_EPT},
        {VMX_SECONDARY_SUB_PAGE_WRITE, VMX_SECONDARY_EPT},
        {VMX_SECONDARY_PT_GUEST_PHYSICAL, VMX_SECONDARY_EPT},
        {VMX_EXIT_SAVE_PREEMPTION_TIMER, VMX_PIN_PREEMPTION_TIMER},
    };
    char text[LINE_MAX];

    for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
        enum vmx_control a = (enum vmx_control)pairs[i].control, b = (enum vmx_control)pairs[i].needs;
        if (!check_on(c, a) || check_on(c, b))
            continue;
        c->broken++;
        format_string(text, sizeof text, "%s control %s is on without %s control %s",
                      vmx_group_name(vmx_control_group(a)), vmx_control_name(a),
                      vmx_group_name(vmx_control_group(b)), vmx_control_name(b));
        c->line(c->line_ctx, text);
    }
}

static void check_pages(struct checker *c)
{
    static const struct {
        u16 control, field, align;
    } pages[] = {
        {VMX_PRIMARY_IO_BITMAPS, VMCS_IO_BITMAP_A, PAGE_SIZE},
        {VMX_PRIMARY_IO_BITMAPS, VMCS_IO_BITMAP_B, PAGE_SIZE},
        {VMX_PRIMARY_MSR_BITMAPS, VMCS_MSR_BITMAP, PAGE_SIZE},
        {VMX_PRIMARY_TPR_SHADOW, VMCS_VIRTUAL_APIC_ADDRESS, PAGE_SIZE},
        {VMX_SECONDARY_VIRTUALIZE_APIC_ACCESSES, VMCS_APIC_ACCESS_ADDRESS, PAGE_SIZE},
        {VMX_PIN_POSTED_INTERRUPTS, VMCS_POSTED_INTERRUPT_DESCRIPTOR, 64},
        {VMX_SECONDARY_PML, VMCS_PML_ADDRESS, PAGE_SIZE},
        {VMX_SECONDARY_VMCS_SHADOWING, VMCS_VMREAD_BITMAP, PAGE_SIZE},
        {VMX_SECONDARY_VMCS_SHADOWING, VMCS_VMWRITE_BITMAP, PAGE_SIZE},
        {VMX_SECONDARY_EPT_VIOLATION_VE, VMCS_VIRTUALIZATION_EXCEPTION_ADDRESS, PAGE_SIZE},
    };
    static const u16 areas[][2] = {{VMCS_EXIT_MSR_STORE_COUNT, VMCS_EXIT_MSR_STORE_ADDRESS},
                                   {VMCS_EXIT_MSR_LOAD_COUNT, VMCS_EXIT_MSR_LOAD_ADDRESS},
                                   {VMCS_ENTRY_MSR_LOAD_COUNT, VMCS_ENTRY_MSR_LOAD_ADDRESS}};

    for (size_t i = 0; i < ARRAY_SIZE(pages); i++)
        if (check_on(c, (enum vmx_control)pages[i].control))
            check_physical(c, (enum vmcs_field)pages[i].field, pages[i].align);
    for (size_t i = 0; i < ARRAY_SIZE(areas); i++)
        if (check_get(c, (enum vmcs_field)areas[i][0]))
            check_physical(c, (enum vmcs_field)areas[i][1], 16);
}

static void check_ept(struct checker *c)
{
    u64 eptp = check_get(c, VMCS_EPT_POINTER), cap = c->env->caps->ept_vpid;
    u64 type = eptp & EPTP_TYPE_MASK, walk = eptp >> EPTP_WALK_SHIFT & EPTP_WALK_MASK;

    check_need(
        c, (type == EPTP_TYPE_WB && cap & VMX_EPT_CAP_WB) || (type == EPTP_TYPE_UC && cap & VMX_EPT_CAP_UC),
        VMCS_EPT_POINTER, "memory type (bits 2:0) not supported");
    check_need(c,
               (walk == EPTP_WALK_4 && cap & VMX_EPT_CAP_WALK_4) ||
                   (walk == EPTP_WALK_5 && cap & VMX_EPT_CAP_WALK_5),
               VMCS_EPT_POINTER, "page-walk length (bits 5:3) not supported");
    check_need(c, !(eptp & EPTP_AD) || cap & VMX_EPT_CAP_AD, VMCS_EPT_POINTER,
               "accessed and dirty flags (bit 6) not supported");
    check_need(c, !(eptp & EPTP_RESERVED_LOW) && !(eptp >> c->env->physical_bits), VMCS_EPT_POINTER,
               "reserved bits");
}

/* 26.2.1.3: the event to be injected */
static void check_injection(struct checker *c)
{
    const enum vmcs_field f = VMCS_ENTRY_INTERRUPTION_INFO;
    struct vmx_event e = {(u32)check_get(c, f), (u32)check_get(c, VMCS_ENTRY_EXCEPTION_ERROR),
                          (u32)check_get(c, VMCS_ENTRY_INSTRUCTION_LENGTH)};
    enum vmx_event_type type = vmx_event_type(e);
    u8 vector = vmx_event_vector(e);
    bool exception = type == VMX_EVENT_EXCEPTION;
    bool protected_mode =
        !check_on(c, VMX_SECONDARY_UNRESTRICTED_GUEST) || check_get(c, VMCS_GUEST_CR0) & CR0_PE;
    bool wants_error = exception && protected_mode && vmx_vector_has_error(vector);

    if (!vmx_event_valid(e))
        return;
    check_need(c, type != 1, f, "event type 1 is reserved");
    check_need(c, type != VMX_EVENT_OTHER || vmx_caps_has(c->env->caps, VMX_PRIMARY_MONITOR_TRAP_FLAG), f,
               "event type 7 needs the monitor trap flag");
    check_need(c, type != VMX_EVENT_OTHER || vector == 0, f, "event type 7 with a vector");
    check_need(c, type != VMX_EVENT_NMI || vector == VECTOR_NMI, f, "NMI with a vector other than 2");
    check_need(c, !exception || vector < VECTOR_EXCEPTIONS, f, "exception with a vector above 31");
    check_need(c, !(e.info & VMX_EVENT_HAS_ERROR) == !wants_error, f,
               wants_error ? "exception without its error code" : "error code that the event does not have");
    check_need(c, !(e.info & VMX_EVENT_RESERVED), f, "reserved bits");
    if (e.info & VMX_EVENT_HAS_ERROR)
        check_need(c, !(e.error >> 16), VMCS_ENTRY_EXCEPTION_ERROR, "reserved bits 31:16");
    if (vmx_event_is_software(e))
        check_need(
            c, e.length <= VMX_INSTRUCTION_MAX && (e.length || c->env->caps->misc & VMX_MISC_INJECT_LENGTH_0),
            VMCS_ENTRY_INSTRUCTION_LENGTH, "not an instruction length");
}

void check_controls(struct checker *c)
{
    u64 targets = c->env->caps->misc >> VMX_MISC_CR3_TARGETS_SHIFT & VMX_MISC_CR3_TARGETS_MASK;

    for (unsigned i = 0; i < VMX_GROUP_COUNT; i++)
        if (i != VMX_SECONDARY || check_on(c, VMX_PRIMARY_SECONDARY_CONTROLS))
            check_group(c, (enum vmx_group)i);
    check_dependencies(c);
    check_pages(c);
    check_need(c, check_get(c, VMCS_CR3_TARGET_COUNT) <= targets, VMCS_CR3_TARGET_COUNT,
               "more CR3 targets than the CPU has");
    if (check_on(c, VMX_PRIMARY_TPR_SHADOW) && !check_on(c, VMX_SECONDARY_VIRTUAL_INTERRUPT_DELIVERY))
        check_need(c, !(check_get(c, VMCS_TPR_THRESHOLD) >> 4), VMCS_TPR_THRESHOLD, "reserved bits 31:4");
    check_need(c,
               !check_on(c, VMX_SECONDARY_VIRTUALIZE_X2APIC) ||
                   !check_on(c, VMX_SECONDARY_VIRTUALIZE_APIC_ACCESSES),
               VMCS_SECONDARY_CONTROLS, "x2APIC mode and APIC accesses virtualised at once");
    if (check_on(c, VMX_PIN_POSTED_INTERRUPTS))
        check_need(c, check_get(c, VMCS_POSTED_INTERRUPT_VECTOR) <= UINT8_MAX, VMCS_POSTED_INTERRUPT_VECTOR,
                   "not a vector");
    if (check_on(c, VMX_SECONDARY_VPID))
        check_need(c, check_get(c, VMCS_VPID) != VMX_VPID_NONE, VMCS_VPID, "VPID 0 is the host's");
    if (check_on(c, VMX_SECONDARY_EPT))
        check_ept(c);
    check_need(c, !check_on(c, VMX_ENTRY_TO_SMM) && !check_on(c, VMX_ENTRY_DEACTIVATE_DUAL_MONITOR),
               VMCS_ENTRY_CONTROLS, "SMM controls outside SMM");
    check_injection(c);
}

u32 vmx_entry_check(const struct vmx_check_env *env, vmcs_read_fn read, void *read_ctx, vmx_line_fn line,
                    void *line_ctx)
{
    struct checker c = {.env = env, .read = read, .read_ctx = read_ctx, .line = line, .line_ctx = line_ctx};

    c.control[VMX_PIN] = (u32)check_get(&c, VMCS_PIN_CONTROLS);
    c.control[VMX_PRIMARY] = (u32)check_get(&c, VMCS_PRIMARY_CONTROLS);
    c.control[VMX_EXIT] = (u32)check_get(&c, VMCS_EXIT_CONTROLS);
    c.control[VMX_ENTRY] = (u32)check_get(&c, VMCS_ENTRY_CONTROLS);
    if (check_on(&c, VMX_PRIMARY_SECONDARY_CONTROLS))
        c.control[VMX_SECONDARY] = (u32)check_get(&c, VMCS_SECONDARY_CONTROLS);
    check_controls(&c);
    check_host(&c);
    check_guest(&c);
    check_segments(&c);
    return c.broken;
}
