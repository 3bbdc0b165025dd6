/* vpit.c - 8254, Intel 8254 datasheet (order number 231164), and port 0x61. */
#include "vmm/dev/vpit.h"
#include "arch/string.h"
#include "vmm/dev/vtime.h"

#define PORT_COMMAND       0x43
#define COMMAND_READ_BACK  3
#define READ_BACK_NO_COUNT 0x20
#define READ_BACK_NO_STAT  0x10
#define ACCESS_LATCH       0
#define ACCESS_LOW         1
#define ACCESS_HIGH        2
#define ACCESS_BOTH        3
#define STATUS_OUTPUT      0x80
#define STATUS_NULL_COUNT  0x40
#define COUNT_MAX          0x10000u
#define BCD_MAX            10000u
#define PORT61_GATE2       0x01
#define PORT61_WRITABLE    0x03
#define PORT61_REFRESH     0x10
#define PORT61_OUTPUT2     0x20
#define REFRESH_HZ         66287ull /* the line toggles with every refresh, about 15 us */

static bool is_periodic(const struct vpit_channel *c)
{
    return c->mode == 2 || c->mode == 3;
}

/* PIT ticks since the count was loaded, not counting time with the gate low. */
static u64 elapsed(const struct vpit *p, const struct vpit_channel *c, u64 now)
{
    if (!c->gate)
        return c->paused;
    return vtime_scale(vtime_since(now, c->start), VPIT_HZ, p->hz);
}

static u32 counter(const struct vpit *p, const struct vpit_channel *c, u64 now)
{
    u32 modulus = c->bcd ? BCD_MAX : COUNT_MAX;
    u64 ticks = elapsed(p, c, now);
    if (c->count == 0)
        return 0;
    if (c->mode == 3) { /* counts down by two, twice per period */
        u64 half = (c->count + 1) / 2;
        return (u32)(c->count - 2 * (ticks % c->count % half)) & ~1u;
    }
    if (is_periodic(c))
        return (u32)(c->count - ticks % c->count);
    return (u32)((c->count + modulus - ticks % modulus) % modulus); /* goes on below 0 */
}

static bool output(const struct vpit *p, const struct vpit_channel *c, u64 now)
{
    u64 ticks = elapsed(p, c, now);
    if (c->count == 0)
        return c->mode != 0;
    switch (c->mode) {
    case 2: return ticks % c->count != c->count - 1;
    case 3: return ticks % c->count < (c->count + 1) / 2;
    case 4:
    case 5: return ticks != c->count;
    default: return ticks >= c->count; /* 0 and 1 */
    }
}

bool vpit_output(const struct vpit *p, u32 channel, u64 now)
{
    return output(p, &p->channel[channel], now);
}

void vpit_reset(struct vpit *p, u64 hz, u64 now)
{
    memset(p, 0, sizeof *p);
    p->hz = hz;
    for (u32 i = 0; i < ARRAY_SIZE(p->channel); i++) {
        p->channel[i].access = ACCESS_BOTH;
        p->channel[i].mode = 3;
        p->channel[i].gate = i != 2;
        p->channel[i].start = now;
    }
}

/* ------------------------------------------------------------------ reading and writing counts */

static u16 to_bcd(u32 v)
{
    return (u16)(v % 10 | v / 10 % 10 << 4 | v / 100 % 10 << 8 | v / 1000 % 10 << 12);
}
static u32 from_bcd(u32 v)
{
    return (v & 15) + (v >> 4 & 15) * 10 + (v >> 8 & 15) * 100 + (v >> 12 & 15) * 1000;
}

static u16 visible_count(const struct vpit *p, const struct vpit_channel *c, u64 now)
{
    u32 v = counter(p, c, now);
    return c->bcd ? to_bcd(v) : (u16)v;
}

static void latch_count(const struct vpit *p, struct vpit_channel *c, u64 now)
{
    if (c->latched)
        return; /* the first latch counts until it is read */
    c->latch = visible_count(p, c, now);
    c->latched = c->access == ACCESS_BOTH ? 2 : 1;
    if (c->access == ACCESS_HIGH)
        c->latch >>= 8;
}

static u8 read_channel(const struct vpit *p, struct vpit_channel *c, u64 now)
{
    if (c->status_latched) {
        c->status_latched = false;
        return c->status;
    }
    if (c->latched) {
        u8 byte = (u8)c->latch;
        c->latch >>= 8;
        c->latched--;
        return byte;
    }
    u16 count = visible_count(p, c, now);
    if (c->access == ACCESS_LOW)
        return (u8)count;
    if (c->access == ACCESS_HIGH)
        return (u8)(count >> 8);
    c->read_high = !c->read_high;
    return (u8)(c->read_high ? count : count >> 8);
}

static void load_count(struct vpit_channel *c, u64 now, u16 written)
{
    u32 count = c->bcd ? from_bcd(written) : written;
    if (count == 0)
        count = c->bcd ? BCD_MAX : COUNT_MAX;
    c->count = count;
    c->start = now;
    c->paused = 0;
    c->fired = 0;
}

static void write_channel(struct vpit_channel *c, u64 now, u8 value)
{
    if (c->access == ACCESS_LOW) {
        load_count(c, now, value);
    } else if (c->access == ACCESS_HIGH) {
        load_count(c, now, (u16)(value << 8));
    } else if (!c->write_high) {
        c->write_low = value;
        c->write_high = true;
    } else {
        c->write_high = false;
        load_count(c, now, (u16)(value << 8 | c->write_low));
    }
}

static void read_back(struct vpit *p, u64 now, u8 command)
{
    for (u32 i = 0; i < ARRAY_SIZE(p->channel); i++) {
        struct vpit_channel *c = &p->channel[i];
        if (!(command & 2u << i))
            continue;
        if (!(command & READ_BACK_NO_COUNT))
            latch_count(p, c, now);
        if (!(command & READ_BACK_NO_STAT) && !c->status_latched) {
            c->status_latched = true;
            c->status = (u8)((output(p, c, now) ? STATUS_OUTPUT : 0) | (c->count ? 0 : STATUS_NULL_COUNT) |
                             c->access << 4 | c->mode << 1 | c->bcd);
        }
    }
}

static void write_command(struct vpit *p, u64 now, u8 command)
{
    if (command >> 6 == COMMAND_READ_BACK) {
        read_back(p, now, command);
        return;
    }
    struct vpit_channel *c = &p->channel[command >> 6];
    u8 access = (command >> 4) & 3, mode = (command >> 1) & 7;
    if (access == ACCESS_LATCH) {
        latch_count(p, c, now);
        return;
    }
    c->access = access;
    c->mode = mode > 5 ? mode - 4 : mode; /* 6 and 7 are 2 and 3 */
    c->bcd = command & 1;
    c->count = 0;
    c->latched = 0;
    c->status_latched = c->read_high = c->write_high = false;
}

u8 vpit_read(struct vpit *p, u64 now, u16 port)
{
    return port == PORT_COMMAND ? 0xFF : read_channel(p, &p->channel[port & 3], now);
}

void vpit_write(struct vpit *p, u64 now, u16 port, u8 value)
{
    if (port == PORT_COMMAND)
        write_command(p, now, value);
    else
        write_channel(&p->channel[port & 3], now, value);
}

/* ------------------------------------------------------------------ port 0x61 */

u8 vpit_port61_read(const struct vpit *p, u64 now)
{
    u64 refreshes = vtime_scale(now, REFRESH_HZ, p->hz);
    return (u8)(p->port61 | (refreshes & 1 ? PORT61_REFRESH : 0) |
                (vpit_output(p, 2, now) ? PORT61_OUTPUT2 : 0));
}

void vpit_port61_write(struct vpit *p, u64 now, u8 value)
{
    struct vpit_channel *c = &p->channel[2];
    bool gate = value & PORT61_GATE2;
    if (gate && !c->gate) {
        c->gate = true;
        c->start = now; /* modes 1, 2, 3, 5: a rising gate starts over */
        if (c->mode == 0 || c->mode == 4) {
            u64 before = vtime_scale_up(c->paused, p->hz, VPIT_HZ);
            c->start = before < now ? now - before : 0;
        }
    } else if (!gate && c->gate) {
        c->paused = elapsed(p, c, now);
        c->gate = false;
    }
    p->port61 = value & PORT61_WRITABLE;
}

/* ------------------------------------------------------------------ channel 0's interrupts */

/* PIT ticks after start at which rising edge number n (from 0) comes. */
static u64 edge_ticks(const struct vpit_channel *c, u64 n)
{
    return (n + 1) * c->count;
}

u64 vpit_deadline(const struct vpit *p)
{
    const struct vpit_channel *c = &p->channel[0];
    if (c->count == 0 || c->mode == 1 || c->mode == 5 || (!is_periodic(c) && c->fired))
        return VTIME_NEVER; /* 1 and 5 wait for a gate that never moves */
    return c->start + vtime_scale_up(edge_ticks(c, c->fired), p->hz, VPIT_HZ);
}

bool vpit_take_edge(struct vpit *p, u64 now)
{
    struct vpit_channel *c = &p->channel[0];
    if (now < vpit_deadline(p))
        return false;
    c->fired = is_periodic(c) ? elapsed(p, c, now) / c->count : 1;
    return true;
}
