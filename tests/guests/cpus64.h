/* cpus64.h - what the parts of the SMP guest share: its vCPUs, barriers, the local APIC, tests. */
#pragma once
#include "vmm/demo/guest.h"

#define VCPUS_MAX 8

extern u64 vcpus;

/* ---- cpus64.c ---- */
no_return void smp_fail(const char *what, u64 vcpu, u64 got, u64 want);
/* Every vCPU that is in the test calls it: none goes on before the last one has come. */
void smp_barrier(void);
/* Waits, at most some seconds, until *counter is at least `least`. */
void smp_wait(const char *what, u64 vcpu, const volatile u64 *counter, u64 least);

/* ---- cpus64_apic.c: each vCPU for itself ---- */
void apic_enable(void);
/* ICR: low half as in SDM Vol 3A figure 10-12; dest is an APIC id, or a logical destination. */
void apic_send(u32 dest, u32 low);
u32 apic_id(void);
/* The destination that names the vCPUs 0 .. n - 1 together, in logical mode. */
u32 apic_logical(u32 n);

#define ICR_NMI          0x0400u
#define ICR_INIT         0x0500u
#define ICR_SIPI         0x0600u
#define ICR_LOGICAL      0x0800u
#define ICR_ASSERT       0x4000u
#define ICR_SELF         0x40000u
#define ICR_ALL          0x80000u
#define ICR_ALL_BUT_SELF 0xC0000u

/* ---- the tests; all vCPUs call them ---- */
void test_fairness(u64 me, u64 ms);      /* cpus64.c */
void test_shootdown(u64 me, u64 rounds); /* cpus64_tests.c, and so on: */
void test_state(u64 me, u64 rounds);
void test_interrupts(u64 me);
/* cpus64_pages.c: so many pages go from all vCPUs of one VM to another, which returns how many it got. */
void pages_donor(u64 me, u32 peer, u64 pages);
u64 pages_sink(void);
/* vCPU 0 alone, while the others are in smp_count_for_ever(): INIT, SIPI, and once more. */
void test_startup(void);
no_return void smp_count_for_ever(u64 me);
