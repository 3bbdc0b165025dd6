/*
 * console.h - the one physical console: COM1, and the screen.
 *
 * Serial output goes through a ring of CONSOLE_RING bytes so that a slow line does not stop the machine:
 * whoever writes also moves what the UART takes at that moment, and console_pump() moves more. With a full
 * ring a writer waits for room, so nothing is lost. Every CPU's idle loop and a regular exit path have to
 * call console_pump(). Works before and after ExitBootServices.
 */
#pragma once
#include "arch/types.h"

#define CONSOLE_RING 16384u

/* First thing in boot: finds the UART. The screen comes later. */
void console_init(void);

/* Writes raw text to all outputs, '\n' as CR LF on serial; one call's text is never mixed with another CPU's.
 */
void console_write(const char *text, size_t n);

/* Gives the UART what it takes now; returns at once when another CPU is doing it or nothing waits. Cheap. */
void console_pump(void);

/* Bytes that fit without waiting (each newline takes two), and whether any wait: a hint, without the lock. */
u32 console_room(void);
static inline bool console_waiting(void)
{
    return console_room() != CONSOLE_RING;
}

/* Waits until all serial output has left. */
void console_flush(void);

/* Next byte typed on COM1, or -1. */
int console_getc(void);

/* Panic only: breaks the lock of a stopped CPU. */
void console_seize(void);
