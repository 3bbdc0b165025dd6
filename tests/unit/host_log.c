/* host_log.c - arch/log.h for programs that run on the host: lines go to stderr, a panic aborts. */
#include "arch/log.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void print(const char *prefix, const char *fmt, va_list args)
{
    fputs(prefix, stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
}

void log_line(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    print("[patchbay] ", fmt, args);
    va_end(args);
}

void panic(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    print("panic: ", fmt, args);
    va_end(args);
    abort();
}
