/*
 * acpi.h - what boot needs from the ACPI tables: the CPUs (MADT) and the PM timer (FADT).
 *
 * Pure, and nothing in the tables is believed: every byte comes through acpi_source.read(), which refuses
 * addresses that are not memory; lengths are bounded and checksums checked before a table is used. ACPI 6.4
 * chapter 5.2.
 */
#pragma once
#include "arch/err.h"
#include "arch/types.h"

#define ACPI_MAX_CPUS    256u
#define ACPI_MAX_IOAPICS 16u

struct acpi_source {
    bool (*read)(void *ctx, u64 address, void *to, size_t bytes); /* false: not readable memory */
    void *ctx;
};

struct acpi_info {
    u32 apic_ids[ACPI_MAX_CPUS]; /* of enabled CPUs, no id twice, in the table's order */
    u32 cpu_count;
    u32 disabled;                  /* entries not enabled (empty sockets, CPUs switched off by firmware) */
    u32 not_listed;                /* enabled CPUs beyond ACPI_MAX_CPUS */
    u64 ioapics[ACPI_MAX_IOAPICS]; /* addresses of their registers, whole pages apart; more are ignored */
    u32 ioapic_count;
    u16 pm_timer;    /* I/O port of the PM timer, 0: unknown */
    const char *why; /* words for any error returned, "" for none */
};

/* Reads the tables that the RSDP at this address leads to. OK with at least one CPU; NOT_FOUND when there is
 * no MADT; BAD_IMAGE when a table is damaged (`why` says which). pm_timer may be set in any case. */
enum err acpi_read(const struct acpi_source *source, u64 rsdp, struct acpi_info *info) must_check;
