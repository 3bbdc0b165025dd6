/*
 * screen.h - text on a linear 32-bit framebuffer (GOP). The lines wrap round to the top instead of scrolling:
 * reading video memory is slow. The row under the newest line is kept empty.
 */
#pragma once
#include "arch/types.h"

struct screen {
    u64 base;          /* physical address; 0: there is no screen */
    u64 size;          /* bytes mapped at base */
    u32 width, height; /* pixels */
    u32 stride;        /* pixels from one row to the next */
};

/* Clears and takes over; false (and no screen) when the geometry does not fit into `size`. */
bool screen_init(const struct screen *s);

/* What screen_init() accepted; base 0 if none. */
const struct screen *screen_get(void);

/* '\n' ends a line, '\r' is ignored, other control characters and bytes above 126 show as a box. */
void screen_write(const char *text, size_t n);
