/* audit.c - see audit.h. */
#include "vmm/audit.h"

#include "arch/log.h"
#include "vmm/paging.h"

#define FULL_PERIOD 256u /* exits */

/* The linear address that the last exit was about. */
static bool exit_address(struct vcpu *v, gva_t *at)
{
    u32 info;

    switch (vmx_exit_reason()) {
    case VMX_EXIT_INVLPG: break;
    case VMX_EXIT_EPT_VIOLATION: *at = GVA(vmx_exit_gpa().v); return true;
    case VMX_EXIT_EXCEPTION_NMI:
        info = vmx_exit_interruption_info();
        if ((info & VMX_EVENT_TYPE_MASK) >> VMX_EVENT_TYPE_SHIFT != VMX_EVENT_EXCEPTION ||
            (info & VMX_EVENT_VECTOR_MASK) != VECTOR_PF)
            return false;
        break;
    default: return false;
    }
    *at = GVA(vmx_exit_qualification(&v->vmx));
    return true;
}

void audit_exit(struct vcpu *v)
{
    bool full = ++v->audits_due % FULL_PERIOD == 0, clean;
    struct audit_report report;
    struct flush flush;
    gva_t at;

    if (paging_is_ept(v) && v->vm->ept_paged) { /* nothing is derived */
        counter_one(&v->stats.audits);
        return;
    }
    if (full)
        clean = shadow_audit(&v->shadow, &report, &flush);
    else if (audit_mode == CONFIG_AUDIT_EVERY)
        clean =
            shadow_audit_changes(&v->shadow, &v->audited, exit_address(v, &at) ? &at : NULL, &report, &flush);
    else
        return;
    vcpu_flush(v, flush);
    counter_one(&v->stats.audits);
    if (clean)
        return;
    shadow_audit_print(&report);
    vm_fail(v, "shadow audit: %s", audit_kind_name(report.kind));
}

void audit_print(const struct vm *vm)
{
    u64 audits = 0, pages = 0, postponed = 0;

    for (u32 i = 0; i < vm->vcpus; i++) {
        audits += counter_get(&vm->vcpu[i]->stats.audits);
        pages += vm->vcpu[i]->audited.pages;
        postponed += vm->vcpu[i]->audited.postponed;
    }
    log_line("vm %s: %lu audits of its shadow", vm->name, audits);
    if (audit_mode == CONFIG_AUDIT_EVERY)
        log_line("vm %s: %lu tables looked at between full audits; %lu times not, because patches were on "
                 "their way",
                 vm->name, pages, postponed);
}
