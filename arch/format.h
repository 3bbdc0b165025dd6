/*
 * format.h - formatted text into a buffer; pure.
 *
 * Conversions: %d %i %u %x %X %c %s %p %%, lengths h hh l ll z, flags '-' and '0', a width (number or *),
 * and for %s and integers a precision (number or *). Anything else is copied as it stands.
 */
#pragma once
#include "arch/types.h"
#include <stdarg.h>

/* Writes at most size - 1 characters and a NUL (size 0: nothing). Returns the number of characters stored,
 * so `n += format_string(buf + n, size - n, ...)` always stays inside the buffer. */
size_t format_string(char *buf, size_t size, const char *fmt, ...) printf_like(3, 4);
size_t format_args(char *buf, size_t size, const char *fmt, va_list args);
