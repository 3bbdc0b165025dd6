/*
 * inih_shim.c - what Debian's libinih.a needs of a C library, and no more. Hypervisor only: the host tools
 * and tests have a C library.
 *
 * ini.c is one object file, so the functions it calls for ini_parse_file() and for heap buffers must exist
 * too; ini_parse_stream() with a stack buffer, the only way we use it, never reaches them, and here they
 * fail.
 */
#include "vmm/inih_shim.h"

#include "arch/cpu.h"
#include "arch/log.h"
#include "arch/msr.h"
#include "arch/string.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

/* The C library's names for what inih was compiled against. */
void __stack_chk_fail(void);
FILE *fopen64(const char *restrict path, const char *restrict mode);

/* System V ABI, AMD64 supplement: where gcc looks for the stack guard, from FS. */
#define STACK_GUARD_OFFSET 0x28
struct thread_block {
    u64 unused[5];
    u64 stack_guard;
};
_Static_assert(offsetof(struct thread_block, stack_guard) == STACK_GUARD_OFFSET, "the ABI's place");

void __stack_chk_fail(void)
{
    panic("the configuration parser overran its stack");
}

/* The character table covers -128..255, as isspace() may be given a plain char. */
#define CTYPE_FIRST (-128)
#define CTYPE_COUNT 384

const unsigned short **__ctype_b_loc(void)
{
    static const unsigned short classes[CTYPE_COUNT] = {
        [' ' - CTYPE_FIRST] = _ISspace,  ['\t' - CTYPE_FIRST] = _ISspace, ['\n' - CTYPE_FIRST] = _ISspace,
        ['\v' - CTYPE_FIRST] = _ISspace, ['\f' - CTYPE_FIRST] = _ISspace, ['\r' - CTYPE_FIRST] = _ISspace,
    };
    static const unsigned short *zero;

    zero = classes - CTYPE_FIRST;
    return &zero;
}

void *malloc(size_t size)
{
    (void)size;
    return NULL;
}

void *realloc(void *old, size_t size)
{
    (void)old;
    (void)size;
    return NULL;
}

void free(void *p)
{
    (void)p;
}

FILE *fopen64(const char *restrict path, const char *restrict mode)
{
    (void)path;
    (void)mode;
    return NULL;
}

int fclose(FILE *file)
{
    (void)file;
    return EOF;
}

char *fgets(char *restrict to, int size, FILE *restrict file)
{
    (void)to;
    (void)size;
    (void)file;
    return NULL;
}

enum err config_parse_boot(const char *text, size_t size, struct config *config, struct config_report *report)
{
    static const struct thread_block block = {.stack_guard = 0x7c3b00ff5ca1ab1e};
    u64 before = msr_read(MSR_IA32_FS_BASE);
    enum err e;

    msr_write(MSR_IA32_FS_BASE, (u64)(uintptr_t)&block);
    e = config_parse(text, size, config, report);
    msr_write(MSR_IA32_FS_BASE, before);
    return e;
}
