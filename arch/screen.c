/* screen.c - text on the framebuffer. */
#include "arch/screen.h"
#include "arch/cpu.h"
#include "arch/screen_font.h"

#define CELL_WIDTH  6u /* glyph and one column of space */
#define CELL_HEIGHT 9u
#define BIG_WIDTH   1200u /* from this width on every pixel is drawn 2 by 2 */
#define INK         0x00D0D0D0u
#define PAPER       0x00000000u
#define BOX_COLUMN  0x7E /* for what the font has not */

static struct screen screen;     /* written once, then read only */
static u32 scale, columns, rows; /* written once */
static u32 column, row;          /* where the next character goes; under the console's lock */

static u32 *pixel(u32 x, u32 y)
{
    return (u32 *)screen.base + (u64)y * screen.stride + x;
}

static void clear_lines(u32 first, u32 count)
{
    for (u32 y = first; y < first + count; y++) {
        cpu_fill_quads(pixel(0, y), PAPER, screen.width / 2);
        *pixel(screen.width - 1, y) = PAPER;
    }
}

bool screen_init(const struct screen *s)
{
    screen.base = 0;
    if (!s->base || !s->width || !s->height || s->stride < s->width)
        return false;
    if (s->size / sizeof(u32) / s->stride < s->height)
        return false;
    scale = s->width >= BIG_WIDTH ? 2 : 1;
    columns = s->width / (CELL_WIDTH * scale);
    rows = s->height / (CELL_HEIGHT * scale);
    if (columns < 2 || rows < 2)
        return false;
    screen = *s;
    column = row = 0;
    clear_lines(0, s->height);
    return true;
}

const struct screen *screen_get(void)
{
    return &screen;
}

static u8 glyph_column(u8 c, u32 i)
{
    if (i == FONT_COLUMNS)
        return 0;
    return c >= FONT_FIRST && c <= FONT_LAST ? screen_font[c - FONT_FIRST][i] : BOX_COLUMN;
}

static void draw(u8 c)
{
    u32 left = column * CELL_WIDTH * scale, top = row * CELL_HEIGHT * scale;

    for (u32 x = 0; x < CELL_WIDTH * scale; x++) {
        u8 bits = glyph_column(c, x / scale);
        for (u32 y = 0; y < FONT_ROWS * scale; y++)
            *pixel(left + x, top + y) = bits >> y / scale & 1 ? INK : PAPER;
    }
}

/* The row that is begun is empty already; the one after it is emptied now. */
static void next_row(void)
{
    column = 0;
    row = (row + 1) % rows;
    clear_lines((row + 1) % rows * CELL_HEIGHT * scale, CELL_HEIGHT * scale);
}

void screen_write(const char *text, size_t n)
{
    for (size_t i = 0; screen.base && i < n; i++) {
        if (text[i] == '\r')
            continue;
        if (text[i] == '\n') {
            next_row();
            continue;
        }
        if (column == columns)
            next_row();
        draw((u8)text[i]);
        column++;
    }
}
