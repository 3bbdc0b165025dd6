/* demo_main.c - one image for both sides, as it is part of the hypervisor's: its name says which side it is.
 */
#include "vmm/demo/exchange.h"

int guest_main(const char *cmdline, const char *image)
{
    return strcmp(image, "builtin:beta") == 0 ? beta_main(cmdline) : alpha_main(cmdline);
}
