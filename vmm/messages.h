/* messages.h - joins ipc/ with VMs */
#pragma once
#include "arch/err.h"
#include "arch/types.h"
struct vcpu;
struct vm;
struct config;
struct vcpu_messages {
    u64 sent, received, refused, pages_out, pages_in;
    bool receiving;
};
struct vm_messages {
    u32 x;
};
enum err messages_init_vm(struct vm *vm);
enum err messages_init_vcpu(struct vcpu *v);
void messages_connect(const struct config *config);
static inline bool messages_to_drain(const struct vcpu *v)
{
    (void)v;
    return false;
}
void messages_drain(struct vcpu *v);
void messages_deliver(struct vcpu *v);
bool messages_ready(const struct vcpu *v);
void messages_finish_receive(struct vcpu *v);
void messages_vm_ended(struct vm *vm);
u32 messages_modes(struct vm *vm, u32 peer);
#define MESSAGES_QUEUE_DEPTH 48
