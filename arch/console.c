/* console.c - the shared console: a ring before the UART, and the screen. */
#include "arch/console.h"
#include "arch/cpu.h"
#include "arch/screen.h"
#include "arch/spinlock.h"
#include "arch/uart.h"

#define PIECE         16u /* bytes handed to the UART at a time: its FIFO */
#define STALLED_POLLS 4000000u

/* Everything here is under `lock`, but that console_pump() may look at head and tail without it. */
static struct spinlock lock;
static u8 ring[CONSOLE_RING];
static _Atomic u32 head, tail; /* head: next to write; tail: next to send. Free running, relaxed: a stale view
                                  only means that a pump comes one call later */

_Static_assert((CONSOLE_RING & (CONSOLE_RING - 1)) == 0, "indices wrap by masking");

static u32 get(_Atomic u32 *v)
{
    return atomic_load_explicit(v, memory_order_relaxed);
}
static void set(_Atomic u32 *v, u32 value)
{
    atomic_store_explicit(v, value, memory_order_relaxed);
}

void console_init(void)
{
    uart_init();
}

/* Moves at most one FIFO's worth; returns whether anything moved. */
static bool send_piece(void)
{
    u32 from = get(&tail) % CONSOLE_RING, n = get(&head) - get(&tail);
    size_t sent = uart_put_some(ring + from, MIN(MIN(n, PIECE), CONSOLE_RING - from));

    set(&tail, get(&tail) + (u32)sent);
    return sent > 0;
}

/* Waits until at least `room` bytes fit. A UART that takes nothing for a long time loses the ring: a dead
 * line must not stop the machine. */
static void make_room(u32 room)
{
    for (u32 polls = 0; CONSOLE_RING - (get(&head) - get(&tail)) < room;) {
        if (send_piece())
            polls = 0;
        else if (++polls == STALLED_POLLS)
            set(&tail, get(&head));
        else
            cpu_pause();
    }
}

static void put_serial(char c)
{
    if (CONSOLE_RING - (get(&head) - get(&tail)) < 2)
        make_room(2);
    if (c == '\n') {
        ring[get(&head) % CONSOLE_RING] = '\r';
        set(&head, get(&head) + 1);
    }
    ring[get(&head) % CONSOLE_RING] = (u8)c;
    set(&head, get(&head) + 1);
}

void console_write(const char *text, size_t n)
{
    spinlock_acquire(&lock);
    for (size_t i = 0; i < n; i++)
        put_serial(text[i]);
    send_piece();
    screen_write(text, n);
    spinlock_release(&lock);
}

u32 console_room(void)
{
    return CONSOLE_RING - (get(&head) - get(&tail));
}

void console_pump(void)
{
    if (get(&head) == get(&tail) || !spinlock_try(&lock))
        return;
    if (get(&head) != get(&tail))
        send_piece();
    spinlock_release(&lock);
}

void console_flush(void)
{
    spinlock_acquire(&lock);
    make_room(CONSOLE_RING);
    uart_drain();
    spinlock_release(&lock);
}

int console_getc(void)
{
    return uart_getc();
}

void console_seize(void)
{
    set(&lock.serving, get(&lock.next));
}
