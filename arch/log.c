/* log.c - log lines and the end by panic. */
#include "arch/log.h"
#include "arch/console.h"
#include "arch/format.h"
#include "arch/machine.h"
#include "arch/percpu.h"
#include "arch/traps.h"

#define LINE_SIZE 256u /* longer lines are cut */

static const char prefix[] = "[patchbay] ";

/* Where lines go: written by the boot CPU before others run, and by a panic. */
static void (*output)(const char *text, size_t n) = console_write;

void log_set_output(void (*to)(const char *text, size_t n))
{
    output = to;
}

static void write_line(const char *fmt, va_list args)
{
    char line[LINE_SIZE];
    size_t n = format_string(line, sizeof(line), "%s", prefix);

    n += format_args(line + n, sizeof(line) - 1 - n, fmt, args);
    line[n++] = '\n';
    output(line, n);
}

void log_line(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    write_line(fmt, args);
    va_end(args);
}

/* The first CPU that panics reports; others, and a panic inside the report, just stop. */
static _Atomic bool panicking;

static void begin_panic(void)
{
    cpu_disable_interrupts();
    if (atomic_exchange_explicit(&panicking, true, memory_order_relaxed))
        machine_stop_cpu();
    machine_stop_others();
    console_seize();
    output = console_write; /* what is behind another output may be what broke */
    log_line("PANIC on CPU %u: this is a bug of the hypervisor, not of a guest",
             cpu_count() ? this_cpu()->index : 0);
}

void panic(const char *fmt, ...)
{
    va_list args;
    struct trap_frame here = {.rip = (u64)__builtin_return_address(0),
                              .rsp = (u64)__builtin_frame_address(0),
                              .rflags = cpu_flags()};

    begin_panic();
    va_start(args, fmt);
    write_line(fmt, args);
    va_end(args);
    traps_dump(&here);
    machine_halt();
}

void panic_trap(const struct trap_frame *frame, const char *name)
{
    begin_panic();
    log_line("exception %lu (#%.2s), error code 0x%lx", frame->vector, name, frame->error);
    traps_dump(frame);
    machine_halt();
}
