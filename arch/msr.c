/* msr.c - the names of msr.def. */
#include "arch/msr.h"

static const u32 numbers[] = {
#define X(name, number, gate) (number),
#include "arch/msr.def"
#undef X
};

/* One string with a zero after each name: smaller than pointers, and no relocations. */
static const char names[] =
#define X(name, number, gate) #name "\0"
#include "arch/msr.def"
#undef X
    ;

const char *msr_name(u32 msr)
{
    const char *name = names;

    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        if (numbers[i] == msr)
            return name;
        while (*name++) {
        }
    }
    return NULL;
}
