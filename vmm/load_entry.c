/* load_entry.c - the state of the first vCPU: GDT, identity page tables, control and general registers. */
#include "arch/regs.h"
#include "arch/string.h"
#include "vmm/load_parts.h"

#define BLOCK_CMDLINE   0x0000
#define BLOCK_NAME      0x0800
#define BLOCK_GDT       0x1000
#define BLOCK_STACK_TOP 0xF000
#define BLOCK_PML4      0xF000
#define BLOCK_PDPT      0x10000
#define BLOCK_PD        0x11000
#define STACK_PER_VCPU  512 /* enough for a CALL and an exception until the guest loads its own */

#define LARGE_PAGE (2 * MIB)
#define ENTRIES    512u
#define CHUNK      64u /* entries written at once: this runs on a small stack */

/* The Linux boot protocol's selectors (__BOOT_CS, __BOOT_DS), used for every guest. */
#define SELECTOR_CODE 0x10
#define SELECTOR_DATA 0x18

/* Descriptors: SDM Vol 3A 3.4.5, flat 4 GiB, accessed; a TSS for the task register is not in the table. */
#define DESCRIPTOR_CODE64 0x00AF9B000000FFFFull
#define DESCRIPTOR_CODE32 0x00CF9B000000FFFFull
#define DESCRIPTOR_DATA   0x00CF93000000FFFFull
/* The same as VMX access rights: SDM Vol 3C 24.4.1, table 24-2. */
#define RIGHTS_CODE64     0xA09B
#define RIGHTS_CODE32     0xC09B
#define RIGHTS_DATA       0xC093
#define RIGHTS_TSS_BUSY   0x008B
#define LIMIT_FLAT        0xFFFFFFFFu
#define LIMIT_TSS         0x67

static bool write_gdt(const struct loader *l, u64 gdt, u64 code)
{
    u64 table[LOAD_GDT_SIZE / 8] = {0};

    table[SELECTOR_CODE / 8] = code;
    table[SELECTOR_DATA / 8] = DESCRIPTOR_DATA;
    return load_write(l, gdt, table, sizeof(table));
}

static void set_segments(struct entry_state *entry, u64 gdt, u32 code_rights)
{
    entry->gdt_base = gdt;
    entry->gdt_limit = LOAD_GDT_SIZE - 1;
    entry->cs = (struct entry_segment){SELECTOR_CODE, LIMIT_FLAT, code_rights, 0};
    entry->data = (struct entry_segment){SELECTOR_DATA, LIMIT_FLAT, RIGHTS_DATA, 0};
    entry->tr = (struct entry_segment){0, LIMIT_TSS, RIGHTS_TSS_BUSY, 0};
    entry->rflags = RFLAGS_FIXED1;
}

/* How many GiB are mapped one to one: all RAM, and the devices below 4 GiB. */
static u64 mapped_gib(const struct loader *l)
{
    const struct guest_range *last = &l->layout.ram[l->layout.count - 1];

    return ALIGN_UP(MAX(last->base + last->size, LOAD_MIN_MAPPED), GIB) / GIB;
}

static bool write_entries(const struct loader *l, u64 table, u64 first, u64 step, u64 flags, u64 count)
{
    u64 entries[CHUNK];

    for (u64 done = 0; done < count; done += CHUNK) {
        u64 n = MIN(count - done, (u64)CHUNK);

        for (u64 i = 0; i < n; i++)
            entries[i] = (first + (done + i) * step) | flags;
        if (!load_write(l, table + done * sizeof(u64), entries, n * sizeof(u64)))
            return false;
    }
    return true;
}

/* Accessed and dirty are set beforehand: nobody reads them in these tables, and setting them later is work.
 */
static bool write_tables(const struct loader *l, u64 block)
{
    const u64 table = PTE_P | PTE_W | PTE_A, page = table | PTE_D | PTE_PS;
    u64 gib = mapped_gib(l);

    return load_zero(l, block + BLOCK_PML4, BLOCK_PD - BLOCK_PML4) &&
           write_entries(l, block + BLOCK_PML4, block + BLOCK_PDPT, 0, table, 1) &&
           write_entries(l, block + BLOCK_PDPT, block + BLOCK_PD, PAGE_SIZE, table, gib) &&
           write_entries(l, block + BLOCK_PD, 0, LARGE_PAGE, page, gib * ENTRIES);
}

enum err load_enter_long(struct loader *l, struct entry_state *entry, u64 *block)
{
    u64 size = BLOCK_PD + mapped_gib(l) * PAGE_SIZE, base;
    const char *cmdline = l->request->vm->cmdline,
               *name = l->request->kernel.name ? l->request->kernel.name : "";

    if (!load_place(l, size, PAGE_SIZE, LOAD_LOW_BASE, LOAD_LOW_TOP, LOAD_LOWEST, &base) &&
        !load_place(l, size, PAGE_SIZE, GUEST_RESERVED_TOP, l->low_top, LOAD_LOWEST, &base))
        return load_fail(l, ERR_NO_MEMORY, l->request->kernel.name,
                         "no place for %s of page tables besides the image", load_size_text(size).text);
    if (!load_zero(l, base, BLOCK_PML4) || !write_gdt(l, base + BLOCK_GDT, DESCRIPTOR_CODE64) ||
        !load_write(l, base + BLOCK_CMDLINE, cmdline, strlen(cmdline) + 1) ||
        !load_write(l, base + BLOCK_NAME, name, strnlen(name, CONFIG_MAX_PATH - 1)) || !write_tables(l, base))
        return load_fault(l, base);
    memset(entry, 0, sizeof(*entry));
    entry->mode = ENTRY_LONG64;
    entry->cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG;
    entry->cr3 = base + BLOCK_PML4;
    entry->cr4 = CR4_PAE;
    entry->efer = EFER_LME | EFER_LMA;
    entry->gpr[GPR_RSP] = base + BLOCK_STACK_TOP - sizeof(u64);
    set_segments(entry, base + BLOCK_GDT, RIGHTS_CODE64);
    *block = base;
    return ERR_OK;
}

void load_plain_registers(const struct loader *l, struct entry_state *entry, u64 block, u64 rip)
{
    entry->rip = rip;
    entry->gpr[GPR_RDI] = 0;
    entry->gpr[GPR_RSI] = l->request->vm->vcpus;
    entry->gpr[GPR_RDX] = block + BLOCK_CMDLINE;
    entry->gpr[GPR_RCX] = block + BLOCK_NAME;
    entry->every_vcpu = true;
}

struct entry_state entry_for_vcpu(const struct entry_state *entry, u32 index)
{
    struct entry_state mine = *entry;

    mine.gpr[GPR_RDI] = index;
    mine.gpr[GPR_RSP] -= (u64)index * STACK_PER_VCPU;
    return mine;
}

enum err load_enter_prot(struct loader *l, struct entry_state *entry, u64 gdt, u32 rip)
{
    if (!write_gdt(l, gdt, DESCRIPTOR_CODE32))
        return load_fault(l, gdt);
    memset(entry, 0, sizeof(*entry));
    entry->mode = ENTRY_PROT32;
    entry->cr0 = CR0_PE | CR0_ET;
    entry->rip = rip;
    set_segments(entry, gdt, RIGHTS_CODE32);
    return ERR_OK;
}
