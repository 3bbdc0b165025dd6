/* guest_trap.c - GDT, IDT, and what happens on exceptions and interrupts. */
#include "vmm/demo/guest.h"

#define GATE_INTERRUPT 0x8E00u /* present, DPL 0, 64-bit interrupt gate: SDM Vol 3A 6.14.1 */
#define STUB_SIZE      16
#define CODE_SELECTOR  0x08
#define DATA_SELECTOR  0x10

struct gate {
    u16 offset_low, selector, flags, offset_middle;
    u32 offset_high, reserved;
};
struct packed_layout table_register {
    u16 limit;
    u64 base;
};

/* What an access did. what: error code << 8 | vector, or 0 if it was made; address: CR2. */
struct raw_access {
    u64 what, address;
};
struct raw_access try_read_raw(u64 va, u64 *value); /* these two: guest_start.S */
struct raw_access try_write_raw(u64 va, u64 value);
extern const char trap_stubs[], try_read_at[], try_read_done[], try_write_at[], try_write_done[];

static struct gate idt[GUEST_VECTORS];
static u64 gdt[3] = {0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF};
static void (*handlers[GUEST_VECTORS])(void);
static struct raw_access last; /* of try_exec() */
static u64 exec_target;        /* where try_exec() is just calling; 0: nowhere */

void trap_init(void)
{
    struct table_register g = {sizeof(gdt) - 1, (u64)gdt}, i = {sizeof(idt) - 1, (u64)idt};

    for (u32 n = 0; n < GUEST_VECTORS; n++) {
        u64 stub = (u64)trap_stubs + n * STUB_SIZE;

        idt[n] =
            (struct gate){(u16)stub, CODE_SELECTOR, GATE_INTERRUPT, (u16)(stub >> 16), (u32)(stub >> 32), 0};
    }
    __asm__ volatile("lgdt %0\n\t"
                     "pushq %2\n\t"
                     "leaq 1f(%%rip), %%rax\n\t"
                     "pushq %%rax\n\t"
                     "lretq\n"
                     "1: movl %3, %%eax\n\t"
                     "movl %%eax, %%ds\n\t"
                     "movl %%eax, %%es\n\t"
                     "movl %%eax, %%ss\n\t"
                     "lidt %1"
                     :
                     : "m"(g), "m"(i), "i"(CODE_SELECTOR), "i"(DATA_SELECTOR)
                     : "rax", "memory");
}

void trap_on_interrupt(u8 vector, void (*handler)(void))
{
    handlers[vector] = handler;
}

void guest_trap(struct trap_frame *frame)
{
    struct raw_access fault;

    if (frame->vector == VECTOR_NMI && handlers[VECTOR_NMI]) {
        handlers[VECTOR_NMI]();
        return;
    }
    if (frame->vector >= 32) {
        if (handlers[frame->vector])
            handlers[frame->vector]();
        lapic_end_of_interrupt();
        return;
    }
    __asm__ volatile("mov %%cr2, %0" : "=r"(fault.address));
    fault.what = frame->error << 8 | frame->vector;
    if (exec_target && frame->rip == exec_target) {
        last = fault;
        frame->rip = *(u64 *)frame->rsp; /* back to the caller */
        frame->rsp += sizeof(u64);
    } else if (frame->rip == (u64)try_read_at || frame->rip == (u64)try_write_at) {
        frame->rip = (u64)(frame->rip == (u64)try_read_at ? try_read_done : try_write_done);
        frame->rax = fault.what;
        frame->rdx = fault.address;
    } else {
        say("demo: FAIL exception %llu, error 0x%llx, rip 0x%llx, cr2 0x%llx",
            (unsigned long long)frame->vector, (unsigned long long)frame->error,
            (unsigned long long)frame->rip, (unsigned long long)fault.address);
        guest_exit(2);
    }
}

static struct fault fault_of(struct raw_access a)
{
    return (struct fault){a.what != 0, a.what & 0xff, a.what >> 8, a.address};
}

struct fault try_read(u64 va, u64 *value)
{
    return fault_of(try_read_raw(va, value));
}

struct fault try_write(u64 va, u64 value)
{
    return fault_of(try_write_raw(va, value));
}

struct fault try_exec(u64 va)
{
    last.what = 0;
    exec_target = va;
    ((void (*)(void))va)();
    exec_target = 0;
    return fault_of(last);
}
