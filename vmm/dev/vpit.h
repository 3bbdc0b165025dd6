/*
 * vpit.h - the 8254 timer and port 0x61. Channel 0 is IRQ 0, channel 1 (refresh) runs with no effect,
 * channel 2 is the speaker with its gate and output in port 0x61. Intel 8254 datasheet.
 * Counting is arithmetic: the state keeps when a count was loaded, never a running counter.
 * Callers hold the platform's device lock.
 */
#pragma once
#include "arch/types.h"
#include "vmm/dev/vtime.h"

#define VPIT_HZ 1193182ull

struct vpit_channel {
    u64 start;    /* host TSC when `count` was loaded */
    u64 fired;    /* channel 0: output edges given to the interrupt controllers since start */
    u32 count;    /* 1..65536; 0: no count written yet */
    u16 latch;    /* latched count */
    u8 status;    /* latched status */
    u8 write_low; /* low byte while the high one is awaited */
    u8 mode;      /* 0..5 */
    u8 access;    /* 1 low, 2 high, 3 low then high */
    u8 latched;   /* bytes of `latch` still to read */
    bool bcd, status_latched, read_high, write_high, gate;
    u64 paused; /* PIT ticks counted before the gate went low */
};

struct vpit {
    struct vpit_channel channel[3];
    u64 hz;
    u8 port61; /* bits 0 (gate 2) and 1 (speaker) as written */
};

rarely_run void vpit_reset(struct vpit *p, u64 hz, u64 now);
rarely_run u8 vpit_read(struct vpit *p, u64 now, u16 port);
rarely_run void vpit_write(struct vpit *p, u64 now, u16 port, u8 value);
rarely_run u8 vpit_port61_read(const struct vpit *p, u64 now);
rarely_run void vpit_port61_write(struct vpit *p, u64 now, u8 value);

/* Output of a channel at `now`. */
bool vpit_output(const struct vpit *p, u32 channel, u64 now);

/* Next rising edge of channel 0 that was not given out yet (host TSC), VTIME_NEVER. */
u64 vpit_deadline(const struct vpit *p);

/* True if a rising edge of channel 0 is due; edges that are late are given out as one. */
bool vpit_take_edge(struct vpit *p, u64 now);
