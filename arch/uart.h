/*
 * uart.h - the physical COM1 (16550 at 0x3F8), polled. Lines go through arch/console.h; nobody else writes
 * here.
 */
#pragma once
#include "arch/types.h"

/* Looks for a UART (scratch register); if there is one sets 115200 8N1 with FIFOs. Returns whether there is
 * one; without one all functions below do nothing at once. */
bool uart_init(void);

/* Gives the UART as many bytes as it takes now without waiting; returns how many (0..n). */
size_t uart_put_some(const u8 *bytes, size_t n);

/* Waits until everything given has left the wire; gives up after a bounded time. */
void uart_drain(void);

/* Next byte received, or -1: nothing there. */
int uart_getc(void);
