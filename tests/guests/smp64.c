/*
 * smp64.c - a flat guest of any number of vCPUs that all use the same page tables.
 *
 * Options: mode=coherent (default) or hostile, seed=N, rounds=N.
 */
#include "tests/guests/smp64.h"

#define GATE_INTERRUPT 0x8E00u /* present, DPL 0, 64-bit interrupt gate: SDM Vol 3A 6.14.1 */
#define STUB_SIZE      16
#define CODE_SELECTOR  0x08
#define DATA_SELECTOR  0x10
#define VECTORS        32

struct gate {
    u16 offset_low, selector, flags, offset_middle;
    u32 offset_high, reserved;
};
struct packed_layout table_register {
    u16 limit;
    u64 base;
};
/* As smp64_start.S pushes it. */
struct smp_frame {
    u64 rdx, rax, vector, error, rip, cs, rflags, rsp, ss;
};

extern const char smp_stubs[], smp_read_at[], smp_read_done[], smp_write_at[], smp_write_done[];
void smp_trap(struct smp_frame *frame);
void cpu_main(u32 cpu, u32 cpus, const char *cmdline);

static struct gate idt[VECTORS];
static u64 gdt[3] = {0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF};
static _Atomic u32 ready, finished, failed;
static bool hostile;

/* guest_lib.o and guest_paging.o ask for no interrupts. */
void smp_trap(struct smp_frame *f)
{
    u64 outcome = f->error << 8 | f->vector;

    if (f->rip == (u64)smp_read_at) {
        f->rip = (u64)smp_read_done;
    } else if (f->rip == (u64)smp_write_at) {
        f->rip = (u64)smp_write_done;
    } else {
        smp_fail("exception", (u32)f->vector, read_cr2(), f->rip, f->error);
    }
    f->rax = read_cr2();
    f->rdx = outcome;
}

no_return void smp_fail(const char *what, u32 cpu, u64 at, u64 got, u64 want)
{
    if (atomic_fetch_add(&failed, 1) == 0) {
        say("smp64: FAIL %s, cpu %u, at 0x%llx: 0x%llx, expected 0x%llx", what, cpu, (unsigned long long)at,
            (unsigned long long)got, (unsigned long long)want);
        guest_exit(1);
    }
    for (;;)
        relax();
}

static void load_tables(void)
{
    struct table_register g = {sizeof(gdt) - 1, (u64)gdt}, i = {sizeof(idt) - 1, (u64)idt};

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

static void set_up(u32 cpus, const char *cmdline)
{
    u64 seed = option_number(cmdline, "seed", 1), rounds = option_number(cmdline, "rounds", 500);
    char mode[16];

    option_word(cmdline, "mode", mode, sizeof(mode));
    hostile = strcmp(mode, "hostile") == 0;
    say("smp64: %u vCPUs, mode %s, seed %llu, %llu rounds", cpus, hostile ? "hostile" : "coherent",
        (unsigned long long)seed, (unsigned long long)rounds);
    for (u32 n = 0; n < VECTORS; n++) {
        u64 stub = (u64)smp_stubs + n * STUB_SIZE;

        idt[n] =
            (struct gate){(u16)stub, CODE_SELECTOR, GATE_INTERRUPT, (u16)(stub >> 16), (u32)(stub >> 32), 0};
    }
    load_tables();
    paging_init(MEMORY_END);
    for (u64 at = FRAME_BASE; at < LARGE_BASE + LARGES * GUEST_LARGE; at += PAGE_SIZE)
        *(u64 *)at = at;
    if (hostile)
        hostile_set_up(seed, rounds);
    else
        coherent_set_up(cpus, seed, rounds);
}

static void set_write_protect(void)
{
    u64 cr0;

    __asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
    __asm__ volatile("mov %0, %%cr0" : : "r"(cr0 | CR0_WP));
}

void cpu_main(u32 cpu, u32 cpus, const char *cmdline)
{
    if (cpu == 0) {
        set_up(cpus, cmdline);
        atomic_store(&ready, 1);
    }
    while (!atomic_load(&ready))
        relax();
    load_tables();
    set_write_protect();
    load_cr3(paging_root());
    if (hostile)
        hostile_run(cpu);
    else
        coherent_run(cpu);
    load_cr3(paging_root());
    atomic_fetch_add(&finished, 1);
    if (cpu != 0)
        return;
    while (atomic_load(&finished) != cpus)
        relax();
    say("smp64: PASS");
    guest_exit(0);
}
