/*
 * smp64.c - a flat guest of any number of vCPUs that all use the same page tables.
 *
 * Options: mode=coherent (default), hostile or faults, seed=N, rounds=N, handover=N (pages).
 */
#include "tests/guests/smp64.h"
#include "tests/guests/others.h"

static u8 stacks[OTHERS_STACK * CPUS_MAX] aligned_to(4096);
static _Atomic u32 finished, failed;
static bool hostile, faulting;

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

static void set_up(const char *cmdline)
{
    u64 seed = option_number(cmdline, "seed", 1), rounds = option_number(cmdline, "rounds", 500);
    char mode[16];

    option_word(cmdline, "mode", mode, sizeof(mode));
    hostile = strcmp(mode, "hostile") == 0;
    faulting = strcmp(mode, "faults") == 0;
    say("smp64: %u vCPUs, mode %s, seed %llu, %llu rounds", guest_vcpus, *mode ? mode : "coherent",
        (unsigned long long)seed, (unsigned long long)rounds);
    paging_init(MEMORY_END);
    for (u64 at = FRAME_BASE; at < LARGE_BASE + LARGES * GUEST_LARGE; at += PAGE_SIZE)
        *(u64 *)at = at;
    if (hostile)
        hostile_set_up(seed, rounds);
    else if (faulting)
        faults_set_up(guest_vcpus, rounds, option_number(cmdline, "handover", 0));
    else
        coherent_set_up(guest_vcpus, seed, rounds);
}

static void set_write_protect(void)
{
    u64 cr0;

    __asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
    __asm__ volatile("mov %0, %%cr0" : : "r"(cr0 | CR0_WP));
}

static void run(u64 cpu)
{
    set_write_protect();
    load_cr3(paging_root());
    if (hostile)
        hostile_run((u32)cpu);
    else if (faulting)
        faults_run((u32)cpu);
    else
        coherent_run((u32)cpu);
    load_cr3(paging_root());
    atomic_fetch_add(&finished, 1);
}

static void run_other(u64 cpu)
{
    run(cpu);
    for (;;)
        __asm__ volatile("hlt");
}

int guest_main(const char *cmdline, const char *image)
{
    (void)image;
    set_up(cmdline);
    others_stacks = stacks;
    others_entry = run_other;
    run(0);
    while (atomic_load(&finished) != guest_vcpus)
        relax();
    if (faulting)
        say("smp64: %llu faults at entries that stay as they are", (unsigned long long)faults_taken());
    say("smp64: PASS");
    return 0;
}
