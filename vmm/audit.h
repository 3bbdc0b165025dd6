/*
 * audit.h - [machine] audit: the shadow against a naive reading of the guest's tables, while the guest runs.
 *
 *   on      all of it, every 256 exits
 *   every   that too; and after every exit what may have changed since the one before (mm/audit.h)
 *
 * A difference ends the VM with a report.
 */
#pragma once
#include "vmm/vm.h"

/* After an exit of v, which is current, has been handled. */
void audit_exit(struct vcpu *v);
/* What was looked at, at the VM's end. */
void audit_print(const struct vm *vm);
