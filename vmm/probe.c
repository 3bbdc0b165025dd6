/*
 * probe.c - the probe's memory, page by page:
 *
 *   0-2  VMCS block      3  PML4 -> 4  PDPT -> 5  PD: one 2 MiB page around the code, identity      6  code
 */
#include "vmm/probe.h"

#include "arch/log.h"
#include "arch/regs.h"
#include "arch/string.h"

#define BIG_PAGE (2 * MIB)

enum { PAGE_BLOCK = 0, PAGE_PML4 = sizeof(struct vmcs_block) / PAGE_SIZE, PAGE_PDPT, PAGE_PD, PAGE_CODE };

struct probe {
    struct vmx_vcpu vmx; /* first: note_exit() is given it */
    bool exited;
};

static const u8 program[] = {
    0x0F, 0xA2,       /* cpuid  */
    0x0F, 0x01, 0xC1, /* vmcall */
};

static void line(void *ctx, const char *text)
{
    log_line("cpu %u: %s", *(const u32 *)ctx, text);
}

static u64 page_of(hpa_t memory, u32 page)
{
    return memory.v + page * PAGE_SIZE;
}

static void write_entry(u64 table, u64 address, u32 level_shift, u64 entry)
{
    u64 *slot = hpa_to_ptr(HPA(table + ((address >> level_shift) & 511) * sizeof(u64)));
    *slot = entry;
}

static void build(hpa_t memory)
{
    u64 code = page_of(memory, PAGE_CODE), link = PTE_P | PTE_W | PTE_A;

    write_entry(page_of(memory, PAGE_PML4), code, 39, page_of(memory, PAGE_PDPT) | link);
    write_entry(page_of(memory, PAGE_PDPT), code, 30, page_of(memory, PAGE_PD) | link);
    write_entry(page_of(memory, PAGE_PD), code, 21, ALIGN_DOWN(code, BIG_PAGE) | link | PTE_PS | PTE_D);
    memcpy(hpa_to_ptr(HPA(code)), program, sizeof(program));
}

static enum err set_up(struct vmm_cpu *me, struct vmx_vcpu *v, hpa_t memory)
{
    struct vmx_request request;
    struct vmx_report report;
    struct vmx_setup setup = {.exception_bitmap = ~0u};
    struct vmx_guest_init init;

    vmx_request_shadow(&request);
    request.optional[VMX_SECONDARY] &= ~vmx_control_mask(VMX_SECONDARY_VPID);
    request.optional[VMX_PRIMARY] &= ~vmx_control_mask(VMX_PRIMARY_MSR_BITMAPS);
    enum err e = vmx_controls_choose(&me->vmx.caps, &request, &setup.controls, &report);
    if (e != ERR_OK)
        return e;
    vmx_vcpu_init(v, hpa_to_ptr(HPA(page_of(memory, PAGE_BLOCK))), me->vmx.caps.revision);
    e = vmx_vcpu_load(v, &me->vmx);
    if (e == ERR_OK)
        e = vmx_vcpu_setup(v, &setup);
    if (e != ERR_OK)
        return e;
    vmx_guest_init_long64(&init, page_of(memory, PAGE_CODE), page_of(memory, PAGE_CODE) + PAGE_SIZE,
                          page_of(memory, PAGE_PML4));
    vmx_guest_write(v, &init);
    vmx_guest_set_cr3(init.cr3);
    return ERR_OK;
}

static u64 note_exit(struct vmx_vcpu *vmx)
{
    ((struct probe *)vmx)->exited = true;
    return VMX_LEAVE;
}

/* Enters until the guest leaves with `reason`. Kicks on the way are not the guest's. */
static bool leaves_with(struct vmm_cpu *me, struct probe *p, u32 reason)
{
    enum vmx_enter_result entered;

    p->exited = false;
    do {
        entered = vmx_enter(&p->vmx, __atomic_load_n(&me->cpu->nmi_count, __ATOMIC_RELAXED));
    } while (entered == VMX_ENTER_LEFT && !p->exited);
    u32 got = entered == VMX_ENTER_LEFT ? vmx_exit_reason() : VMX_REASON_ENTRY_FAILED;
    if (got == reason)
        return true;
    log_line("cpu %u: the first guest left with %s instead of %s", me->cpu->index,
             vmx_exit_name(got & VMX_REASON_BASIC_MASK), vmx_exit_name(reason));
    vmx_vcpu_explain(&p->vmx, entered, line, &me->cpu->index);
    vmx_vcpu_dump(&p->vmx, line, &me->cpu->index);
    return false;
}

enum err probe_run(struct vmm_cpu *me, hpa_t memory)
{
    struct probe p;
    enum err e;

    memset(&p, 0, sizeof(p));
    build(memory);
    e = set_up(me, &p.vmx, memory);
    p.vmx.on_exit = note_exit;
    if (e == ERR_OK && !leaves_with(me, &p, VMX_EXIT_CPUID))
        e = ERR_STATE;
    if (e == ERR_OK) {
        vmx_guest_skip(&p.vmx);
        if (!leaves_with(me, &p, VMX_EXIT_VMCALL))
            e = ERR_STATE;
    }
    me->first_instruction = tsc_read();
    vmx_vcpu_unload(&p.vmx);
    return e;
}
