/*
 * access.h - a guest's own view of its memory, as the emulation of its instructions needs it: linear
 * addresses, its page tables, its privilege, its faults.
 */
#pragma once
#include "vmm/emulate.h"
#include "vmm/vm.h"

/* Callbacks for emulate_insn(); their ctx is the struct vcpu. */
extern const struct emulate_ops access_ops;

/* Starts the emulation of an instruction at that privilege: no fault yet. After paging_sync(). */
void access_begin(struct vcpu *v, u32 cpl, u64 rflags);

/* After access_begin(): the shadow has just translated `at` to `gpa` for a permitted write, and has begun a byte there
 * (SHADOW_TRACED_WRITE). */
void access_hint(struct vcpu *v, gva_t at, gpa_t gpa);

/* After access_begin(): the shadow has just found that the access to `at` is permitted, and leads to the device at `gpa`. */
void access_hint_device(struct vcpu *v, gva_t at, gpa_t gpa, bool write);

/* Reads the instruction's bytes at the guest's RIP into v->access.code, as many as can be fetched (at least
 * one), up to DECODE_WINDOW, and notes the size of the code. FAULT: v->access.fault_* is to be injected. */
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

/* access_registers.c: the callbacks that are not memory. */
void access_vector_read(void *ctx, unsigned reg, u64 value[2]);
void access_vector_write(void *ctx, unsigned reg, const u64 value[2]);
enum emulate_status access_fault(void *ctx, unsigned vector, u32 error);
void access_segment_read(void *ctx, unsigned seg, struct vmx_seg *out);
void access_segment_write(void *ctx, unsigned seg, const struct vmx_seg *value);
void access_implicit(void *ctx, bool on);
u64 access_cr0_read(void *ctx);
u64 access_cr4_read(void *ctx);
bool access_long_mode(void *ctx);
