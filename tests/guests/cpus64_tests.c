/* cpus64_tests.c - page-table changes, registers, interrupts, INIT and SIPI. */
#include "tests/guests/cpus64.h"
#include "tests/guests/ptwrite.h"

#define TEST_VA     0x400000000000ull
#define TEST_PAGES  16
#define FRAME_BASE  0x1000000ull /* 16 MiB: tagged frames */
#define FRAMES      64
#define VECTOR      0x40
#define QUIET_TICKS 200000
#define NMIS_MAX    50
#define TRAMPOLINE  0x8000ull
#define STARTS_AT   0x8100ull /* where the trampoline counts its starts ... */
#define CS_AT       0x8104ull /* ... and stores its CS */

static volatile u64 random_state = 1, interrupts[VCPUS_MAX], nmis[VCPUS_MAX], asleep[VCPUS_MAX],
                    wakings[VCPUS_MAX], counters[VCPUS_MAX];
static volatile u64 wanted[TEST_PAGES];

static u64 random_below(u64 n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % n;
}

/* ---- a change of the tables is seen by everybody after INVLPG ---- */

static void change_one(void)
{
    u64 page = random_below(TEST_PAGES), frame = FRAME_BASE + random_below(FRAMES) * PAGE_SIZE;
    u64 *entry = page_entry(TEST_VA + page * PAGE_SIZE, 1);

    wanted[page] = frame;
    ptwrite((u32)random_below(PTWRITE_KINDS), entry, frame | PTE_P | PTE_W | (random_below(2) ? PTE_A : 0));
}

static void flush_all(void)
{
    __asm__ volatile("mov %%cr3, %%rax\n\tmov %%rax, %%cr3" : : : "rax", "memory");
}

static void check_pages(u64 me, u64 round)
{
    for (u64 p = 0; p < TEST_PAGES; p++) {
        u64 va = TEST_VA + p * PAGE_SIZE;

        if (round % 7)
            page_flush(va);
        u64 got = *(volatile u64 *)va;
        if (got != wanted[p])
            smp_fail("frame after a remap", me, got, wanted[p]);
    }
}

void test_shootdown(u64 me, u64 rounds)
{
    if (me == 0) {
        for (u64 i = 0; i < FRAMES; i++)
            *(u64 *)(FRAME_BASE + i * PAGE_SIZE) = FRAME_BASE + i * PAGE_SIZE;
        for (u64 p = 0; p < TEST_PAGES; p++) {
            wanted[p] = FRAME_BASE;
            page_map(TEST_VA + p * PAGE_SIZE, FRAME_BASE, PTE_W);
        }
    }
    smp_barrier();
    for (u64 r = 0; r < rounds; r++) {
        if (r % vcpus == me)
            for (u64 n = random_below(6) + 1; n; n--)
                change_one();
        smp_barrier(); /* the tables are as they are to be, and nobody else uses the pages meanwhile */
        if (r % 7 == 0)
            flush_all();
        check_pages(me, r);
        smp_barrier();
    }
}

/* ---- registers over switches ---- */

#define MSR_STAR           0xC0000081u
#define MSR_LSTAR          0xC0000082u
#define MSR_FMASK          0xC0000084u
#define MSR_KERNEL_GS_BASE 0xC0000102u
#define MSR_PAT            0x277u
#define MSR_SYSENTER_EIP   0x176u
#define PAT_OF(me)         (0x0007040600070406ull + (me % 2 ? 0x0000000100000000ull : 0))

static const u32 own_msrs[] = {MSR_LSTAR, MSR_FMASK, MSR_KERNEL_GS_BASE, MSR_SYSENTER_EIP, MSR_STAR};

static u64 mark(u64 me, u64 n)
{
    return (me + 1) * 0x1001001 + n * 0x10000;
}

/* XCR0 and IA32_TSC_ADJUST, where CPUID offers them. */
#define CPUID_XSAVE      BIT(26)
#define CPUID_AVX        BIT(28)
#define CPUID_TSC_ADJUST BIT(1)
#define MSR_TSC_ADJUST   0x3Bu
#define TSC_STEP         BIT(40) /* the TSCs of neighbours are so far apart, if they are moved */

static bool has_avx, has_tsc_adjust;

static void look_at_features(void)
{
    u32 a = 1, b, c = 0, d;

    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    has_avx = (c & CPUID_XSAVE) && (c & CPUID_AVX);
    a = 0;
    c = 0;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    if (a < 7)
        return;
    a = 7;
    c = 0;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    has_tsc_adjust = b & CPUID_TSC_ADJUST;
}

static u32 xcr0_of(u64 me)
{
    return me % 2 ? 7 : 3;
}

static void load_registers(u64 me)
{
    u32 mxcsr = 0x1F80 | (u32)(me & 3) << 13;
    u16 fcw = (u16)(0x037F & ~((me & 1) << 9));

    __asm__ volatile("mov %%cr4, %%rax\n\tor $0x600, %%rax\n\tmov %%rax, %%cr4" : : : "rax");
    __asm__ volatile("ldmxcsr %0\n\tfldcw %1" : : "m"(mxcsr), "m"(fcw));
    __asm__ volatile("movq %0, %%xmm0\n\tmovq %1, %%xmm15" : : "r"(mark(me, 1)), "r"(mark(me, 2)));
    __asm__ volatile("mov %0, %%dr0\n\tmov %1, %%dr3\n\tmov %0, %%cr2"
                     :
                     : "r"(mark(me, 3)), "r"(mark(me, 4)));
    for (u32 i = 0; i < ARRAY_SIZE(own_msrs); i++)
        msr_put(own_msrs[i], mark(me, 5 + i));
    msr_put(MSR_PAT, PAT_OF(me));
    if (!has_avx)
        return;
    __asm__ volatile("mov %%cr4, %%rax\n\tor $0x40000, %%rax\n\tmov %%rax, %%cr4" : : : "rax");
    __asm__ volatile("xsetbv" : : "a"(xcr0_of(me)), "d"(0), "c"(0));
}

static void same(const char *what, u64 me, u64 got, u64 want)
{
    if (got != want)
        smp_fail(what, me, got, want);
}

static void check_registers(u64 me)
{
    u64 a, b;
    u32 mxcsr;
    u16 fcw;

    __asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(mxcsr), "=m"(fcw));
    same("MXCSR", me, mxcsr, 0x1F80 | (me & 3) << 13);
    same("FCW", me, fcw, 0x037F & ~((me & 1) << 9));
    __asm__ volatile("movq %%xmm0, %0\n\tmovq %%xmm15, %1" : "=r"(a), "=r"(b));
    same("XMM0", me, a, mark(me, 1));
    same("XMM15", me, b, mark(me, 2));
    __asm__ volatile("mov %%dr0, %0\n\tmov %%dr3, %1" : "=r"(a), "=r"(b));
    same("DR0", me, a, mark(me, 3));
    same("DR3", me, b, mark(me, 4));
    __asm__ volatile("mov %%cr2, %0" : "=r"(a));
    same("CR2", me, a, mark(me, 3));
    for (u32 i = 0; i < ARRAY_SIZE(own_msrs); i++)
        same("MSR", me, msr_get(own_msrs[i]), mark(me, 5 + i));
    same("PAT", me, msr_get(MSR_PAT), PAT_OF(me));
    if (has_avx) {
        u32 low, high;
        __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
        same("XCR0", me, low, xcr0_of(me));
    }
}

void test_state(u64 me, u64 rounds)
{
    static volatile u64 newest; /* the TSCs of all vCPUs are one clock */

    look_at_features();
    load_registers(me);
    for (u64 r = 0; r < rounds; r++) {
        u64 before = newest, now = guest_ticks();

        if (now < before)
            smp_fail("TSC", me, now, before);
        newest = now;
        smp_barrier();
        if (r % 2)
            guest_call(PB_CALL_YIELD, 0, 0, 0);
        check_registers(me);
    }
    if (!has_tsc_adjust)
        return;
    msr_put(MSR_TSC_ADJUST, me * TSC_STEP);
    for (u64 r = 0; r < rounds; r++) {
        smp_barrier();
        same("TSC / 2^40", me, (guest_ticks() - newest) / TSC_STEP, me);
        same("IA32_TSC_ADJUST", me, msr_get(MSR_TSC_ADJUST), me * TSC_STEP);
    }
    smp_barrier();
    msr_put(MSR_TSC_ADJUST, 0);
}

/* ---- interrupts ---- */

static void on_interrupt(void)
{
    interrupts[apic_id()]++;
}

static void on_nmi(void)
{
    nmis[apic_id()]++;
}

/* Sleeps until the next NMI; interrupts are taken while it does if `open`. */
static void sleep_till_nmi(u64 me, bool open)
{
    u64 before = nmis[me];

    wakings[me] = 0;
    asleep[me] = 1;
    for (; nmis[me] == before; wakings[me]++)
        if (open)
            __asm__ volatile("sti\n\thlt\n\tcli" : : : "memory");
        else
            __asm__ volatile("hlt" : : : "memory");
    asleep[me] = 0;
}

static void expect_interrupts(const char *what, u64 each, u64 own)
{
    for (u64 i = 1; i < vcpus; i++)
        smp_wait(what, i, &interrupts[i], each);
    same(what, 0, interrupts[0], own);
}

static void let_pass(u64 ticks)
{
    for (u64 end = guest_ticks() + ticks; guest_ticks() < end;)
        __asm__ volatile("pause");
}

static void send_all_kinds(void)
{
    for (u64 i = 1; i < vcpus; i++)
        apic_send((u32)i, VECTOR | ICR_ASSERT);
    expect_interrupts("fixed IPI", 1, 0);
    apic_send(0, VECTOR | ICR_ALL_BUT_SELF | ICR_ASSERT);
    expect_interrupts("broadcast IPI but to oneself", 2, 0);
    __asm__ volatile("sti");
    apic_send(0, VECTOR | ICR_ALL | ICR_ASSERT);
    expect_interrupts("broadcast IPI", 3, 1);
    apic_send(apic_logical((u32)vcpus), VECTOR | ICR_LOGICAL | ICR_ASSERT);
    expect_interrupts("logical IPI", 4, 2);
    apic_send(0, VECTOR | ICR_SELF | ICR_ASSERT);
    expect_interrupts("IPI to oneself", 4, 3);
    __asm__ volatile("cli");
    let_pass(QUIET_TICKS);
    for (u64 i = 1; i < vcpus; i++)
        same("interrupts", i, interrupts[i], 4);
}

static void wait_asleep(void)
{
    for (u64 i = 1; i < vcpus; i++)
        smp_wait("going to sleep", i, &asleep[i], 1);
}

/* More than one NMI, should the first have come just before HLT. */
static void wake_by_nmi(u64 vcpu)
{
    for (u32 n = 0; asleep[vcpu]; n++) {
        apic_send((u32)vcpu, ICR_NMI | ICR_ASSERT);
        let_pass(QUIET_TICKS);
        if (n == NMIS_MAX)
            smp_fail("asleep after NMIs", vcpu, n, 1);
    }
}

/* vCPU 0 sends; the others sleep with interrupts on, until an NMI, then off: an interrupt does not wake them. */
void test_interrupts(u64 me)
{
    trap_on_interrupt(VECTOR, on_interrupt);
    trap_on_interrupt(VECTOR_NMI, on_nmi);
    smp_barrier();
    if (me) {
        sleep_till_nmi(me, true);
        smp_barrier();
        sleep_till_nmi(me, false);
        __asm__ volatile("sti\n\tnop\n\tcli");
        return;
    }
    wait_asleep();
    send_all_kinds();
    for (u64 i = 1; i < vcpus; i++)
        wake_by_nmi(i);
    smp_barrier();
    wait_asleep();
    apic_send(0, VECTOR | ICR_ALL_BUT_SELF | ICR_ASSERT);
    apic_send(0, ICR_SIPI | ICR_ALL_BUT_SELF | ICR_ASSERT | TRAMPOLINE >> 12);
    let_pass(QUIET_TICKS);
    for (u64 i = 1; i < vcpus; i++) {
        same("asleep with IF=0", i, asleep[i], 1);
        same("HLTs that an interrupt or SIPI ended", i, wakings[i], 0);
        same("interrupts with IF=0", i, interrupts[i], 4);
        wake_by_nmi(i);
    }
    expect_interrupts("interrupt after the NMI", 5, 3);
}

/* ---- INIT and SIPI ---- */

/* Interrupts on: see test_fairness(). */
no_return void smp_count_for_ever(u64 me)
{
    __asm__ volatile("sti");
    for (;;)
        counters[me]++;
}

static void put_trampoline(void)
{
    static const u8 code[] = {
        0xFA,                         /* cli */
        0x8C, 0xC8,                   /* mov ax, cs */
        0x8E, 0xD8,                   /* mov ds, ax */
        0xA3, 0x04, 0x01,             /* mov [0x104], ax */
        0x66, 0xFF, 0x06, 0x00, 0x01, /* inc dword [0x100] */
        0xF4,                         /* hlt */
        0xEB, 0xFD,                   /* jmp to it */
    };

    memcpy((void *)TRAMPOLINE, code, sizeof(code));
    *(volatile u64 *)STARTS_AT = 0;
}

static void start(u64 vcpu, u64 expected)
{
    u64 end = guest_ticks() + 100 * QUIET_TICKS;

    apic_send((u32)vcpu, ICR_SIPI | ICR_ASSERT | TRAMPOLINE >> 12);
    apic_send((u32)vcpu, ICR_SIPI | ICR_ASSERT | TRAMPOLINE >> 12);
    while (*(volatile u32 *)STARTS_AT < expected && guest_ticks() < end)
        __asm__ volatile("pause");
    let_pass(QUIET_TICKS);
    same("starts by SIPI", vcpu, *(volatile u32 *)STARTS_AT, expected);
    same("CS after SIPI", vcpu, *(volatile u16 *)CS_AT, TRAMPOLINE >> 4);
}

void test_startup(void)
{
    put_trampoline();
    for (u64 i = 1; i < vcpus; i++) {
        smp_wait("counting", i, &counters[i], 1000);
        apic_send((u32)i, ICR_SIPI | ICR_ASSERT | TRAMPOLINE >> 12); /* it runs: no effect */
        u64 before = counters[i];
        smp_wait("counting after a SIPI", i, &counters[i], before + 1000);
        apic_send((u32)i, ICR_INIT | ICR_ASSERT);
        let_pass(QUIET_TICKS);
        before = counters[i];
        let_pass(QUIET_TICKS);
        same("counter after INIT", i, counters[i], before);
        start(i, 2 * i - 1);
        apic_send((u32)i, ICR_INIT | ICR_ASSERT); /* halted, in real mode */
        let_pass(QUIET_TICKS);
        start(i, 2 * i);
    }
}
