/* mb32.h - what the 32-bit multiboot guest stands on: text, exceptions, control registers. */
#pragma once
#include "arch/regs.h"
#include "arch/types.h"

/* As the stubs push it: PUSHA, vector and error code, IRET's frame. */
struct trap_frame {
    u32 edi, esi, ebp, esp, ebx, edx, ecx, eax;
    u32 vector, error, eip, cs, eflags;
};
struct fault {
    bool taken;
    u32 vector, error, address, value, eflags;
};

int guest_main(u32 magic, const u32 *info);
void trap_init(void);
void guest_trap(struct trap_frame *frame);
no_return void guest_exit(u32 code);

/* %s, %u, %x; a line each. */
void say(const char *fmt, ...);
no_return void fail(const char *what, u32 got, u32 want);

/* One access each; an exception in it is told. exec calls an address that holds a RET. */
struct fault try_read(u32 address);
struct fault try_write(u32 address, u32 value);
struct fault try_exec(u32 address);
struct fault try_set_cr0(u32 value);
struct fault try_set_cr3(u32 value);
struct fault try_set_cr4(u32 value);

/* REP INSB of bytes 0x5A into a segment of so many pages from 0 on. end: (E)DI and (E)CX after it. */
struct fault try_insb(u32 pages, u32 offset, u32 count, bool short_addresses, u32 end[2]);

/* INT1: address is where it returned to, value the address behind it. */
struct fault try_int1(void);

/* Two tasks with the same page tables: this one, and one that reads a word and comes back. */
void tasks_init(void);
u32 read_by_task_call(u32 address); /* CALL of its TSS */
u32 read_by_task_gate(u32 address); /* INT3 through a task gate */

#define CR_ACCESS(n)                                               \
    static inline u32 get_cr##n(void)                              \
    {                                                              \
        u32 v;                                                     \
        __asm__ volatile("mov %%cr" #n ", %0" : "=r"(v));          \
        return v;                                                  \
    }                                                              \
    static inline void set_cr##n(u32 v)                            \
    {                                                              \
        __asm__ volatile("mov %0, %%cr" #n : : "r"(v) : "memory"); \
    }
CR_ACCESS(0)
CR_ACCESS(2)
CR_ACCESS(3)
CR_ACCESS(4)

static inline void flush(u32 address)
{
    __asm__ volatile("invlpg (%0)" : : "r"(address) : "memory");
}
