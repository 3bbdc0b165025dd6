/*
 * stats_world.h - a VM of two vCPUs on the host, as far as counters go: 4 MiB of RAM, and one address space, which
 * maps PAGES from VA on to frames 512.. by the table in frame 4.
 */
#pragma once
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "arch/regs.h"
#include "arch/tsc.h"
#include "tests/unit/shadow_host.h"
#include "vmm/stats.h"

#define WORLD_PAGES  1024u
#define WORLD_FRAMES 96u
#define WORLD_VCPUS  2u
#define WORLD_VA     0ull
#define WORLD_TABLE  (PTE_P | PTE_W | PTE_A)
#define WORLD_PAGE   (PTE_P | PTE_W | PTE_A | PTE_D)

static u8 *world_ram;
static struct vm world_vm;
static struct vcpu world_vcpu[WORLD_VCPUS];
static struct vplat_cpu world_cpu[WORLD_VCPUS];
static struct host_shadow world_host[WORLD_VCPUS];
static u32 world_vcpus = WORLD_VCPUS;

struct vm *vms[VM_MAX];
u32 vm_count;

u64 tsc_hz(void)
{
    return 1000000000;
}

static inline void *world_map(u64 pages)
{
    void *at = mmap(NULL, pages * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        abort();
    return at;
}

static inline _Atomic u64 *world_entry(u64 gfn, u64 index)
{
    return (_Atomic u64 *)(world_ram + gfn * PAGE_SIZE) + index;
}

static inline void world_vcpu_start(u32 i)
{
    static void *frames[WORLD_VCPUS];
    struct shadow_config c = {.vm = &world_vm.shadow,
                              .vcpu = i,
                              .maxphyaddr = 46,
                              .host_maxphyaddr = 46,
                              .frame_count = WORLD_FRAMES,
                              .hfn_base = (uintptr_t)world_ram >> PAGE_SHIFT,
                              .hfn_count = WORLD_PAGES,
                              .tuning = SHADOW_TUNING_DEFAULT};
    struct paging_state ps = {.cr0 = CR0_PE | CR0_PG | CR0_WP,
                              .cr4 = CR4_PAE,
                              .efer = EFER_LME | EFER_LMA | EFER_NXE,
                              .cr3 = PAGE_SIZE,
                              .maxphyaddr = 46};

    c.tuning.flood_writes = 0; /* patches, not tables without a trace */
    if (!frames[i])
        frames[i] = world_map(WORLD_FRAMES);
    memset(frames[i], 0, WORLD_FRAMES * PAGE_SIZE);
    c.frames = ptr_to_hpa(frames[i]);
    world_vcpu[i] = (struct vcpu){.vm = &world_vm, .index = i};
    world_vm.vcpu[i] = &world_vcpu[i];
    if (host_shadow_init(&world_host[i], &world_vcpu[i].shadow, &c) != ERR_OK)
        abort();
    (void)shadow_set_paging(&world_vcpu[i].shadow, &ps);
}

static inline void world_start(void)
{
    static void *words, *masks;

    if (!world_ram) {
        world_ram = world_map(WORLD_PAGES);
        words = malloc(WORLD_PAGES * sizeof(u64));
        masks = malloc(trace_map_size(WORLD_PAGES));
    }
    memset(world_ram, 0, WORLD_PAGES * PAGE_SIZE);
    memset(&world_vm, 0, sizeof(world_vm));
    memset(world_cpu, 0, sizeof(world_cpu));
    world_vm.name = "world";
    world_vm.id = 3;
    world_vm.vcpus = world_vcpus;
    world_vm.platform.cpu = world_cpu;
    p2m_init(&world_vm.p2m, words, WORLD_PAGES);
    if (p2m_map_ram(&world_vm.p2m, 0, ptr_to_hpa(world_ram), WORLD_PAGES) != ERR_OK)
        abort();
    trace_map_init(&world_vm.traces, masks, WORLD_PAGES);
    world_vm.shadow = (struct shadow_vm){.p2m = &world_vm.p2m,
                                         .traces = &world_vm.traces,
                                         .vcpus = world_vcpus,
                                         .matrix = host_matrix(world_vcpus, MIB)};
    *world_entry(1, 0) = 2 << PAGE_SHIFT | WORLD_TABLE;
    *world_entry(2, 0) = 3 << PAGE_SHIFT | WORLD_TABLE;
    *world_entry(3, 0) = 4 << PAGE_SHIFT | WORLD_TABLE;
    for (u64 i = 0; i < 512; i++)
        *world_entry(4, i) = (512 + i) << PAGE_SHIFT | WORLD_PAGE;
    for (u32 i = 0; i < world_vcpus; i++)
        world_vcpu_start(i);
    vms[0] = &world_vm;
    vm_count = 1;
}
