/*
 * traps.h - exceptions of our own code.
 *
 * All 32 exception vectors have a gate of their own. The hypervisor runs with interrupts off, but for the HLT
 * of arch/idle.h: the other vectors just return there, which EOIs. #NMI, #DF and #MC run on stacks of their own.
 *
 *   NMI                    counts itself in cpu->nmi_count and returns (see traps_set_nmi_window());
 *                          stops this CPU when asked to
 *   #GP, #PF, #UD          at an address in .fixups: go on at its other address
 *   anything else          panic with a register dump
 */
#pragma once
#include "arch/types.h"

struct cpu;

/* What the stubs push; arch/traps.asm has the order. */
struct trap_frame {
    u64 gpr[16]; /* SDM numbering: 0 rax 1 rcx 2 rdx 3 rbx 4 (unused) 5 rbp 6 rsi 7 rdi 8..15 */
    u64 vector, error;
    u64 rip, cs, rflags, rsp, ss; /* by the CPU */
};
_Static_assert(sizeof(struct trap_frame) == 23 * 8, "arch/traps.asm");

/* Fills the IDT, once; loads it on the CPU that executes traps_load(). */
void traps_init(void);
void traps_load(void);

/*
 * Closes the gap between "look for work" and VMLAUNCH/VMRESUME: an NMI whose interrupted RIP is in [start,
 * end) returns to `resume_at` instead, registers and stack unchanged. The code there behaves as if it had
 * found work. One window for all CPUs; set before the first VM entry. The window must contain the check of
 * nmi_count and the VM entry.
 */
struct nmi_window {
    u64 start, end, resume_at;
};
void traps_set_nmi_window(const void *start, const void *end, const void *resume_at);

/* From here on every CPU but `survivor` that takes an NMI (or runs cpu_run_nmi_handler()) halts for ever:
 * panic and machine_halt(). False if another CPU asked first. */
bool traps_request_stop(const struct cpu *survivor);

/* Called by the stubs. */
void traps_handle(struct trap_frame *frame);

/* The registers of a trap, the control registers and the likely return addresses on the stack, as log lines.
 */
void traps_dump(const struct trap_frame *frame);

/* arch/log.c: panic() with the registers of a trap instead of the caller's; name is two letters. */
no_return void panic_trap(const struct trap_frame *frame, const char *name);
