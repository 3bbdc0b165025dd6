/* guest_paging.c - 4-level page tables of the guest's own (SDM Vol 3A 4.5). */
#include "vmm/demo/guest.h"

#define GUEST_TABLES 64
#define ENTRIES      512
#define LAPIC_PAGE   0xFEE00000ull

typedef u64 table[ENTRIES];

static table tables[GUEST_TABLES] aligned_to(4096);
static u32 tables_used;

static u64 *new_table(void)
{
    if (tables_used == GUEST_TABLES) {
        say("demo: FAIL out of page tables");
        guest_exit(3);
    }
    return tables[tables_used++];
}

/* Page-table entries are read by the hypervisor and written by the CPU: one store each, in order. */
static void store(u64 *entry, u64 value)
{
    *(volatile u64 *)entry = value;
}

u64 *page_entry(u64 va, u32 level)
{
    u64 *t = tables[0];

    for (u32 l = 4; l > level; l--) {
        u64 *entry = &t[va >> (12 + 9 * (l - 1)) & (ENTRIES - 1)];

        if (!(*entry & PTE_P))
            store(entry, (u64)new_table() | PTE_P | PTE_W);
        t = (u64 *)(*entry & PTE_ADDR_MASK);
    }
    return &t[va >> (12 + 9 * (level - 1)) & (ENTRIES - 1)];
}

void page_map(u64 va, u64 gpa, u64 flags)
{
    store(page_entry(va, 1), gpa | flags | PTE_P);
}

void page_unmap(u64 va)
{
    store(page_entry(va, 1), 0);
    page_flush(va);
}

u64 paging_root(void)
{
    return (u64)tables[0];
}

void paging_init(u64 identity_end)
{
    u64 cr0;

    tables_used = 1;
    for (u64 at = 0; at < identity_end; at += GUEST_LARGE)
        store(page_entry(at, 2), at | PTE_P | PTE_W | PTE_PS);
    page_map(LAPIC_PAGE, LAPIC_PAGE, PTE_W | PTE_PCD);
    __asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
    __asm__ volatile("mov %0, %%cr0" : : "r"(cr0 | CR0_WP));
    __asm__ volatile("mov %0, %%cr3" : : "r"(paging_root()) : "memory");
}
