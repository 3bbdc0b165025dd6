/*
 * task.h - a hardware task switch (SDM Vol 3A 7.3), which VMX leaves to the hypervisor (Vol 3C 25.4.2). Pure: guest
 * memory is reached through callbacks.
 *
 *   check (old and new TSS, descriptors)   a fault is one of the old task, nothing has changed
 *   --------------------------------- commit
 *   save old TSS, busy bits, back link
 *   load CR3, registers                    what goes wrong from here on is the new task's
 *   load LDTR and segments, push the error code
 */
#pragma once
#include "vmm/emulate.h"
#include "vmx/exit.h"
#include "vmx/guest.h"

/* SDM register numbers, as in the TSS */
enum task_gpr { TASK_EAX, TASK_ECX, TASK_EDX, TASK_EBX, TASK_ESP, TASK_EBP, TASK_ESI, TASK_EDI, TASK_GPRS };

struct task_regs {
    u32 gpr[TASK_GPRS];
    u32 eip, eflags;
    u64 gdt_base;
    u32 gdt_limit;
    struct vmx_seg seg[VMX_SEG_COUNT];
};

struct task_request {
    u16 selector; /* of the new task's TSS */
    enum vmx_task_source source;
    u32 length;    /* bytes of the instruction that switches; 0: an event does */
    bool external; /* an interrupt, NMI or exception does: EXT in error codes (SDM Vol 3A 6.13) */
    bool has_error;
    u32 error; /* to be pushed on the new task's stack */
};

struct task_ops {
    /* Linear addresses, size up to TASK_TSS_SIZE, as supervisor or as the privilege level `user` says. EMULATE_FAULT:
     * recorded by the callback. */
    enum emulate_status (*read)(void *ctx, u32 at, void *to, u32 size);
    enum emulate_status (*check_write)(void *ctx, u32 at, u32 size);
    enum emulate_status (*write)(void *ctx, u32 at, const void *from, u32 size, bool user);
    /* False: its PDPTEs are not valid. */
    bool (*load_cr3)(void *ctx, u32 cr3);
};
#define TASK_TSS_SIZE 104u

#define TASK_FAULT_RECORDED 0xFFu /* task_result.vector: the fault is the one that a callback recorded */

struct task_result {
    enum emulate_status status; /* OK: switched, and vector 0; FAULT: vector; others: what a callback said */
    bool switched;              /* regs are the new task's; else nothing has happened */
    bool trap;                  /* the new TSS asks for a debug trap (T) */
    u8 vector;
    u32 error;
};

/* Switches: r is the old task's state and becomes the new task's. CR0.TS, DR7 and interruptibility are the
 * caller's. */
struct task_result task_switch(struct task_regs *r, const struct task_request *request,
                               const struct task_ops *ops, void *ctx);
