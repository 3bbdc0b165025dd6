/* uart.c - 16550 at COM1, polled. Register layout: PC16550D data sheet, table 1. */
#include "arch/uart.h"
#include "arch/cpu.h"

#define COM1         0x3F8
#define UART_DATA    (COM1 + 0) /* with DLAB: divisor low */
#define UART_IER     (COM1 + 1) /* with DLAB: divisor high */
#define UART_FCR     (COM1 + 2)
#define UART_LCR     (COM1 + 3)
#define UART_MCR     (COM1 + 4)
#define UART_LSR     (COM1 + 5)
#define UART_SCRATCH (COM1 + 7)

#define FCR_ENABLE     0x01
#define LCR_8N1        0x03
#define LCR_DLAB       0x80
#define MCR_DTR_RTS    0x03
#define LSR_DATA_READY 0x01
#define LSR_THR_EMPTY  0x20
#define LSR_IDLE       0x40
#define LSR_ABSENT     0xFF /* nothing answers: the bus floats high */

#define DIVISOR_115200 1
#define FIFO_DEPTH     16
#define PROBE_1        0x5A
#define PROBE_2        0xA5
#define DRAIN_POLLS    2000000u /* far more than 16 bytes at 115200 baud take */

static bool present;

static bool probe(u8 pattern)
{
    port_write8(UART_SCRATCH, pattern);
    return port_read8(UART_SCRATCH) == pattern;
}

bool uart_init(void)
{
    present = port_read8(UART_LSR) != LSR_ABSENT && probe(PROBE_1) && probe(PROBE_2);
    if (!present)
        return false;
    uart_drain(); /* what the firmware wrote last */
    port_write8(UART_IER, 0);
    port_write8(UART_LCR, LCR_DLAB | LCR_8N1);
    port_write8(UART_DATA, DIVISOR_115200);
    port_write8(UART_IER, 0);
    port_write8(UART_LCR, LCR_8N1);
    port_write8(UART_FCR, FCR_ENABLE);
    port_write8(UART_MCR, MCR_DTR_RTS);
    return true;
}

size_t uart_put_some(const u8 *bytes, size_t n)
{
    size_t i;

    if (!present || !(port_read8(UART_LSR) & LSR_THR_EMPTY))
        return present ? 0 : n;
    for (i = 0; i < n && i < FIFO_DEPTH; i++)
        port_write8(UART_DATA, bytes[i]);
    return i;
}

void uart_drain(void)
{
    for (u32 i = 0; present && i < DRAIN_POLLS && !(port_read8(UART_LSR) & LSR_IDLE); i++)
        cpu_pause();
}

int uart_getc(void)
{
    if (!present || !(port_read8(UART_LSR) & LSR_DATA_READY))
        return -1;
    return port_read8(UART_DATA);
}
