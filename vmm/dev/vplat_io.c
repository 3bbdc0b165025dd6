/* vplat_io.c - port accesses of a guest, to the device that ports.def names. */
#include "vmm/dev/platform.h"

enum port_device {
    PORT_NONE,
    PORT_UART,
    PORT_PIC,
    PORT_PIT,
    PORT_PORT61,
    PORT_KEYBOARD,
    PORT_RTC,
    PORT_IGNORED,
    PORT_PORT92,
    PORT_TESTDEV_LATCH,
    PORT_DEBUG,
    PORT_EXIT,
    PORT_ACPI,
    PORT_TESTDEV_IRQ,
    PORT_PCI,
};

enum port_unit { BYTE, WIDE };

struct port_range {
    u16 first, last;
    u8 device, unit;
};

static const struct port_range ranges[] = {
#define X(first_port, last_port, id, access_unit) {first_port, last_port, PORT_##id, access_unit},
#include "vmm/dev/ports.def"
#undef X
};

static const struct port_range nobody = {0, 0, PORT_NONE, WIDE};

#define ALL_ONES         0xFFFFFFFFu
#define KBD_DATA         0x60
#define KBD_STATUS       0x64
#define KBD_STATUS_SYS   0x04 /* self-test passed */
#define KBD_STATUS_FULL  0x01
#define KBD_READ_COMMAND 0x20
#define KBD_SELF_TEST    0xAA
#define KBD_SELF_TEST_OK 0x55
#define KBD_READ_OUTPUT  0xD0
#define KBD_OUTPUT       0x03 /* A20 on, not in reset */
#define KBD_PULSE_RESET  0xFE
#define PORT92_A20       0x02
#define PORT92_RESET     0x01
#define RESET_CONTROL    0xCF9
#define RESET_CPU        0x04
#define DEBUG_PRESENT    0xE9 /* what a Bochs-style debug console reads as */
#define TESTDEV_IRQ_BASE 0x2000
#define LATCH_MASK       3

static const struct port_range *find_range(u16 port)
{
    for (u32 i = 0; i < ARRAY_SIZE(ranges); i++)
        if (port >= ranges[i].first && port <= ranges[i].last)
            return &ranges[i];
    return &nobody;
}

static void end(struct vplatform *vp, enum vplat_end why, u32 code)
{
    vp->config.ops.end(vp->config.ops.ctx, why, code);
}

/* --------------------------------------------- keyboard controller: there, but no keyboard */

static void keyboard_answer(struct vplatform *vp, u8 byte)
{
    vp->kbd_data = byte;
    vp->kbd_status |= KBD_STATUS_FULL;
}

static void keyboard_write(struct vplatform *vp, u16 port, u8 value)
{
    if (port == KBD_DATA)
        return; /* to a device that is not plugged in */
    switch (value) {
    case KBD_PULSE_RESET: end(vp, VPLAT_END_RESET, 0); break;
    case KBD_SELF_TEST: keyboard_answer(vp, KBD_SELF_TEST_OK); break;
    case KBD_READ_OUTPUT: keyboard_answer(vp, KBD_OUTPUT); break;
    case KBD_READ_COMMAND: keyboard_answer(vp, 0); break;
    default: break;
    }
}

static u8 keyboard_read(struct vplatform *vp, u16 port)
{
    if (port == KBD_STATUS)
        return vp->kbd_status | KBD_STATUS_SYS;
    vp->kbd_status &= (u8)~KBD_STATUS_FULL;
    return vp->kbd_data;
}

/* ------------------------------------------------------------------ one access to one device */

static u32 read_device(struct vplatform *vp, u32 device, u64 now, u16 port, u32 size)
{
    switch (device) {
    case PORT_UART: return vuart_read(&vp->uart, &vp->config.ops, now, port - VUART_PORT);
    case PORT_PIC: return vpic_read(&vp->pic, port);
    case PORT_PIT: return vpit_read(&vp->pit, now, port);
    case PORT_PORT61: return vpit_port61_read(&vp->pit, now);
    case PORT_KEYBOARD: return keyboard_read(vp, port);
    case PORT_RTC: return vrtc_read(&vp->rtc, now, port);
    case PORT_PORT92: return PORT92_A20;
    case PORT_TESTDEV_LATCH: return vp->config.testdev ? vp->testdev_latch[port & LATCH_MASK] : ALL_ONES;
    case PORT_DEBUG: return DEBUG_PRESENT;
    case PORT_ACPI: return vacpi_read(&vp->acpi, now, port, size);
    case PORT_PCI: return port == RESET_CONTROL && size == 1 ? vp->reset_control : ALL_ONES;
    case PORT_NONE: vplat_report_unclaimed(vp, VPLAT_UNCLAIMED_PORT_READ, port, size); return ALL_ONES;
    default: return ALL_ONES;
    }
}

static void write_device(struct vplatform *vp, u32 device, u64 now, u16 port, u32 size, u32 value)
{
    const struct vplat_ops *ops = &vp->config.ops;
    switch (device) {
    case PORT_UART: vuart_write(&vp->uart, ops, now, port - VUART_PORT, (u8)value); break;
    case PORT_PIC: vpic_write(&vp->pic, port, (u8)value); break;
    case PORT_PIT: vpit_write(&vp->pit, now, port, (u8)value); break;
    case PORT_PORT61: vpit_port61_write(&vp->pit, now, (u8)value); break;
    case PORT_KEYBOARD: keyboard_write(vp, port, (u8)value); break;
    case PORT_RTC: vrtc_write(&vp->rtc, now, port, (u8)value); break;
    case PORT_PORT92:
        if (value & PORT92_RESET)
            end(vp, VPLAT_END_RESET, 0);
        break;
    case PORT_TESTDEV_LATCH: vp->testdev_latch[port & LATCH_MASK] = (u8)value; break;
    case PORT_DEBUG: ops->debug_out(ops->ctx, (u8)value); break;
    case PORT_EXIT:
        if (vp->config.exit_port)
            end(vp, VPLAT_END_EXIT, value);
        break;
    case PORT_ACPI: vacpi_write(&vp->acpi, ops, now, port, size, value); break;
    case PORT_TESTDEV_IRQ:
        if (vp->config.testdev)
            vplat_set_line(vp, port - TESTDEV_IRQ_BASE, value & 1);
        break;
    case PORT_PCI:
        /* Wider ones are configuration addresses, whose second byte is a device number. */
        if (port != RESET_CONTROL || size != 1)
            break;
        vp->reset_control = (u8)value;
        if (value & RESET_CPU)
            end(vp, VPLAT_END_RESET, 0);
        break;
    case PORT_NONE: vplat_report_unclaimed(vp, VPLAT_UNCLAIMED_PORT_WRITE, port, value); break;
    default: break;
    }
}

static u32 size_mask(u32 size)
{
    return size >= 4 ? ALL_ONES : (1u << 8 * size) - 1;
}

static void access_range(struct vplatform *vp, const struct port_range *r, u64 now, u16 port, u32 size,
                         bool write, u32 *value)
{
    if (write)
        write_device(vp, r->device, now, port, size, *value & size_mask(size));
    else
        *value = read_device(vp, r->device, now, port, size) & size_mask(size);
}

static void device_io(struct vplatform *vp, const struct port_range *r, u64 now, u16 port, u32 size,
                      bool write, u32 *value)
{
    spinlock_acquire(&vp->lock);
    if (r->unit == WIDE || size == 1) {
        access_range(vp, r, now, port, size, write, value);
    } else {
        u32 result = 0;
        for (u32 i = 0; i < size; i++) {
            u16 p = (u16)(port + i);
            u32 byte = *value >> 8 * i;
            access_range(vp, find_range(p), now, p, 1, write, &byte);
            result |= (byte & size_mask(1)) << 8 * i;
        }
        if (!write)
            *value = result;
    }
    vplat_update(vp, now);
    spinlock_release(&vp->lock);
}

void vplat_io(struct vplatform *vp, u64 now, u16 port, u32 size, bool write, u32 *value)
{
    const struct port_range *r = find_range(port);

    if (r->device != PORT_IGNORED)
        device_io(vp, r, now, port, size, write, value);
    else if (!write) /* the delay ports are not worth the lock */
        *value = size_mask(size);
}
