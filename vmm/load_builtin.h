/* load_builtin.h - the two small VMs inside the hypervisor (kernel = builtin:alpha, builtin:beta). */
#pragma once
#include "vmm/load_guest.h"

/* The image of a `builtin:` kernel by its name in the configuration; false if there is none of that name. */
bool demo_find_image(const char *kernel, struct image *out);
