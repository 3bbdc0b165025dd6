/*
 * vrtc.h - MC146818 clock and 128 bytes of CMOS memory at ports 0x70/0x71, IRQ 8.
 * Callers hold the platform's device lock.
 */
#pragma once
#include "arch/types.h"
#include "vmm/dev/vtime.h"

struct vrtc {
    u64 hz;
    u64 seconds; /* since 1970, UTC, at host TSC `tsc` (a whole second begins there) */
    u64 tsc;
    u64 periodic_from; /* host TSC from which periodic ticks are counted */
    u64 periodic_done; /* ticks given out since then */
    u64 second_done;   /* update and alarm are given out up to this second */
    u8 index;
    u8 ram[128]; /* 0..9 and the century are computed unless SET is on; alarm, A..D and memory live here */
};

rarely_run void vrtc_reset(struct vrtc *r, u64 hz, u64 now, u64 seconds, u64 memory_bytes);
rarely_run u8 vrtc_read(struct vrtc *r, u64 now, u16 port); /* reading register C lowers IRQ 8 */
rarely_run void vrtc_write(struct vrtc *r, u64 now, u16 port, u8 value);
u64 vrtc_deadline(const struct vrtc *r, u64 now);
rarely_run void vrtc_advance(struct vrtc *r, u64 now);
bool vrtc_irq(const struct vrtc *r);
