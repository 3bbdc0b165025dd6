/* exit.c - names of the exit reasons. */
#include "vmx/exit.h"
#include "vmx/names.h"

static const u8 numbers[] = {
#define VMX_EXIT_REASON(name, number) number,
#include "vmx/exit.def"
#undef VMX_EXIT_REASON
};
static const char names[] =
#define VMX_EXIT_REASON(name, number) #name "\0"
#include "vmx/exit.def"
#undef VMX_EXIT_REASON
    ;

const char *vmx_exit_name(u32 basic_reason)
{
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
        if (numbers[i] == basic_reason)
            return names_at(names, i);
    return "?";
}
