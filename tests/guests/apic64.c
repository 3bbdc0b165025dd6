/*
 * apic64.c - a flat 64-bit guest with its local APIC in xAPIC mode: priorities by TPR and CR8 in both directions,
 * interrupts held back and let through, and what the usual accesses cost (ticks and exits each).
 */
#include "vmm/demo/guest.h"

#define APIC        0xFEE00000ull
#define APIC_ID     0x20
#define APIC_TPR    0x80
#define APIC_PPR    0xA0
#define APIC_EOI    0xB0
#define APIC_SVR    0xF0
#define APIC_ISR    0x100
#define APIC_IRR    0x200
#define APIC_ICR    0x300
#define SVR_ENABLE  0x14F /* spurious vector 0x4F */
#define ICR_SELF    0x40000
#define VECTOR_LOW  0x31
#define VECTOR_HIGH 0x45
#define SAMPLES     200

#define MSR_APIC_BASE 0x1Bu
#define BASE_OFF      0xFEE00100u /* BSP */
#define BASE_ON       0xFEE00900u

static struct pb_stats stats aligned_to(4096);
static int failures;
static u32 taken[GUEST_VECTORS];
static u8 order[8];
static u32 orders;

static u32 apic_read(u32 reg)
{
    return *(volatile u32 *)(APIC + reg);
}
static void apic_write(u32 reg, u32 value)
{
    *(volatile u32 *)(APIC + reg) = value;
}
static u64 cr8_get(void)
{
    u64 v;
    __asm__ volatile("mov %%cr8, %0" : "=r"(v));
    return v;
}
static void cr8_put(u64 v)
{
    __asm__ volatile("mov %0, %%cr8" : : "r"(v) : "memory");
}

static void equal(const char *what, u64 got, u64 expected)
{
    if (got == expected)
        return;
    say("apic64: FAIL %s: got 0x%llx, expected 0x%llx", what, (unsigned long long)got,
        (unsigned long long)expected);
    failures++;
}

static void took(u8 vector)
{
    taken[vector]++;
    order[orders++ % sizeof(order)] = vector;
}
static void on_low(void)
{
    took(VECTOR_LOW);
}
static void on_high(void)
{
    took(VECTOR_HIGH);
}
static void forget(void)
{
    taken[VECTOR_LOW] = taken[VECTOR_HIGH] = orders = 0;
}
static void settle(void)
{
    __asm__ volatile("nop; nop; nop; nop" : : : "memory");
}

static bool in_irr(u32 vector)
{
    return apic_read(APIC_IRR + vector / 32 * 16) >> vector % 32 & 1;
}

static void registers_agree(void)
{
    for (u64 cr8 = 0; cr8 < 16; cr8++) {
        cr8_put(cr8);
        equal("CR8", cr8_get(), cr8);
        equal("TPR after CR8", apic_read(APIC_TPR), cr8 << 4);
        equal("PPR after CR8", apic_read(APIC_PPR), cr8 << 4);
    }
    for (u32 tpr = 0; tpr < 256; tpr += 0x17) {
        apic_write(APIC_TPR, tpr);
        equal("TPR", apic_read(APIC_TPR), tpr);
        equal("CR8 after TPR", cr8_get(), tpr >> 4);
    }
    cr8_put(0);
    equal("TPR after CR8 = 0", apic_read(APIC_TPR), 0);
}

/* A vector of priority n is held back by n in CR8 (or TPR) and comes as soon as that is below. */
static void priorities_hold_back(bool by_register)
{
    for (u32 high = 0; high < 2; high++) {
        u32 vector = high ? VECTOR_HIGH : VECTOR_LOW, priority = vector >> 4;
        for (u32 level = 15;; level--) {
            forget();
            if (by_register)
                cr8_put(level);
            else
                apic_write(APIC_TPR, level << 4 | 5);
            apic_write(APIC_ICR, ICR_SELF | vector);
            settle();
            equal("taken", taken[vector], level < priority);
            equal("in IRR", in_irr(vector), level >= priority);
            if (by_register)
                cr8_put(priority - 1);
            else
                apic_write(APIC_TPR, (priority - 1) << 4 | 0xF);
            settle();
            equal("taken when let through", taken[vector], 1);
            if (!level)
                break;
        }
    }
}

/* Two wait: the higher one first, and the lower one only when the level is below both. */
static void they_come_in_order(void)
{
    forget();
    cr8_put(15);
    apic_write(APIC_ICR, ICR_SELF | VECTOR_LOW);
    apic_write(APIC_ICR, ICR_SELF | VECTOR_HIGH);
    settle();
    equal("taken at 15", orders, 0);
    cr8_put(3);
    settle();
    equal("taken at 3", orders, 1);
    equal("first", order[0], VECTOR_HIGH);
    cr8_put(2);
    settle();
    equal("taken at 2", orders, 2);
    equal("second", order[1], VECTOR_LOW);
    cr8_put(0);
}

/* With IF=0 nothing comes, whatever CR8 says; STI lets it come. */
static void the_flag_holds_back(void)
{
    forget();
    __asm__ volatile("cli" : : : "memory");
    cr8_put(9);
    apic_write(APIC_ICR, ICR_SELF | VECTOR_HIGH);
    cr8_put(0);
    settle();
    equal("taken with IF=0", orders, 0);
    __asm__ volatile("sti; nop; nop" : : : "memory");
    equal("taken with IF=1", orders, 1);
    /* held back by CR8 while IF goes on and off */
    __asm__ volatile("cli" : : : "memory");
    cr8_put(9);
    apic_write(APIC_ICR, ICR_SELF | VECTOR_HIGH);
    __asm__ volatile("sti; nop; nop; cli" : : : "memory");
    equal("taken at 9", orders, 1);
    cr8_put(0);
    __asm__ volatile("sti; nop; nop" : : : "memory");
    equal("taken at 0", orders, 2);
}

/* Off and on again with an interrupt held back: neither it nor the priority is there any more (SDM Vol 3A 10.4.3). */
static void off_and_on(void)
{
    forget();
    cr8_put(9);
    apic_write(APIC_ICR, ICR_SELF | VECTOR_HIGH);
    msr_put(MSR_APIC_BASE, BASE_OFF);
    equal("CR8 while it is off", cr8_get(), 0);
    msr_put(MSR_APIC_BASE, BASE_ON);
    apic_write(APIC_SVR, SVR_ENABLE);
    settle();
    equal("TPR after it", apic_read(APIC_TPR), 0);
    equal("taken after it", orders, 0);
}

static u64 exits(void)
{
    guest_call(PB_CALL_STATS, (u64)&stats, PB_STATS_SELF, sizeof(stats));
    return stats.counter[PB_STAT_EXITS];
}

#define MEASURE(name, body)                                                              \
    do {                                                                                 \
        u64 best = ~0ull, before = exits();                                              \
        for (u32 i = 0; i < SAMPLES; i++) {                                              \
            u64 t = guest_ticks();                                                       \
            body;                                                                        \
            t = guest_ticks() - t;                                                       \
            best = t < best ? t : best;                                                  \
        }                                                                                \
        u64 per = (exits() - before - 1) * 100 / SAMPLES;                                \
        say("apic64: %s: %llu ticks, %llu.%02llu exits", name, (unsigned long long)best, \
            (unsigned long long)(per / 100), (unsigned long long)(per % 100));           \
    } while (0)

static void measure(void)
{
    volatile u64 sink;

    MEASURE("nothing", (void)0);
    MEASURE("EOI", apic_write(APIC_EOI, 0));
    MEASURE("TPR write", apic_write(APIC_TPR, 0x20));
    MEASURE("ID read", sink = apic_read(APIC_ID));
    MEASURE("CR8 write up", cr8_put(i & 15));
    MEASURE("CR8 read", sink = cr8_get());
    cr8_put(0);
    MEASURE("self IPI, taken", apic_write(APIC_ICR, ICR_SELF | VECTOR_HIGH));
    (void)sink;
}

int guest_main(const char *cmdline, const char *image)
{
    (void)cmdline;
    (void)image;
    trap_init();
    paging_init(16 * MIB);
    trap_on_interrupt(VECTOR_LOW, on_low);
    trap_on_interrupt(VECTOR_HIGH, on_high);
    apic_write(APIC_SVR, SVR_ENABLE);
    __asm__ volatile("sti");
    registers_agree();
    priorities_hold_back(true);
    priorities_hold_back(false);
    they_come_in_order();
    the_flag_holds_back();
    off_and_on();
    measure();
    say("apic64: %s", failures ? "FAIL" : "PASS");
    return failures != 0;
}
