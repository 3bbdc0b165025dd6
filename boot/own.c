/*
 * own.c - the boot after ExitBootServices: memory, page tables, the boot CPU.
 */
#include "arch/apic.h"
#include "arch/cpu.h"
#include "arch/image.h"
#include "arch/log.h"
#include "arch/msr.h"
#include "arch/percpu.h"
#include "arch/regs.h"
#include "arch/screen.h"
#include "arch/traps.h"
#include "arch/tsc.h"
#include "boot/boot.h"
#include "mm/frames.h"
#include "mm/hostmap.h"

#define RET_OPCODE 0xC3 /* SDM Vol 2B, RET */

static enum err add_ranges(const struct memmap_ranges *r)
{
    for (u32 i = 0; i < r->count; i++) {
        enum err e = frames_add(&host_frames, HPA(r->range[i].start), r->range[i].end - r->range[i].start);
        if (e != ERR_OK)
            return e;
    }
    if (r->lost)
        log_line("%llu KiB of scattered memory are not used", r->lost / KIB);
    return ERR_OK;
}

/* First only memory that nobody uses: we still stand on the firmware's stack and page tables. */
enum err boot_collect_memory(struct boot *b)
{
    enum err e = memmap_read(&b->map_source, b->keep, b->keeps, &b->map);

    if (e != ERR_OK)
        return e;
    b->info.ram_bytes = b->map.total;
    b->info.ram_top = b->map.ram.count ? b->map.ram.range[b->map.ram.count - 1].end : 0;
    frames_init(&host_frames);
    return add_ranges(&b->map.free_now);
}

struct region {
    u64 start, bytes;
    enum hostmap_kind kind;
};

static enum err map_all(const struct region *r, size_t n)
{
    struct hostmap_flush flush = {false}; /* nothing runs on this map yet */

    for (size_t i = 0; i < n; i++) {
        enum err e = r[i].bytes ? hostmap_map(&host_map, r[i].start, r[i].bytes, r[i].kind, &flush) : ERR_OK;
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

enum err boot_build_map(struct boot *b)
{
    const struct screen *screen = screen_get();
    const struct region own[] = {
        {(u64)image_start, image_bytes(image_start, text_start), HOSTMAP_RODATA},
        {(u64)text_start, image_bytes(text_start, text_end), HOSTMAP_TEXT},
        {(u64)rodata_start, image_bytes(rodata_start, data_start), HOSTMAP_RODATA},
        {(u64)data_start, image_bytes(data_start, image_end), HOSTMAP_DATA},
        {screen->base, screen->base ? screen->size : 0, HOSTMAP_MMIO},
        {apic_mmio_base(), apic_mmio_base() ? PAGE_SIZE : 0, HOSTMAP_MMIO},
    };

    if (!cpu_has(CPUID_FEATURE_NX)) {
        log_line("this CPU has no execute-disable (NX), or the firmware switched it off");
        return ERR_UNSUPPORTED;
    }
    if (cr4_read() & CR4_LA57) {
        log_line("the firmware uses 5-level page tables, which cannot be left in 64-bit mode: switch them "
                 "off there");
        return ERR_UNSUPPORTED;
    }
    enum err e = hostmap_init(&host_map, &host_frames, cpu_has(CPUID_FEATURE_PAGE1GB));
    for (u32 i = 0; e == ERR_OK && i < b->map.ram.count; i++) {
        const struct memmap_range *r = &b->map.ram.range[i];
        const struct region ram = {r->start, r->end - r->start, HOSTMAP_DATA};
        e = map_all(&ram, 1);
    }
    for (u32 i = 0; e == ERR_OK && i < b->ioapic_count; i++) {
        const struct region ioapic = {b->ioapics[i], PAGE_SIZE, HOSTMAP_MMIO};
        e = map_all(&ioapic, 1);
    }
    return e == ERR_OK ? map_all(own, ARRAY_SIZE(own)) : e;
}

static void unmap_guard(void *context, u64 page)
{
    struct hostmap_flush flush = {false};
    enum err *result = context;

    if (*result == ERR_OK)
        *result = hostmap_map(&host_map, page, PAGE_SIZE, HOSTMAP_NONE, &flush);
    cpu_invlpg(page); /* other CPUs start later, with empty TLBs */
}

/* Gives every CPU its area, and takes the guard pages out of the map. */
static enum err make_cpu_areas(const struct boot *b)
{
    for (u32 i = 0; i < b->cpu_count; i++) {
        hpa_t area;
        enum err e = frames_alloc(&host_frames, CPU_AREA_PAGES, PAGE_SIZE, FRAMES_ANYWHERE, &area);
        if (e == ERR_OK)
            cpu_area_guards(cpu_register(area, b->apic_ids[i]), unmap_guard, &e);
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

enum err boot_enter_map(struct boot *b)
{
    struct hostmap_report report;
    enum err e = make_cpu_areas(b);

    if (e != ERR_OK)
        return e;
    if (!hostmap_check(&host_map, &report)) {
        log_line("page 0x%lx would be writable and executable", report.bad_address);
        return ERR_STATE;
    }
    msr_write(MSR_IA32_EFER, msr_read(MSR_IA32_EFER) | EFER_NXE);
    cr3_write(host_map.root.v);
    return ERR_OK;
}

enum err boot_bring_up_first(struct boot *b)
{
    struct cpu *cpu = cpu_by_index(0);

    traps_init();
    cpu_bring_up(cpu);
    atomic_store_explicit(&cpu->state, CPU_RUNNING, memory_order_relaxed);
    pic_mask_all();
    for (u32 i = 0; i < b->ioapic_count; i++)
        ioapic_mask_all(b->ioapics[i]);
    const char *source = tsc_calibrate(b->pm_timer);
    log_line("TSC runs at %lu.%03lu MHz (%s)", tsc_hz() / 1000000, tsc_hz() / 1000 % 1000, source);
    return ERR_OK;
}

enum err boot_take_memory(struct boot *b)
{
    enum err e = add_ranges(&b->map.free_later);

    b->info.own_bytes = image_bytes(image_start, image_end) +
                        (host_map.table_pages + (u64)b->cpu_count * CPU_AREA_PAGES) * PAGE_SIZE;
    log_line("%llu MiB of memory, %llu MiB free", b->info.ram_bytes / MIB,
             host_frames.free_pages * PAGE_SIZE / MIB);
    return e;
}

/* The page tables say W^X and guards; here the CPU itself is asked. */
enum err boot_check_rights(struct boot *b)
{
    static const u8 return_instruction[] = {RET_OPCODE};
    static u8 writable_return = RET_OPCODE;
    struct hostmap_report r;
    u64 guard = cpu_by_index(0)->area_base;
    struct {
        const char *what;
        bool right;
    } const checks[] = {
        {"reading page 0 faults", !cpu_probe_read(0)},
        {"reading a stack guard faults", !cpu_probe_read(guard)},
        {"writing a stack guard faults", !cpu_probe_write(guard)},
        {"the page above the guard is writable", cpu_probe_write(guard + PAGE_SIZE)},
        {"writing code faults", !cpu_probe_write((u64)text_start)},
        {"writing constants faults", !cpu_probe_write((u64)return_instruction)},
        {"executing constants faults", !cpu_probe_execute((u64)return_instruction)},
        {"executing data faults", !cpu_probe_execute((u64)&writable_return)},
        {"reading the start page of the CPUs faults", !b->start_page || !cpu_probe_read(b->start_page)},
        {"no page is writable and executable", hostmap_check(&host_map, &r)},
    };

    for (size_t i = 0; i < ARRAY_SIZE(checks); i++)
        if (!checks[i].right) {
            log_line("page rights do not hold: it is not so that %s", checks[i].what);
            return ERR_STATE;
        }
    log_line(
        "page rights hold: %llu KiB code R X, %llu KiB constants R, no page W and X, guards and page 0 fault",
        r.text_bytes / KIB, r.rodata_bytes / KIB);
    return ERR_OK;
}
