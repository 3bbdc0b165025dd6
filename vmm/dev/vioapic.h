/*
 * vioapic.h - a 24-pin IOAPIC (82093AA datasheet). Callers hold the platform's device lock.
 *
 * pin 2 = PIT (ISA IRQ 0, override in the MADT), pin 9 = SCI, other pins below 16 = ISA IRQ of that number.
 */
#pragma once
#include "arch/types.h"
#include "vmm/dev/vtime.h"

struct vplatform;

#define VIOAPIC_BASE    0xFEC00000ull
#define VIOAPIC_SIZE    0x1000ull
#define VIOAPIC_PINS    24
#define VIOAPIC_ID      0 /* after reset; writable */
#define VIOAPIC_VERSION (0x11u | (VIOAPIC_PINS - 1) << 16)

/* Redirection table entry */
#define VIOAPIC_RTE_VECTOR_MASK 0xFFull
#define VIOAPIC_RTE_MODE_SHIFT  8
#define VIOAPIC_RTE_LOGICAL     BIT(11)
#define VIOAPIC_RTE_POLARITY    BIT(13) /* 1: active low */
#define VIOAPIC_RTE_REMOTE_IRR  BIT(14)
#define VIOAPIC_RTE_LEVEL       BIT(15)
#define VIOAPIC_RTE_MASKED      BIT(16)
#define VIOAPIC_RTE_DEST_SHIFT  56
#define VIOAPIC_RTE_WRITABLE    0xFF0000000001AFFFull

struct vioapic {
    u64 rte[VIOAPIC_PINS];
    u32 asserted; /* bit per pin: the device asserts it (polarity is applied already) */
    u32 id;
    u8 select;
};

rarely_run void vioapic_reset(struct vioapic *io);
u32 vioapic_read(const struct vioapic *io, u32 offset);
void vioapic_write(struct vplatform *vp, u32 offset, u32 value);

/* A device asserts or releases a pin. An edge on a masked pin is lost, as in the chip. */
void vioapic_set_pin(struct vplatform *vp, u32 pin, bool asserted);

/* Offers levels that nobody has taken again: an APIC accepts more than before. */
void vioapic_retry(struct vplatform *vp);

/* A CPU ended a level-triggered `vector`. */
void vioapic_eoi(struct vplatform *vp, u8 vector);
