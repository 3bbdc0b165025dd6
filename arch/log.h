/*
 * log.h - what people read on the console.
 *
 * The hypervisor implements these in arch/log.c (serial, screen); unit tests link tests/unit/host_log.c.
 * The format language is arch/format.h's: %d %u %x %lx %llu %s %c %p %% with width, '-' and '0'.
 */
#pragma once
#include "arch/types.h"

/* One line (the newline is added), prefixed "[patchbay] ". May be called on any CPU; lines never mix. */
void log_line(const char *fmt, ...) printf_like(1, 2);

/* From now on lines go to `to` instead of console_write(): whoever shares the console with guests. */
void log_set_output(void (*to)(const char *text, size_t n));

/* Our own invariant is broken: says so with file-independent words, dumps this CPU, stops every CPU. Never
 * returns. No guest action may get here. */
no_return void panic(const char *fmt, ...) printf_like(1, 2);

/* A broken invariant of ours; compiled in always, so keep the condition cheap. */
#define assert_invariant(cond)                                               \
    do {                                                                     \
        if (unlikely(!(cond)))                                               \
            panic("%s:%d: broken invariant: %s", __FILE__, __LINE__, #cond); \
    } while (0)
