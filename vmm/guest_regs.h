/* guest_regs.h - what the guest's system registers mean for the VMCS, in one place. */
#pragma once
#include "vmm/vm.h"

/* After shadow.paging has changed: real CR4 (it depends on CR0.PG too) and EFER. */
void guest_regs_follow_paging(struct vcpu *v);

/* WRMSR to EFER; false: #GP. */
bool must_check guest_write_efer(struct vcpu *v, u64 value);
