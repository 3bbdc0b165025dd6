/*
 * main.c - what a traced write costs the shadow MMU of a VM with N vCPUs, in instructions: exact, counted by single
 * steps. vCPU 0 alone uses the table, so the columns should be the same (but for what sharing a VM costs at all, from
 * one vCPU to two). A child does each thing once cold and once between two breakpoints.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arch/regs.h"
#include "tests/unit/shadow_host.h"

#define PAGES      2048u
#define FRAMES     96u
#define VCPUS_MAX  8u
#define VA         (1ull << 39) /* PML4 slot 1 */
#define TABLE      (PTE_P | PTE_W | PTE_A)
#define PAGE       (PTE_P | PTE_W | PTE_A | PTE_D)
#define LEAF       103u
#define BREAKPOINT 0xcc
#define RIP_WORD   16

static const u32 sizes[] = {1, 2, 4, 8};

static u8 *ram;
static struct p2m p2m;
static struct trace_map trace_map;
static struct shadow_vm vm;
static struct shadow sh[VCPUS_MAX];
static struct host_shadow host[VCPUS_MAX];

static void *pages(u64 count)
{
    return mmap(NULL, count * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static u64 *table(u64 gfn)
{
    return (u64 *)(ram + gfn * PAGE_SIZE);
}

static void require(bool condition)
{
    if (condition)
        return;
    fprintf(stderr, "writes: the guest could not be set up\n");
    abort();
}

/* A guest whose tables 100 .. 103 map pages at VA, and all memory by large pages at 0; every vCPU has these in use
 * but vCPU 0 alone uses table 103. */
static void set_up(u32 vcpus)
{
    struct paging_state ps = {.cr0 = CR0_PE | CR0_PG | CR0_WP,
                              .cr4 = CR4_PAE,
                              .efer = EFER_LME | EFER_LMA | EFER_NXE,
                              .cr3 = 100 << PAGE_SHIFT,
                              .maxphyaddr = 46};

    ram = pages(PAGES);
    p2m_init(&p2m, malloc(PAGES * sizeof(u64)), PAGES);
    require(p2m_map_ram(&p2m, 0, ptr_to_hpa(ram), PAGES) == ERR_OK);
    trace_map_init(&trace_map, malloc(trace_map_size(PAGES)), PAGES);
    vm = (struct shadow_vm){.p2m = &p2m, .traces = &trace_map, .vcpus = vcpus};
    vm.matrix = host_matrix(vcpus, MIB);
    table(100)[0] = 110 << PAGE_SHIFT | TABLE;
    table(110)[0] = 111 << PAGE_SHIFT | TABLE;
    for (u64 i = 0; i < 4; i++)
        table(111)[i] = i << 21 | PAGE | PTE_PS;
    table(100)[1] = 101 << PAGE_SHIFT | TABLE;
    table(101)[0] = 102 << PAGE_SHIFT | TABLE;
    table(102)[0] = LEAF << PAGE_SHIFT | TABLE;
    for (u64 i = 0; i < 512; i++)
        table(LEAF)[i] = (1024 + i) << PAGE_SHIFT | PAGE;
    for (u32 i = 0; i < vcpus; i++) {
        struct shadow_config c = {.vm = &vm,
                                  .vcpu = i,
                                  .maxphyaddr = 46,
                                  .frames = ptr_to_hpa(pages(FRAMES)),
                                  .frame_count = FRAMES,
                                  .hfn_base = (uintptr_t)ram >> PAGE_SHIFT,
                                  .hfn_count = PAGES,
                                  .tuning = SHADOW_TUNING_DEFAULT};
        c.tuning.flood_writes = 0;
        require(host_shadow_init(&host[i], &sh[i], &c) == ERR_OK);
        (void)shadow_set_paging(&sh[i], &ps);
        (void)shadow_fault(&sh[i], GVA(50 << PAGE_SHIFT), 0, 0, false);
    }
    (void)shadow_fault(&sh[0], GVA(VA), 0, 0, false);
}

enum what { NOTHING, FAULT, STORE_NEW, STORE_CHANGE, INVLPG, WHATS };

static struct shadow_fault result;

static __attribute__((noinline)) void act(enum what what, u64 slot)
{
    u64 at = LEAF << PAGE_SHIFT | slot * sizeof(u64);

    switch (what) {
    case FAULT: result = shadow_fault(&sh[0], GVA(at), PF_P | PF_W, 0, false); break;
    case STORE_NEW:
    case STORE_CHANGE:
        shadow_write_begin(&sh[0], GPA(at), sizeof(u64));
        table(LEAF)[slot] ^= 1 << PAGE_SHIFT;
        result.flush = shadow_write_done(&sh[0], GPA(at), sizeof(u64));
        break;
    case INVLPG: result.flush = shadow_invlpg(&sh[0], GVA(VA + (slot << PAGE_SHIFT))); break;
    default: break;
    }
}

static void child(enum what what, u32 vcpus)
{
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    set_up(vcpus);
    act(FAULT, 0);
    act(what == INVLPG ? STORE_CHANGE : what, what == STORE_NEW ? 300 : 0);
    if (what == INVLPG) {
        act(INVLPG, 0);
        act(STORE_CHANGE, 1); /* one patch is waiting */
    }
    __asm__ volatile("int3");
    act(what, what == STORE_NEW ? 301 : 1);
    __asm__ volatile("int3");
    _exit(0);
}

/* Instructions between the child's two stops. */
static u64 count_steps(enum what what, u32 vcpus)
{
    u64 steps = 0;
    int status;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid == 0)
        child(what, vcpus);
    waitpid(pid, &status, 0);
    for (; pid > 0 && WIFSTOPPED(status); steps++) {
        ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL);
        waitpid(pid, &status, 0);
        long rip = ptrace(PTRACE_PEEKUSER, pid, (void *)(sizeof(long) * RIP_WORD), NULL);
        if ((ptrace(PTRACE_PEEKTEXT, pid, (void *)rip, NULL) & 0xff) == BREAKPOINT)
            break;
    }
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return steps;
}

int main(void)
{
    static const char *const text[] = {[FAULT] = "the fault at a traced table",
                                       [STORE_NEW] = "its store, an entry not in the shadow",
                                       [STORE_CHANGE] = "its store, an entry changed",
                                       [INVLPG] = "INVLPG that takes the patch"};

    printf("instructions in a VM of so many vCPUs, one of which uses the table\n%-40s", "");
    for (u32 i = 0; i < ARRAY_SIZE(sizes); i++)
        printf("%8u", sizes[i]);
    printf("\n");
    for (enum what what = FAULT; what < WHATS; what++) {
        printf("%-40s", text[what]);
        for (u32 i = 0; i < ARRAY_SIZE(sizes); i++)
            printf("%8llu",
                   (unsigned long long)(count_steps(what, sizes[i]) - count_steps(NOTHING, sizes[i])));
        printf("\n");
    }
    return 0;
}
