/* load_builtin.c - the guest images inside the hypervisor; vmm/demo/demo_images.asm holds the bytes. */
#include "vmm/load_builtin.h"

#include "arch/string.h"

extern const u8 demo_alpha_start[], demo_alpha_end[], demo_beta_start[], demo_beta_end[];

bool demo_find_image(const char *kernel, struct image *out)
{
    if (strcmp(kernel, CONFIG_BUILTIN_PREFIX "alpha") == 0)
        *out = (struct image){kernel, demo_alpha_start, (u64)(demo_alpha_end - demo_alpha_start)};
    else if (strcmp(kernel, CONFIG_BUILTIN_PREFIX "beta") == 0)
        *out = (struct image){kernel, demo_beta_start, (u64)(demo_beta_end - demo_beta_start)};
    else
        return false;
    return true;
}
