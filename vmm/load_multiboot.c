/*
 * load_multiboot.c - multiboot1 kernels ("Multiboot Specification version 0.6.96"): ELF, or raw with the
 * addresses in the header; modules, memory information and command line.
 */
#include "arch/string.h"
#include "vmm/load_parts.h"

#define HEADER_SEARCH        8192
#define HEADER_SIZE          12
#define HEADER_ADDRESSED     32 /* with the address fields */
#define HEADER_MAGIC         0x1BADB002u
#define HEADER_ALIGN_MODULES BIT(0)  /* done always */
#define HEADER_MEMORY        BIT(1)  /* done always */
#define HEADER_VIDEO         BIT(2)  /* a wish: there is no display to describe */
#define HEADER_REQUIRED      0xFFFFu /* flags a loader must know */
#define HEADER_ADDRESSES     BIT(16)
#define ENTRY_EAX            0x2BADB002u

/* The information structure: offsets and the flags that say what is there. */
#define INFO_SIZE        120
#define INFO_FLAGS       0
#define INFO_MEM_LOWER   4
#define INFO_MEM_UPPER   8
#define INFO_CMDLINE     16
#define INFO_MODS_COUNT  20
#define INFO_MODS_ADDR   24
#define INFO_MMAP_LENGTH 44
#define INFO_MMAP_ADDR   48
#define INFO_LOADER_NAME 64
#define INFO_HAS_MEMORY  BIT(0)
#define INFO_HAS_CMDLINE BIT(2)
#define INFO_HAS_MODS    BIT(3)
#define INFO_HAS_MMAP    BIT(6)
#define INFO_HAS_NAME    BIT(9)

#define MAX_FILES  (CONFIG_MAX_MODULES + 1) /* the initrd is the first */
#define BLOCK_SIZE (2 * PAGE_SIZE)          /* information, lists, strings and GDT */
#define BLOCK_GDT  (BLOCK_SIZE - LOAD_GDT_SIZE)
#define LOW_BASE   0x20000u /* where small things go: kernels load at 1 MiB, and some use what is below */
#define LOW_TOP    0x9F000u

_Static_assert(CONFIG_MAX_CMDLINE + CONFIG_MAX_PATH + MAX_FILES * (CONFIG_MAX_PATH + CONFIG_MAX_ARGS + 16) +
                       512 <
                   BLOCK_GDT,
               "everything fits into the block");

struct module_list {
    u32 base[MAX_FILES];
    const struct image *file[MAX_FILES];
    const char *args[MAX_FILES];
    u32 count;
};

/* A kernel whose header says where it goes: "the a.out kludge". */
struct addressed {
    u64 offset, load, load_size, memory, entry;
};

/* Appends to guest memory; errors stick. */
struct writer {
    const struct loader *l;
    u64 at, end;
    bool failed;
};

s64 load_multiboot_find(const struct image *file)
{
    u64 end = MIN(file->size, (u64)HEADER_SEARCH);

    for (u64 at = 0; at + HEADER_SIZE <= end; at += 4) {
        const u8 *h = file->data + at;

        if (load_u32(h) == HEADER_MAGIC && (u32)(load_u32(h) + load_u32(h + 4) + load_u32(h + 8)) == 0)
            return (s64)at;
    }
    return -1;
}

static enum err read_addresses(struct loader *l, const struct image *file, u64 at, struct addressed *a)
{
    const u8 *h = file->data + at;
    u64 header, load_end, bss_end;

    if (file->size - at < HEADER_ADDRESSED)
        return load_fail(l, ERR_TRUNCATED, file->name, "the file ends inside its multiboot header");
    header = load_u32(h + 12);
    a->load = load_u32(h + 16);
    load_end = load_u32(h + 20);
    bss_end = load_u32(h + 24);
    a->entry = load_u32(h + 28);
    if (header < a->load || header - a->load > at)
        return load_fail(l, ERR_BAD_IMAGE, file->name,
                         "the load address 0x%llx in the header is before the file",
                         (unsigned long long)a->load);
    a->offset = at - (header - a->load);
    a->load_size = load_end ? load_end - a->load : file->size - a->offset;
    if (load_end && load_end < a->load)
        return load_fail(l, ERR_BAD_IMAGE, file->name, "the header's load addresses are backwards");
    if (a->load_size > file->size - a->offset)
        return load_fail(l, ERR_TRUNCATED, file->name, "the file ends %llu bytes before its load_end_addr",
                         (unsigned long long)(a->load_size - (file->size - a->offset)));
    a->memory = bss_end ? bss_end - a->load : a->load_size;
    if (bss_end && bss_end < a->load + a->load_size)
        return load_fail(l, ERR_BAD_IMAGE, file->name, "the header's bss_end_addr lies inside the kernel");
    if (a->memory == 0 || !load_take(l, a->load, a->memory))
        return load_fail(l, ERR_NO_MEMORY, file->name,
                         "0x%llx to 0x%llx is not in the VM's usable memory of %s",
                         (unsigned long long)a->load, (unsigned long long)(a->load + a->memory),
                         load_size_text(l->request->vm->memory).text);
    if (a->entry < a->load || a->entry - a->load >= a->memory)
        return load_fail(l, ERR_BAD_IMAGE, file->name, "the entry 0x%llx is outside the kernel",
                         (unsigned long long)a->entry);
    return ERR_OK;
}

static void list_modules(const struct load_request *r, struct module_list *list)
{
    if (r->initrd.data) {
        list->file[list->count] = &r->initrd;
        list->args[list->count++] = "";
    }
    for (u32 i = 0; i < r->module_count; i++) {
        list->file[list->count] = &r->modules[i];
        list->args[list->count++] = i < r->vm->module_count ? r->vm->modules[i].args : "";
    }
}

/* Low if it fits there, else right behind the kernel. */
static bool place_small(struct loader *l, u64 size, u64 kernel_top, u64 *base)
{
    return load_place(l, size, PAGE_SIZE, LOW_BASE, LOW_TOP, LOAD_LOWEST, base) ||
           load_place(l, size, PAGE_SIZE, MAX(kernel_top, GUEST_RESERVED_TOP), l->low_top, LOAD_LOWEST, base);
}

static enum err place_modules(struct loader *l, struct module_list *list, u64 kernel_top)
{
    for (u32 i = 0; i < list->count; i++) {
        const struct image *file = list->file[i];
        u64 base;

        if (!file->data || file->size == 0)
            return load_fail(l, ERR_TRUNCATED, file->name, "the file is empty");
        if (!place_small(l, file->size, kernel_top, &base))
            return load_fail(l, ERR_NO_MEMORY, file->name,
                             "the module's %s do not fit beside the kernel into %s",
                             load_size_text(file->size).text, load_size_text(l->request->vm->memory).text);
        list->base[i] = (u32)base;
    }
    return ERR_OK;
}

static u32 append(struct writer *w, const void *data, u64 size)
{
    u64 at = w->at;

    if (w->failed || size > w->end - at || !load_write(w->l, at, data, size))
        w->failed = true;
    else
        w->at += size;
    return (u32)at;
}

/* "first second", zero-terminated; returns its address. */
static u32 append_words(struct writer *w, const char *first, const char *second)
{
    u32 at = append(w, first, strnlen(first, CONFIG_MAX_PATH));

    if (*second) {
        append(w, " ", 1);
        append(w, second, strlen(second));
    }
    append(w, "", 1);
    return at;
}

static void put32(u8 *info, u32 offset, u32 value)
{
    memcpy(info + offset, &value, sizeof(value));
}

static void append_lists(struct writer *w, const struct module_list *list, u8 *info)
{
    struct guest_map_entry map[GUEST_MAP_MAX];
    u32 n = guest_map(&w->l->layout, map), strings[MAX_FILES];

    put32(info, INFO_MMAP_ADDR, (u32)w->at);
    for (u32 i = 0; i < n; i++) {
        u32 size = 20; /* of what follows it */

        append(w, &size, 4);
        append(w, &map[i].base, 8);
        append(w, &map[i].size, 8);
        append(w, &map[i].type, 4);
    }
    put32(info, INFO_MMAP_LENGTH, (u32)w->at - load_u32(info + INFO_MMAP_ADDR));
    for (u32 i = 0; i < list->count; i++)
        strings[i] = append_words(w, list->file[i]->name ? list->file[i]->name : "module", list->args[i]);
    w->at = ALIGN_UP(w->at, 4);
    put32(info, INFO_MODS_COUNT, list->count);
    put32(info, INFO_MODS_ADDR, (u32)w->at);
    for (u32 i = 0; i < list->count; i++) {
        u32 module[4] = {list->base[i], list->base[i] + (u32)list->file[i]->size, strings[i], 0};

        append(w, module, sizeof(module));
    }
}

static enum err write_info(struct loader *l, const struct module_list *list, u64 block)
{
    const struct load_request *r = l->request;
    struct writer w = {.l = l, .at = block + INFO_SIZE, .end = block + BLOCK_GDT};
    u8 info[INFO_SIZE] = {0};

    put32(info, INFO_FLAGS,
          INFO_HAS_MEMORY | INFO_HAS_CMDLINE | INFO_HAS_MODS | INFO_HAS_MMAP | INFO_HAS_NAME);
    put32(info, INFO_MEM_LOWER, (u32)(GUEST_RESERVED_BASE / KIB));
    put32(info, INFO_MEM_UPPER, (u32)((l->low_top - GUEST_RESERVED_TOP) / KIB));
    append_lists(&w, list, info);
    put32(info, INFO_CMDLINE, append_words(&w, r->kernel.name ? r->kernel.name : "kernel", r->vm->cmdline));
    put32(info, INFO_LOADER_NAME, append_words(&w, "Patchbay", ""));
    if (w.failed || !load_write(l, block, info, sizeof(info)))
        return load_fault(l, block);
    for (u32 i = 0; i < list->count; i++) {
        if (!load_write(l, list->base[i], list->file[i]->data, list->file[i]->size))
            return load_fault(l, list->base[i]);
    }
    return ERR_OK;
}

static enum err read_kernel(struct loader *l, const struct image *file, struct addressed *a,
                            struct load_elf *elf)
{
    s64 at = load_multiboot_find(file);
    u32 flags;
    enum err e;

    if (at < 0)
        return load_fail(l, ERR_BAD_IMAGE, file->name, "no multiboot header in the first %u bytes",
                         HEADER_SEARCH);
    flags = load_u32(file->data + at + 4);
    if (flags & HEADER_REQUIRED & ~(HEADER_ALIGN_MODULES | HEADER_MEMORY | HEADER_VIDEO))
        return load_fail(l, ERR_BAD_IMAGE, file->name,
                         "the multiboot header requires unknown features (flags 0x%x)", flags);
    if (flags & HEADER_ADDRESSES)
        return read_addresses(l, file, (u64)at, a);
    if (!load_elf_bits(file))
        return load_fail(l, ERR_BAD_IMAGE, file->name,
                         "the multiboot kernel is no ELF file and names no addresses");
    e = load_elf_read(l, file, elf);
    if (e != ERR_OK)
        return e;
    a->entry = elf->entry;
    if (elf->top > l->low_top)
        return load_fail(l, ERR_BAD_IMAGE, file->name, "a multiboot kernel cannot lie above 4G");
    return ERR_OK;
}

enum err load_multiboot(struct loader *l, struct entry_state *entry)
{
    const struct image *file = &l->request->kernel;
    struct module_list list = {0};
    struct addressed a = {0};
    struct load_elf elf = {0};
    u64 block;
    enum err e = read_kernel(l, file, &a, &elf);
    u64 top = MAX(elf.top, a.load + a.memory);

    if (e != ERR_OK)
        return e;
    if (!place_small(l, BLOCK_SIZE, top, &block))
        return load_fail(l, ERR_NO_MEMORY, file->name, "no place for the boot information beside the kernel");
    list_modules(l->request, &list);
    e = place_modules(l, &list, top);
    if (e != ERR_OK)
        return e;
    if (elf.count)
        e = load_elf_write(l, file, &elf);
    else if (!load_write(l, a.load, file->data + a.offset, a.load_size) ||
             !load_zero(l, a.load + a.load_size, a.memory - a.load_size))
        e = load_fault(l, a.load);
    if (e == ERR_OK)
        e = write_info(l, &list, block);
    if (e == ERR_OK)
        e = load_enter_prot(l, entry, block + BLOCK_GDT, (u32)a.entry);
    if (e == ERR_OK) {
        entry->gpr[GPR_RAX] = ENTRY_EAX;
        entry->gpr[GPR_RBX] = block;
    }
    return e;
}
