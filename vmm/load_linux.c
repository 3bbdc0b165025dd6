/*
 * load_linux.c - a bzImage by the 64-bit boot protocol (Linux Documentation/x86/boot.rst, "64-bit Boot
 * Protocol" and zero-page.rst).
 *
 * The kernel is loaded where it wants to be (pref_address): its own decompressor would go there anyway, and
 * needs init_size bytes from there.
 */
#include "arch/string.h"
#include "vmm/load_parts.h"

/* The setup header, at the same offsets in the file and in boot_params. */
#define HDR_SETUP_SECTS      0x1F1
#define HDR_SYSSIZE          0x1F4
#define HDR_BOOT_FLAG        0x1FE
#define HDR_JUMP_LENGTH      0x201
#define HDR_MAGIC            0x202
#define HDR_VERSION          0x206
#define HDR_TYPE_OF_LOADER   0x210
#define HDR_LOADFLAGS        0x211
#define HDR_RAMDISK_IMAGE    0x218
#define HDR_RAMDISK_SIZE     0x21C
#define HDR_CMD_LINE_PTR     0x228
#define HDR_INITRD_ADDR_MAX  0x22C
#define HDR_KERNEL_ALIGNMENT 0x230
#define HDR_XLOADFLAGS       0x236
#define HDR_CMDLINE_SIZE     0x238
#define HDR_PREF_ADDRESS     0x258
#define HDR_INIT_SIZE        0x260
#define HDR_END              0x264 /* of what version 2.12 has */
#define HDR_LIMIT            0x290 /* where boot_params has something else */

#define BOOT_FLAG           0xAA55
#define MAGIC               0x53726448u /* "HdrS" */
#define MIN_VERSION         0x020C      /* xloadflags came with it */
#define SECTOR              512u
#define DEFAULT_SETUP_SECTS 4
#define LOADER_UNDEFINED    0xFF
#define LOADED_HIGH         0x01
#define XLF_KERNEL_64       0x01
#define ENTRY_64            0x200

#define BP_ACPI_RSDP    0x070
#define BP_E820_ENTRIES 0x1E8
#define BP_E820_TABLE   0x2D0
#define E820_ENTRY_SIZE 20

struct bzimage {
    u64 setup_size;  /* bytes in front of the protected-mode kernel */
    u64 kernel_size; /* bytes of that */
    u64 address;     /* where it goes */
    u64 memory;      /* bytes it needs from there */
    u64 initrd_top;  /* first byte the initrd may not reach */
    u32 header_end;  /* of the setup header in the file */
};

bool load_linux_find(const struct image *file)
{
    return file->size >= HDR_END && load_u16(file->data + HDR_BOOT_FLAG) == BOOT_FLAG &&
           load_u32(file->data + HDR_MAGIC) == MAGIC;
}

static enum err check_header(struct loader *l, const struct image *file)
{
    const u8 *h = file->data;
    u32 version;

    if (file->size < HDR_END)
        return load_fail(l, ERR_TRUNCATED, file->name, "%llu bytes are too few for a Linux kernel",
                         (unsigned long long)file->size);
    if (!load_linux_find(file))
        return load_fail(l, ERR_BAD_IMAGE, file->name, "not a Linux bzImage (no 'HdrS' at 0x%x)", HDR_MAGIC);
    version = load_u16(h + HDR_VERSION);
    if (version < MIN_VERSION)
        return load_fail(l, ERR_BAD_IMAGE, file->name,
                         "boot protocol %u.%u is too old; 2.12 (Linux 3.8) or later is needed", version >> 8,
                         version & 0xFF);
    if (!(load_u16(h + HDR_XLOADFLAGS) & XLF_KERNEL_64))
        return load_fail(l, ERR_BAD_IMAGE, file->name,
                         "the kernel has no 64-bit entry; a 64-bit kernel is needed");
    if (!(h[HDR_LOADFLAGS] & LOADED_HIGH))
        return load_fail(l, ERR_BAD_IMAGE, file->name, "a zImage, which loads low; a bzImage is needed");
    return ERR_OK;
}

static enum err read_header(struct loader *l, const struct image *file, struct bzimage *bz)
{
    const u8 *h = file->data;
    u64 declared = (u64)load_u32(h + HDR_SYSSIZE) * 16, alignment = load_u32(h + HDR_KERNEL_ALIGNMENT);

    bz->setup_size = ((h[HDR_SETUP_SECTS] ? h[HDR_SETUP_SECTS] : DEFAULT_SETUP_SECTS) + 1u) * SECTOR;
    if (file->size <= bz->setup_size + ENTRY_64)
        return load_fail(l, ERR_TRUNCATED, file->name, "the file ends inside its setup code");
    bz->kernel_size = file->size - bz->setup_size;
    if (bz->kernel_size + 15 < declared)
        return load_fail(l, ERR_TRUNCATED, file->name, "the file has %llu bytes, but its header says %llu",
                         (unsigned long long)file->size, (unsigned long long)(bz->setup_size + declared));
    if (declared <= ENTRY_64)
        return load_fail(l, ERR_BAD_IMAGE, file->name, "the header says the kernel has %llu bytes",
                         (unsigned long long)declared);
    bz->kernel_size = MIN(bz->kernel_size, declared); /* what follows is a signature */
    bz->address = load_u64(h + HDR_PREF_ADDRESS);
    bz->memory = load_u32(h + HDR_INIT_SIZE);
    if (bz->memory < bz->kernel_size)
        return load_fail(l, ERR_BAD_IMAGE, file->name,
                         "the header says %s of memory are enough for %s of kernel",
                         load_size_text(bz->memory).text, load_size_text(bz->kernel_size).text);
    if (bz->address < GUEST_RESERVED_TOP || alignment < PAGE_SIZE || (alignment & (alignment - 1)) ||
        (bz->address & (alignment - 1)))
        return load_fail(l, ERR_BAD_IMAGE, file->name, "the load address 0x%llx in the header is impossible",
                         (unsigned long long)bz->address);
    bz->initrd_top = MIN((u64)load_u32(h + HDR_INITRD_ADDR_MAX) + 1, l->low_top);
    bz->header_end = MIN(HDR_MAGIC + (u32)h[HDR_JUMP_LENGTH], (u32)HDR_LIMIT);
    bz->header_end = (u32)MIN((u64)MAX(bz->header_end, (u32)HDR_END), file->size);
    return ERR_OK;
}

static bool put(const struct loader *l, u64 params, u32 offset, u64 value, u32 size)
{
    return load_write(l, params + offset, &value, size);
}

static bool write_e820(const struct loader *l, u64 params)
{
    struct guest_map_entry map[GUEST_MAP_MAX];
    u32 n = guest_map(&l->layout, map);
    bool ok = put(l, params, BP_E820_ENTRIES, n, 1);

    for (u32 i = 0; i < n; i++) {
        u32 at = BP_E820_TABLE + i * E820_ENTRY_SIZE;

        ok = ok && put(l, params, at, map[i].base, 8) && put(l, params, at + 8, map[i].size, 8) &&
             put(l, params, at + 16, map[i].type, 4);
    }
    return ok;
}

static bool write_params(const struct loader *l, const struct bzimage *bz, u64 params, u64 cmdline,
                         u64 initrd)
{
    const struct load_request *r = l->request;

    return load_write(l, params + HDR_SETUP_SECTS, r->kernel.data + HDR_SETUP_SECTS,
                      bz->header_end - HDR_SETUP_SECTS) &&
           put(l, params, HDR_TYPE_OF_LOADER, LOADER_UNDEFINED, 1) &&
           put(l, params, HDR_CMD_LINE_PTR, cmdline, 4) && put(l, params, HDR_RAMDISK_IMAGE, initrd, 4) &&
           put(l, params, HDR_RAMDISK_SIZE, initrd ? r->initrd.size : 0, 4) &&
           put(l, params, BP_ACPI_RSDP, r->acpi_rsdp, 8) && write_e820(l, params);
}

enum err load_linux(struct loader *l, struct entry_state *entry)
{
    const struct load_request *r = l->request;
    const struct image *file = &r->kernel;
    u64 block, initrd = 0, most;
    struct bzimage bz = {0};
    enum err e = check_header(l, file);

    if (e == ERR_OK)
        e = read_header(l, file, &bz);
    if (e != ERR_OK)
        return e;
    most = load_u32(file->data + HDR_CMDLINE_SIZE);
    if (strlen(r->vm->cmdline) > most)
        return load_fail(l, ERR_RANGE, file->name,
                         "the command line is longer than the %llu bytes this kernel takes",
                         (unsigned long long)most);
    if (!load_take(l, bz.address, bz.memory))
        return load_fail(l, ERR_NO_MEMORY, file->name, "the kernel needs %s of memory at %s, the VM has %s",
                         load_size_text(bz.memory).text, load_size_text(bz.address).text,
                         load_size_text(r->vm->memory).text);
    if (r->initrd.data && r->initrd.size &&
        !load_place(l, r->initrd.size, PAGE_SIZE, GUEST_RESERVED_TOP, bz.initrd_top, LOAD_HIGHEST, &initrd))
        return load_fail(l, ERR_NO_MEMORY, r->initrd.name,
                         "%s of initrd do not fit beside the kernel into %s",
                         load_size_text(r->initrd.size).text, load_size_text(r->vm->memory).text);
    e = load_enter_long(l, entry, &block);
    if (e != ERR_OK)
        return e;
    if (!load_write(l, bz.address, file->data + bz.setup_size, bz.kernel_size) ||
        (initrd && !load_write(l, initrd, r->initrd.data, r->initrd.size)) ||
        !write_params(l, &bz, block + LOAD_BLOCK_BOOT_PARAMS, block, initrd))
        return load_fault(l, bz.address);
    entry->rip = bz.address + ENTRY_64;
    entry->gpr[GPR_RSI] = block + LOAD_BLOCK_BOOT_PARAMS;
    return ERR_OK;
}
