/* links: vmm/dev/platform.c vmm/dev/vplat_io.c vmm/dev/vlapic.c vmm/dev/vlapic_reg.c vmm/dev/vlapic_timer.c
 * vmm/dev/vroute.c vmm/dev/vioapic.c vmm/dev/vpic.c vmm/dev/vpit.c vmm/dev/vrtc.c vmm/dev/vuart.c
 * vmm/dev/vacpi.c vmm/dev/vmsr.c */
/*
 * test_dev_fuzz.c - a hostile guest: random ports, MMIO, MSRs, interrupts and time on a platform of several
 * vCPUs. ASan and UBSan watch; after every step the invariants of check() hold. Also posts from other
 * threads.
 */
#include "tests/unit/test_dev_machine.h"
#include <pthread.h>

#define VCPUS 5

static void check(struct machine *m, u32 vcpu)
{
    struct vplatform *vp = &m->vp;
    struct vlapic *l = lapic_of(m, vcpu);
    u64 deadline = vplat_next_deadline(vp, vcpu);
    assert_true(vp->uart.rx.count <= VUART_FIFO && vp->uart.tx.count <= VUART_FIFO);
    assert_true(vp->pic.chip[0].lowest < 8 && vp->pic.chip[1].lowest < 8);
    for (u32 i = 0; i < VLAPIC_WORDS; i++) {
        assert_true(!(l->isr_words >> i & 1) == !l->isr[i]);
        if (l->irr[i])
            assert_true(l->irr_words >> i & 1);
    }
    for (u32 pin = 0; pin < VIOAPIC_PINS; pin++)
        if (vp->ioapic.rte[pin] & VIOAPIC_RTE_REMOTE_IRR)
            assert_true(vp->ioapic.rte[pin] & VIOAPIC_RTE_LEVEL);
    if (deadline <= m->now) { /* doing what is due moves the deadline into the future */
        vplat_advance(vp, vcpu, m->now);
        assert_true(vplat_next_deadline(vp, vcpu) > m->now);
    }
}

static const u16 ports[] = {0x20,  0x21,  0x40,  0x41,  0x42,  0x43,  0x60,  0x61,   0x64,  0x70,
                            0x71,  0x80,  0x92,  0xA0,  0xA1,  0xE0,  0xE9,  0xED,   0xF4,  0x3F8,
                            0x3F9, 0x3FA, 0x3FB, 0x3FC, 0x3FD, 0x3FE, 0x3FF, 0x4D0,  0x4D1, 0x600,
                            0x602, 0x604, 0x608, 0x60A, 0xCF8, 0xCF9, 0xCFC, 0x2003, 0x2017};

static void fuzz_port(struct machine *m, u64 *seed)
{
    u64 r = random_next(seed);
    u16 port = r & 7 ? ports[(r >> 8) % ARRAY_SIZE(ports)] : (u16)(r >> 8);
    u32 size = 1u << (r >> 32) % 3, value = (u32)random_next(seed);
    bool write = r & BIT(40);
    vplat_io(&m->vp, m->now, port, size, write, &value);
    if (!write && size < 4)
        assert_int_equal(value >> 8 * size, 0);
}

static void fuzz_mmio(struct machine *m, u32 vcpu, u64 *seed)
{
    static const u64 bases[] = {VLAPIC_DEFAULT_BASE, VIOAPIC_BASE, VPLAT_TESTDEV_RAM_BASE, 0xFEC01000};
    u64 r = random_next(seed), value = random_next(seed) >> (r & 63);
    u32 size = 1u << (r >> 8) % 4;
    u64 offset = (r >> 16) % 0x1000 & ~(u64)(size - 1);
    if (r & BIT(50))
        offset &= 0x3F0;
    bool write = r & BIT(40);
    vplat_mmio(&m->vp, vcpu, m->now, GPA(bases[(r >> 44) % ARRAY_SIZE(bases)] + offset), size, write, &value);
    if (!write && size < 8)
        assert_int_equal(value >> 8 * size, 0);
}

static void fuzz_msr(struct machine *m, u32 vcpu, u64 *seed)
{
    static const u32 msrs[] = {MSR_IA32_TIME_STAMP_COUNTER, MSR_IA32_TSC_ADJUST, MSR_IA32_APIC_BASE,
                               MSR_IA32_TSC_DEADLINE,       MSR_IA32_PAT,        0x200};
    u64 r = random_next(seed), value = random_next(seed) >> (r & 63);
    u32 msr = r & BIT(40) ? msrs[(r >> 8) % ARRAY_SIZE(msrs)] : 0x800 + (u32)(r >> 8) % 0x40;
    bool fine;
    if (msr == MSR_IA32_APIC_BASE)
        value = VLAPIC_DEFAULT_BASE | (value & 0xC00);
    if (r & BIT(41))
        fine = rdmsr_ok(m, vcpu, msr, &value);
    else
        fine = wrmsr_ok(m, vcpu, msr, value);
    (void)fine;
}

static void step(struct machine *m, u64 *seed)
{
    u64 r = random_next(seed);
    u32 vcpu = (r >> 8) % VCPUS;
    switch (r % 16) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4: fuzz_port(m, seed); break;
    case 5:
    case 6:
    case 7: fuzz_mmio(m, vcpu, seed); break;
    case 8:
    case 9: fuzz_msr(m, vcpu, seed); break;
    case 10: irq_line(m, (r >> 16) % 30, r & BIT(40)); break;
    case 11: vplat_uart_receive(&m->vp, m->now, (u8)(r >> 16)); break;
    case 12: m->console_room = (r >> 16) % 40; break;
    case 13:
        if (vplat_irq_pending(&m->vp, vcpu)) {
            int vector = vplat_irq_accept(&m->vp, vcpu);
            assert_true(vector >= -1 && vector < 256);
        }
        break;
    case 14: vlapic_events_take(lapic_of(m, vcpu), 7); break;
    default: m->now += random_next(seed) >> (24 + (r >> 16) % 40); break;
    }
    check(m, vcpu);
}

static void a_hostile_guest(void **state)
{
    (void)state;
    u64 seed = env_number("PB_SEED", 2024), steps = env_number("PB_STEPS", 400000);
    static const u64 clocks[] = {VTIME_HZ_MIN, 50000000, TEST_HZ, VTIME_HZ_MAX};
    print_message("seed %llu\n", (unsigned long long)seed);
    for (u32 c = 0; c < ARRAY_SIZE(clocks); c++) {
        struct machine *m = machine_new(VCPUS, clocks[c]);
        for (u64 i = 0; i < steps / ARRAY_SIZE(clocks); i++)
            step(m, &seed);
        free(m);
    }
}

/* Posts from two threads while the owner accepts: every vector that was posted is taken, and nothing else. */
#define POSTS 200000

struct poster {
    struct machine *m;
    u32 index; /* posts vectors 32 + index, 34 + index, ... */
};

static void *post_all(void *arg)
{
    struct poster *p = arg;
    for (u32 i = 0; i < POSTS; i++)
        vlapic_post(lapic_of(p->m, 0), (u8)(32 + 2 * (i % 100) + p->index), i & 1);
    return NULL;
}

static void posts_from_other_threads_arrive(void **state)
{
    (void)state;
    struct machine *m = machine_new(1, TEST_HZ);
    struct poster posters[2] = {{m, 0}, {m, 1}};
    pthread_t threads[2];
    bool seen[256] = {false};
    for (u32 i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, post_all, &posters[i]), 0);
    for (u32 i = 0; i < POSTS; i++) {
        int vector = vplat_irq_pending(&m->vp, 0) ? vplat_irq_accept(&m->vp, 0) : -1;
        if (vector >= 0) {
            seen[vector] = true;
            vlapic_eoi(lapic_of(m, 0), m->now);
        }
    }
    for (u32 i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    for (int vector; (vector = vplat_irq_accept(&m->vp, 0)) >= 0;) {
        seen[vector] = true;
        vlapic_eoi(lapic_of(m, 0), m->now);
    }
    for (u32 v = 0; v < 256; v++)
        assert_int_equal(seen[v], v >= 32 && v < 232);
    assert_false(vplat_irq_pending(&m->vp, 0));
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hostile_guest),
        cmocka_unit_test(posts_from_other_threads_arrive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
