/* guest_console.c - lines of several writers on one console. */
#include "vmm/guest_console.h"

#include "arch/format.h"

void console_mux_init(struct console_mux *mux, void (*write)(const char *text, size_t n))
{
    *mux = (struct console_mux){.write = write, .cursor = CONSOLE_MUX_NOBODY};
}

void console_mux_add(struct console_mux *mux, u32 vm, const char *name)
{
    if (vm < CONSOLE_MUX_VMS)
        mux->vm[vm].name = name;
}

/* Puts the cursor at the start of a line unless it stands in this writer's own line. */
static void take_cursor(struct console_mux *mux, u32 who)
{
    if (mux->cursor != CONSOLE_MUX_NOBODY && mux->cursor != who) {
        mux->vm[mux->cursor].open = false;
        mux->write("\n", 1);
        mux->cursor = CONSOLE_MUX_NOBODY;
    }
}

/* Shows what has gathered; `newline` ends the line. */
static void show(struct console_mux *mux, u32 vm, bool newline)
{
    struct console_mux_vm *v = &mux->vm[vm];
    char out[CONSOLE_MUX_LINE + 32];
    size_t n = 0;

    take_cursor(mux, vm);
    if (!v->open)
        n = format_string(out, 32, "[%s] ", v->name);
    for (u32 i = 0; i < v->used; i++)
        out[n++] = v->line[i];
    if (newline)
        out[n++] = '\n';
    mux->write(out, n);
    v->used = 0;
    v->open = !newline;
    mux->cursor = newline ? CONSOLE_MUX_NOBODY : vm;
}

static char printable(u8 byte)
{
    if (byte >= 0x20 || byte == '\t' || byte == '\b' || byte == '\a' || byte == '\x1b')
        return (char)byte;
    return '?';
}

void console_mux_byte(struct console_mux *mux, u32 vm, u8 byte, u64 now)
{
    if (vm >= CONSOLE_MUX_VMS || !mux->vm[vm].name || byte == '\r' || byte == 0)
        return;
    spinlock_acquire(&mux->lock);
    struct console_mux_vm *v = &mux->vm[vm];
    v->last = now;
    if (byte == '\n') {
        show(mux, vm, true);
    } else {
        v->line[v->used++] = printable(byte);
        if (v->used == CONSOLE_MUX_LINE)
            show(mux, vm, false);
    }
    spinlock_release(&mux->lock);
}

void console_mux_flush_idle(struct console_mux *mux, u32 vm, u64 since)
{
    if (vm >= CONSOLE_MUX_VMS || !console_mux_waiting(mux, vm))
        return;
    spinlock_acquire(&mux->lock);
    if (mux->vm[vm].used && mux->vm[vm].last <= since)
        show(mux, vm, false);
    spinlock_release(&mux->lock);
}

void console_mux_finish(struct console_mux *mux, u32 vm)
{
    if (vm >= CONSOLE_MUX_VMS)
        return;
    spinlock_acquire(&mux->lock);
    if (mux->vm[vm].used || mux->vm[vm].open)
        show(mux, vm, true);
    spinlock_release(&mux->lock);
}

void console_mux_own(struct console_mux *mux, const char *text, size_t n)
{
    spinlock_acquire(&mux->lock);
    take_cursor(mux, CONSOLE_MUX_NOBODY);
    mux->write(text, n);
    spinlock_release(&mux->lock);
}
