/*
 * ap.c - starting the other CPUs by INIT-SIPI-SIPI, all at the same time. SDM Vol 3A 8.4.4.1.
 */
#include "arch/apic.h"
#include "arch/cpu.h"
#include "arch/image.h"
#include "arch/log.h"
#include "arch/percpu.h"
#include "arch/string.h"
#include "arch/tsc.h"
#include "boot/boot.h"
#include "mm/hostmap.h"

#define INIT_WAIT_US    10000u
#define STARTUP_WAIT_US 200u
#define ANSWER_WAIT_US  500000u
#define ANSWER_POLL_US  50u
#define XAPIC_MAX_ID    254u

/* boot/ap.asm */
extern const u8 ap_start[], ap_start_end[], ap_start_gdt[], ap_start_long_mode[];
extern const u8 ap_start_gdt_address[], ap_start_far_target[], ap_start_cr3[], ap_start_cpus[],
    ap_start_entry[], ap_start_count[];

static struct cpu *starting[CPU_MAX]; /* read by the starting CPUs; written before they start */
static u32 starting_count;

/* False while the other CPUs wait; the boot CPU's release store pairs with their acquire load, and publishes
 * everything it did before: page tables, cpu_count(), vmm's data. */
static _Atomic bool released;

static u32 state_of(const struct cpu *cpu)
{
    return atomic_load_explicit(&cpu->state, memory_order_acquire);
}

static no_return void ap_main(struct cpu *cpu)
{
    cpu_bring_up(cpu);
    atomic_store_explicit(&cpu->state, CPU_ONLINE, memory_order_release);
    while (!atomic_load_explicit(&released, memory_order_acquire))
        cpu_pause();
    cr3_write(cr3_read()); /* the start page is no longer mapped */
    atomic_store_explicit(&cpu->state, CPU_RUNNING, memory_order_relaxed);
    vmm_cpu_main(cpu);
}

/* Writes a field of the copy of the start code. */
static void fill_in(u64 page, const u8 *field, u64 value, size_t bytes)
{
    memcpy((u8 *)page + image_bytes(ap_start, field), &value, bytes);
}

static void write_start_page(u64 page)
{
    memcpy((void *)page, ap_start, image_bytes(ap_start, ap_start_end));
    fill_in(page, ap_start_gdt_address, page + image_bytes(ap_start, ap_start_gdt), sizeof(u32));
    fill_in(page, ap_start_far_target, page + image_bytes(ap_start, ap_start_long_mode), sizeof(u32));
    fill_in(page, ap_start_cr3, host_map.root.v, sizeof(u64));
    fill_in(page, ap_start_cpus, (u64)starting, sizeof(u64));
    fill_in(page, ap_start_entry, (u64)ap_main, sizeof(u64));
    fill_in(page, ap_start_count, starting_count, sizeof(u32));
}

static enum err map_start_page(u64 page, enum hostmap_kind kind)
{
    struct hostmap_flush flush = {false};
    enum err e = hostmap_map(&host_map, page, PAGE_SIZE, kind, &flush);

    cpu_invlpg(page);
    return e;
}

static void startup_all(u8 page)
{
    for (u32 i = 0; i < starting_count; i++)
        if (state_of(starting[i]) == CPU_STARTING)
            apic_send_startup(starting[i]->apic_id, page);
    tsc_wait_us(STARTUP_WAIT_US);
}

static bool all_answered(void)
{
    for (u32 i = 0; i < starting_count; i++)
        if (state_of(starting[i]) == CPU_STARTING)
            return false;
    return true;
}

static void give_up_missing(void)
{
    for (u32 i = 0; i < starting_count; i++) {
        struct cpu *cpu = starting[i];
        if (state_of(cpu) != CPU_STARTING)
            continue;
        log_line("the CPU with APIC id %u did not start within %u ms: going on without it", cpu->apic_id,
                 ANSWER_WAIT_US / 1000);
        apic_send_init(cpu->apic_id); /* should it come late: back to waiting for a SIPI */
        atomic_store_explicit(&cpu->state, CPU_MISSING, memory_order_relaxed);
    }
    cpu_forget_missing();
}

enum err boot_start_cpus(struct boot *b)
{
    for (u32 i = 1; i < cpu_count(); i++) {
        struct cpu *cpu = cpu_by_index(i);
        if (cpu->apic_id > XAPIC_MAX_ID && !this_cpu()->x2apic)
            log_line("the CPU with APIC id %u needs x2APIC mode, which the firmware left off", cpu->apic_id);
        starting[starting_count++] = cpu;
    }
    if (!starting_count)
        return ERR_OK;

    enum err e = map_start_page(b->start_page, HOSTMAP_DATA);
    if (e != ERR_OK)
        return e;
    write_start_page(b->start_page);
    e = map_start_page(b->start_page, HOSTMAP_TEXT);
    if (e != ERR_OK)
        return e;
    for (u32 i = 0; i < starting_count; i++)
        apic_send_init(starting[i]->apic_id);
    tsc_wait_us(INIT_WAIT_US);
    startup_all((u8)(b->start_page / PAGE_SIZE));
    startup_all((u8)(b->start_page / PAGE_SIZE));
    for (u32 waited = 0; waited < ANSWER_WAIT_US && !all_answered(); waited += ANSWER_POLL_US)
        tsc_wait_us(ANSWER_POLL_US);
    give_up_missing();
    e = map_start_page(b->start_page, HOSTMAP_NONE);
    log_line("%u of %u CPUs are up (list: %s)", cpu_count(), b->cpu_count, b->info.cpu_source);
    return e;
}

void boot_release_cpus(void)
{
    atomic_store_explicit(&released, true, memory_order_release);
}
