/* load_guest.c - which loader an image needs, and the shape of guest memory. */
#include "arch/string.h"
#include "vmm/load_parts.h"

struct guest_layout guest_layout(u64 memory)
{
    struct guest_layout layout = {.count = 1};

    memory = ALIGN_DOWN(memory, PAGE_SIZE);
    layout.ram[0].size = MIN(memory, GUEST_LOW_RAM_TOP);
    if (memory > GUEST_LOW_RAM_TOP)
        layout.ram[layout.count++] = (struct guest_range){GUEST_HIGH_RAM_BASE, memory - GUEST_LOW_RAM_TOP};
    return layout;
}

u32 guest_map(const struct guest_layout *layout, struct guest_map_entry out[GUEST_MAP_MAX])
{
    const struct guest_range *low = &layout->ram[0];
    u32 n = 0;

    out[n++] = (struct guest_map_entry){0, MIN(low->size, GUEST_RESERVED_BASE), GUEST_MAP_USABLE};
    out[n++] = (struct guest_map_entry){GUEST_RESERVED_BASE, GUEST_RESERVED_TOP - GUEST_RESERVED_BASE,
                                        GUEST_MAP_RESERVED};
    if (low->size > GUEST_RESERVED_TOP)
        out[n++] =
            (struct guest_map_entry){GUEST_RESERVED_TOP, low->size - GUEST_RESERVED_TOP, GUEST_MAP_USABLE};
    if (layout->count > 1)
        out[n++] = (struct guest_map_entry){layout->ram[1].base, layout->ram[1].size, GUEST_MAP_USABLE};
    return n;
}

enum config_format load_detect(const struct image *kernel)
{
    if (load_multiboot_find(kernel) >= 0)
        return FORMAT_MULTIBOOT;
    if (load_linux_find(kernel))
        return FORMAT_LINUX;
    return load_elf_bits(kernel) == 64 ? FORMAT_ELF : FORMAT_AUTO;
}

const char *load_format_name(enum config_format format)
{
    static const char *const names[] = {"auto", "linux", "multiboot", "elf", "flat"};

    return (u32)format < ARRAY_SIZE(names) ? names[format] : "unknown";
}

static enum err check_request(const struct loader *l)
{
    const struct load_request *r = l->request;
    u64 memory = r->vm->memory;

    if (!r->kernel.data || r->kernel.size == 0)
        return load_fail(l, ERR_TRUNCATED, r->kernel.name, "the file is empty");
    if (memory < CONFIG_MIN_MEMORY || memory > CONFIG_MAX_MEMORY)
        return load_fail(l, ERR_RANGE, r->kernel.name, "a VM cannot have %s of memory",
                         load_size_text(memory).text);
    if (r->module_count > CONFIG_MAX_MODULES)
        return load_fail(l, ERR_RANGE, r->kernel.name, "too many modules");
    if (memchr(r->vm->cmdline, 0, sizeof(r->vm->cmdline)) == NULL)
        return load_fail(l, ERR_INVALID, r->kernel.name, "the command line has no end");
    return ERR_OK;
}

static enum err detect_or_fail(const struct loader *l, enum config_format *format)
{
    const struct image *kernel = &l->request->kernel;

    if (*format == FORMAT_AUTO)
        *format = load_detect(kernel);
    if (*format != FORMAT_AUTO)
        return ERR_OK;
    if (load_elf_bits(kernel) == 32)
        return load_fail(l, ERR_BAD_IMAGE, kernel->name,
                         "a 32-bit ELF file without a multiboot header; make it ELF64 or add the header");
    return load_fail(
        l, ERR_BAD_IMAGE, kernel->name,
        "neither a Linux bzImage, multiboot nor ELF64; if it is a raw image write format = flat");
}

enum err load_guest(const struct load_request *request, struct entry_state *entry)
{
    struct loader loader = {.request = request, .layout = guest_layout(request->vm->memory)};
    enum config_format format = request->vm->format;
    enum err e = check_request(&loader);

    loader.low_top = loader.layout.ram[0].size;
    if (e == ERR_OK)
        e = detect_or_fail(&loader, &format);
    if (e != ERR_OK)
        return e;
    if (format != FORMAT_MULTIBOOT && request->module_count)
        return load_fail(&loader, ERR_INVALID, request->kernel.name, "a %s image takes no modules",
                         load_format_name(format));
    if (request->initrd.data && (format == FORMAT_ELF || format == FORMAT_FLAT))
        return load_fail(&loader, ERR_INVALID, request->kernel.name, "a %s image takes no initrd",
                         load_format_name(format));
    switch (format) {
    case FORMAT_LINUX: return load_linux(&loader, entry);
    case FORMAT_MULTIBOOT: return load_multiboot(&loader, entry);
    case FORMAT_ELF: return load_elf(&loader, entry);
    default: return load_flat(&loader, entry);
    }
}
