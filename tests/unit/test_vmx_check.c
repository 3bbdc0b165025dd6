/* links: vmx/check.c vmx/check_guest.c vmx/check_segments.c vmx/dump.c vmx/vmcs.c vmx/caps.c vmx/choose.c
 * vmx/event.c vmx/guest.c vmx/cr.c vmm/real_shape.c */
/*
 * test_vmx_check.c - the VM-entry checks on a made-up VMCS (all fields of vmcs.def): valid states of every
 * kind pass, and each single corruption is named with its field.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/regs.h"
#include "vmm/real_cpu.h"
#include "vmx/bits.h"
#include "vmx/check.h"
#include "vmx/cr.h"
#include "vmx/event.h"
#include "vmx/guest.h"

/* ---- a VMCS ---- */
struct vmcs {
    u64 value[VMCS_FIELD_COUNT];
};

static size_t index_of(enum vmcs_field field)
{
    for (size_t i = 0; i < vmcs_field_count(); i++)
        if (vmcs_field_at(i) == field)
            return i;
    fail_msg("no field %x", field);
    return 0;
}
static u64 get(const struct vmcs *v, enum vmcs_field field)
{
    return v->value[index_of(field)];
}
/* As VMWRITE does, only as many bits as the field has. */
static void set(struct vmcs *v, enum vmcs_field field, u64 value)
{
    static const u64 masks[] = {[VMCS_WIDTH_16] = 0xFFFF,
                                [VMCS_WIDTH_64] = ~0ull,
                                [VMCS_WIDTH_32] = 0xFFFFFFFF,
                                [VMCS_WIDTH_NATURAL] = ~0ull};

    v->value[index_of(field)] = value & masks[vmcs_field_width(field)];
}
static bool read_field(void *ctx, enum vmcs_field field, u64 *value)
{
    *value = get(ctx, field);
    return true;
}

/* ---- a CPU that has everything the checks know ---- */
static const struct vmx_caps caps = {
    .may_be_1 = {0xFF, 0xFFFFFFFF, 0xFFFFFFFF, 0x7FFFFFFF, 0xFFFFFF},
    .must_be_1 = {0x16, 0x04006172, 0, 0x36DFB, 0x11FB},
    .misc = VMX_MISC_ACTIVITY_HLT | VMX_MISC_ACTIVITY_SHUTDOWN | VMX_MISC_ACTIVITY_SIPI | 4 << 16,
    .ept_vpid = VMX_EPT_CAP_WALK_4 | VMX_EPT_CAP_WB | VMX_VPID_CAP_INVVPID | VMX_VPID_CAP_ALL,
    .cr0_fixed0 = CR0_PE | CR0_NE | CR0_PG,
    .cr0_fixed1 = 0xFFFFFFFF,
    .cr4_fixed0 = CR4_VMXE,
    .cr4_fixed1 = 0xFFFFFF & ~BIT(15),
};
static const struct vmx_check_env env = {&caps, 40, 48};

/* ---- what the check said ---- */
static char said[1 << 16];
static unsigned said_lines;

static void take_line(void *ctx, const char *line)
{
    (void)ctx;
    said_lines++;
    snprintf(said + strlen(said), sizeof said - strlen(said), "%s\n", line);
}
static u32 check(struct vmcs *v)
{
    said[0] = 0;
    said_lines = 0;
    u32 broken = vmx_entry_check(&env, read_field, v, take_line, NULL);
    assert_int_equal(broken, said_lines);
    return broken;
}

/* ---- valid states ---- */
static void write_host(struct vmcs *v)
{
    for (unsigned i = 0; i < 7; i++)
        set(v, (enum vmcs_field)(VMCS_HOST_ES_SELECTOR + 2 * i),
            i == 1   ? 0x08
            : i == 6 ? 0x18
            : i < 4  ? 0x10
                     : 0);
    set(v, VMCS_HOST_CR0, CR0_PG | CR0_PE | CR0_NE | CR0_WP | CR0_ET);
    set(v, VMCS_HOST_CR3, 0x1000);
    set(v, VMCS_HOST_CR4, CR4_PAE | CR4_VMXE);
    set(v, VMCS_HOST_EFER, EFER_LME | EFER_LMA | EFER_NXE);
    set(v, VMCS_HOST_PAT, PAT_RESET);
    set(v, VMCS_HOST_GDTR_BASE, 0x7000);
    set(v, VMCS_HOST_RIP, 0x123456);
}

enum kind { LONG64, PROTECTED32, REAL, RESET, VM86, KIND_COUNT };

static void set_segment(struct vmcs *v, enum vmx_segment s, const struct vmx_seg *seg)
{
    set(v, vmcs_segment_field(VMCS_GUEST_ES_SELECTOR, s), seg->selector);
    set(v, vmcs_segment_field(VMCS_GUEST_ES_LIMIT, s), seg->limit);
    set(v, vmcs_segment_field(VMCS_GUEST_ES_ACCESS, s), seg->access);
    set(v, vmcs_segment_field(VMCS_GUEST_ES_BASE, s), seg->base);
}

static void write_guest(struct vmcs *v, const struct vmx_guest_init *g, const struct vmx_cr_env *cr, u64 cr3)
{
    set(v, VMCS_GUEST_RIP, g->rip);
    set(v, VMCS_GUEST_RSP, g->rsp);
    set(v, VMCS_GUEST_RFLAGS, g->rflags);
    set(v, VMCS_GUEST_CR0, vmx_cr0_real(cr, g->cr0));
    set(v, VMCS_GUEST_CR3, cr3);
    set(v, VMCS_GUEST_CR4, vmx_cr4_real(cr, g->cr0, g->cr4));
    set(v, VMCS_GUEST_EFER, g->efer);
    set(v, VMCS_GUEST_DR7, DR7_INIT);
    set(v, VMCS_GUEST_PAT, PAT_RESET);
    set(v, VMCS_LINK_POINTER, VMCS_LINK_NONE);
    for (unsigned i = 0; i < VMX_SEG_COUNT; i++)
        set_segment(v, (enum vmx_segment)i, &g->seg[i]);
    set(v, VMCS_GUEST_GDTR_LIMIT, g->gdtr_limit);
    set(v, VMCS_GUEST_IDTR_LIMIT, g->idtr_limit);
}

static struct vmcs valid(enum kind kind)
{
    struct vmcs v = {{0}};
    struct vmx_guest_init g;
    struct vmx_cr_env cr = {
        caps.cr0_fixed0, caps.cr0_fixed1, caps.cr4_fixed0, caps.cr4_fixed1, CR4_MCE, false, false};
    struct vmx_request request;
    struct vmx_controls controls;
    struct vmx_report report;
    bool unrestricted = kind == REAL || kind == RESET;

    if (unrestricted)
        vmx_request_ept(&request, true);
    else
        vmx_request_shadow(&request);
    assert_int_equal(vmx_controls_choose(&caps, &request, &controls, &report), ERR_OK);
    cr.ept = cr.unrestricted = unrestricted;
    switch (kind) {
    case LONG64: vmx_guest_init_long64(&g, 0xFFFF800000100000, 0x8000, 0x1000); break;
    case PROTECTED32:
    case VM86: vmx_guest_init_protected32(&g, 0x100000, 0x8000); break;
    case REAL: vmx_guest_init_real(&g, 0x9A00, 0); break;
    default: vmx_guest_init_reset(&g); break;
    }
    if (kind == VM86) {
        g.rflags |= RFLAGS_VM;
        for (unsigned i = VMX_SEG_ES; i <= VMX_SEG_GS; i++)
            g.seg[i] = (struct vmx_seg){0x1230, 0xFFFF, 0xF3, 0x12300};
        g.rip = 0x100;
    }
    if (g.efer & EFER_LMA)
        controls.word[VMX_ENTRY] |= vmx_control_mask(VMX_ENTRY_GUEST_64);
    if (!unrestricted)
        g.efer |= EFER_NXE;
    set(&v, VMCS_PIN_CONTROLS, controls.word[VMX_PIN]);
    set(&v, VMCS_PRIMARY_CONTROLS, controls.word[VMX_PRIMARY]);
    set(&v, VMCS_SECONDARY_CONTROLS, controls.word[VMX_SECONDARY]);
    set(&v, VMCS_EXIT_CONTROLS, controls.word[VMX_EXIT]);
    set(&v, VMCS_ENTRY_CONTROLS, controls.word[VMX_ENTRY]);
    set(&v, VMCS_VPID, 1);
    set(&v, VMCS_MSR_BITMAP, 0x5000);
    set(&v, VMCS_EPT_POINTER, 0x6000 | EPTP_TYPE_WB | EPTP_WALK_4 << EPTP_WALK_SHIFT);
    write_host(&v);
    write_guest(&v, &g, &cr, 0x2000);
    return v;
}

static void valid_states_pass(void **state)
{
    (void)state;
    for (int kind = 0; kind < KIND_COUNT; kind++) {
        struct vmcs v = valid((enum kind)kind);
        if (check(&v))
            fail_msg("kind %d:\n%s", kind, said);
    }
}

/* Whatever protected mode leaves behind. */
static void real_mode_can_be_entered(void **state)
{
    static const u32 access[] = {0x93, 0x91, 0x97, 0x9B, 0x9F, 0xF3, 0xFB, VMX_AR_UNUSABLE};
    (void)state;
    for (u32 n = 0; n < 6000; n++) {
        enum real_shape shape = n % 3 == 0 ? REAL_VM86 : n % 3 == 1 ? REAL_HELD : REAL_OFF;
        struct vmx_seg seg[REAL_SEGS], out[REAL_SEGS];
        struct vmcs v = valid(shape == REAL_VM86 ? VM86 : PROTECTED32);
        for (u32 s = 0; s < REAL_SEGS; s++) {
            u32 limit = rand() % 2 ? UINT32_MAX : (u32)rand() & 0xFFFFF;
            seg[s] = (struct vmx_seg){(u16)rand(), limit, access[(u32)rand() % 8], (u32)rand()};
            if (shape == REAL_VM86)
                real_load_segment(&seg[s], (u16)rand());
            real_adopt_segment(&seg[s]);
        }
        real_shape_segments(seg, shape, out);
        for (enum vmx_segment s = VMX_SEG_ES; s < REAL_SEGS; s++)
            set_segment(&v, s, &out[s]);
        assert_int_equal(check(&v), 0);
    }
}

/* ---- corruptions ---- */
enum how { TO, ADD, REMOVE }; /* the field becomes the value; the bits are set; the bits are cleared */

struct corruption {
    enum kind kind;
    enum how how;
    u16 field;
    u64 value;
    const char *names; /* has to be in what is said; NULL: the field's own name */
};

#define ON(control) (1ull << (VMX_##control % 32))
#define AR(s)       VMCS_GUEST_##s##_ACCESS
static const struct corruption corruptions[] = {
    /* 26.2.1 controls */
    {LONG64, REMOVE, VMCS_PIN_CONTROLS, BIT(1), "pin control bit 1"},
    {LONG64, ADD, VMCS_PIN_CONTROLS, BIT(9), "pin control bit 9"},
    {LONG64, REMOVE, VMCS_PRIMARY_CONTROLS, BIT(1), "primary control bit 1"},
    {LONG64, REMOVE, VMCS_EXIT_CONTROLS, BIT(0), "exit control bit 0"},
    {LONG64, ADD, VMCS_EXIT_CONTROLS, BIT(31), "exit control bit 31 SECONDARY_EXIT_CONTROLS"},
    {LONG64, REMOVE, VMCS_ENTRY_CONTROLS, BIT(0), "entry control bit 0"},
    {LONG64, ADD, VMCS_ENTRY_CONTROLS, BIT(30), "entry control bit 30"},
    {LONG64, TO, VMCS_CR3_TARGET_COUNT, 5, NULL},
    {LONG64, TO, VMCS_MSR_BITMAP, 0x5008, NULL},
    {LONG64, TO, VMCS_MSR_BITMAP, BIT(40), NULL},
    {LONG64, TO, VMCS_VPID, 0, NULL},
    {LONG64, REMOVE, VMCS_PIN_CONTROLS, ON(PIN_NMI_EXITING),
     "VIRTUAL_NMIS is on without pin control NMI_EXITING"},
    {LONG64, ADD, VMCS_PIN_CONTROLS, ON(PIN_POSTED_INTERRUPTS), "POSTED_INTERRUPTS is on without"},
    {LONG64, ADD, VMCS_SECONDARY_CONTROLS, ON(SECONDARY_UNRESTRICTED_GUEST),
     "UNRESTRICTED_GUEST is on without"},
    {LONG64, ADD, VMCS_SECONDARY_CONTROLS, ON(SECONDARY_VIRTUALIZE_X2APIC),
     "VIRTUALIZE_X2APIC is on without"},
    {LONG64, ADD, VMCS_SECONDARY_CONTROLS, ON(SECONDARY_PML), "PML is on without"},
    {LONG64, ADD, VMCS_EXIT_CONTROLS, ON(EXIT_SAVE_PREEMPTION_TIMER), "SAVE_PREEMPTION_TIMER is on without"},
    {LONG64, ADD, VMCS_ENTRY_CONTROLS, ON(ENTRY_TO_SMM), "ENTRY_CONTROLS"},
    {REAL, TO, VMCS_EPT_POINTER, 0x6000 | EPTP_WALK_4 << 3, NULL},
    {REAL, TO, VMCS_EPT_POINTER, 0x6006, NULL},
    {REAL, ADD, VMCS_EPT_POINTER, EPTP_AD, NULL},
    {REAL, ADD, VMCS_EPT_POINTER, BIT(8), NULL},
    {REAL, ADD, VMCS_EPT_POINTER, BIT(45), NULL},
    {LONG64, TO, VMCS_ENTRY_INTERRUPTION_INFO, VMX_EVENT_VALID | 1 << 8, NULL},
    {LONG64, TO, VMCS_ENTRY_INTERRUPTION_INFO, VMX_EVENT_VALID | 2 << 8 | 3, NULL},
    {LONG64, TO, VMCS_ENTRY_INTERRUPTION_INFO, VMX_EVENT_VALID | 3 << 8 | 32, NULL},
    {LONG64, TO, VMCS_ENTRY_INTERRUPTION_INFO, VMX_EVENT_VALID | 3 << 8 | 13, NULL},
    {LONG64, TO, VMCS_ENTRY_INTERRUPTION_INFO, VMX_EVENT_VALID | 3 << 8 | 6 | VMX_EVENT_HAS_ERROR, NULL},
    {REAL, TO, VMCS_ENTRY_INTERRUPTION_INFO, VMX_EVENT_VALID | 3 << 8 | 13 | VMX_EVENT_HAS_ERROR, NULL},
    {LONG64, TO, VMCS_ENTRY_INTERRUPTION_INFO, VMX_EVENT_VALID | 3 << 8 | 6 | BIT(12), NULL},
    {LONG64, TO, VMCS_ENTRY_INTERRUPTION_INFO, VMX_EVENT_VALID | 4 << 8 | 0x80, "ENTRY_INSTRUCTION_LENGTH"},
    {LONG64, TO, VMCS_ENTRY_INTERRUPTION_INFO, VMX_EVENT_VALID | 7 << 8 | 1, NULL},
    {LONG64, TO, VMCS_ENTRY_INTERRUPTION_INFO, VMX_EVENT_VALID | 0x30, "GUEST_RFLAGS"}, /* IF=0 */
    /* 26.2.2 to 26.2.4 host */
    {LONG64, REMOVE, VMCS_HOST_CR0, CR0_NE, NULL},
    {LONG64, ADD, VMCS_HOST_CR0, BIT(33), NULL},
    {LONG64, REMOVE, VMCS_HOST_CR4, CR4_VMXE, NULL},
    {LONG64, REMOVE, VMCS_HOST_CR4, CR4_PAE, NULL},
    {LONG64, ADD, VMCS_HOST_CR4, BIT(15), NULL},
    {LONG64, ADD, VMCS_HOST_CR3, BIT(40), NULL},
    {LONG64, TO, VMCS_HOST_SYSENTER_ESP, BIT(47), NULL},
    {LONG64, TO, VMCS_HOST_SYSENTER_EIP, BIT(63), NULL},
    {LONG64, TO, VMCS_HOST_FS_BASE, BIT(47), NULL},
    {LONG64, TO, VMCS_HOST_GS_BASE, BIT(60), NULL},
    {LONG64, TO, VMCS_HOST_GDTR_BASE, BIT(47), NULL},
    {LONG64, TO, VMCS_HOST_IDTR_BASE, BIT(47), NULL},
    {LONG64, TO, VMCS_HOST_TR_BASE, BIT(47), NULL},
    {LONG64, TO, VMCS_HOST_RIP, BIT(47), NULL},
    {LONG64, ADD, VMCS_HOST_EFER, BIT(1), NULL},
    {LONG64, REMOVE, VMCS_HOST_EFER, EFER_LMA, NULL},
    {LONG64, REMOVE, VMCS_HOST_EFER, EFER_LME, NULL},
    {LONG64, REMOVE, VMCS_EXIT_CONTROLS, ON(EXIT_HOST_64), "EXIT_CONTROLS"},
    {LONG64, ADD, VMCS_HOST_ES_SELECTOR, 4, NULL},
    {LONG64, ADD, VMCS_HOST_SS_SELECTOR, 1, NULL},
    {LONG64, ADD, VMCS_HOST_TR_SELECTOR, 3, NULL},
    {LONG64, TO, VMCS_HOST_CS_SELECTOR, 0, NULL},
    {LONG64, TO, VMCS_HOST_TR_SELECTOR, 0, NULL},
    /* 26.3.1.1 control registers and MSRs */
    {LONG64, REMOVE, VMCS_GUEST_CR0, CR0_PG, NULL},
    {LONG64, REMOVE, VMCS_GUEST_CR0, CR0_NE, NULL},
    {LONG64, ADD, VMCS_GUEST_CR0, BIT(40), NULL},
    {REAL, ADD, VMCS_GUEST_CR0, CR0_PG, NULL},
    {LONG64, REMOVE, VMCS_GUEST_CR4, CR4_PAE, NULL},
    {LONG64, REMOVE, VMCS_GUEST_CR4, CR4_VMXE, NULL},
    {LONG64, ADD, VMCS_GUEST_CR4, BIT(15), NULL},
    {PROTECTED32, ADD, VMCS_GUEST_CR4, CR4_PCIDE, NULL},
    {REAL, ADD, VMCS_GUEST_CR4, CR4_CET, NULL},
    {LONG64, ADD, VMCS_GUEST_CR3, BIT(40), NULL},
    {LONG64, TO, VMCS_GUEST_DEBUGCTL, BIT(3), NULL},
    {LONG64, ADD, VMCS_GUEST_DR7, BIT(32), NULL},
    {LONG64, TO, VMCS_GUEST_SYSENTER_ESP, BIT(47), NULL},
    {LONG64, TO, VMCS_GUEST_SYSENTER_EIP, BIT(47), NULL},
    {LONG64, ADD, VMCS_GUEST_EFER, BIT(9), NULL},
    {LONG64, REMOVE, VMCS_GUEST_EFER, EFER_LMA, NULL},
    {LONG64, REMOVE, VMCS_GUEST_EFER, EFER_LME, NULL},
    {PROTECTED32, ADD, VMCS_GUEST_EFER, EFER_LME, NULL},
    {PROTECTED32, ADD, VMCS_GUEST_EFER, EFER_LMA, NULL},
    {PROTECTED32, ADD, VMCS_GUEST_EFER, EFER_LMA | EFER_LME, NULL},
    {LONG64, REMOVE, VMCS_GUEST_CR0, CR0_PG, "IA-32e mode without PG"},
    /* 26.3.1.2 segments */
    {LONG64, ADD, VMCS_GUEST_TR_SELECTOR, 4, NULL},
    {LONG64, TO, AR(LDTR), 0x82 | 1, NULL},
    {LONG64, TO, AR(LDTR), 0x02, NULL},
    {LONG64, TO, AR(LDTR), 0x92, NULL},
    {LONG64, ADD, VMCS_GUEST_SS_SELECTOR, 1, NULL},
    {LONG64, TO, VMCS_GUEST_TR_BASE, BIT(47), NULL},
    {LONG64, TO, VMCS_GUEST_FS_BASE, BIT(47), NULL},
    {LONG64, TO, VMCS_GUEST_GS_BASE, BIT(47), NULL},
    {REAL, TO, VMCS_GUEST_LDTR_BASE, BIT(47), NULL},
    {REAL, ADD, VMCS_GUEST_LDTR_SELECTOR, 4, NULL},
    {LONG64, TO, VMCS_GUEST_CS_BASE, BIT(32), NULL},
    {LONG64, TO, VMCS_GUEST_ES_BASE, BIT(32), NULL},
    {LONG64, TO, VMCS_GUEST_SS_BASE, BIT(32), NULL},
    {LONG64, TO, VMCS_GUEST_DS_BASE, BIT(32), NULL},
    {LONG64, REMOVE, AR(CS), VMX_AR_CODE, NULL},
    {LONG64, REMOVE, AR(CS), VMX_AR_ACCESSED, NULL},
    {LONG64, REMOVE, AR(CS), VMX_AR_S, NULL},
    {LONG64, REMOVE, AR(CS), VMX_AR_P, NULL},
    {LONG64, ADD, AR(CS), 1 << VMX_AR_DPL_SHIFT, NULL},
    {LONG64, ADD, AR(CS), VMX_AR_DB, NULL},
    {LONG64, ADD, AR(CS), BIT(9), NULL},
    {LONG64, ADD, AR(CS), BIT(17), NULL},
    {LONG64, TO, VMCS_GUEST_CS_LIMIT, 0xFFFFF000, "GUEST_CS_ACCESS"},
    {LONG64, REMOVE, AR(CS), VMX_AR_G, NULL},
    {LONG64, TO, AR(CS), 0xA09F | 1 << VMX_AR_DPL_SHIFT, NULL}, /* conforming, DPL above SS */
    {REAL, TO, AR(CS), 0x93 | 1 << VMX_AR_DPL_SHIFT, NULL},
    {LONG64, REMOVE, AR(SS), VMX_AR_WRITABLE, NULL},
    {LONG64, REMOVE, AR(SS), VMX_AR_ACCESSED, NULL},
    {LONG64, REMOVE, AR(SS), VMX_AR_P, NULL},
    {LONG64, REMOVE, AR(SS), VMX_AR_S, NULL},
    {LONG64, ADD, AR(SS), VMX_AR_CODE, NULL},
    {LONG64, ADD, AR(SS), 3 << VMX_AR_DPL_SHIFT, NULL},
    {REAL, ADD, AR(SS), 3 << VMX_AR_DPL_SHIFT, NULL},
    {LONG64, REMOVE, AR(DS), VMX_AR_ACCESSED, NULL},
    {LONG64, REMOVE, AR(ES), VMX_AR_P, NULL},
    {LONG64, REMOVE, AR(FS), VMX_AR_S, NULL},
    {LONG64, TO, AR(GS), 0xC099, NULL}, /* code, not readable */
    {LONG64, ADD, VMCS_GUEST_DS_SELECTOR, 3, "GUEST_DS_ACCESS"},
    {LONG64, TO, VMCS_GUEST_FS_LIMIT, 0xFFF, "OK"},
    {LONG64, TO, VMCS_GUEST_FS_LIMIT, 0xFFE, "GUEST_FS_ACCESS"},
    {LONG64, TO, AR(TR), 0x83, NULL}, /* 16-bit TSS in IA-32e mode */
    {PROTECTED32, TO, AR(TR), 0x83, "OK"},
    {LONG64, TO, AR(TR), 0x89, NULL}, /* not busy */
    {LONG64, ADD, AR(TR), VMX_AR_UNUSABLE, NULL},
    {LONG64, ADD, AR(TR), VMX_AR_S, NULL},
    {LONG64, REMOVE, AR(TR), VMX_AR_P, NULL},
    {LONG64, ADD, AR(TR), VMX_AR_G, NULL},
    {LONG64, TO, VMCS_GUEST_TR_LIMIT, 0x100000, "GUEST_TR_ACCESS"},
    {VM86, TO, VMCS_GUEST_DS_BASE, 0x12310, NULL},
    {VM86, TO, VMCS_GUEST_GS_LIMIT, 0xFFFE, NULL},
    {VM86, TO, AR(FS), 0x93, NULL},
    /* 26.3.1.3, 26.3.1.4 */
    {LONG64, TO, VMCS_GUEST_GDTR_BASE, BIT(47), NULL},
    {LONG64, TO, VMCS_GUEST_IDTR_BASE, BIT(47), NULL},
    {LONG64, TO, VMCS_GUEST_GDTR_LIMIT, 0x10000, NULL},
    {LONG64, TO, VMCS_GUEST_IDTR_LIMIT, 0x10000, NULL},
    {LONG64, TO, VMCS_GUEST_RIP, BIT(47), NULL},
    {PROTECTED32, TO, VMCS_GUEST_RIP, BIT(32), NULL},
    {LONG64, TO, VMCS_GUEST_RFLAGS, 0, NULL},
    {LONG64, ADD, VMCS_GUEST_RFLAGS, BIT(3), NULL},
    {LONG64, ADD, VMCS_GUEST_RFLAGS, BIT(15), NULL},
    {LONG64, ADD, VMCS_GUEST_RFLAGS, BIT(22), NULL},
    {LONG64, ADD, VMCS_GUEST_RFLAGS, RFLAGS_VM, NULL},
    {REAL, ADD, VMCS_GUEST_RFLAGS, RFLAGS_VM, NULL},
    /* 26.3.1.5 */
    {LONG64, TO, VMCS_GUEST_ACTIVITY, 4, NULL},
    {LONG64, TO, VMCS_GUEST_ACTIVITY, VMX_ACTIVITY_HLT, "OK"},
    {LONG64, TO, VMCS_GUEST_INTERRUPTIBILITY, BIT(5), NULL},
    {LONG64, TO, VMCS_GUEST_INTERRUPTIBILITY, VMX_BLOCKING_STI, NULL}, /* IF=0 */
    {LONG64, TO, VMCS_GUEST_INTERRUPTIBILITY, VMX_BLOCKING_STI | VMX_BLOCKING_MOV_SS, NULL},
    {LONG64, TO, VMCS_GUEST_INTERRUPTIBILITY, VMX_BLOCKING_MOV_SS, "OK"},
    {LONG64, TO, VMCS_GUEST_INTERRUPTIBILITY, VMX_BLOCKING_SMI, NULL},
    {LONG64, TO, VMCS_GUEST_INTERRUPTIBILITY, VMX_BLOCKING_NMI, "OK"},
    {LONG64, TO, VMCS_GUEST_PENDING_DEBUG, BIT(5), NULL},
    {LONG64, TO, VMCS_GUEST_PENDING_DEBUG, VMX_PENDING_DEBUG_BS, "OK"},
    {LONG64, TO, VMCS_LINK_POINTER, 0x5008, NULL},
    {LONG64, TO, VMCS_LINK_POINTER, BIT(50), NULL},
};

static void corrupt(struct vmcs *v, const struct corruption *c)
{
    enum vmcs_field f = (enum vmcs_field)c->field;
    u64 old = get(v, f);

    set(v, f, c->how == TO ? c->value : c->how == ADD ? old | c->value : old & ~c->value);
}

static void each_corruption_is_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(corruptions); i++) {
        const struct corruption *c = &corruptions[i];
        const char *name = c->names ? c->names : vmcs_field_name((enum vmcs_field)c->field);
        struct vmcs v = valid(c->kind);

        corrupt(&v, c);
        u32 broken = check(&v);
        if (strcmp(name, "OK") == 0) {
            if (broken)
                fail_msg("corruption %zu is none:\n%s", i, said);
        } else if (!broken || !strstr(said, name)) {
            fail_msg("corruption %zu of %s: %u lines, without \"%s\":\n%s", i,
                     vmcs_field_name((enum vmcs_field)c->field), broken, name, said);
        }
    }
}

/* Pairs of fields: what is only wrong together. */
static void what_is_wrong_together(void **state)
{
    struct vmcs v;

    (void)state;
    v = valid(LONG64); /* MSR areas count only with a count */
    set(&v, VMCS_ENTRY_MSR_LOAD_ADDRESS, 8);
    assert_int_equal(check(&v), 0);
    set(&v, VMCS_ENTRY_MSR_LOAD_COUNT, 1);
    assert_int_equal(check(&v), 1);
    assert_non_null(strstr(said, "ENTRY_MSR_LOAD_ADDRESS"));

    v = valid(LONG64); /* NMI while NMIs are blocked */
    set(&v, VMCS_ENTRY_INTERRUPTION_INFO, vmx_event_make(VMX_EVENT_NMI, 2).info);
    assert_int_equal(check(&v), 0);
    set(&v, VMCS_GUEST_INTERRUPTIBILITY, VMX_BLOCKING_NMI);
    assert_int_equal(check(&v), 1);
    set(&v, VMCS_GUEST_INTERRUPTIBILITY, VMX_BLOCKING_MOV_SS);
    assert_int_equal(check(&v), 1);

    v = valid(LONG64); /* interrupt in the shadow of STI */
    set(&v, VMCS_GUEST_RFLAGS, RFLAGS_FIXED1 | RFLAGS_IF);
    set(&v, VMCS_ENTRY_INTERRUPTION_INFO, vmx_event_make(VMX_EVENT_INTERRUPT, 0x30).info);
    assert_int_equal(check(&v), 0);
    set(&v, VMCS_GUEST_INTERRUPTIBILITY, VMX_BLOCKING_STI);
    assert_int_equal(check(&v), 1);

    v = valid(LONG64); /* single step in the shadow of STI */
    set(&v, VMCS_GUEST_RFLAGS, RFLAGS_FIXED1 | RFLAGS_IF | RFLAGS_TF);
    assert_int_equal(check(&v), 0);
    set(&v, VMCS_GUEST_INTERRUPTIBILITY, VMX_BLOCKING_STI);
    assert_int_equal(check(&v), 1);
    set(&v, VMCS_GUEST_PENDING_DEBUG, VMX_PENDING_DEBUG_BS);
    assert_int_equal(check(&v), 0);

    v = valid(LONG64); /* what wakes a halted CPU, and what does not */
    set(&v, VMCS_GUEST_ACTIVITY, VMX_ACTIVITY_HLT);
    set(&v, VMCS_ENTRY_INTERRUPTION_INFO, vmx_event_exception(VECTOR_UD, 0, true).info);
    assert_int_equal(check(&v), 1);
    set(&v, VMCS_ENTRY_INTERRUPTION_INFO, vmx_event_exception(VECTOR_DB, 0, true).info);
    assert_int_equal(check(&v), 0);
    set(&v, VMCS_GUEST_ACTIVITY, VMX_ACTIVITY_SHUTDOWN);
    assert_int_equal(check(&v), 1);
    set(&v, VMCS_GUEST_ACTIVITY, VMX_ACTIVITY_SIPI);
    assert_int_equal(check(&v), 1);

    v = valid(LONG64); /* error code of 17 bits */
    set(&v, VMCS_ENTRY_INTERRUPTION_INFO, vmx_event_exception(VECTOR_GP, 0, true).info);
    assert_int_equal(check(&v), 0);
    set(&v, VMCS_ENTRY_EXCEPTION_ERROR, BIT(16));
    assert_int_equal(check(&v), 1);

    v = valid(REAL); /* PDPTEs count with EPT and PAE paging */
    set(&v, VMCS_GUEST_PDPTE2, PTE_P | PTE_W);
    assert_int_equal(check(&v), 0);
    set(&v, VMCS_GUEST_CR0, get(&v, VMCS_GUEST_CR0) | CR0_PE | CR0_PG);
    set(&v, VMCS_GUEST_CR4, get(&v, VMCS_GUEST_CR4) | CR4_PAE);
    assert_int_equal(check(&v), 1);
    assert_non_null(strstr(said, "GUEST_PDPTE2"));

    v = valid(LONG64); /* PAT with a reserved type */
    set(&v, VMCS_ENTRY_CONTROLS, get(&v, VMCS_ENTRY_CONTROLS) | ON(ENTRY_LOAD_PAT));
    assert_int_equal(check(&v), 0);
    set(&v, VMCS_GUEST_PAT, 0x0207040600070406);
    assert_int_equal(check(&v), 1);
}

static void turn_on(struct vmcs *v, enum vmcs_field field, u64 bits)
{
    set(v, field, get(v, field) | bits);
}

/* Rules of which one corruption alone breaks others too. */
static void rules_that_need_company(void **state)
{
    struct vmcs v;

    (void)state;
    v = valid(LONG64);
    turn_on(&v, VMCS_PRIMARY_CONTROLS, ON(PRIMARY_TPR_SHADOW));
    turn_on(&v, VMCS_SECONDARY_CONTROLS, ON(SECONDARY_VIRTUALIZE_X2APIC));
    assert_int_equal(check(&v), 0);
    turn_on(&v, VMCS_SECONDARY_CONTROLS, ON(SECONDARY_VIRTUALIZE_APIC_ACCESSES));
    assert_int_equal(check(&v), 1);
    set(&v, VMCS_TPR_THRESHOLD, BIT(4));
    assert_int_equal(check(&v), 2);

    v = valid(LONG64);
    turn_on(&v, VMCS_PIN_CONTROLS, ON(PIN_POSTED_INTERRUPTS));
    turn_on(&v, VMCS_PRIMARY_CONTROLS, ON(PRIMARY_TPR_SHADOW));
    turn_on(&v, VMCS_SECONDARY_CONTROLS, ON(SECONDARY_VIRTUAL_INTERRUPT_DELIVERY));
    assert_int_equal(check(&v), 0);
    set(&v, VMCS_POSTED_INTERRUPT_VECTOR, 256);
    assert_int_equal(check(&v), 1);

    v = valid(LONG64); /* halted, at level 0 and at level 3 */
    set(&v, VMCS_GUEST_ACTIVITY, VMX_ACTIVITY_HLT);
    set(&v, VMCS_GUEST_INTERRUPTIBILITY, VMX_BLOCKING_MOV_SS);
    assert_int_equal(check(&v), 1);
    set(&v, VMCS_GUEST_INTERRUPTIBILITY, 0);
    turn_on(&v, VMCS_GUEST_CS_SELECTOR, 3);
    turn_on(&v, VMCS_GUEST_SS_SELECTOR, 3);
    turn_on(&v, AR(CS), VMX_AR_DPL_MASK);
    turn_on(&v, AR(SS), VMX_AR_DPL_MASK);
    assert_int_equal(check(&v), 1);
    set(&v, VMCS_GUEST_ACTIVITY, VMX_ACTIVITY_ACTIVE);
    assert_int_equal(check(&v), 0);

    v = valid(LONG64);
    turn_on(&v, VMCS_GUEST_RFLAGS, RFLAGS_IF);
    set(&v, VMCS_GUEST_INTERRUPTIBILITY, VMX_BLOCKING_STI | VMX_BLOCKING_MOV_SS);
    assert_int_equal(check(&v), 1);

    v = valid(LONG64);
    set(&v, VMCS_HOST_SS_SELECTOR, 0);
    assert_int_equal(check(&v), 0);
    set(&v, VMCS_EXIT_CONTROLS, get(&v, VMCS_EXIT_CONTROLS) & ~ON(EXIT_HOST_64));
    assert_true(check(&v) > 1);
    assert_non_null(strstr(said, "HOST_SS_SELECTOR"));
}

static void a_cpu_without_the_trap_flag_injects_none(void **state)
{
    struct vmx_caps without = caps;
    struct vmx_check_env old = {&without, 40, 48};
    struct vmcs v = valid(LONG64);

    (void)state;
    set(&v, VMCS_ENTRY_INTERRUPTION_INFO, vmx_event_make(VMX_EVENT_OTHER, 0).info);
    assert_int_equal(vmx_entry_check(&old, read_field, &v, take_line, NULL), 0);
    without.may_be_1[VMX_PRIMARY] &= ~vmx_control_mask(VMX_PRIMARY_MONITOR_TRAP_FLAG);
    assert_int_equal(vmx_entry_check(&old, read_field, &v, take_line, NULL), 1);
}

/* Whatever is in the VMCS: nothing but words comes of it. */
static void any_vmcs_can_be_checked(void **state)
{
    const char *seed = getenv("PB_SEED"), *steps = getenv("PB_STEPS");
    unsigned start = seed ? (unsigned)strtoul(seed, NULL, 0) : 26;
    unsigned long n = steps ? strtoul(steps, NULL, 0) : 300;

    (void)state;
    srandom(start);
    for (unsigned long i = 0; i < n; i++) {
        struct vmcs v = {{0}};
        for (size_t f = 0; f < vmcs_field_count(); f++)
            set(&v, vmcs_field_at(f), (u64)random() << 40 ^ (u64)random() << 20 ^ (u64)random());
        if (check(&v) == 0)
            fail_msg("seed %u step %lu passed", start, i);
    }
}

static void the_dump_has_every_field(void **state)
{
    struct vmcs v = valid(LONG64);

    (void)state;
    said[0] = 0;
    vmx_dump_fields(read_field, &v, take_line, NULL);
    for (size_t i = 0; i < vmcs_field_count(); i++)
        assert_non_null(strstr(said, vmcs_field_name(vmcs_field_at(i))));
    assert_non_null(strstr(said, "ffff800000100000"));
    assert_non_null(strstr(said, "VMCS exit information fields:\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_states_pass),
        cmocka_unit_test(real_mode_can_be_entered),
        cmocka_unit_test(each_corruption_is_named),
        cmocka_unit_test(what_is_wrong_together),
        cmocka_unit_test(rules_that_need_company),
        cmocka_unit_test(a_cpu_without_the_trap_flag_injects_none),
        cmocka_unit_test(any_vmcs_can_be_checked),
        cmocka_unit_test(the_dump_has_every_field),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
