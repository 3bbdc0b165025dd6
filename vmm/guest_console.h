/*
 * guest_console.h - the one physical console, shared by the hypervisor and all VMs. Pure: text in, text out.
 *
 * Every line carries the name of who wrote it:
 *
 *     [patchbay] vm linux: 256 MiB, 1 vCPU on cpu 2, linux
 *     [alpha] page 1 donated
 *     [linux] / # _
 *
 * A guest's bytes gather in its own buffer and leave as whole lines. A line that stays unfinished (a prompt)
 * is shown by console_mux_flush_idle(); when somebody else then has something to say, the open line is ended
 * first and its writer's next bytes start a new, prefixed line. Nothing is lost, and no two writers share a
 * line.
 *
 * Concurrency: one lock around each call (lines from several CPUs); never on a path that holds another lock.
 */
#pragma once
#include "arch/spinlock.h"
#include "arch/types.h"

#define CONSOLE_MUX_VMS    16u
#define CONSOLE_MUX_LINE   256u /* longer lines are shown in pieces as they come */
#define CONSOLE_MUX_NOBODY 0xFFFFFFFFu

struct console_mux_vm {
    const char *name; /* NULL: not there */
    u32 used;         /* bytes in line[] not shown yet */
    u64 last;         /* when its last byte came */
    bool open;        /* its last shown byte was not a newline, and the cursor still stands behind it */
    char line[CONSOLE_MUX_LINE];
};

struct console_mux {
    struct spinlock lock;
    void (*write)(const char *text, size_t n); /* to the physical outputs */
    u32 cursor;                                /* whose unfinished line the cursor stands in, or NOBODY */
    struct console_mux_vm vm[CONSOLE_MUX_VMS];
};

void console_mux_init(struct console_mux *mux, void (*write)(const char *text, size_t n));
/* name stays the caller's and must outlive the mux. */
void console_mux_add(struct console_mux *mux, u32 vm, const char *name);
/* One byte from a guest, at the time `now` (any clock). Carriage returns are dropped (a newline is written as
 * the outputs want it), other control characters but tab, backspace, bell and escape are shown as '?'. */
void console_mux_byte(struct console_mux *mux, u32 vm, u8 byte, u64 now);
/* Shows the guest's unfinished line, if there is one and nothing has come since `since`: a prompt, not a line
 * that is just being written. */
void console_mux_flush_idle(struct console_mux *mux, u32 vm, u64 since);
/* Ends the guest's unfinished line, when the VM ends. */
void console_mux_finish(struct console_mux *mux, u32 vm);
/* A whole line of the hypervisor's own, newline included in text. */
void console_mux_own(struct console_mux *mux, const char *text, size_t n);

/* Whether something is waiting to be shown; a hint, read without the lock. */
static inline bool console_mux_waiting(const struct console_mux *mux, u32 vm)
{
    return __atomic_load_n(&mux->vm[vm].used, __ATOMIC_RELAXED) != 0;
}
