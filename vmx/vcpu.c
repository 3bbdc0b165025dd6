/* vcpu.c - a vCPU's VMCS on a CPU: placing, control fields. */
#include "vmx/vcpu.h"
#include "arch/cpu.h"
#include "arch/log.h"
#include "arch/msr.h"
#include "arch/regs.h"
#include "arch/string.h"
#include "arch/traps.h"
#include "vmx/bits.h"
#include "vmx/l1tf.h"

static const u16 control_fields[VMX_GROUP_COUNT] = {
    [VMX_PIN] = VMCS_PIN_CONTROLS,
    [VMX_PRIMARY] = VMCS_PRIMARY_CONTROLS,
    [VMX_SECONDARY] = VMCS_SECONDARY_CONTROLS,
    [VMX_EXIT] = VMCS_EXIT_CONTROLS,
    [VMX_ENTRY] = VMCS_ENTRY_CONTROLS,
};

/* Turned on and off while the guest runs; they survive a change of all control words. */
static const u8 runtime_controls[] = {VMX_PRIMARY_INTERRUPT_WINDOW_EXITING,
                                      VMX_PRIMARY_NMI_WINDOW_EXITING,
                                      VMX_PIN_PREEMPTION_TIMER,
                                      VMX_EXIT_SAVE_PREEMPTION_TIMER,
                                      VMX_PRIMARY_PAUSE_EXITING,
                                      VMX_SECONDARY_PAUSE_LOOP_EXITING,
                                      VMX_ENTRY_GUEST_64};

/* A loop of PAUSEs at most so many TSC ticks apart (24.6.13) counts as spinning after so many ticks. */
#define SPIN_GAP    128u
#define SPIN_WINDOW 4096u

/* entry.asm */
extern const u8 vmx_enter_window_start[], vmx_enter_window_end[], vmx_enter_left[];

void vmx_enter_init(void)
{
    traps_set_nmi_window(vmx_enter_window_start, vmx_enter_window_end, vmx_enter_left);
}

void vmx_vcpu_init(struct vmx_vcpu *v, struct vmcs_block *block, u32 revision)
{
    memset(v, 0, sizeof *v);
    v->block = block;
    v->live.dr6 = DR6_INIT;
    block->revision = revision;
}

/* Without EFER controls, SCE is switched like the other system call registers, and NXE is on for all. */
static u64 hardware_efer(const struct vmx_vcpu *v)
{
    return (v->cpu->host.efer & ~EFER_SCE) | (v->efer & EFER_SCE);
}

static void live_load(const struct vmx_vcpu *v)
{
    const struct vmx_live *l = &v->live;

    cr2_write(l->cr2);
    dr0_write(l->dr[0]);
    dr1_write(l->dr[1]);
    dr2_write(l->dr[2]);
    dr3_write(l->dr[3]);
    dr6_write(l->dr6);
    msr_write(MSR_IA32_STAR, l->star);
    msr_write(MSR_IA32_LSTAR, l->lstar);
    msr_write(MSR_IA32_CSTAR, l->cstar);
    msr_write(MSR_IA32_FMASK, l->fmask);
    msr_write(MSR_IA32_KERNEL_GS_BASE, l->kernel_gs_base);
    if (v->tsc_aux_live)
        msr_write(MSR_IA32_TSC_AUX, l->tsc_aux);
    if (!vmx_control_is_on(&v->controls, VMX_ENTRY_LOAD_EFER))
        msr_write(MSR_IA32_EFER, hardware_efer(v));
}

static void live_save(struct vmx_vcpu *v)
{
    v->live = (struct vmx_live){.cr2 = cr2_read(),
                                .dr = {dr0_read(), dr1_read(), dr2_read(), dr3_read()},
                                .dr6 = dr6_read(),
                                .star = msr_read(MSR_IA32_STAR),
                                .lstar = msr_read(MSR_IA32_LSTAR),
                                .cstar = msr_read(MSR_IA32_CSTAR),
                                .fmask = msr_read(MSR_IA32_FMASK),
                                .kernel_gs_base = msr_read(MSR_IA32_KERNEL_GS_BASE),
                                .tsc_aux = v->tsc_aux_live ? msr_read(MSR_IA32_TSC_AUX) : 0};
}

/* The VMCS's contents are in memory and it is in the clear state: any CPU may take it (24.11.3). */
static enum err forget(struct vmx_vcpu *v)
{
    v->state = 0;
    v->host_rsp = 0;
    return vmx_vmclear(ptr_to_hpa(v->block)) == VMX_SUCCESS ? ERR_OK : ERR_STATE;
}

enum err vmx_vcpu_load(struct vmx_vcpu *v, struct vmx_cpu *cpu)
{
    bool moved = v->cpu == NULL;

    if (likely(cpu->current == v))
        return ERR_OK;
    if (!moved && v->cpu != cpu)
        return ERR_STATE;
    if (cpu->current)
        live_save(cpu->current);
    cpu->current = NULL;
    if (moved && forget(v) != ERR_OK)
        return ERR_STATE;
    if (vmx_vmptrld(ptr_to_hpa(v->block)) != VMX_SUCCESS)
        return ERR_STATE;
    v->cpu = cpu;
    cpu->current = v;
    if (moved) {
        vmx_host_write(&cpu->host);
        v->cr_env.cr0_fixed0 = cpu->caps.cr0_fixed0;
        v->cr_env.cr0_fixed1 = cpu->caps.cr0_fixed1;
        v->cr_env.cr4_fixed0 = cpu->caps.cr4_fixed0;
        v->cr_env.cr4_fixed1 = cpu->caps.cr4_fixed1;
        v->cr_env.cr4_host = cpu->host.cr4;
    }
    live_load(v);
    return ERR_OK;
}

void vmx_vcpu_unload(struct vmx_vcpu *v)
{
    if (!v->cpu)
        return;
    if (v->cpu->current == v) {
        live_save(v);
        v->cpu->current = NULL;
    }
    /* It was active here, so VMCLEAR knows its address: it cannot fail. */
    assert_invariant(forget(v) == ERR_OK);
    v->cpu = NULL;
}

static void write_group(const struct vmx_vcpu *v, enum vmx_group group)
{
    if (group != VMX_SECONDARY || vmx_control_is_on(&v->controls, VMX_PRIMARY_SECONDARY_CONTROLS))
        vmcs_write((enum vmcs_field)control_fields[group], v->controls.word[group]);
}

void vmx_vcpu_control(struct vmx_vcpu *v, enum vmx_control control, bool on)
{
    u32 *word = &v->controls.word[vmx_control_group(control)];
    u32 mask = vmx_control_mask(control);
    u32 value = on ? *word | mask : *word & ~mask;

    if (value == *word)
        return;
    *word = value;
    write_group(v, vmx_control_group(control));
}

void vmx_vcpu_set_controls(struct vmx_vcpu *v, const struct vmx_controls *controls, u64 ept_pointer)
{
    struct vmx_controls old = v->controls;

    v->controls = *controls;
    for (size_t i = 0; i < ARRAY_SIZE(runtime_controls); i++) {
        enum vmx_control control = (enum vmx_control)runtime_controls[i];
        u32 mask = vmx_control_mask(control);
        if (vmx_control_can(controls, control))
            v->controls.word[vmx_control_group(control)] |= old.word[vmx_control_group(control)] & mask;
    }
    for (unsigned i = 0; i < VMX_GROUP_COUNT; i++)
        write_group(v, (enum vmx_group)i);
    v->virtual_nmis = vmx_control_is_on(controls, VMX_PIN_VIRTUAL_NMIS);
    v->tsc_aux_live = vmx_control_is_on(controls, VMX_SECONDARY_RDTSCP);
    v->cr_env.ept = vmx_control_is_on(controls, VMX_SECONDARY_EPT);
    v->cr_env.unrestricted = vmx_control_is_on(controls, VMX_SECONDARY_UNRESTRICTED_GUEST);
    if (v->cr_env.ept)
        vmcs_write(VMCS_EPT_POINTER, ept_pointer);
    vmcs_write(VMCS_ENTRY_MSR_LOAD_COUNT, v->cr_env.ept && v->flush_l1d);
}

/* Writes the fields every VMCS has the same way; those with a control depend on that control. */
static enum err write_constants(const struct vmx_vcpu *v, const struct vmx_setup *s)
{
    const struct {
        u16 field;
        bool exists;
        u64 value;
    } fields[] = {
        {VMCS_EXCEPTION_BITMAP, true, s->exception_bitmap},
        {VMCS_PAGE_FAULT_ERROR_MASK, true, 0}, /* until vmx_guest_exit_on_faults() */
        {VMCS_PAGE_FAULT_ERROR_MATCH, true, 0},
        {VMCS_CR3_TARGET_COUNT, true, 0},
        {VMCS_EXIT_MSR_STORE_COUNT, true, 0},
        {VMCS_EXIT_MSR_LOAD_COUNT, true, 0},
        {VMCS_ENTRY_MSR_LOAD_ADDRESS, s->flush_l1d, ptr_to_hpa(&vmx_flush_l1d).v},
        {VMCS_ENTRY_INTERRUPTION_INFO, true, 0},
        {VMCS_CR0_MASK, true, ~vmx_cr0_guest_owned},
        {VMCS_CR4_MASK, true, ~vmx_cr4_guest_owned},
        {VMCS_LINK_POINTER, true, VMCS_LINK_NONE},
        {VMCS_GUEST_DEBUGCTL, true, 0},
        {VMCS_GUEST_DR7, true, DR7_INIT},
        {VMCS_GUEST_ACTIVITY, true, VMX_ACTIVITY_ACTIVE},
        {VMCS_GUEST_INTERRUPTIBILITY, true, 0},
        {VMCS_GUEST_PENDING_DEBUG, true, 0},
        {VMCS_GUEST_SYSENTER_CS, true, 0},
        {VMCS_GUEST_SYSENTER_ESP, true, 0},
        {VMCS_GUEST_SYSENTER_EIP, true, 0},
        {VMCS_VPID, vmx_control_is_on(&v->controls, VMX_SECONDARY_VPID), s->vpid},
        {VMCS_MSR_BITMAP, vmx_control_is_on(&v->controls, VMX_PRIMARY_MSR_BITMAPS), s->msr_bitmap.v},
        {VMCS_XSS_EXITING_BITMAP, vmx_control_is_on(&v->controls, VMX_SECONDARY_XSAVES), ~0ull},
        {VMCS_VIRTUAL_APIC_ADDRESS, vmx_control_is_on(&v->controls, VMX_PRIMARY_TPR_SHADOW),
         ptr_to_hpa(v->block->virtual_apic).v},
        {VMCS_TPR_THRESHOLD, vmx_control_is_on(&v->controls, VMX_PRIMARY_TPR_SHADOW), 0},
        {VMCS_TSC_OFFSET, vmx_control_is_on(&v->controls, VMX_PRIMARY_TSC_OFFSETTING), 0},
        {VMCS_PLE_GAP, vmx_control_can(&v->controls, VMX_SECONDARY_PAUSE_LOOP_EXITING), SPIN_GAP},
        {VMCS_PLE_WINDOW, vmx_control_can(&v->controls, VMX_SECONDARY_PAUSE_LOOP_EXITING), SPIN_WINDOW},
        {VMCS_GUEST_PAT, vmx_control_is_on(&v->controls, VMX_ENTRY_LOAD_PAT), v->cpu->host.pat},
        {VMCS_GUEST_BNDCFGS, vmx_control_is_on(&v->controls, VMX_ENTRY_LOAD_BNDCFGS), 0},
        {VMCS_GUEST_PERF_GLOBAL_CTRL, vmx_control_is_on(&v->controls, VMX_ENTRY_LOAD_PERF_GLOBAL_CTRL), 0},
        {VMCS_HOST_PERF_GLOBAL_CTRL, vmx_control_is_on(&v->controls, VMX_EXIT_LOAD_PERF_GLOBAL_CTRL), 0},
    };

    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        enum vmcs_field field = (enum vmcs_field)fields[i].field;
        if (fields[i].exists && vmcs_write_checked(field, fields[i].value) != VMX_SUCCESS) {
            log_line("VMCS field %s cannot be written: %s", vmcs_field_name(field),
                     vmx_instruction_error_text((u32)vmcs_read(VMCS_INSTRUCTION_ERROR)));
            return ERR_STATE;
        }
    }
    return ERR_OK;
}

enum err vmx_vcpu_setup(struct vmx_vcpu *v, const struct vmx_setup *setup)
{
    v->flush_l1d = setup->flush_l1d;
    vmx_vcpu_set_controls(v, &setup->controls, setup->ept_pointer);
    v->vpid = vmx_control_is_on(&v->controls, VMX_SECONDARY_VPID) ? setup->vpid : VMX_VPID_NONE;
    v->armed = (struct vmx_event){0, 0, 0};
    v->tpr_threshold = 0;
    return write_constants(v, setup);
}

bool vmx_vcpu_timer_set(struct vmx_vcpu *v, u64 tsc_ticks)
{
    unsigned shift = vmx_caps_timer_shift(&v->cpu->caps);
    u64 count = (tsc_ticks >> shift) + ((tsc_ticks & (BIT(shift) - 1)) != 0);

    if (!vmx_control_can(&v->controls, VMX_PIN_PREEMPTION_TIMER))
        return false;
    vmcs_write(VMCS_GUEST_PREEMPTION_TIMER, MIN(count, (u64)UINT32_MAX));
    vmx_vcpu_control(v, VMX_PIN_PREEMPTION_TIMER, true);
    vmx_vcpu_control(v, VMX_EXIT_SAVE_PREEMPTION_TIMER, true);
    return true;
}

void vmx_vcpu_spin_exits(struct vmx_vcpu *v, bool on)
{
    if (vmx_control_can(&v->controls, VMX_SECONDARY_PAUSE_LOOP_EXITING))
        vmx_vcpu_control(v, VMX_SECONDARY_PAUSE_LOOP_EXITING, on);
    else if (vmx_control_can(&v->controls, VMX_PRIMARY_PAUSE_EXITING))
        vmx_vcpu_control(v, VMX_PRIMARY_PAUSE_EXITING, on);
}

void vmx_vcpu_timer_off(struct vmx_vcpu *v)
{
    vmx_vcpu_control(v, VMX_PIN_PREEMPTION_TIMER, false);
    vmx_vcpu_control(v, VMX_EXIT_SAVE_PREEMPTION_TIMER, false);
}
