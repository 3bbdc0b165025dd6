/* vioapic.c - IOAPIC, 82093AA datasheet chapter 3. */
#include "vmm/dev/platform.h"

#define REG_SELECT    0x00
#define REG_WINDOW    0x10
#define INDEX_ID      0x00
#define INDEX_VERSION 0x01
#define INDEX_ARBITER 0x02
#define INDEX_RTE     0x10
#define ID_SHIFT      24
#define ID_MASK       0x0F000000u

void vioapic_reset(struct vioapic *io)
{
    for (u32 i = 0; i < VIOAPIC_PINS; i++)
        io->rte[i] = VIOAPIC_RTE_MASKED;
    io->asserted = 0;
    io->id = VIOAPIC_ID;
    io->select = 0;
}

/* Sends the pin's message if its state calls for one. */
static void service_pin(struct vplatform *vp, u32 pin)
{
    u64 *rte = &vp->ioapic.rte[pin];
    bool level = *rte & VIOAPIC_RTE_LEVEL;

    if ((*rte & VIOAPIC_RTE_MASKED) || (level && (*rte & VIOAPIC_RTE_REMOTE_IRR)))
        return;
    struct vroute_message m = {
        .dest = (u32)(*rte >> VIOAPIC_RTE_DEST_SHIFT),
        .vector = (u8)(*rte & VIOAPIC_RTE_VECTOR_MASK),
        .mode = (*rte >> VIOAPIC_RTE_MODE_SHIFT) & 7,
        .logical = *rte & VIOAPIC_RTE_LOGICAL,
        .level = level,
    };
    if (m.mode > VLAPIC_MODE_LOWEST)
        m.level = level = false; /* NMI and INIT are edges whatever the entry says */
    if (vroute_send(vp, &m) && level)
        *rte |= VIOAPIC_RTE_REMOTE_IRR;
}

void vioapic_set_pin(struct vplatform *vp, u32 pin, bool asserted)
{
    struct vioapic *io = &vp->ioapic;
    u32 bit = 1u << pin;
    if (pin >= VIOAPIC_PINS)
        return;
    bool was = io->asserted & bit;
    io->asserted = asserted ? io->asserted | bit : io->asserted & ~bit;
    if (asserted && (!was || (io->rte[pin] & VIOAPIC_RTE_LEVEL)))
        service_pin(vp, pin);
}

void vioapic_eoi(struct vplatform *vp, u8 vector)
{
    struct vioapic *io = &vp->ioapic;
    for (u32 pin = 0; pin < VIOAPIC_PINS; pin++) {
        u64 *rte = &io->rte[pin];
        if ((*rte & VIOAPIC_RTE_VECTOR_MASK) != vector || !(*rte & VIOAPIC_RTE_REMOTE_IRR))
            continue;
        *rte &= ~VIOAPIC_RTE_REMOTE_IRR;
        if (io->asserted & 1u << pin)
            service_pin(vp, pin);
    }
}

void vioapic_retry(struct vplatform *vp)
{
    struct vioapic *io = &vp->ioapic;
    for (u32 pin = 0; pin < VIOAPIC_PINS; pin++)
        if ((io->asserted & 1u << pin) && (io->rte[pin] & VIOAPIC_RTE_LEVEL))
            service_pin(vp, pin);
}

u32 vioapic_read(const struct vioapic *io, u32 offset)
{
    if (offset == REG_SELECT)
        return io->select;
    if (offset != REG_WINDOW)
        return 0;
    if (io->select == INDEX_ID || io->select == INDEX_ARBITER)
        return io->id << ID_SHIFT;
    if (io->select == INDEX_VERSION)
        return VIOAPIC_VERSION;
    u32 index = io->select - INDEX_RTE;
    if (io->select < INDEX_RTE || index >= 2 * VIOAPIC_PINS)
        return 0;
    return (u32)(io->rte[index / 2] >> (index & 1) * 32);
}

static void write_rte(struct vplatform *vp, u32 index, u32 value)
{
    u32 pin = index / 2;
    u64 *rte = &vp->ioapic.rte[pin];
    u64 writable = VIOAPIC_RTE_WRITABLE & (0xFFFFFFFFull << (index & 1) * 32);

    *rte = (*rte & ~writable) | ((u64)value << (index & 1) * 32 & writable);
    if (!(*rte & VIOAPIC_RTE_LEVEL))
        *rte &= ~VIOAPIC_RTE_REMOTE_IRR; /* guests clear a stuck one by going through edge mode */
    else if (vp->ioapic.asserted & 1u << pin)
        service_pin(vp, pin);
}

void vioapic_write(struct vplatform *vp, u32 offset, u32 value)
{
    struct vioapic *io = &vp->ioapic;
    if (offset == REG_SELECT) {
        io->select = (u8)value;
    } else if (offset == REG_WINDOW) {
        u32 index = io->select - INDEX_RTE;
        if (io->select == INDEX_ID)
            io->id = (value & ID_MASK) >> ID_SHIFT;
        else if (io->select >= INDEX_RTE && index < 2 * VIOAPIC_PINS)
            write_rte(vp, index, value);
    }
}
