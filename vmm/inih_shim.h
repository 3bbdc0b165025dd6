/*
 * inih_shim.h - config_parse() inside the hypervisor.
 *
 * Debian's libinih.a was compiled for a process with a C library. inih_shim.c gives it the few functions it
 * calls (none of them allocates: inih's stack buffer is used) and a stack guard word at FS:0x28.
 */
#pragma once
#include "vmm/config.h"

/* As config_parse(); sets IA32_FS_BASE for the time of the call and puts it back. */
enum err config_parse_boot(const char *text, size_t size, struct config *config,
                           struct config_report *report) must_check;
