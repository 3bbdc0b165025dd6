/* vmsr.c - device-like MSRs of a virtual CPU. SDM Vol 4; MTRRs and PAT: Vol 3A 11.11 and 11.12. */
#include "vmm/dev/vmsr.h"
#include "arch/msr.h"
#include "arch/regs.h"
#include "arch/string.h"
#include "vmm/dev/platform.h"

enum vmsr_kind {
    VMSR_CONST,
    VMSR_IGNORE,
    VMSR_ABSENT,
    VMSR_TSC,
    VMSR_APIC_BASE,
    VMSR_TSC_ADJUST,
    VMSR_ARCH_CAPABILITIES,
    VMSR_MISC_ENABLE,
    VMSR_DEBUGCTL,
    VMSR_MTRR_VARIABLE_PAIR,
    VMSR_MTRR_FIXED_RANGE,
    VMSR_PAT,
    VMSR_MTRR_DEF_TYPE,
    VMSR_TSC_DEADLINE,
};

struct rule {
    u16 first, last, kind, value;
};

static const struct rule rules[] = {
#define X(first_msr, last_msr, kind_name, read_value) {first_msr, last_msr, VMSR_##kind_name, read_value},
#include "vmm/dev/vmsr.def"
#undef X
};

#define MISC_ENABLE_STORED 0x400C51889ull
#define MISC_ENABLE_ALWAYS 0x1800ull /* branch trace and PEBS are not there */
#define DEBUGCTL_IGNORED   0x3ull    /* LBR, BTF */
#define MTRR_TYPE_WB       6
#define MTRR_BASE_RESERVED 0xF00ull
#define MTRR_MASK_RESERVED 0x7FFull
#define MTRR_DEF_WRITABLE  (MTRR_DEF_TYPE_FIX_EN | MTRR_DEF_TYPE_EN | 0xFF)
#define MEMORY_TYPES       0x73u /* UC 0, WC 1, WT 4, WP 5, WB 6 */
#define PAT_TYPES          0xF3u /* and UC- 7 */

void vmsr_reset(struct vmsr *m)
{
    memset(m, 0, sizeof *m);
    m->pat = PAT_RESET;
    m->misc_enable = MISC_ENABLE_FAST_STRINGS | MISC_ENABLE_ALWAYS;
    m->mtrr_def_type = MTRR_TYPE_WB | MTRR_DEF_TYPE_EN;
}

static bool types_valid(u64 value, u32 count, u32 allowed)
{
    for (u32 i = 0; i < count; i++, value >>= 8)
        if ((value & 0xFF) > 7 || !(allowed & 1u << (value & 7)))
            return false;
    return true;
}

static u64 address_reserved(const struct vplatform *vp)
{
    return ~(BIT(vp->cpuid.maxphyaddr) - 1);
}

static bool write_mtrr_variable(const struct vplatform *vp, struct vmsr *m, u32 index, u64 value)
{
    bool is_mask = index & 1;
    if (value & (address_reserved(vp) | (is_mask ? MTRR_MASK_RESERVED : MTRR_BASE_RESERVED)))
        return false;
    if (!is_mask && !types_valid(value, 1, MEMORY_TYPES))
        return false;
    m->mtrr_variable[index] = value;
    return true;
}

/* ------------------------------------------------------------------ time stamp */

static void move_tsc(struct vplatform *vp, u32 vcpu, u64 now, u64 delta)
{
    struct vlapic *l = &vp->cpu[vcpu].lapic;
    if (delta == 0)
        return;
    vlapic_tsc_offset_set(l, now, l->tsc_offset + delta);
    vp->config.ops.tsc_offset(vp->config.ops.ctx, vcpu, l->tsc_offset);
}

static void write_tsc(struct vplatform *vp, u32 vcpu, u64 now, u64 value)
{
    u64 delta = value - (now + vp->cpu[vcpu].lapic.tsc_offset);
    vp->cpu[vcpu].msr.tsc_adjust += delta; /* SDM Vol 3B 17.17.3 */
    move_tsc(vp, vcpu, now, delta);
}

static void write_tsc_adjust(struct vplatform *vp, u32 vcpu, u64 now, u64 value)
{
    u64 delta = value - vp->cpu[vcpu].msr.tsc_adjust;
    vp->cpu[vcpu].msr.tsc_adjust = value;
    move_tsc(vp, vcpu, now, delta);
}

/* ------------------------------------------------------------------ the table */

static const struct rule *find_rule(u32 msr)
{
    for (u32 i = 0; i < ARRAY_SIZE(rules); i++)
        if (msr >= rules[i].first && msr <= rules[i].last)
            return &rules[i];
    return NULL;
}

static bool read_rule(struct vplatform *vp, u32 vcpu, u64 now, const struct rule *r, u32 msr, u64 *value)
{
    struct vlapic *l = &vp->cpu[vcpu].lapic;
    const struct vmsr *m = &vp->cpu[vcpu].msr;
    u32 index = msr - r->first;

    switch (r->kind) {
    case VMSR_CONST:
    case VMSR_IGNORE: *value = r->value; return true;
    case VMSR_TSC: *value = now + l->tsc_offset; return true;
    case VMSR_APIC_BASE: *value = vlapic_base(l); return true;
    case VMSR_TSC_ADJUST: *value = m->tsc_adjust; return true;
    case VMSR_ARCH_CAPABILITIES: *value = vp->cpuid.arch_capabilities; return *value != 0;
    case VMSR_MISC_ENABLE: *value = m->misc_enable; return true;
    case VMSR_DEBUGCTL: *value = 0; return true;
    case VMSR_MTRR_VARIABLE_PAIR: *value = m->mtrr_variable[index]; return true;
    case VMSR_MTRR_FIXED_RANGE: *value = m->mtrr_fixed[r->value + index]; return true;
    case VMSR_PAT: *value = m->pat; return true;
    case VMSR_MTRR_DEF_TYPE: *value = m->mtrr_def_type; return true;
    case VMSR_TSC_DEADLINE: *value = vlapic_tsc_deadline(l); return true;
    default: return false;
    }
}

static bool write_rule(struct vplatform *vp, u32 vcpu, u64 now, const struct rule *r, u32 msr, u64 value)
{
    struct vlapic *l = &vp->cpu[vcpu].lapic;
    struct vmsr *m = &vp->cpu[vcpu].msr;
    u32 index = msr - r->first;

    switch (r->kind) {
    case VMSR_IGNORE: return true;
    case VMSR_TSC: write_tsc(vp, vcpu, now, value); return true;
    case VMSR_APIC_BASE: return vlapic_base_set(l, value);
    case VMSR_TSC_ADJUST: write_tsc_adjust(vp, vcpu, now, value); return true;
    case VMSR_MISC_ENABLE: m->misc_enable = (value & MISC_ENABLE_STORED) | MISC_ENABLE_ALWAYS; return true;
    case VMSR_DEBUGCTL: return !(value & ~DEBUGCTL_IGNORED);
    case VMSR_MTRR_VARIABLE_PAIR: return write_mtrr_variable(vp, m, index, value);
    case VMSR_MTRR_FIXED_RANGE:
        if (!types_valid(value, 8, MEMORY_TYPES))
            return false;
        m->mtrr_fixed[r->value + index] = value;
        return true;
    case VMSR_PAT:
        if (!types_valid(value, 8, PAT_TYPES))
            return false;
        m->pat = value;
        return true;
    case VMSR_MTRR_DEF_TYPE:
        if ((value & ~MTRR_DEF_WRITABLE) || !types_valid(value, 1, MEMORY_TYPES))
            return false;
        m->mtrr_def_type = value;
        return true;
    case VMSR_TSC_DEADLINE: vlapic_tsc_deadline_set(l, now, value); return true;
    default: return false;
    }
}

bool vmsr_read(struct vplatform *vp, u32 vcpu, u64 now, u32 msr, u64 *value)
{
    if (msr - MSR_X2APIC_FIRST <= MSR_X2APIC_LAST - MSR_X2APIC_FIRST)
        return vlapic_msr_read(&vp->cpu[vcpu].lapic, now, msr, value);
    const struct rule *r = find_rule(msr);
    if (r)
        return read_rule(vp, vcpu, now, r, msr, value);
    vplat_report_unclaimed(vp, VPLAT_UNCLAIMED_MSR_READ, msr, 0);
    return false;
}

bool vmsr_write(struct vplatform *vp, u32 vcpu, u64 now, u32 msr, u64 value)
{
    /* The two that guests write all the time come first. */
    if (msr - MSR_X2APIC_FIRST <= MSR_X2APIC_LAST - MSR_X2APIC_FIRST)
        return vlapic_msr_write(&vp->cpu[vcpu].lapic, now, msr, value);
    if (msr == MSR_IA32_TSC_DEADLINE) {
        vlapic_tsc_deadline_set(&vp->cpu[vcpu].lapic, now, value);
        return true;
    }
    const struct rule *r = find_rule(msr);
    if (r)
        return write_rule(vp, vcpu, now, r, msr, value);
    vplat_report_unclaimed(vp, VPLAT_UNCLAIMED_MSR_WRITE, msr, value);
    return false;
}
