/*
 * platform.h - the virtual PC of one VM: everything behind ports, device MMIO, CPUID and device MSRs.
 *
 *   exit handlers --> vplat_io / vplat_mmio / vmsr_* / vcpuid_query
 *                          |                                  effects: struct vplat_ops
 *        PIT RTC UART ACPI-PM i8042 ...  --> IRQ lines --> PIC ---> LINT0 (ExtINT) of vCPU 0
 *                                                     `--> IOAPIC --> vroute --> vlapic_post() + deliver
 *
 * Pure: no hardware access, no allocation, no globals. Time is passed in as the host's TSC ("now").
 *
 * Concurrency: local APICs are lock-free (vlapic.h). The other devices are guarded by vplatform.lock, which
 * the functions here take themselves; ops are called with it held, so they must not call vplat_*() again
 * (vlapic_post*() is fine). Any CPU may call vplat_io(), vplat_uart_receive() and the other functions without
 * a `vcpu` argument; those with one only the owner of that vCPU.
 */
#pragma once
#include "arch/err.h"
#include "arch/spinlock.h"
#include "arch/types.h"
#include "vmm/dev/vacpi.h"
#include "vmm/dev/vcpuid.h"
#include "vmm/dev/vioapic.h"
#include "vmm/dev/vlapic.h"
#include "vmm/dev/vmsr.h"
#include "vmm/dev/vpic.h"
#include "vmm/dev/vpit.h"
#include "vmm/dev/vrtc.h"
#include "vmm/dev/vtime.h"
#include "vmm/dev/vuart.h"

#define VPLAT_MAX_VCPUS        64
#define VPLAT_TESTDEV_RAM_BASE 0xFF000000ull
#define VPLAT_TESTDEV_RAM_SIZE 0x10000ull

enum vplat_deliver {
    VPLAT_DELIVER_INTERRUPT, /* a vector is in that vCPU's IRR */
    VPLAT_DELIVER_EXTINT,    /* the 8259 asserts INTR (vCPU 0) */
    VPLAT_DELIVER_NMI,       /* VLAPIC_EVENT_* are set */
    VPLAT_DELIVER_INIT,
    VPLAT_DELIVER_SIPI,
    VPLAT_DELIVER_TIMER, /* vplat_next_deadline(vp, 0) became earlier */
};

enum vplat_end { VPLAT_END_EXIT, VPLAT_END_POWER_OFF, VPLAT_END_RESET };

enum vplat_unclaimed {
    VPLAT_UNCLAIMED_PORT_READ,
    VPLAT_UNCLAIMED_PORT_WRITE,
    VPLAT_UNCLAIMED_MMIO_READ,
    VPLAT_UNCLAIMED_MMIO_WRITE,
    VPLAT_UNCLAIMED_MSR_READ,
    VPLAT_UNCLAIMED_MSR_WRITE,
    VPLAT_UNCLAIMED_KINDS
};
#define VPLAT_UNCLAIMED_REPORTS 8 /* calls of ops->unclaimed per kind; the rest is only counted */

/* Effects. All must be set. None may call back into vplat_*(). */
struct vplat_ops {
    void *ctx;
    /* vCPU `vcpu` has something new (already posted): wake it, and if it runs on another CPU make it exit.
     * Also called for the vCPU that caused it. vector: INTERRUPT and SIPI, for traces; what counts is what
     * was posted. */
    void (*deliver)(void *ctx, u32 vcpu, enum vplat_deliver kind, u8 vector);
    /* A byte the guest sends on COM1; false: busy, it is offered again within a millisecond. */
    bool (*console_out)(void *ctx, u8 byte);
    /* A byte to port 0xE9. */
    void (*debug_out)(void *ctx, u8 byte);
    /* The VM ends; code is what was written to port 0xF4, else 0. Returns; the caller of vplat_*() acts on
     * it. */
    void (*end)(void *ctx, enum vplat_end why, u32 code);
    /* The guest moved its TSC: guest TSC = host TSC + offset from now on. */
    void (*tsc_offset)(void *ctx, u32 vcpu, u64 offset);
    /* Nothing answers at this port, address or MSR. */
    void (*unclaimed)(void *ctx, enum vplat_unclaimed kind, u64 where, u64 value);
};

struct vplat_config {
    struct vplat_ops ops;
    u64 tsc_hz;
    u64 now;          /* host TSC at the VM's power-on */
    u64 time_seconds; /* wall clock at `now`, since 1970; 0: unknown */
    u64 memory;       /* bytes of guest RAM, for CMOS */
    u32 vcpus;        /* 1..VPLAT_MAX_VCPUS */
    bool exit_port;   /* port 0xF4 ends the VM */
    bool testdev;     /* kvm-unit-tests' test devices: latch 0xE0, IRQ lines 0x2000+n, RAM at 0xFF000000 */
    u8 *testdev_ram;  /* VPLAT_TESTDEV_RAM_SIZE bytes; NULL: not there */
};

struct vplat_cpu {
    struct vlapic lapic;
    struct vmsr msr;
};

struct vplatform {
    struct vplat_config config;
    struct vplat_cpu *cpu; /* config.vcpus of them, the caller's memory */
    struct vcpuid cpuid;   /* filled by the caller with vcpuid_init() */
    u64 hz;                /* config.tsc_hz, limited to VTIME_HZ_MAX */
    u64 crystal_hz;        /* LAPIC timer and CPUID leaf 0x15: hz / tick */
    u32 tick;              /* host TSC ticks per LAPIC timer tick, divide 1 */

    /* Shared. Writer: whoever holds the lock (release). Reader: vCPU 0's owner (acquire). */
    _Atomic u64 deadline;
    _Atomic u32 extint;      /* INTR of the 8259 pair */
    _Atomic u32 lowest_next; /* where the search for a lowest-priority target starts; any value will do */

    struct spinlock lock; /* everything below */
    struct vioapic ioapic;
    struct vpic pic;
    struct vpit pit;
    struct vrtc rtc;
    struct vuart uart;
    struct vacpi acpi;
    u32 irq_lines; /* level of each ISA line */
    u64 advanced;  /* when the devices were last advanced because of the deadline */
    u8 kbd_status, kbd_data, kbd_command;
    u8 testdev_latch[4];
    u8 reset_control; /* port 0xCF9 */

    _Atomic u64 unclaimed[VPLAT_UNCLAIMED_KINDS];
};

/* Power-on state. `cpu` is an array of config->vcpus. RANGE: vcpus or tsc_hz out of range. Call
 * vcpuid_init(&vp->cpuid, ...) afterwards with vp->crystal_hz. */
rarely_run enum err vplat_init(struct vplatform *vp, const struct vplat_config *config,
                               struct vplat_cpu *cpu) must_check;

/*
 * IN/OUT of 1, 2 or 4 bytes; *value's upper bytes are ignored on writes and 0 on reads. Never fails: an
 * unclaimed port reads as all ones. INS/OUTS: once per element.
 */
void vplat_io(struct vplatform *vp, u64 now, u16 port, u32 size, bool write, u32 *value);

/* A device access at a gpa that is not RAM, 1 to 8 bytes that lie in one aligned 8-byte word (split larger
 * ones); unclaimed reads as all ones. True if a device claimed it. */
bool vplat_mmio(struct vplatform *vp, u32 vcpu, u64 now, gpa_t gpa, u32 size, bool write, u64 *value);

/* Is there an interrupt (local APIC or 8259) that vCPU could take now if RFLAGS.IF were set? Hot: a load and
 * a compare when nothing is pending. */
bool vplat_irq_pending_slow(struct vplatform *vp, u32 vcpu);
static inline bool vplat_irq_pending(struct vplatform *vp, u32 vcpu)
{
    if (likely(!vlapic_may_have_irq(&vp->cpu[vcpu].lapic) &&
               !atomic_load_explicit(&vp->extint, memory_order_acquire)))
        return false;
    return vplat_irq_pending_slow(vp, vcpu);
}

/* Takes it (interrupt acknowledge): the vector to inject, -1 when there is none after all. */
int vplat_irq_accept(struct vplatform *vp, u32 vcpu);

/* The platform's devices are looked at no more often than this. */
#define VPLAT_DEADLINES_PER_SECOND 20000ull

/* Host TSC at which vplat_advance() has something to do for this vCPU; VTIME_NEVER. vCPU 0 carries the
 * platform's devices, every vCPU its own LAPIC timer. */
static inline u64 vplat_next_deadline(const struct vplatform *vp, u32 vcpu)
{
    u64 lapic = vp->cpu[vcpu].lapic.timer_deadline;
    if (vcpu != 0)
        return lapic;
    u64 devices = atomic_load_explicit(&((struct vplatform *)vp)->deadline, memory_order_acquire);
    return MIN(lapic, devices);
}

/* Does what is due. Cheap when nothing is. */
void vplat_advance_devices(struct vplatform *vp, u64 now);
static inline void vplat_advance(struct vplatform *vp, u32 vcpu, u64 now)
{
    vlapic_advance(&vp->cpu[vcpu].lapic, now);
    if (vcpu == 0 && unlikely(now >= atomic_load_explicit(&vp->deadline, memory_order_acquire)))
        vplat_advance_devices(vp, now);
}

/* Keyboard input for COM1; false: no room now. */
bool vplat_uart_receive(struct vplatform *vp, u64 now, u8 byte);

/* ACPI power button: asks the guest to shut down. */
rarely_run void vplat_press_power_button(struct vplatform *vp, u64 now);

/* INIT of vCPU: its local APIC and MSRs that INIT resets. */
rarely_run void vplat_vcpu_init(struct vplatform *vp, u32 vcpu);

/* ------------------------------------------------------------------ for the devices themselves */

/* An interrupt message (ICR or RTE); x2apic: dest is in the 32-bit format. */
struct vroute_message {
    u32 dest;
    u8 vector, mode; /* enum vlapic_mode */
    bool logical, level, x2apic;
};
/* Posts to all targets and calls deliver for each; returns how many accepted. */
u32 vroute_send(struct vplatform *vp, const struct vroute_message *m);
/* Shorthand: 2 all including self, 3 all but self. */
u32 vroute_broadcast(struct vplatform *vp, const struct vroute_message *m, u32 self, bool including_self);

/* Shorthand 1. */
bool vroute_self(struct vplatform *vp, const struct vroute_message *m, u32 self);

/* A CPU ended a level-triggered vector: tells the IOAPIC. Takes the lock. */
void vplat_eoi_broadcast(struct vplatform *vp, u64 now, u8 vector);

/* A local APIC accepts more than before: level-triggered lines that nobody has taken are offered again, as an IOAPIC
 * does until somebody accepts (82093AA datasheet 3.2.4, delivery status). Takes the lock. */
rarely_run void vplat_retry_levels(struct vplatform *vp);

/* ISA interrupt line `irq` (0..15), or IOAPIC pin (16..23), with the lock held. */
void vplat_set_line(struct vplatform *vp, u32 irq, bool level);

/* After a device's state may have changed, lock held: interrupt lines and the deadline follow. */
void vplat_update(struct vplatform *vp, u64 now);
rarely_run void vplat_report_unclaimed(struct vplatform *vp, enum vplat_unclaimed kind, u64 where, u64 value);
