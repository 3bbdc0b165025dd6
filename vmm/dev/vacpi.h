/*
 * vacpi.h - ACPI for guests: the fixed hardware (PM1a, PM timer, S5) and the tables.
 *
 *   RSDP --> XSDT --> FADT --> DSDT (dsdt.asl, compiled at build time)
 *                |       `---> FACS
 *                `--> MADT: n LAPICs, IOAPIC, overrides IRQ 0 -> pin 2 and SCI 9 level
 */
#pragma once
#include "arch/err.h"
#include "arch/types.h"
#include "vmm/dev/vtime.h"

#define VACPI_PM1_EVENT   0x600 /* status, enable: 2 + 2 bytes */
#define VACPI_PM1_CONTROL 0x604 /* 2 bytes */
#define VACPI_PM_TIMER    0x608 /* 4 bytes */
#define VACPI_SCI_IRQ     9
#define VACPI_S5_TYPE     5 /* SLP_TYP that \_S5 names */
#define VACPI_TIMER_HZ    3579545ull

struct vacpi {
    u64 hz;
    u64 start; /* host TSC when the PM timer was 0 */
    u64 overflow_seen;
    u16 status, enable, control;
};

struct vplat_ops;

rarely_run void vacpi_reset(struct vacpi *a, u64 hz, u64 now);
rarely_run u32 vacpi_read(struct vacpi *a, u64 now, u16 port, u32 size);
rarely_run void vacpi_write(struct vacpi *a, const struct vplat_ops *ops, u64 now, u16 port, u32 size,
                            u32 value);
bool vacpi_irq(const struct vacpi *a);
u64 vacpi_deadline(const struct vacpi *a);
void vacpi_advance(struct vacpi *a, u64 now);
void vacpi_press_power_button(struct vacpi *a);

/* The tables are made for one place; VACPI_TABLES_SIZE bytes are enough for 64 vCPUs. */
#define VACPI_TABLES_BASE 0xE0000ull
#define VACPI_TABLES_SIZE 0x4000ull

/*
 * Writes all tables as they stand in guest memory from `base` on (16-byte aligned, below 4 GiB) into buf.
 * The RSDP is at `base` itself; guests that search find it there when base is in 0xE0000..0xFFFFF.
 * RANGE: size is too small or base does not fit; *rsdp is the guest address of the RSDP.
 */
rarely_run enum err vacpi_build(u8 *buf, u64 size, gpa_t base, u32 vcpus, gpa_t *rsdp) must_check;
