/*
 * vtime.h - arithmetic on TSC ticks for the virtual devices.
 *
 * Time is a host TSC value ("now"); rates are in Hz. No product below overflows as long as num and den are
 * at most 2^32: the remainder is below den, so remainder * num fits 64 bits.
 */
#pragma once
#include "arch/types.h"

#define VTIME_NEVER   (~0ull)
#define VTIME_HZ_MIN  1000000ull    /* slowest TSC we accept (an emulator's) */
#define VTIME_HZ_MAX  0xFFFFFFFFull /* fastest, 4.3 GHz; a faster one is told to the devices as this */
#define VTIME_AGE_MAX (1ull << 62)  /* a deadline further away than this is "never" */

/* value * num / den, rounded down. */
static inline u64 vtime_scale(u64 value, u64 num, u64 den)
{
    return value / den * num + value % den * num / den;
}

/* value * num / den, rounded up: the first tick of rate num at which `value` ticks of rate den are over. */
static inline u64 vtime_scale_up(u64 value, u64 num, u64 den)
{
    return value / den * num + (value % den * num + den - 1) / den;
}

/* later - earlier, or 0 when they come in the other order (TSCs of two CPUs may differ a little). */
static inline u64 vtime_since(u64 later, u64 earlier)
{
    return later > earlier ? later - earlier : 0;
}
