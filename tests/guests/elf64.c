/* elf64.c - an ELF64 guest: says what it was given, and checks that its segments are where they should be. */
#include "vmm/demo/guest.h"

#define ZEROED_WORDS 4096

static u64 zeroed[ZEROED_WORDS] __attribute__((section(".zeroed")));
static u64 initialised[3] = {1, 22, 333};

int guest_main(const char *cmdline, const char *image)
{
    u64 sum = 0;

    say("elf64: image '%s', command line '%s'", image, cmdline);
    for (u32 i = 0; i < ZEROED_WORDS; i++)
        sum |= *(volatile u64 *)&zeroed[i];
    if (sum != 0 || *(volatile u64 *)&initialised[2] != 333) {
        say("elf64: FAIL data 0x%llx, zeroed 0x%llx", (unsigned long long)initialised[2],
            (unsigned long long)sum);
        return 1;
    }
    paging_init(64 * MIB);
    zeroed[5] = 5;
    say("elf64: PASS");
    return 0;
}
