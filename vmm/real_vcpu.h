/* real_vcpu.h - inside real mode: a vCPU's registers out of the VMCS and back. */
#pragma once
#include "vmm/access.h"
#include "vmm/real.h"

/* The guest's own flags. */
u32 real_flags(const struct vcpu *v);
/* Notes which segment registers the guest has loaded since the VMCS was written. True: it loaded a null selector in
 * HELD, which the CPU made unusable. */
bool real_sync(struct vcpu *v);
/* After real_sync(): the guest's registers, with memory as it reaches it. */
void real_cpu_load(struct vcpu *v, struct real_cpu *cpu);
/* The instruction or delivery in *cpu has ended: everything back into the VMCS, in the shape that the segments
 * now need. */
void real_cpu_store(struct vcpu *v, const struct real_cpu *cpu);
/* The same segments in another shape. */
void real_put(struct vcpu *v, enum real_shape shape, bool stepping);
