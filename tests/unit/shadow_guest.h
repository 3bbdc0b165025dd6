/*
 * shadow_guest.h - the VM that the tests of single properties of the shadow MMU have: 16 MiB of guest-physical space, RAM
 * but for the last 16 pages, and 4-level tables 100 to 103 that map VA, page i of it to frame 1024 + i.
 */
#pragma once
#include "mm/audit.h"
#include "tests/unit/shadow_host.h"

#define PAGES 4096u
#define VA    (1ull << 39) /* PML4 slot 1 */
#define TABLE (PTE_P | PTE_W | PTE_A)
#define PAGE  (PTE_P | PTE_W | PTE_A | PTE_D)

static u8 *ram;
static struct p2m p2m;
static struct trace_map trace_map;
static struct shadow_vm vm;
static u64 kicked; /* vCPUs, since guest_make() */
static const struct paging_state four_levels = {.cr0 = CR0_PE | CR0_PG | CR0_WP,
                                                .cr4 = CR4_PAE,
                                                .efer = EFER_LME | EFER_LMA | EFER_NXE,
                                                .cr3 = 100 << 12,
                                                .maxphyaddr = 46};

static inline u64 *table(u64 gfn)
{
    return (u64 *)(ram + gfn * PAGE_SIZE);
}

static inline u64 guest_kick(void *context, u64 mask)
{
    (void)context;
    kicked |= mask;
    return 0;
}

static inline void *host_pages(u64 count)
{
    return mmap(NULL, count * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* A VM with zeroed RAM, whose vCPUs are still to be made. */
static inline void guest_make(u32 vcpus)
{
    static void *words, *masks;

    if (!ram) {
        ram = host_pages(PAGES);
        words = malloc(PAGES * sizeof(u64));
        masks = malloc(trace_map_size(PAGES));
    }
    memset(ram, 0, PAGES * PAGE_SIZE);
    p2m_init(&p2m, words, PAGES);
    assert_int_equal(p2m_map_ram(&p2m, 0, ptr_to_hpa(ram), PAGES - 16), ERR_OK);
    trace_map_init(&trace_map, masks, PAGES);
    vm = (struct shadow_vm){.p2m = &p2m, .traces = &trace_map, .vcpus = vcpus, .kick = guest_kick};
    vm.matrix = host_matrix(vcpus, MIB);
    kicked = 0;
}

static inline void guest_map_va(void)
{
    table(100)[1] = 101 << 12 | TABLE;
    table(101)[0] = 102 << 12 | TABLE;
    table(102)[0] = 103 << 12 | TABLE;
    for (u64 i = 0; i < 512; i++)
        table(103)[i] = (1024 + i) << 12 | PAGE;
}

static inline struct shadow_config guest_shadow_config(u32 vcpu, void *frames, u32 frame_count)
{
    return (struct shadow_config){.vm = &vm,
                                  .vcpu = vcpu,
                                  .maxphyaddr = 46,
                                  .host_maxphyaddr = 46,
                                  .frames = ptr_to_hpa(frames),
                                  .frame_count = frame_count,
                                  .hfn_base = (uintptr_t)ram >> 12,
                                  .hfn_count = PAGES,
                                  .tuning = SHADOW_TUNING_DEFAULT};
}

/* The guest stores an entry, which is emulated if it exits. */
static inline void guest_store(struct shadow *s, u64 gfn, u64 index, u64 value, bool exits)
{
    gpa_t at = GPA(gfn << 12 | index << 3);

    if (exits)
        shadow_write_begin(s, at, 8);
    table(gfn)[index] = value;
    if (exits)
        (void)shadow_write_done(s, at, 8);
}

static inline void clean(struct shadow *s)
{
    struct audit_report r;
    struct flush f;

    if (!shadow_audit(s, &r, &f)) {
        shadow_audit_print(&r);
        fail();
    }
}
