/* vuart.c - 16550A, National Semiconductor PC16550D datasheet. */
#include "arch/string.h"
#include "vmm/dev/platform.h"

enum vuart_register { UART_DATA, UART_IER, UART_IIR, UART_LCR, UART_MCR, UART_LSR, UART_MSR, UART_SCRATCH };

#define IER_RX        0x01
#define IER_THRE      0x02
#define IER_LINE      0x04
#define IER_MODEM     0x08
#define IER_WRITABLE  0x0F
#define IIR_NONE      0x01
#define IIR_MODEM     0x00
#define IIR_THRE      0x02
#define IIR_RX        0x04
#define IIR_LINE      0x06
#define IIR_TIMEOUT   0x0C
#define IIR_FIFO      0xC0
#define FCR_ENABLE    0x01
#define FCR_CLEAR_RX  0x02
#define FCR_CLEAR_TX  0x04
#define FCR_KEPT      0xC9
#define LCR_DLAB      0x80
#define LCR_BREAK     0x40
#define MCR_DTR       0x01
#define MCR_RTS       0x02
#define MCR_OUT1      0x04
#define MCR_OUT2      0x08
#define MCR_LOOP      0x10
#define MCR_WRITABLE  0x1F
#define LSR_DATA      0x01
#define LSR_OVERRUN   0x02
#define LSR_BREAK     0x10
#define LSR_ERRORS    0x1E
#define LSR_THRE      0x20
#define LSR_EMPTY     0x40
#define MSR_DELTAS    0x0F
#define MSR_CTS       0x10
#define MSR_DSR       0x20
#define MSR_RI        0x40
#define MSR_DCD       0x80
#define MSR_TERI      0x04
#define MSR_CONNECTED (MSR_CTS | MSR_DSR | MSR_DCD)
#define DIVISOR_9600  12
#define TIMEOUT_HZ    2500ull /* four characters at 115200 baud are about 0.35 ms */
#define RETRY_HZ      1000ull /* how often a busy console is tried again */

static const u8 trigger_level[4] = {1, 4, 8, 14};

static bool fifo_push(struct vuart_fifo *f, u32 capacity, u8 byte)
{
    if (f->count >= capacity)
        return false;
    f->byte[(f->head + f->count) % VUART_FIFO] = byte;
    f->count++;
    return true;
}

static u8 fifo_pop(struct vuart_fifo *f)
{
    u8 byte = f->byte[f->head];
    f->head = (f->head + 1) % VUART_FIFO;
    f->count--;
    return byte;
}

static u32 capacity(const struct vuart *u)
{
    return u->fcr & FCR_ENABLE ? VUART_FIFO : 1;
}

static bool rx_at_trigger(const struct vuart *u)
{
    u32 level = u->fcr & FCR_ENABLE ? trigger_level[u->fcr >> 6] : 1;
    return u->rx.count >= level;
}

void vuart_reset(struct vuart *u, u64 hz)
{
    memset(u, 0, sizeof *u);
    u->hz = hz;
    u->msr = MSR_CONNECTED;
    u->dll = DIVISOR_9600;
    u->mcr = 0;
    u->lsr = LSR_THRE | LSR_EMPTY;
}

static void rx_push(struct vuart *u, u64 now, u8 byte)
{
    if (!fifo_push(&u->rx, capacity(u), byte))
        u->lsr |= LSR_OVERRUN;
    u->lsr |= LSR_DATA;
    u->rx_time = now;
    u->timeout = false;
}

/* ------------------------------------------------------------------ transmitting */

/* Sends what console_out takes. In loopback the bytes come back instead. */
static void tx_drain(struct vuart *u, const struct vplat_ops *ops, u64 now)
{
    while (u->tx.count) {
        u8 byte = u->tx.byte[u->tx.head];
        if (u->mcr & MCR_LOOP)
            rx_push(u, now, byte);
        else if (!ops->console_out(ops->ctx, byte))
            return;
        fifo_pop(&u->tx);
    }
    if (!(u->lsr & LSR_THRE)) {
        u->lsr |= LSR_THRE | LSR_EMPTY;
        u->thre_pending = true;
    }
}

static void tx_write(struct vuart *u, const struct vplat_ops *ops, u64 now, u8 byte)
{
    u->thre_pending = false;
    u->lsr &= (u8) ~(LSR_THRE | LSR_EMPTY);
    /* A guest that writes without looking at THRE loses bytes on a real UART, too. */
    fifo_push(&u->tx, VUART_FIFO, byte);
    tx_drain(u, ops, now);
}

/* ------------------------------------------------------------------ interrupts */

/* The interrupt with the highest priority, as IIR says it. */
static u8 interrupt_id(const struct vuart *u)
{
    if ((u->ier & IER_LINE) && (u->lsr & LSR_ERRORS))
        return IIR_LINE;
    if ((u->ier & IER_RX) && rx_at_trigger(u))
        return IIR_RX;
    if ((u->ier & IER_RX) && u->timeout && u->rx.count)
        return IIR_TIMEOUT;
    if ((u->ier & IER_THRE) && u->thre_pending)
        return IIR_THRE;
    if ((u->ier & IER_MODEM) && (u->msr & MSR_DELTAS))
        return IIR_MODEM;
    return IIR_NONE;
}

bool vuart_irq(const struct vuart *u)
{
    return interrupt_id(u) != IIR_NONE && (u->mcr & MCR_OUT2) && !(u->mcr & MCR_LOOP);
}

/* ------------------------------------------------------------------ modem lines */

static u8 modem_inputs(const struct vuart *u)
{
    if (!(u->mcr & MCR_LOOP))
        return MSR_CONNECTED;
    return (u8)((u->mcr & MCR_RTS ? MSR_CTS : 0) | (u->mcr & MCR_DTR ? MSR_DSR : 0) |
                (u->mcr & MCR_OUT1 ? MSR_RI : 0) | (u->mcr & MCR_OUT2 ? MSR_DCD : 0));
}

static void update_modem(struct vuart *u)
{
    u8 old = u->msr & (u8)~MSR_DELTAS, inputs = modem_inputs(u);
    u8 changed = (old ^ inputs) >> 4;
    if ((changed & MSR_TERI) && (inputs & MSR_RI))
        changed &= (u8)~MSR_TERI; /* only the trailing edge of RI counts */
    u->msr = (u8)(inputs | (u->msr & MSR_DELTAS) | changed);
}

/* ------------------------------------------------------------------ registers */

static u8 read_data(struct vuart *u, u64 now)
{
    u8 byte = u->rx.count ? fifo_pop(&u->rx) : 0;
    if (u->rx.count == 0)
        u->lsr &= (u8)~LSR_DATA;
    u->timeout = false;
    u->rx_time = now;
    return byte;
}

static u8 read_iir(struct vuart *u)
{
    u8 id = interrupt_id(u);
    if (id == IIR_THRE)
        u->thre_pending = false;
    return id | (u->fcr & FCR_ENABLE ? IIR_FIFO : 0);
}

u8 vuart_read(struct vuart *u, const struct vplat_ops *ops, u64 now, u32 reg)
{
    u8 value;
    vuart_advance(u, ops, now);
    switch (reg) {
    case UART_DATA: return u->lcr & LCR_DLAB ? u->dll : read_data(u, now);
    case UART_IER: return u->lcr & LCR_DLAB ? u->dlm : u->ier;
    case UART_IIR: return read_iir(u);
    case UART_LCR: return u->lcr;
    case UART_MCR: return u->mcr;
    case UART_LSR:
        value = u->lsr;
        u->lsr &= (u8)~LSR_ERRORS;
        return value;
    case UART_MSR:
        value = u->msr;
        u->msr &= (u8)~MSR_DELTAS;
        return value;
    default: return u->scratch;
    }
}

static void write_ier(struct vuart *u, u8 value)
{
    value &= IER_WRITABLE;
    if ((value & ~u->ier & IER_THRE) && (u->lsr & LSR_THRE))
        u->thre_pending = true; /* enabling it with THR empty interrupts at once */
    u->ier = value;
}

static void write_fcr(struct vuart *u, u8 value)
{
    bool toggled = (u->fcr ^ value) & FCR_ENABLE;
    if (toggled || (value & FCR_CLEAR_RX)) {
        u->rx.count = 0;
        u->lsr &= (u8)~LSR_DATA;
        u->timeout = false;
    }
    /* FCR_CLEAR_TX has nothing to clear: bytes in the transmit FIFO are on their way to the console already.
     */
    u->fcr = value & FCR_ENABLE ? value & FCR_KEPT : 0;
}

void vuart_write(struct vuart *u, const struct vplat_ops *ops, u64 now, u32 reg, u8 value)
{
    switch (reg) {
    case UART_DATA:
        if (u->lcr & LCR_DLAB)
            u->dll = value;
        else
            tx_write(u, ops, now, value);
        break;
    case UART_IER:
        if (u->lcr & LCR_DLAB)
            u->dlm = value;
        else
            write_ier(u, value);
        break;
    case UART_IIR: write_fcr(u, value); break;
    case UART_LCR:
        if ((u->mcr & MCR_LOOP) && (value & ~u->lcr & LCR_BREAK))
            u->lsr |= LSR_BREAK;
        u->lcr = value;
        break;
    case UART_MCR:
        u->mcr = value & MCR_WRITABLE;
        update_modem(u);
        tx_drain(u, ops, now);
        break;
    case UART_SCRATCH: u->scratch = value; break;
    default: break; /* LSR and MSR are for the factory */
    }
}

bool vuart_receive(struct vuart *u, u64 now, u8 byte)
{
    if (u->rx.count >= capacity(u) || (u->mcr & MCR_LOOP))
        return false;
    rx_push(u, now, byte);
    return true;
}

u64 vuart_deadline(const struct vuart *u, u64 now)
{
    u64 next = VTIME_NEVER;
    if (u->tx.count)
        next = now + u->hz / RETRY_HZ;
    if (u->rx.count && !u->timeout && (u->ier & IER_RX) && (u->fcr & FCR_ENABLE) && !rx_at_trigger(u))
        next = MIN(next, u->rx_time + u->hz / TIMEOUT_HZ);
    return next;
}

void vuart_advance(struct vuart *u, const struct vplat_ops *ops, u64 now)
{
    if (u->tx.count)
        tx_drain(u, ops, now);
    if (u->rx.count && vtime_since(now, u->rx_time) >= u->hz / TIMEOUT_HZ)
        u->timeout = true;
}
