/*
 * guest.h - the little that the small 64-bit guests of this folder and of tests/guests/ stand on: text on the
 * 16550, traps, page tables of their own, and calls to the hypervisor (ipc/abi.h).
 *
 * A guest is entered as vmm/load_guest.h says for flat images, sets everything up in guest_start.S and
 * guest_trap.c, and runs guest_main() on vCPU 0 with interrupts off. Other vCPUs halt, or jump to guest_other_start
 * (assembly; no stack, edi = number) where the guest has that.
 */
#pragma once
#include "arch/format.h"
#include "arch/regs.h"
#include "arch/string.h"
#include "arch/types.h"
#include "ipc/abi.h"

/* The guest itself; `image` is the name it was loaded by. Its result is the exit code, 0 for success. */
int guest_main(const char *cmdline, const char *image);
extern u32 guest_vcpus; /* how many this VM has */

/* ---- guest_lib.c: text, time, the end ---- */
void say(const char *fmt, ...) printf_like(1, 2);
no_return void guest_exit(u32 code);
u64 guest_ticks(void);

/* The number after "key=" in a command line, or `otherwise`. "forever" is UINT64_MAX. */
u64 option_number(const char *cmdline, const char *key, u64 otherwise);
/* The word after "key=", copied; "" if there is none. */
void option_word(const char *cmdline, const char *key, char *to, size_t size);

static inline void guest_out8(u16 port, u8 value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}
static inline u8 guest_in8(u16 port)
{
    u8 value;

    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline u64 msr_get(u32 msr)
{
    u32 low, high;

    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (u64)high << 32 | low;
}
static inline void msr_put(u32 msr, u64 value)
{
    __asm__ volatile("wrmsr" : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

/* ---- guest_trap.c: exceptions and interrupts ---- */

/* As the stubs in guest_start.S push it, lowest address first. */
struct trap_frame {
    u64 r11, r10, r9, r8, rdi, rsi, rdx, rcx, rax;
    u64 vector, error, rip, cs, rflags, rsp, ss;
};
#define GUEST_VECTORS 80 /* with stubs; the last one is the APIC's spurious vector */

struct fault {
    bool taken;
    u64 vector, error, address;
};

void trap_init(void);
/* What runs for interrupt `vector` (32 and above); the end-of-interrupt is sent afterwards. Or for VECTOR_NMI. */
void trap_on_interrupt(u8 vector, void (*handler)(void));
/* One access each; an exception in it is caught and told. Anywhere else an exception ends the guest. */
struct fault try_read(u64 va, u64 *value);
struct fault try_write(u64 va, u64 value);
/* Calls va, where a RET should be; by one vCPU at a time. */
struct fault try_exec(u64 va);
/* Called by a guest_start.S stub. */
void guest_trap(struct trap_frame *frame);

/* ---- guest_paging.c: own 4-level tables ---- */
#define MAP_WRITE   PTE_W
#define GUEST_LARGE (2 * MIB)

/* Switches to tables that map 0..identity_end one to one by 2 MiB pages, and the local APIC's page. */
void paging_init(u64 identity_end);
/* Maps one 4 KiB page; the tables it needs come from a pool of GUEST_TABLES pages. */
void page_map(u64 va, u64 gpa, u64 flags);
void page_unmap(u64 va);
/* The entry that maps va at `level` (1: 4 KiB), its tables made as needed. */
u64 *page_entry(u64 va, u32 level);
u64 paging_root(void);

static inline void page_flush(u64 va)
{
    __asm__ volatile("invlpg (%0)" : : "r"(va) : "memory");
}

/* ---- guest_talk.c: the hypervisor's calls ---- */
struct call_result {
    u64 status, rbx, rcx;
};
struct call_result guest_call(u64 number, u64 rbx, u64 rcx, u64 rdx);
/* Whether this is Patchbay; guest_self() is then filled. */
bool talk_init(void);
const struct pb_info *guest_self(void);
/* The id of a VM, -1 if there is none. */
s64 talk_find(const char *name);
u64 talk_send(u32 to, u16 kind, u64 page, const void *data, u32 length);
/* Waits at most `microseconds` (0: does not wait). */
u64 talk_receive(struct pb_message *to, u64 microseconds);
const char *status_text(u64 status);

/* Interrupts: the local APIC on (x2APIC where offered), then inbox and vector armed. */
void talk_arm(u8 vector);
extern bool lapic_x2apic; /* its mode: set by talk_arm(), or by whoever turns it on without that */
void lapic_end_of_interrupt(void);
/* Whether the inbox holds a message. */
bool talk_inbox_ready(void);
/* The oldest message in the inbox; false if it is empty. */
bool talk_inbox(struct pb_message *to);
