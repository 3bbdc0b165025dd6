/* vpic.c - 8259A pair, Intel 8259A datasheet (order number 231468). */
#include "vmm/dev/vpic.h"
#include "arch/string.h"

#define PORT_SLAVE          0xA0
#define PORT_ELCR           0x4D0
#define CASCADE             2 /* the slave's output is IR2 of the master */
#define ICW1_INIT           0x10
#define ICW1_ICW4           0x01
#define ICW2_BASE           0xF8
#define ICW4_AUTO_EOI       0x02
#define ICW4_NESTED         0x10
#define OCW3_SELECT         0x08
#define OCW3_POLL           0x04
#define OCW3_READ           0x02
#define OCW3_READ_ISR       0x01
#define OCW3_MASK_CHANGE    0x40
#define OCW3_MASK_SPECIAL   0x20
#define POLL_INTERRUPT      0x80
#define FIRMWARE_BASE       0x08
#define FIRMWARE_BASE_SLAVE 0x70
#define TEST_IRQ            11
#define SPURIOUS            7
#define NO_INPUT            8
#define ELCR_MASTER         0xF8 /* IRQ 0, 1, 2 are always edges */
#define ELCR_SLAVE          0xDE /* so are 8 and 13 */

/* OCW2 commands, bits 7:5 */
enum {
    OCW2_CLEAR_ROTATE_AUTO = 0,
    OCW2_EOI = 1,
    OCW2_EOI_SPECIFIC = 3,
    OCW2_SET_ROTATE_AUTO = 4,
    OCW2_ROTATE_EOI = 5,
    OCW2_SET_PRIORITY = 6,
    OCW2_ROTATE_EOI_SPECIFIC = 7,
};

/* The input of `mask` with the highest priority as a distance from the highest; NO_INPUT if mask is 0. */
static u32 first_by_priority(const struct vpic_chip *c, u8 mask)
{
    for (u32 distance = 0; distance < 8; distance++)
        if (mask & 1u << ((c->lowest + 1 + distance) & 7))
            return distance;
    return NO_INPUT;
}

static u32 input_at(const struct vpic_chip *c, u32 distance)
{
    return (c->lowest + 1 + distance) & 7;
}

/* The input that may interrupt now, NO_INPUT if none. */
static u32 requested_input(const struct vpic_chip *c, bool is_master)
{
    u8 in_service = c->isr;
    u32 request = first_by_priority(c, c->irr & (u8)~c->imr);
    if (request == NO_INPUT || c->icw_next)
        return NO_INPUT;
    if (c->special_mask)
        in_service &= (u8)~c->imr;
    if (c->special_nested && is_master)
        in_service &= (u8) ~(1u << CASCADE); /* the slave may nest in itself */
    u32 served = first_by_priority(c, in_service);
    return request < served ? input_at(c, request) : NO_INPUT;
}

static void set_input(struct vpic_chip *c, u32 input, bool level)
{
    u8 bit = (u8)(1u << input);
    if (c->elcr & bit)
        c->irr = level ? c->irr | bit : c->irr & (u8)~bit;
    else if (level && !(c->lines & bit))
        c->irr |= bit;
    else if (!level)
        c->irr &= (u8)~bit; /* a request must stay until it is acknowledged */
    c->lines = level ? c->lines | bit : c->lines & (u8)~bit;
}

static void update(struct vpic *p)
{
    bool slave = requested_input(&p->chip[1], false) != NO_INPUT;
    set_input(&p->chip[0], CASCADE, slave);
    p->output = requested_input(&p->chip[0], true) != NO_INPUT;
}

void vpic_reset(struct vpic *p)
{
    memset(p, 0, sizeof *p);
    for (u32 i = 0; i < 2; i++) {
        p->chip[i].imr = 0xFF;
        p->chip[i].lowest = 7;
    }
    /* As firmware leaves it: vectors apart from the exceptions, everything masked. */
    p->chip[0].vector_base = FIRMWARE_BASE;
    p->chip[1].vector_base = FIRMWARE_BASE_SLAVE;
    p->chip[0].elcr_writable = ELCR_MASTER;
    p->chip[1].elcr_writable = ELCR_SLAVE;
}

void vpic_test_platform(struct vpic *p)
{
    p->keeps = true;
    p->chip[0].imr &= (u8) ~(1u << CASCADE);
    p->chip[1].imr &= (u8) ~(1u << (TEST_IRQ - 8));
}

void vpic_set_irq(struct vpic *p, u32 irq, bool level)
{
    if (irq >= VPIC_IRQS || irq == CASCADE)
        return;
    struct vpic_chip *c = &p->chip[irq / 8];
    u8 kept = p->keeps ? c->irr & (u8)~c->elcr : 0;
    set_input(c, irq % 8, level);
    c->irr |= kept;
    update(p);
}

/* INTA or poll of one chip: the input, moved from IRR to ISR. */
static u32 take_input(struct vpic_chip *c, bool is_master)
{
    u32 input = requested_input(c, is_master);
    if (input == NO_INPUT)
        return NO_INPUT;
    u8 bit = (u8)(1u << input);
    if (!(c->elcr & bit))
        c->irr &= (u8)~bit;
    if (!c->auto_eoi)
        c->isr |= bit;
    else if (c->rotate_auto_eoi)
        c->lowest = (u8)input;
    return input;
}

u8 vpic_acknowledge(struct vpic *p)
{
    struct vpic_chip *master = &p->chip[0], *slave = &p->chip[1];
    u32 input = take_input(master, true);
    u32 vector;

    if (input == CASCADE) {
        input = take_input(slave, false);
        vector = slave->vector_base + (input == NO_INPUT ? SPURIOUS : input);
    } else {
        vector = master->vector_base + (input == NO_INPUT ? SPURIOUS : input);
    }
    update(p);
    return (u8)vector;
}

static void end_of_interrupt(struct vpic_chip *c, u32 input, bool rotate)
{
    if (input == NO_INPUT)
        return;
    c->isr &= (u8) ~(1u << input);
    if (rotate)
        c->lowest = (u8)input;
}

static void write_ocw2(struct vpic_chip *c, u8 value)
{
    u32 command = value >> 5, level = value & 7;
    u8 in_service = c->special_mask ? c->isr & (u8)~c->imr : c->isr;
    u32 distance = first_by_priority(c, in_service);
    u32 top = distance == NO_INPUT ? NO_INPUT : input_at(c, distance);

    switch (command) {
    case OCW2_CLEAR_ROTATE_AUTO: c->rotate_auto_eoi = false; break;
    case OCW2_SET_ROTATE_AUTO: c->rotate_auto_eoi = true; break;
    case OCW2_EOI:
    case OCW2_ROTATE_EOI: end_of_interrupt(c, top, command == OCW2_ROTATE_EOI); break;
    case OCW2_EOI_SPECIFIC:
    case OCW2_ROTATE_EOI_SPECIFIC: end_of_interrupt(c, level, command == OCW2_ROTATE_EOI_SPECIFIC); break;
    case OCW2_SET_PRIORITY: c->lowest = (u8)level; break;
    default: break; /* 2: no operation */
    }
}

static void write_icw1(struct vpic_chip *c, u8 value)
{
    c->imr = 0;
    c->isr = 0;
    c->irr = c->lines & c->elcr; /* the edge detectors are cleared */
    c->lowest = 7;
    c->auto_eoi = c->rotate_auto_eoi = c->special_nested = c->special_mask = false;
    c->read_isr = c->poll = false;
    c->icw4_needed = value & ICW1_ICW4;
    c->icw_next = 2;
}

static void write_command(struct vpic_chip *c, u8 value)
{
    if (value & ICW1_INIT) {
        write_icw1(c, value);
    } else if (value & OCW3_SELECT) {
        if (value & OCW3_POLL)
            c->poll = true;
        if (value & OCW3_READ)
            c->read_isr = value & OCW3_READ_ISR;
        if (value & OCW3_MASK_CHANGE)
            c->special_mask = value & OCW3_MASK_SPECIAL;
    } else {
        write_ocw2(c, value);
    }
}

static void write_data(struct vpic_chip *c, u8 value)
{
    switch (c->icw_next) {
    case 0: c->imr = value; break;
    case 2:
        c->vector_base = value & ICW2_BASE;
        c->icw_next = 3;
        break;
    case 3: c->icw_next = c->icw4_needed ? 4 : 0; break;
    default:
        c->auto_eoi = value & ICW4_AUTO_EOI;
        c->special_nested = value & ICW4_NESTED;
        c->icw_next = 0;
        break;
    }
}

void vpic_write(struct vpic *p, u16 port, u8 value)
{
    if (port >= PORT_ELCR) {
        struct vpic_chip *chip = &p->chip[port & 1];
        chip->elcr = value & chip->elcr_writable;
        return;
    }
    struct vpic_chip *c = &p->chip[port >= PORT_SLAVE];
    if (port & 1)
        write_data(c, value);
    else
        write_command(c, value);
    update(p);
}

u8 vpic_read(struct vpic *p, u16 port)
{
    if (port >= PORT_ELCR)
        return p->chip[port & 1].elcr;
    bool is_master = port < PORT_SLAVE;
    struct vpic_chip *c = &p->chip[!is_master];
    if (c->poll) {
        c->poll = false;
        u32 input = take_input(c, is_master);
        update(p);
        return input == NO_INPUT ? 0 : (u8)(POLL_INTERRUPT | input);
    }
    if (port & 1)
        return c->imr;
    return c->read_isr ? c->isr : c->irr;
}
