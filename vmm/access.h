/*
 * access.h - a guest's own view of its memory, as the emulation of its instructions needs it: linear
 * addresses, its page tables, its privilege, its faults.
 */
#pragma once
#include "vmm/emulate.h"
#include "vmm/vm.h"

/* Callbacks for emulate_insn(); their ctx is the struct vcpu. */
extern const struct emulate_ops access_ops;

/* Starts the emulation of an instruction: privilege, no fault yet. `page`: linear address that the shadow has
 * just translated to `gpa` for a permitted write, or 0. */
void access_begin(struct vcpu *v, gva_t write_to, gpa_t gpa, bool translated);

/* Reads the instruction's bytes at the guest's RIP into v->access.code, as many as can be fetched (at least
 * one), up to INSN_MAX_LENGTH. FAULT: v->access.fault_* is to be injected. */
must_check enum emulate_status access_fetch(struct vcpu *v);

/* Linear-address copies with the guest's rights (string I/O). */
must_check enum emulate_status access_read(struct vcpu *v, gva_t gva, void *to, unsigned size);
must_check enum emulate_status access_write(struct vcpu *v, gva_t gva, const void *from, unsigned size);

/* Could it be written now? Sets accessed and dirty bits as the write will. */
must_check enum emulate_status access_check_write(struct vcpu *v, gva_t gva, unsigned size);

/* Fills the emulator's registers from the vCPU and puts them back. */
void access_state_load(struct vcpu *v, const struct insn *insn, struct emulate_state *st);
void access_state_store(struct vcpu *v, const struct insn *insn, struct emulate_state *st,
                        enum emulate_status status);
