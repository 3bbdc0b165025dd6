/* gdt.c - the flat GDT and the TSS of one CPU. */
#include "arch/gdt.h"
#include "arch/cpu.h"
#include "arch/msr.h"
#include "arch/percpu.h"

/* Segment descriptors, SDM Vol 3A 3.4.5: present, accessed, DPL 0; code 64-bit, data writable */
#define DESCRIPTOR_CODE64 0x00AF9B000000FFFFull
#define DESCRIPTOR_DATA   0x00CF93000000FFFFull
#define DESCRIPTOR_TSS    0x0000890000000000ull /* available 64-bit TSS, SDM Vol 3A figure 7-4 */

static void set_tss_descriptor(u64 *slot, u64 base, u64 limit)
{
    slot[0] = DESCRIPTOR_TSS | (limit & 0xFFFF) | (base & 0xFFFFFF) << 16 | (base >> 24 & 0xFF) << 56;
    slot[1] = base >> 32;
}

void gdt_load(struct cpu *cpu)
{
    struct cpu_table_register r = {sizeof(cpu->gdt) - 1, (u64)cpu->gdt};
    u64 ist = cpu->area_base;

    for (u32 i = 0; i < IST_COUNT; i++) { /* the picture in percpu.h */
        ist += (CPU_GUARD_PAGES + CPU_IST_STACK_PAGES) * PAGE_SIZE;
        cpu->tss.ist[i] = ist;
    }
    cpu->tss.rsp[0] = cpu->stack_top;
    cpu->tss.io_map_base = sizeof(cpu->tss);
    cpu->gdt[SELECTOR_CODE / 8] = DESCRIPTOR_CODE64;
    cpu->gdt[SELECTOR_DATA / 8] = DESCRIPTOR_DATA;
    set_tss_descriptor(&cpu->gdt[SELECTOR_TSS / 8], (u64)&cpu->tss, sizeof(cpu->tss) - 1);
    cpu_load_gdt(&r);
    cpu_load_segments(SELECTOR_CODE, SELECTOR_DATA);
    cpu_load_tr(SELECTOR_TSS);
    msr_write(MSR_IA32_GS_BASE, (u64)cpu);
}
