/*
 * cpus64.c - a flat guest of several vCPUs: how much of the CPUs each of them gets, whether a page-table change is
 * seen everywhere after INVLPG, what a switch to another vCPU leaves of a vCPU's registers, interrupts between them,
 * INIT and SIPI.
 *
 * Or it exchanges pages with another VM (cpus64_pages.c): give=N peer=NAME, and sink=1 in the other.
 *
 * Options: fair=MS (100) rounds=N (400) state=N (50) init-bsp=1: at the end INIT is sent to the boot processor.
 */
#include "tests/guests/cpus64.h"
#include "tests/guests/others.h"

#define IDENTITY_END (32 * MIB)
#define WAIT_SECONDS 20
#define FAIR_PERCENT 60 /* the least of what an equal share would be */

u64 vcpus;
static u8 stacks[OTHERS_STACK * (VCPUS_MAX + 1)] aligned_to(4096);
static u64 fair_ms, rounds, state_rounds, hz;
static bool patchbay;
static volatile u64 arrived, generation;
static u64 given_pages;
static s64 peer;
static volatile u64 share[VCPUS_MAX], share_end;

no_return void smp_fail(const char *what, u64 vcpu, u64 got, u64 want)
{
    say("cpus64: FAIL %s, vCPU %llu: 0x%llx, expected 0x%llx", what, (unsigned long long)vcpu,
        (unsigned long long)got, (unsigned long long)want);
    guest_exit(1);
}

void smp_barrier(void)
{
    u64 now = generation;

    if (__atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST) == vcpus) {
        arrived = 0;
        __atomic_store_n(&generation, now + 1, __ATOMIC_SEQ_CST);
    }
    while (__atomic_load_n(&generation, __ATOMIC_SEQ_CST) == now)
        __asm__ volatile("pause");
}

void smp_wait(const char *what, u64 vcpu, const volatile u64 *counter, u64 least)
{
    u64 end = guest_ticks() + WAIT_SECONDS * hz;

    while (*counter < least) {
        __asm__ volatile("pause");
        if (guest_ticks() > end)
            smp_fail(what, vcpu, *counter, least);
    }
}

/* No PAUSE in it: only slices share a CPU then. Interrupts on: Bochs 2.7 does not end a guest with interrupts off by
 * the host's APIC timer. */
void test_fairness(u64 me, u64 ms)
{
    u64 count = 0, least = ~0ull, sum = 0;

    if (me == 0)
        share_end = guest_ticks() + ms * hz / 1000;
    smp_barrier();
    __asm__ volatile("sti");
    while (guest_ticks() < share_end)
        count++;
    __asm__ volatile("cli");
    share[me] = count;
    smp_barrier();
    if (me != 0)
        return;
    for (u64 i = 0; i < vcpus; i++) {
        sum += share[i];
        least = MIN(least, share[i]);
    }
    u64 percent = sum ? least * vcpus * 100 / sum : 0;
    say("cpus64: of an equal share of the CPUs the least that a vCPU got is %llu %%",
        (unsigned long long)percent);
    if (percent < FAIR_PERCENT)
        smp_fail("share in percent", 0, percent, FAIR_PERCENT);
}

/* Calls for vCPU 0 alone are refused. */
static void test_calls(u64 me)
{
    u64 status;

    if (!patchbay)
        return;
    status = guest_call(PB_CALL_RECEIVE, 0x1000, 0, 0).status;
    if (me && status != PB_STATUS_WRONG_VCPU)
        smp_fail("PB_CALL_RECEIVE", me, status, PB_STATUS_WRONG_VCPU);
}

static void run_tests(u64 me)
{
    __asm__ volatile("mov %0, %%cr3" : : "r"(paging_root()) : "memory");
    apic_enable();
    if (apic_id() != me)
        smp_fail("APIC id", me, apic_id(), me);
    smp_barrier();
    test_calls(me);
    test_interrupts(me);
    smp_barrier();
    test_shootdown(me, rounds);
    smp_barrier();
    test_state(me, state_rounds);
    smp_barrier();
    test_fairness(me, fair_ms);
    smp_barrier();
}

static void other_donor(u64 me)
{
    __asm__ volatile("mov %0, %%cr3" : : "r"(paging_root()) : "memory");
    pages_donor(me, (u32)peer, given_pages);
    for (;;)
        __asm__ volatile("hlt");
}

/* Pages to and from another VM instead of the tests. */
static int exchange(const char *cmdline)
{
    if (given_pages) {
        char name[32];

        option_word(cmdline, "peer", name, sizeof(name));
        peer = talk_find(name);
        if (peer < 0)
            smp_fail("VM of the name in peer=", 0, 0, 1);
        others_entry = other_donor;
        __asm__ volatile("mov %0, %%cr3" : : "r"(paging_root()) : "memory");
        pages_donor(0, (u32)peer, given_pages);
        say("cpus64: PASS %llu pages given away", (unsigned long long)given_pages);
    } else {
        say("cpus64: PASS %llu pages received", (unsigned long long)pages_sink());
    }
    return 0;
}

static void other_vcpu(u64 me)
{
    run_tests(me);
    smp_count_for_ever(me);
}

int guest_main(const char *cmdline, const char *image)
{
    (void)image;
    fair_ms = option_number(cmdline, "fair", 100);
    rounds = option_number(cmdline, "rounds", 400);
    state_rounds = option_number(cmdline, "state", 50);
    patchbay = talk_init();
    hz = patchbay ? guest_self()->tsc_hz : 1000000000;
    vcpus = option_number(cmdline, "vcpus", 2);
    paging_init(IDENTITY_END);
    others_stacks = stacks;
    given_pages = option_number(cmdline, "give", 0);
    if (given_pages || option_number(cmdline, "sink", 0))
        return exchange(cmdline);
    others_entry = other_vcpu;
    run_tests(0);
    test_startup();
    say("cpus64: PASS");
    if (option_number(cmdline, "init-bsp", 0))
        for (;;)
            apic_send(0, ICR_INIT | ICR_ASSERT);
    return 0;
}
