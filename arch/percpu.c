/* percpu.c - the register of CPUs and the bring-up of one. */
#include "arch/percpu.h"
#include "arch/apic.h"
#include "arch/log.h"
#include "arch/msr.h"
#include "arch/regs.h"
#include "arch/traps.h"

static struct cpu *cpus[CPU_MAX]; /* written by the boot CPU before the others run */
static u32 count;

u32 cpu_count(void)
{
    return count;
}

struct cpu *cpu_by_index(u32 index)
{
    assert_invariant(index < count);
    return cpus[index];
}

struct cpu *cpu_register(hpa_t area, u32 apic)
{
    assert_invariant(count < CPU_MAX);
    struct cpu *cpu = hpa_to_ptr(HPA(area.v + (CPU_AREA_PAGES - 1) * PAGE_SIZE));

    cpu->self = cpu;
    cpu->area_base = area.v;
    cpu->stack_top = (u64)cpu;
    cpu->index = count;
    cpu->apic_id = apic;
    cpus[count++] = cpu;
    return cpu;
}

void cpu_area_guards(const struct cpu *cpu, void (*unmap)(void *ctx, u64 page), void *ctx)
{
    for (u32 i = 0; i <= IST_COUNT; i++)
        unmap(ctx, cpu->area_base + i * (CPU_GUARD_PAGES + CPU_IST_STACK_PAGES) * PAGE_SIZE);
}

void cpu_forget_missing(void)
{
    u32 kept = 0;

    for (u32 i = 0; i < count; i++)
        if (atomic_load_explicit(&cpus[i]->state, memory_order_acquire) != CPU_MISSING) {
            cpus[i]->index = kept;
            cpus[kept++] = cpus[i];
        }
    count = kept;
}

void cpu_bring_up(struct cpu *cpu)
{
    u64 cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT;

    if (cpu_has(CPUID_FEATURE_XSAVE))
        cr4 |= CR4_OSXSAVE;
    if (cpu_has(CPUID_FEATURE_MCE))
        cr4 |= CR4_MCE;
    cr0_write(CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG);
    cr4_write(cr4);
    if (cpu_has(CPUID_FEATURE_PAT) && msr_read(MSR_IA32_PAT) != PAT_RESET)
        msr_write(MSR_IA32_PAT, PAT_RESET);
    gdt_load(cpu);
    traps_load();
    apic_init(cpu);
}
