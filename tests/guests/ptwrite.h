/* ptwrite.h - the ways an operating system's code may write a page-table entry. */
#pragma once
#include "arch/types.h"

enum {
    PTWRITE_MOV,
    PTWRITE_HALVES,
    PTWRITE_BYTES,
    PTWRITE_XCHG,
    PTWRITE_CMPXCHG,
    PTWRITE_AND_OR,
    PTWRITE_ADD,
    PTWRITE_MOVNTI,
    PTWRITE_REP_MOVS,
    PTWRITE_BITS,
    PTWRITE_KINDS
};

static inline void ptwrite_bits(u64 *entry, u64 value)
{
    for (u64 bit = 0; bit < 64; bit++) {
        if (!((*entry ^ value) >> bit & 1))
            continue;
        if (value >> bit & 1)
            __asm__ volatile("lock btsq %1, %0" : "+m"(*entry) : "r"(bit) : "cc");
        else
            __asm__ volatile("lock btrq %1, %0" : "+m"(*entry) : "r"(bit) : "cc");
    }
}

/* *entry = value. In between the entry may hold other values: the page must not be in use. */
static inline void ptwrite(u32 kind, u64 *entry, u64 value)
{
    u64 old = *entry, other = value;

    switch (kind) {
    case PTWRITE_HALVES:
        __asm__ volatile("movl $0, %0" : "=m"(*(u32 *)entry));
        __asm__ volatile("movl %1, %0" : "=m"(((u32 *)entry)[1]) : "r"((u32)(value >> 32)));
        __asm__ volatile("movl %1, %0" : "=m"(*(u32 *)entry) : "r"((u32)value));
        break;
    case PTWRITE_BYTES:
        __asm__ volatile("movb $0, %0" : "=m"(*(u8 *)entry));
        for (u32 i = 7; i < 8; i--)
            __asm__ volatile("movb %1, %0" : "=m"(((u8 *)entry)[i]) : "q"((u8)(value >> (8 * i))));
        break;
    case PTWRITE_XCHG: __asm__ volatile("xchgq %1, %0" : "+m"(*entry), "+r"(other)); break;
    case PTWRITE_CMPXCHG:
        __asm__ volatile("lock cmpxchgq %2, %0" : "+m"(*entry), "+a"(old) : "r"(value) : "cc");
        break;
    case PTWRITE_AND_OR:
        __asm__ volatile("lock andq %1, %0" : "+m"(*entry) : "r"(value) : "cc");
        __asm__ volatile("lock orq %1, %0" : "+m"(*entry) : "r"(value) : "cc");
        break;
    case PTWRITE_ADD: __asm__ volatile("addq %1, %0" : "+m"(*entry) : "r"(value - old) : "cc"); break;
    case PTWRITE_MOVNTI: __asm__ volatile("movnti %1, %0\n\tsfence" : "=m"(*entry) : "r"(value)); break;
    case PTWRITE_REP_MOVS: {
        u64 count = 1, *to = entry;
        const u64 *from = &other;

        __asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
        break;
    }
    case PTWRITE_BITS: ptwrite_bits(entry, value); break;
    default: __asm__ volatile("movq %1, %0" : "=m"(*entry) : "r"(value)); break;
    }
}
