/*
 * vpic.h - the 8259A pair with cascade at IR2 and the edge/level registers 0x4D0/0x4D1. Intel 8259A
 * datasheet. Callers hold the platform's device lock.
 */
#pragma once
#include "arch/types.h"
#include "vmm/dev/vtime.h"

#define VPIC_IRQS 16

struct vpic_chip {
    u8 irr, isr, imr;
    u8 lines; /* level of each input */
    u8 elcr;  /* bit: level-triggered */
    u8 elcr_writable;
    u8 vector_base; /* ICW2 */
    u8 lowest;      /* input with the lowest priority now (rotation); 7 after ICW1 */
    u8 icw_next;    /* 0: initialised; else the ICW that comes next (2, 3, 4) */
    bool icw4_needed, auto_eoi, rotate_auto_eoi, special_nested, special_mask;
    bool read_isr, poll;
};

struct vpic {
    struct vpic_chip chip[2]; /* master, slave */
    bool output;              /* INTR pin of the master */
    bool keeps;               /* an edge counts though its line falls before it is acknowledged */
};

rarely_run void vpic_reset(struct vpic *p);
/* After vpic_reset(): as kvm-unit-tests know it from QEMU, IRQ 11 open and pulses remembered. */
rarely_run void vpic_test_platform(struct vpic *p);
rarely_run u8 vpic_read(struct vpic *p, u16 port);
rarely_run void vpic_write(struct vpic *p, u16 port, u8 value);
void vpic_set_irq(struct vpic *p, u32 irq, bool level);

/* INTA cycle: the vector, spurious IR7 of the chip in question when the request is gone. */
u8 vpic_acknowledge(struct vpic *p);
