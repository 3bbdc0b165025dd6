/* choose.c - control words from what is wanted and what the CPU allows (SDM Vol. 3D A.2 to A.5). */
#include "arch/format.h"
#include "vmx/bits.h"
#include "vmx/caps.h"

enum use { USE_REQUIRED, USE_OPTIONAL, USE_RUNTIME, USE_EPT, USE_OFF, USE_EITHER };

static const struct {
    u8 control, use;
} wishes[] = {
#define VMX_CONTROL(group, name, bit, use) {VMX_##group##_##name, USE_##use},
#include "vmx/controls.def"
#undef VMX_CONTROL
};

/* EPT-only controls count as OFF here. */
void vmx_request_shadow(struct vmx_request *request)
{
    *request = (struct vmx_request){{0}, {0}, {0}, {0}};
    for (size_t i = 0; i < ARRAY_SIZE(wishes); i++) {
        enum vmx_control control = (enum vmx_control)wishes[i].control;
        enum vmx_group group = vmx_control_group(control);
        u32 mask = vmx_control_mask(control);

        switch ((enum use)wishes[i].use) {
        case USE_REQUIRED: request->required[group] |= mask; break;
        case USE_OPTIONAL: request->optional[group] |= mask; break;
        case USE_RUNTIME: request->runtime[group] |= mask; break;
        case USE_EPT:
        case USE_OFF: request->off[group] |= mask; break;
        case USE_EITHER: break;
        }
    }
}

static void require(struct vmx_request *request, enum vmx_control control)
{
    request->off[vmx_control_group(control)] &= ~vmx_control_mask(control);
    request->required[vmx_control_group(control)] |= vmx_control_mask(control);
}

void vmx_request_tpr_shadow(struct vmx_request *request, const struct vmx_caps *caps)
{
    u32 exits =
        vmx_control_mask(VMX_PRIMARY_CR8_LOAD_EXITING) | vmx_control_mask(VMX_PRIMARY_CR8_STORE_EXITING);

    if (!vmx_caps_has(caps, VMX_PRIMARY_TPR_SHADOW))
        return;
    require(request, VMX_PRIMARY_TPR_SHADOW);
    request->required[VMX_PRIMARY] &= ~exits;
}

/* None of these under EPT. */
#define EXIT_BIT(name) (1u << VMX_PRIMARY_##name % 32)
static const u32 paging_exits =
    EXIT_BIT(INVLPG_EXITING) | EXIT_BIT(CR3_LOAD_EXITING) | EXIT_BIT(CR3_STORE_EXITING);

void vmx_request_ept(struct vmx_request *request, bool unrestricted)
{
    vmx_request_shadow(request);
    request->required[VMX_PRIMARY] &= ~paging_exits;
    request->off[VMX_PRIMARY] |= paging_exits;
    require(request, VMX_PRIMARY_SECONDARY_CONTROLS);
    require(request, VMX_SECONDARY_EPT);
    require(request, VMX_ENTRY_LOAD_EFER); /* NXE is the guest's own then */
    require(request, VMX_EXIT_LOAD_EFER);
    if (unrestricted)
        require(request, VMX_SECONDARY_UNRESTRICTED_GUEST);
}

bool vmx_caps_ept_usable(const struct vmx_caps *caps)
{
    u64 needs = VMX_EPT_CAP_WALK_4 | VMX_EPT_CAP_WB | VMX_EPT_CAP_INVEPT | VMX_EPT_CAP_INVEPT_ALL;

    return vmx_caps_has(caps, VMX_PRIMARY_SECONDARY_CONTROLS) && vmx_caps_has(caps, VMX_SECONDARY_EPT) &&
           vmx_caps_has(caps, VMX_ENTRY_LOAD_EFER) && vmx_caps_has(caps, VMX_EXIT_LOAD_EFER) &&
           (caps->ept_vpid & needs) == needs && !(caps->must_be_1[VMX_PRIMARY] & paging_exits);
}

static void report_bits(const struct vmx_caps *caps, enum vmx_group group, u32 bits, bool need,
                        struct vmx_report *report)
{
    for (unsigned bit = 0; bit < 32; bit++) {
        if (!(bits >> bit & 1))
            continue;
        if (report->count < VMX_MISSING_MAX)
            report->item[report->count] =
                (struct vmx_missing){.control = (enum vmx_control)((u32)group * 32 + bit),
                                     .must_be_1 = caps->must_be_1[group] >> bit & 1,
                                     .may_be_1 = caps->may_be_1[group] >> bit & 1,
                                     .need = need};
        report->count++;
    }
}

static void drop(struct vmx_controls *controls, const struct vmx_caps *caps, enum vmx_control control)
{
    enum vmx_group group = vmx_control_group(control);

    controls->word[group] &= ~(vmx_control_mask(control) & ~caps->must_be_1[group]);
    controls->can[group] &= ~vmx_control_mask(control);
}

/* Controls that mean nothing, or are forbidden, without another one (26.2.1): off again. */
static void settle_dependencies(struct vmx_controls *controls, const struct vmx_caps *caps)
{
    static const struct {
        u8 control, needs;
    } pairs[] = {
        {VMX_ENTRY_LOAD_EFER, VMX_EXIT_LOAD_EFER},
        {VMX_EXIT_LOAD_EFER, VMX_ENTRY_LOAD_EFER},
        {VMX_PIN_PREEMPTION_TIMER, VMX_EXIT_SAVE_PREEMPTION_TIMER},
        {VMX_EXIT_SAVE_PREEMPTION_TIMER, VMX_PIN_PREEMPTION_TIMER},
        {VMX_PRIMARY_NMI_WINDOW_EXITING, VMX_PIN_VIRTUAL_NMIS},
        {VMX_SECONDARY_UNRESTRICTED_GUEST, VMX_SECONDARY_EPT},
    };
    u64 invvpid = VMX_VPID_CAP_INVVPID | VMX_VPID_CAP_ALL; /* what vmx_tlb_ops_choose() cannot do without */

    for (size_t i = 0; i < ARRAY_SIZE(pairs); i++)
        if (!vmx_control_can(controls, (enum vmx_control)pairs[i].needs))
            drop(controls, caps, (enum vmx_control)pairs[i].control);
    if ((caps->ept_vpid & invvpid) != invvpid)
        drop(controls, caps, VMX_SECONDARY_VPID);
    if (!controls->word[VMX_SECONDARY])
        drop(controls, caps, VMX_PRIMARY_SECONDARY_CONTROLS);
    if (!vmx_control_is_on(controls, VMX_PRIMARY_SECONDARY_CONTROLS))
        drop(controls, caps, VMX_SECONDARY_PAUSE_LOOP_EXITING);
}

enum err vmx_controls_choose(const struct vmx_caps *caps, const struct vmx_request *request,
                             struct vmx_controls *controls, struct vmx_report *report)
{
    u64 ept_needs = VMX_EPT_CAP_WALK_4 | VMX_EPT_CAP_WB;

    report->count = 0;
    for (unsigned i = 0; i < VMX_GROUP_COUNT; i++) {
        enum vmx_group group = (enum vmx_group)i;
        u32 must = caps->must_be_1[i], may = caps->may_be_1[i];

        report_bits(caps, group, (request->required[i] | request->runtime[i]) & ~may, true, report);
        report_bits(caps, group, (request->runtime[i] | request->off[i]) & must, false, report);
        controls->word[i] = ((request->required[i] | request->optional[i]) & may) | must;
        controls->can[i] = may & ~request->off[i];
    }
    if (request->required[VMX_SECONDARY] & vmx_control_mask(VMX_SECONDARY_EPT) &&
        vmx_caps_has(caps, VMX_SECONDARY_EPT) && (caps->ept_vpid & ept_needs) != ept_needs)
        report_bits(caps, VMX_SECONDARY, vmx_control_mask(VMX_SECONDARY_EPT), true, report);
    if (report->count)
        return ERR_UNSUPPORTED;
    settle_dependencies(controls, caps);
    return ERR_OK;
}

void vmx_missing_describe(const struct vmx_missing *missing, char *line, size_t size)
{
    format_string(line, size, "VMX control %s %s: have %s, need %d",
                  vmx_group_name(vmx_control_group(missing->control)), vmx_control_name(missing->control),
                  missing->must_be_1  ? "always 1"
                  : missing->may_be_1 ? "0 or 1"
                                      : "always 0",
                  missing->need);
}
