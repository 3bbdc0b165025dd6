/*
 * stats64.c - a flat 64-bit guest that reads its counters (PB_CALL_STATS) and compares them with what it has done: CPUIDs,
 * INVLPGs, calls, page faults of its own; those of its second vCPU while that counts CPUIDs; a page table in use as the
 * target; hostile arguments. In the end it prints one page as hexadecimal text, for patchbay-stat.
 */
#include "vmm/demo/guest.h"

#define ROUNDS      1000u
#define VA          (1ull << 40) /* its page table holds nothing else */
#define OTHER_READS 200u
#define TESTED      6u /* entry of that table: in the header's reserved part */
#define CPUID_EXIT  10u
#define VMCALL_EXIT 18u
#define INVLPG_EXIT 14u

static struct pb_stats a aligned_to(4096), b aligned_to(4096);
static u8 page[4096] aligned_to(4096);
static int failures;

/* Of the second vCPU, below; no zeroed memory, which the first one clears at its start. */
u64 other_go = 0, other_stop = 0, other_cpuids = 0, other_state_in_data = 1;
__asm__(".text\n"
        ".globl guest_other_start\n"
        "guest_other_start:\n"
        "1: pause\n"
        "   cmpq $0, other_go(%rip)\n"
        "   je 1b\n"
        "2: xor %eax, %eax\n"
        "   cpuid\n"
        "   incq other_cpuids(%rip)\n"
        "   cmpq $0, other_stop(%rip)\n"
        "   je 2b\n"
        "3: hlt\n"
        "   jmp 3b\n");

static void equal(const char *what, u64 got, u64 expected)
{
    if (got == expected)
        return;
    say("stats64: FAIL %s: got %llu, expected %llu", what, (unsigned long long)got,
        (unsigned long long)expected);
    failures++;
}

static void within(const char *what, u64 got, u64 low, u64 high)
{
    if (got >= low && got <= high)
        return;
    say("stats64: FAIL %s: got %llu, expected %llu to %llu", what, (unsigned long long)got,
        (unsigned long long)low, (unsigned long long)high);
    failures++;
}

static u64 call(const void *to, u64 vcpu, u64 room)
{
    return guest_call(PB_CALL_STATS, (u64)to, vcpu, room).status;
}

static void get(struct pb_stats *s)
{
    struct call_result r = guest_call(PB_CALL_STATS, (u64)s, PB_STATS_SELF, sizeof(*s));

    equal("status", r.status, PB_STATUS_OK);
    equal("bytes returned", r.rbx, sizeof(*s));
}

static u64 more(u32 counter)
{
    return b.counter[counter] - a.counter[counter];
}

static u64 more_exits(u32 reason)
{
    return b.exits[reason] - a.exits[reason];
}

static void header(void)
{
    u64 sum = 0;

    get(&a);
    equal("magic", a.magic, PB_STATS_MAGIC);
    equal("version", a.version, PB_STATS_VERSION);
    equal("bytes", a.bytes, sizeof(a));
    equal("VM", a.vm, guest_self()->id);
    equal("vCPU", a.vcpu, 0);
    equal("TSC speed", a.tsc_hz, guest_self()->tsc_hz);
    within("TSC", a.tsc, 1, guest_ticks());
    within("counters", a.counters, PB_STAT_COUNT, PB_STATS_COUNTERS);
    for (u32 i = 0; i < a.reasons; i++)
        sum += a.exits[i];
    equal("sum of the exits", a.counter[PB_STAT_EXITS], sum);
}

/* What else may make it leave: interrupts of the machine, timers and kicks. */
static u64 not_its_own(void)
{
    return more_exits(1) + more_exits(52) + more(PB_STAT_KICKS);
}

static void exits_are_counted_exactly(void)
{
    u32 r[4];

    get(&a);
    for (u32 i = 0; i < ROUNDS; i++)
        __asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(0), "c"(0));
    get(&b);
    equal("CPUID exits", more_exits(CPUID_EXIT), ROUNDS);
    equal("VMCALL exits", more_exits(VMCALL_EXIT), 1);
    equal("exits of CPUIDs", more(PB_STAT_EXITS), ROUNDS + 1 + not_its_own());
    get(&a);
    for (u32 i = 0; i < ROUNDS; i++)
        page_flush(VA);
    get(&b);
    equal("INVLPG exits", more_exits(INVLPG_EXIT), ROUNDS);
    equal("exits of INVLPGs", more(PB_STAT_EXITS), ROUNDS + 1 + not_its_own());
}

static void faults_and_remaps(void)
{
    u64 value;

    page_map(VA, (u64)page, MAP_WRITE);
    equal("its page", try_read(VA, &value).taken, 0);
    page_unmap(VA);
    get(&a);
    for (u32 i = 0; i < ROUNDS; i++) {
        page_map(VA, (u64)page, MAP_WRITE);
        equal("mapped", try_read(VA, &value).taken, 0);
        page_unmap(VA);
    }
    get(&b);
    equal("NMIs sent for a remap", more(PB_STAT_NMIS), 0);
    within("fills and pre-fills of remaps",
           more(PB_STAT_FILLS) + more(PB_STAT_PREFILLS) + more(PB_STAT_LOOSE_CHANGED), 1, 3 * ROUNDS);
}

/* The hypervisor's own store to a traced table is seen as any other. */
static void into_a_page_table(u64 room)
{
    u64 at = VA + TESTED * 4096, value;
    u64 *table = (u64 *)((u64)page_entry(VA, 1) & ~4095ull);
    struct fault f;

    page_map(at, (u64)page, MAP_WRITE);
    page_flush(at);
    equal("before", try_read(at, &value).taken, 0);
    equal("status for a page table", call(table, PB_STATS_SELF, room), PB_STATUS_OK);
    page_flush(at);
    f = try_read(at, &value);
    equal("fault after", f.taken, 1);
    equal("vector", f.vector, 14);
    equal("error", f.error, 0);
    memset(table, 0, 4096);
    page_flush(at);
}

static void hostile(void)
{
    static const struct {
        u64 to, vcpu, room, status;
    } calls[] = {
        {(u64)page + 1, PB_STATS_SELF, 64, PB_STATUS_BAD_ADDRESS},
        {(u64)page + 4, PB_STATS_SELF, 64, PB_STATUS_BAD_ADDRESS},
        {(u64)page + 4040, PB_STATS_SELF, 64, PB_STATUS_BAD_ADDRESS},
        {(u64)page + 8, PB_STATS_SELF, 4096, PB_STATUS_BAD_ADDRESS},
        {~0ull & ~7ull, PB_STATS_SELF, 64, PB_STATUS_BAD_ADDRESS},
        {1ull << 40, PB_STATS_SELF, 64, PB_STATUS_BAD_ADDRESS},
        {0xFEE00000, PB_STATS_SELF, 64, PB_STATUS_BAD_ADDRESS},
        {(u64)page, PB_STATS_SELF, 0, PB_STATUS_BAD_LENGTH},
        {(u64)page, PB_STATS_SELF, 56, PB_STATUS_BAD_LENGTH},
        {(u64)page, PB_STATS_SELF, 65, PB_STATUS_BAD_LENGTH},
        {(u64)page, PB_STATS_SELF, 4104, PB_STATUS_BAD_LENGTH},
        {(u64)page, PB_STATS_SELF, ~0ull, PB_STATUS_BAD_LENGTH},
        {(u64)page, 64, 64, PB_STATUS_NO_SUCH_VCPU},
        {(u64)page, 1ull << 32, 64, PB_STATUS_NO_SUCH_VCPU},
        {(u64)page, ~0ull, 64, PB_STATUS_NO_SUCH_VCPU},
        {(u64)page + 4032, PB_STATS_SELF, 64, PB_STATUS_OK},
    };

    for (u32 i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
        equal("status of a hostile call", call((void *)calls[i].to, calls[i].vcpu, calls[i].room),
              calls[i].status);
    equal("status for one more vCPU", call(page, a.vcpus, 64), PB_STATUS_NO_SUCH_VCPU);
}

/* While it runs, on another CPU. */
static void the_other_vcpu(void)
{
    u64 before, after, nmis;

    __atomic_store_n(&other_go, 1, __ATOMIC_RELEASE);
    while (!__atomic_load_n(&other_cpuids, __ATOMIC_ACQUIRE))
        ;
    equal("status for the other vCPU", call(&b, 1, sizeof(b)), PB_STATUS_OK);
    nmis = b.counter[PB_STAT_NMIS];
    for (u32 i = 0; i < OTHER_READS; i++) {
        before = __atomic_load_n(&other_cpuids, __ATOMIC_ACQUIRE);
        equal("status for the other vCPU", call(&b, 1, sizeof(b)), PB_STATUS_OK);
        after = __atomic_load_n(&other_cpuids, __ATOMIC_ACQUIRE);
        within("the other's CPUID exits", b.exits[CPUID_EXIT], before, after + 1);
    }
    equal("the other vCPU", b.vcpu, 1);
    equal("NMIs sent for looking at it", b.counter[PB_STAT_NMIS], nmis);
    __atomic_store_n(&other_stop, 1, __ATOMIC_RELEASE);
}

static void print_page(void)
{
    const u8 *bytes = (const u8 *)&b;
    char line[2 * 32 + 1];

    get(&b);
    for (u32 at = 0; at < sizeof(b); at += 32) {
        for (u32 i = 0; i < 32; i++)
            format_string(line + 2 * i, sizeof(line) - 2 * i, "%02x", bytes[at + i]);
        say("%08x: %s", at, line);
    }
}

int guest_main(const char *cmdline, const char *image)
{
    (void)cmdline;
    (void)image;
    paging_init(16 * MIB);
    if (!talk_init()) {
        say("stats64: FAIL this is not Patchbay");
        return 1;
    }
    header();
    exits_are_counted_exactly();
    faults_and_remaps();
    into_a_page_table(PB_STATS_HEADER);
    into_a_page_table(4096);
    hostile();
    if (a.vcpus > 1)
        the_other_vcpu();
    print_page();
    say("stats64: %s", failures ? "FAIL" : "PASS");
    return failures ? 1 : 0;
}
