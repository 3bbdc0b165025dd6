/*
 * percpu.h - what belongs to one physical CPU. GS base points at it whenever our code runs (the VMCS host
 * state of a CPU must say so too: HOST_GS_BASE = address of its struct cpu).
 *
 *   per-CPU area, lowest address first; every "guard" is an unmapped page:
 *   | guard | NMI stack | guard | #DF stack | guard | #MC stack | guard | stack (32 KiB) | struct cpu |
 */
#pragma once
#include "arch/cpu.h"
#include "arch/gdt.h"
#include "arch/types.h"
#include <stdatomic.h>

#define CPU_MAX             256u
#define CPU_STACK_PAGES     8u
#define CPU_IST_STACK_PAGES 1u
#define CPU_GUARD_PAGES     1u
#define CPU_AREA_PAGES \
    (IST_COUNT * (CPU_GUARD_PAGES + CPU_IST_STACK_PAGES) + CPU_GUARD_PAGES + CPU_STACK_PAGES + 1)

enum cpu_state {
    CPU_STARTING, /* nothing heard yet */
    CPU_ONLINE,   /* in our 64-bit code, waiting in cpu_wait_for_start() */
    CPU_RUNNING,  /* in vmm_main() or vmm_cpu_main() */
    CPU_MISSING,  /* did not answer INIT-SIPI-SIPI; not counted by cpu_count() */
    CPU_STOPPED,  /* halted for ever by machine_halt() or panic() */
};

/* Private to its CPU after boot, but for the fields that say otherwise. */
struct cpu {
    struct cpu *self;  /* at GS:0 */
    u64 stack_top;     /* of the main stack, 16-byte aligned */
    u64 nmi_count;     /* NMIs and cpu_run_nmi_handler() calls. Writer: own NMI handler
                        */
    u32 index;         /* 0..cpu_count()-1; 0 is the boot CPU. Never changes: others may read */
    u32 apic_id;       /* never changes: others may read */
    bool x2apic;       /* its local APIC is in x2APIC mode; private */
    _Atomic u32 state; /* enum cpu_state; writers: itself, and the boot CPU for MISSING. A release store of
                          ONLINE pairs with the boot CPU's acquire load */
    void *private;     /* vmm's own per-CPU block; set by vmm */
    u64 area_base;     /* the whole per-CPU area: physical = virtual address, CPU_AREA_PAGES long */
    aligned_to(16) u64 gdt[GDT_SLOTS];
    aligned_to(16) struct tss tss;
};
_Static_assert(sizeof(struct cpu) <= PAGE_SIZE, "the last page of the per-CPU area");

/* cpu_gs_self() of arch/cpu.h; nasm gets its offsets from arch/offsets.c. */
_Static_assert(offsetof(struct cpu, self) == 0, "arch/cpu.h");

static inline struct cpu *this_cpu(void)
{
    return cpu_gs_self();
}

/* CPUs that are up; constant from vmm_main() on. */
u32 cpu_count(void);

/* index < cpu_count(); never NULL then. */
struct cpu *cpu_by_index(u32 index);

/* ---- for boot only ---- */

/* Lays a zeroed area of CPU_AREA_PAGES pages out as a CPU block and registers it as the next index. The
 * caller unmaps the guards: cpu_area_guards() lists them. */
struct cpu *cpu_register(hpa_t area, u32 apic_id);

/* Calls unmap(ctx, page) for each guard page of the CPU's area. */
void cpu_area_guards(const struct cpu *cpu, void (*unmap)(void *ctx, u64 page), void *ctx);

/* Removes CPUs in state MISSING from the index; before the others run. */
void cpu_forget_missing(void);

/* Own descriptor tables, control registers (SDM Vol 3A 9.x: caches on, WP, SSE, XSAVE, machine checks), PAT
 * and APIC for the CPU that executes it, which must be on our page tables. */
void cpu_bring_up(struct cpu *cpu);
