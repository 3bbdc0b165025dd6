/*
 * screen_font.h - the glyphs of screen.c, drawn for it: 5 columns of 8 pixels each for ' ' to '~', lowest bit
 * on top.
 */
#pragma once
#include "arch/types.h"

#define FONT_FIRST   ' '
#define FONT_LAST    '~'
#define FONT_COLUMNS 5
#define FONT_ROWS    8

extern const u8 screen_font[FONT_LAST - FONT_FIRST + 1][FONT_COLUMNS];
