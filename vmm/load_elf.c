/* load_elf.c - ELF executables: ELF32 for multiboot, ELF64 for multiboot and format = elf. */
#include "arch/string.h"
#include "vmm/load_parts.h"

/* System V gABI chapter 4 and 5: offsets, 32-bit and 64-bit side by side. */
#define IDENT_CLASS    4
#define IDENT_DATA     5
#define IDENT_VERSION  6
#define IDENT_SIZE     16
#define CLASS_32       1
#define CLASS_64       2
#define DATA_LITTLE    1
#define TYPE_EXEC      2
#define MACHINE_386    3
#define MACHINE_AMD64  62
#define HEADER_TYPE    16
#define HEADER_MACHINE 18
#define PT_LOAD        1

struct field {
    u8 offset, size;
};
struct shape {
    u32 bits, header_size, entry_size, machine;
    struct field e_entry, e_phoff, e_phentsize, e_phnum;
    struct field p_type, p_offset, p_vaddr, p_paddr, p_filesz, p_memsz;
};

static const struct shape shapes[] = {
    {32,
     52,
     32,
     MACHINE_386,
     {24, 4},
     {28, 4},
     {42, 2},
     {44, 2},
     {0, 4},
     {4, 4},
     {8, 4},
     {12, 4},
     {16, 4},
     {20, 4}},
    {64,
     64,
     56,
     MACHINE_AMD64,
     {24, 8},
     {32, 8},
     {54, 2},
     {56, 2},
     {0, 4},
     {8, 8},
     {16, 8},
     {24, 8},
     {32, 8},
     {40, 8}},
};

static u64 get(const u8 *from, struct field f)
{
    return load_le(from + f.offset, f.size);
}

static const struct shape *shape_of(const struct image *file)
{
    static const u8 magic[] = {0x7F, 'E', 'L', 'F'};

    if (file->size < IDENT_SIZE || memcmp(file->data, magic, sizeof(magic)) != 0)
        return NULL;
    if (file->data[IDENT_CLASS] == CLASS_32)
        return &shapes[0];
    return file->data[IDENT_CLASS] == CLASS_64 ? &shapes[1] : NULL;
}

u32 load_elf_bits(const struct image *file)
{
    const struct shape *shape = shape_of(file);

    return shape ? shape->bits : 0;
}

static enum err check_header(struct loader *l, const struct image *file, const struct shape *shape)
{
    const u8 *h = file->data;
    u64 table, count;

    if (!shape)
        return load_fail(l, ERR_BAD_IMAGE, file->name, "not an ELF file");
    if (file->size < shape->header_size)
        return load_fail(l, ERR_TRUNCATED, file->name, "the file ends inside its ELF header");
    if (h[IDENT_DATA] != DATA_LITTLE || h[IDENT_VERSION] != 1)
        return load_fail(l, ERR_BAD_IMAGE, file->name, "the ELF file is not little-endian version 1");
    if (load_u16(h + HEADER_MACHINE) != shape->machine)
        return load_fail(l, ERR_BAD_IMAGE, file->name, "the ELF file is for machine %u, not for %s",
                         load_u16(h + HEADER_MACHINE), shape->bits == 64 ? "x86-64" : "i386");
    if (load_u16(h + HEADER_TYPE) != TYPE_EXEC)
        return load_fail(l, ERR_BAD_IMAGE, file->name,
                         "the ELF file has type %u and is no executable (type %u)", load_u16(h + HEADER_TYPE),
                         TYPE_EXEC);
    table = get(h, shape->e_phoff);
    count = get(h, shape->e_phnum);
    if (count == 0 || get(h, shape->e_phentsize) != shape->entry_size)
        return load_fail(l, ERR_BAD_IMAGE, file->name, "the ELF file has no usable program headers");
    if (table > file->size || file->size - table < count * shape->entry_size)
        return load_fail(l, ERR_TRUNCATED, file->name, "the file ends before its program headers do");
    return ERR_OK;
}

static enum err take_segment(struct loader *l, const struct image *file, struct load_elf *elf,
                             const struct load_segment *s)
{
    const unsigned long long from = s->paddr;

    if (elf->count == LOAD_MAX_SEGMENTS)
        return load_fail(l, ERR_BAD_IMAGE, file->name, "more than %u loadable segments", LOAD_MAX_SEGMENTS);
    if (s->file_size > s->memory)
        return load_fail(l, ERR_BAD_IMAGE, file->name,
                         "the segment at 0x%llx is larger in the file than in memory", from);
    if (s->file_offset > file->size || file->size - s->file_offset < s->file_size)
        return load_fail(l, ERR_TRUNCATED, file->name, "the file ends inside the segment at 0x%llx", from);
    if (s->memory > UINT64_MAX - s->paddr || s->memory > UINT64_MAX - s->vaddr)
        return load_fail(l, ERR_BAD_IMAGE, file->name, "the segment at 0x%llx wraps around", from);
    if (s->paddr < GUEST_RESERVED_TOP && s->paddr + s->memory > GUEST_RESERVED_BASE)
        return load_fail(l, ERR_BAD_IMAGE, file->name,
                         "the segment at 0x%llx covers the reserved range 640K to 1M", from);
    if (!load_is_ram(l, s->paddr, s->memory))
        return load_fail(
            l, ERR_NO_MEMORY, file->name, "the segment 0x%llx to 0x%llx is outside the VM's memory of %s",
            from, (unsigned long long)(s->paddr + s->memory), load_size_text(l->request->vm->memory).text);
    if (!load_take(l, s->paddr, s->memory))
        return load_fail(l, ERR_BAD_IMAGE, file->name, "the segment at 0x%llx overlaps another one", from);
    elf->segments[elf->count++] = *s;
    elf->top = MAX(elf->top, s->paddr + s->memory);
    return ERR_OK;
}

enum err load_elf_read(struct loader *l, const struct image *file, struct load_elf *elf)
{
    const struct shape *shape = shape_of(file);
    enum err e = check_header(l, file, shape);
    u64 entry;

    memset(elf, 0, sizeof(*elf));
    if (e != ERR_OK)
        return e;
    elf->bits = shape->bits;
    for (u64 i = 0; i < get(file->data, shape->e_phnum); i++) {
        const u8 *p = file->data + get(file->data, shape->e_phoff) + i * shape->entry_size;
        struct load_segment s = {.vaddr = get(p, shape->p_vaddr),
                                 .paddr = get(p, shape->p_paddr),
                                 .memory = get(p, shape->p_memsz),
                                 .file_offset = get(p, shape->p_offset),
                                 .file_size = get(p, shape->p_filesz)};

        if (get(p, shape->p_type) != PT_LOAD || s.memory == 0)
            continue;
        e = take_segment(l, file, elf, &s);
        if (e != ERR_OK)
            return e;
    }
    if (elf->count == 0)
        return load_fail(l, ERR_BAD_IMAGE, file->name, "the ELF file has nothing to load");
    /* The entry is a virtual address; the guest starts without its own page tables, so at the physical one.
     */
    entry = get(file->data, shape->e_entry);
    for (u32 i = 0; i < elf->count; i++) {
        const struct load_segment *s = &elf->segments[i];

        if (entry >= s->vaddr && entry - s->vaddr < s->memory) {
            elf->entry = entry - s->vaddr + s->paddr;
            return ERR_OK;
        }
    }
    return load_fail(l, ERR_BAD_IMAGE, file->name, "the entry 0x%llx is in none of the segments",
                     (unsigned long long)entry);
}

enum err load_elf_write(const struct loader *l, const struct image *file, const struct load_elf *elf)
{
    for (u32 i = 0; i < elf->count; i++) {
        const struct load_segment *s = &elf->segments[i];

        if (!load_write(l, s->paddr, file->data + s->file_offset, s->file_size) ||
            !load_zero(l, s->paddr + s->file_size, s->memory - s->file_size))
            return load_fault(l, s->paddr);
    }
    return ERR_OK;
}

enum err load_elf(struct loader *l, struct entry_state *entry)
{
    const struct image *file = &l->request->kernel;
    struct load_elf elf;
    u64 block;
    enum err e;

    if (load_elf_bits(file) == 32)
        return load_fail(l, ERR_BAD_IMAGE, file->name,
                         "a 32-bit ELF file; format elf is ELF64 (32-bit guests need a multiboot header)");
    e = load_elf_read(l, file, &elf);
    if (e == ERR_OK)
        e = load_enter_long(l, entry, &block);
    if (e == ERR_OK)
        e = load_elf_write(l, file, &elf);
    if (e == ERR_OK)
        load_plain_registers(l, entry, block, elf.entry);
    return e;
}
