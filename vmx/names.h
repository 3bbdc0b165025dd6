/*
 * names.h - tables of names as one block of text, "A\0B\0C\0": half the size of an array of pointers, and
 * nothing to relocate.
 */
#pragma once
#include "arch/string.h"
#include "arch/types.h"

/* The name with this index; the caller knows that it is there. */
static inline const char *names_at(const char *names, size_t index)
{
    while (index--)
        names += strlen(names) + 1;
    return names;
}
