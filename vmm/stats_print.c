/*
 * stats_print.c - the counters as a table, a few vCPUs side by side:
 *
 *   vm linux: 2 vCPUs, 12345 ms, patch channels 69 KiB
 *                                vCPU  0    vCPU  1        all
 *     exits                        50643       1290      51933  exits
 *       CPUID                         97         12        109
 *     fills                        12345        310      12655  entries
 */
#include "vmm/stats.h"

#include "arch/format.h"
#include "arch/log.h"
#include "arch/spinlock.h"
#include "arch/tsc.h"

#define COLUMNS_MAX 6u
#define NAME_WIDTH  24

static const struct {
    const char *name, *unit;
} rows[PB_STAT_COUNT] = {
#define PB_STAT_ROW(index, id, name, unit, when) [index] = {name, unit},
#include "ipc/stats.def"
};

/* Rows of the table: the counters, and behind them the exits by reason. */
#define ROWS (PB_STAT_COUNT + VMX_EXIT_COUNT)

static u64 cell(const struct vcpu *v, u32 row)
{
    struct pb_stats s;

    stats_read(v, &s);
    return row < PB_STAT_COUNT ? s.counter[row] : s.exits[row - PB_STAT_COUNT];
}

static u64 sum(const struct vm *vm, u32 row)
{
    u64 all = 0;

    for (u32 i = 0; i < vm->vcpus; i++)
        all += cell(vm->vcpu[i], row);
    return all;
}

/* One line: vCPUs from `first` on, `count` of them, and the sum if it is the last block. */
static void print_row(const struct vm *vm, u32 first, u32 count, u32 row)
{
    bool counter = row<PB_STAT_COUNT, last = vm->vcpus> 1 && first + count == vm->vcpus;
    char line[160];
    size_t n;

    if (row == PB_STAT_CHANNELS || !sum(vm, row)) /* the former is the VM's: in the head */
        return;
    n = format_string(line, sizeof(line), "%s%-*s", counter ? "  " : "    ",
                      counter ? NAME_WIDTH : NAME_WIDTH - 2,
                      counter ? rows[row].name : vmx_exit_name(row - PB_STAT_COUNT));
    for (u32 i = first; i < first + count; i++)
        n += format_string(line + n, sizeof(line) - n, " %10lu", cell(vm->vcpu[i], row));
    if (last)
        n += format_string(line + n, sizeof(line) - n, " %10lu", sum(vm, row));
    if (counter)
        format_string(line + n, sizeof(line) - n, "  %s", rows[row].unit);
    log_line("%s", line);
}

static void print_block(const struct vm *vm, u32 first, u32 count)
{
    char line[160];
    size_t n = format_string(line, sizeof(line), "  %-*s", NAME_WIDTH, "");

    for (u32 i = first; i < first + count; i++)
        n += format_string(line + n, sizeof(line) - n, "    vCPU %2u", i);
    if (vm->vcpus > 1 && first + count == vm->vcpus)
        format_string(line + n, sizeof(line) - n, "        all");
    log_line("%s", line);
    print_row(vm, first, count, PB_STAT_EXITS);
    for (u32 row = PB_STAT_COUNT; row < ROWS; row++)
        print_row(vm, first, count, row);
    for (u32 row = PB_STAT_EXITS + 1; row < PB_STAT_COUNT; row++)
        print_row(vm, first, count, row);
}

/* One table at a time: two VMs may end at once. */
static struct spinlock table_lock;

void stats_print(const struct vm *vm)
{
    spinlock_acquire(&table_lock);
    log_line("vm %s: %u vCPU%s, %lu ms, patch channels %llu KiB", vm->name, vm->vcpus,
             vm->vcpus == 1 ? "" : "s", tsc_ticks_to_ns(tsc_read() - vm->started_tsc, tsc_hz()) / 1000000,
             counter_get(&vm->channel_bytes) / KIB);
    for (u32 first = 0; first < vm->vcpus; first += COLUMNS_MAX)
        print_block(vm, first, MIN(vm->vcpus - first, COLUMNS_MAX));
    spinlock_release(&table_lock);
}

void stats_print_all(void)
{
    for (u32 i = 0; i < vm_count; i++)
        if (vms[i])
            stats_print(vms[i]);
}
