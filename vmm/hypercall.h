/* hypercall.h - handlers of VMCALL. Each returns PB_STATUS_*, which goes into the guest's rax; regs is its
 * register file (SDM numbering), arguments in rbx, rcx, rdx, rsi (zero-extended for 32-bit guests). */
#pragma once
#include "vmm/vm.h"

typedef u32 (*hypercall_handler)(struct vcpu *v, u64 *regs);

/* One structure of the ABI: aligned to its size, in the guest's own RAM. OK or BAD_ADDRESS. */
u32 must_check hypercall_read(struct vcpu *v, u64 gpa, void *to, u64 size);
u32 must_check hypercall_write(struct vcpu *v, u64 gpa, const void *from, u64 size);

/* messages.c */
u32 messages_call_send(struct vcpu *v, u64 *regs);
u32 messages_call_receive(struct vcpu *v, u64 *regs);
u32 messages_call_setup(struct vcpu *v, u64 *regs);
u32 messages_call_offer(struct vcpu *v, u64 *regs);
u32 messages_call_reclaim(struct vcpu *v, u64 *regs);
u32 messages_call_return(struct vcpu *v, u64 *regs);
