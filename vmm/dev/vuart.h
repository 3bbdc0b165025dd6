/*
 * vuart.h - a 16550A with FIFOs at 0x3F8, IRQ 4. National PC16550D datasheet.
 * The baud rate has no effect: bytes go out as fast as console_out takes them, and come in as fast as they
 * are read. No transmitted byte is lost: while console_out says "busy" bytes wait in the transmit FIFO and
 * THRE stays off. Callers hold the platform's device lock.
 */
#pragma once
#include "arch/types.h"
#include "vmm/dev/vtime.h"

#define VUART_PORT 0x3F8
#define VUART_FIFO 16

struct vuart_fifo {
    u8 byte[VUART_FIFO];
    u8 head, count;
};

struct vuart {
    struct vuart_fifo rx, tx;
    u8 ier, fcr, lcr, mcr, lsr, msr, scratch, dll, dlm;
    bool thre_pending; /* THRE interrupt not yet acknowledged by reading IIR or writing THR */
    bool timeout;      /* character timeout: bytes below the trigger level have waited */
    u64 rx_time;       /* when the last byte came or was read */
    u64 hz;
};

struct vplat_ops;

rarely_run void vuart_reset(struct vuart *u, u64 hz);
u8 vuart_read(struct vuart *u, const struct vplat_ops *ops, u64 now, u32 reg);
void vuart_write(struct vuart *u, const struct vplat_ops *ops, u64 now, u32 reg, u8 value);

/* A byte for the guest; false: no room, try again later. */
bool vuart_receive(struct vuart *u, u64 now, u8 byte);

/* Level of the interrupt line (OUT2 gates it, as on a PC). */
bool vuart_irq(const struct vuart *u);
u64 vuart_deadline(const struct vuart *u, u64 now);
void vuart_advance(struct vuart *u, const struct vplat_ops *ops, u64 now);
