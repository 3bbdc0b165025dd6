/* load_builtin.c - the guest image inside the hypervisor; vmm/demo/demo_image.asm holds the bytes. */
#include "vmm/load_builtin.h"

#include "arch/string.h"

extern const u8 demo_image_start[], demo_image_end[];

bool demo_find_image(const char *kernel, struct image *out)
{
    if (strcmp(kernel, CONFIG_BUILTIN_PREFIX "alpha") != 0 &&
        strcmp(kernel, CONFIG_BUILTIN_PREFIX "beta") != 0)
        return false;
    /* One image; its name, which the loader passes on, says which side it is. */
    *out = (struct image){kernel, demo_image_start, (u64)(demo_image_end - demo_image_start)};
    return true;
}
