/*
 * test_dev_machine.h - a virtual platform on the host for the tests of vmm/dev: callbacks that write down
 * what happened, and short names for guest accesses.
 */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/msr.h"
#include "arch/regs.h"
#include "vmm/dev/platform.h"

#define TEST_HZ      1000000000ull /* 1 GHz: a tick is a nanosecond */
#define TEST_START   1000ull       /* host TSC at power-on */
#define TEST_CONSOLE 4096

struct machine {
    struct vplatform vp;
    struct vplat_cpu cpu[VPLAT_MAX_VCPUS];
    u64 now;
    u32 delivered[VPLAT_MAX_VCPUS]; /* calls of deliver other than TIMER */
    u32 timer_kicks;
    enum vplat_deliver last_kind;
    u8 last_vector;
    u8 console[TEST_CONSOLE], debug[TEST_CONSOLE];
    u32 console_count, debug_count;
    u32 console_room; /* bytes console_out still takes */
    u32 ends;
    enum vplat_end end_why;
    u32 end_code;
    u64 tsc_offset;
    u32 unclaimed;
    u8 ram[VPLAT_TESTDEV_RAM_SIZE];
};

static inline void machine_deliver(void *ctx, u32 vcpu, enum vplat_deliver kind, u8 vector)
{
    struct machine *m = ctx;
    assert_true(vcpu < m->vp.config.vcpus);
    if (kind == VPLAT_DELIVER_TIMER) {
        m->timer_kicks++;
        return;
    }
    m->delivered[vcpu]++;
    m->last_kind = kind;
    m->last_vector = vector;
}
static inline bool machine_console(void *ctx, u8 byte)
{
    struct machine *m = ctx;
    if (!m->console_room)
        return false;
    m->console_room--;
    m->console[m->console_count++ % TEST_CONSOLE] = byte;
    return true;
}
static inline void machine_debug(void *ctx, u8 byte)
{
    struct machine *m = ctx;
    m->debug[m->debug_count++ % TEST_CONSOLE] = byte;
}
static inline void machine_end(void *ctx, enum vplat_end why, u32 code)
{
    struct machine *m = ctx;
    m->ends++;
    m->end_why = why;
    m->end_code = code;
}
static inline void machine_tsc(void *ctx, u32 vcpu, u64 offset)
{
    struct machine *m = ctx;
    (void)vcpu;
    m->tsc_offset = offset;
}
static inline void machine_unclaimed(void *ctx, enum vplat_unclaimed kind, u64 where, u64 value)
{
    struct machine *m = ctx;
    (void)kind, (void)where, (void)value;
    m->unclaimed++;
}

/* A machine that has just been switched on, maxphyaddr 39. */
static inline struct machine *machine_new(u32 vcpus, u64 hz)
{
    struct machine *m = calloc(1, sizeof *m);
    struct vplat_config c = {
        .ops = {m, machine_deliver, machine_console, machine_debug, machine_end, machine_tsc,
                machine_unclaimed},
        .tsc_hz = hz,
        .now = TEST_START,
        .time_seconds = 1700000000, /* 2023-11-14 22:13:20 UTC, a Tuesday */
        .memory = 256 * MIB,
        .vcpus = vcpus,
        .exit_port = true,
        .testdev = true,
        .testdev_ram = m->ram,
    };
    m->now = TEST_START;
    m->console_room = ~0u;
    assert_int_equal(vplat_init(&m->vp, &c, m->cpu), ERR_OK);
    m->vp.cpuid.maxphyaddr = 39;
    return m;
}

/* As a device does: ISA line (0..15) or IOAPIC pin (16..23). */
static inline void irq_line(struct machine *m, u32 irq, bool level)
{
    spinlock_acquire(&m->vp.lock);
    vplat_set_line(&m->vp, irq, level);
    spinlock_release(&m->vp.lock);
}

static inline struct vlapic *lapic_of(struct machine *m, u32 vcpu)
{
    return &m->cpu[vcpu].lapic;
}
static inline void out_n(struct machine *m, u16 port, u32 size, u32 value)
{
    vplat_io(&m->vp, m->now, port, size, true, &value);
}
static inline u32 in_n(struct machine *m, u16 port, u32 size)
{
    u32 value = 0;
    vplat_io(&m->vp, m->now, port, size, false, &value);
    return value;
}
static inline void outb(struct machine *m, u16 port, u8 value)
{
    out_n(m, port, 1, value);
}
static inline u8 inb(struct machine *m, u16 port)
{
    return (u8)in_n(m, port, 1);
}
static inline void mmio_write(struct machine *m, u32 vcpu, u64 gpa, u32 value)
{
    u64 v = value;
    vplat_mmio(&m->vp, vcpu, m->now, GPA(gpa), 4, true, &v);
}
static inline u32 mmio_read(struct machine *m, u32 vcpu, u64 gpa)
{
    u64 v = 0;
    vplat_mmio(&m->vp, vcpu, m->now, GPA(gpa), 4, false, &v);
    return (u32)v;
}
static inline void apic_write(struct machine *m, u32 vcpu, u32 reg, u32 value)
{
    mmio_write(m, vcpu, VLAPIC_DEFAULT_BASE + reg, value);
}
static inline u32 apic_read(struct machine *m, u32 vcpu, u32 reg)
{
    return mmio_read(m, vcpu, VLAPIC_DEFAULT_BASE + reg);
}
static inline void ioapic_write(struct machine *m, u32 index, u32 value)
{
    mmio_write(m, 0, VIOAPIC_BASE, index);
    mmio_write(m, 0, VIOAPIC_BASE + 0x10, value);
}
static inline u32 ioapic_read(struct machine *m, u32 index)
{
    mmio_write(m, 0, VIOAPIC_BASE, index);
    return mmio_read(m, 0, VIOAPIC_BASE + 0x10);
}
static inline void route_pin(struct machine *m, u32 pin, u64 rte)
{
    ioapic_write(m, 0x10 + 2 * pin + 1, (u32)(rte >> 32));
    ioapic_write(m, 0x10 + 2 * pin, (u32)rte);
}
static inline bool rdmsr_ok(struct machine *m, u32 vcpu, u32 msr, u64 *value)
{
    return vmsr_read(&m->vp, vcpu, m->now, msr, value);
}
static inline bool wrmsr_ok(struct machine *m, u32 vcpu, u32 msr, u64 value)
{
    return vmsr_write(&m->vp, vcpu, m->now, msr, value);
}

/* Lets time pass up to `now`, doing what is due on vCPU 0 on the way. */
static inline void run_until(struct machine *m, u64 now)
{
    for (u64 next = vplat_next_deadline(&m->vp, 0); next <= now; next = vplat_next_deadline(&m->vp, 0)) {
        m->now = MAX(next, m->now);
        vplat_advance(&m->vp, 0, m->now);
        if (vplat_next_deadline(&m->vp, 0) <= m->now)
            fail_msg("a deadline that stays in the past");
    }
    m->now = now;
    vplat_advance(&m->vp, 0, now);
}

static inline u64 env_number(const char *name, u64 otherwise)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 0) : otherwise;
}

/* xorshift64*: reproducible everywhere */
static inline u64 random_next(u64 *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545F4914F6CDD1Dull;
}
