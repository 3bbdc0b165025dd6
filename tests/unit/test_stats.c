/* links: vmm/stats.c vmm/stats_print.c vmx/exit.c arch/tsc_math.c mm/shadow.c mm/shadow_pool.c
 * mm/shadow_derive.c mm/shadow_fill.c mm/shadow_leaf.c mm/shadow_sync.c mm/shadow_revoke.c mm/revoke.c
 * mm/shadow_reach.c mm/shadow_patch.c mm/shadow_shared.c mm/audit.c mm/rmap.c mm/trace.c mm/gwalk.c
 * mm/p2m.c mm/guest_mem.c mm/channel.c mm/matrix.c */
/* test_stats.c - PB_CALL_STATS: what it writes where, and what it answers to any argument; the printed table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "mm/audit.h"
#include "tests/unit/stats_world.h"

#define AT              0x5000ull /* a page that is nothing else */
#define NOTHING_WRITTEN (~0ull)

static u8 before[WORLD_PAGES * PAGE_SIZE];

/* As vCPU 0; nothing but OK may write anything. */
static u32 call(u64 gpa, u64 which, u64 room, u64 *written)
{
    struct flush flush;
    u32 status;

    *written = NOTHING_WRITTEN;
    memcpy(before, world_ram, sizeof(before));
    status = stats_call(&world_vcpu[0], gpa, which, room, 5000, written, &flush);
    if (status != PB_STATUS_OK) {
        assert_memory_equal(before, world_ram, sizeof(before));
        assert_true(*written == NOTHING_WRITTEN);
    }
    return status;
}

static void touch(u32 vcpu, u64 page, u32 error)
{
    (void)shadow_fault(&world_vcpu[vcpu].shadow, GVA(WORLD_VA + (page << PAGE_SHIFT)), error, 0, false);
}

static void counters_of_any_vcpu_of_the_vm(void **state)
{
    struct pb_stats *s;
    u64 written;

    (void)state;
    world_start();
    world_cpu[0].lapic.tsc_offset = 100;
    counter_add(&world_vcpu[1].stats.by_reason[VMX_EXIT_CPUID], 5);
    counter_add(&world_vcpu[1].stats.by_reason[VMX_EXIT_TDCALL], 2);
    counter_one(&world_vcpu[0].stats.by_reason[VMX_EXIT_HLT]);
    counter_add(&world_vcpu[1].messages.sent, 9);
    atomic_fetch_add(&world_vcpu[1].stats.nmis_sent, 4);
    atomic_fetch_add(&world_vcpu[1].stats.nmis_shadow, 3);
    atomic_fetch_add(&world_vm.channel_bytes, 4096);
    touch(1, 0, 0);
    s = (struct pb_stats *)(world_ram + AT);
    assert_int_equal(call(AT, 1, PAGE_SIZE, &written), PB_STATUS_OK);
    assert_int_equal(written, sizeof(*s));
    assert_int_equal(s->magic, PB_STATS_MAGIC);
    assert_memory_equal(s, "PBST", 4);
    assert_int_equal(s->version, PB_STATS_VERSION);
    assert_int_equal(s->counters_at, PB_STATS_HEADER);
    assert_int_equal(s->exits_at, offsetof(struct pb_stats, exits));
    assert_int_equal(s->counters, PB_STAT_COUNT);
    assert_int_equal(s->reasons, VMX_EXIT_COUNT);
    assert_int_equal(s->bytes, sizeof(*s));
    assert_true(s->vm == 3 && s->vcpu == 1 && s->vcpus == WORLD_VCPUS);
    assert_true(s->tsc == 5100 && s->tsc_hz == 1000000000);
    assert_int_equal(s->counter[PB_STAT_EXITS], 7);
    assert_int_equal(s->exits[VMX_EXIT_CPUID], 5);
    assert_int_equal(s->exits[VMX_EXIT_TDCALL], 2);
    assert_int_equal(s->counter[PB_STAT_SENT], 9);
    assert_int_equal(s->counter[PB_STAT_NMIS], 4);
    assert_int_equal(s->counter[PB_STAT_NMIS_SHADOW], 3);
    assert_int_equal(s->counter[PB_STAT_CHANNELS], 4096);
    assert_int_equal(s->counter[PB_STAT_FILLS], 1);
    assert_true(s->counter[PB_STAT_MADE] >= 3 && s->counter[PB_STAT_SHADOWS] >= 3);
    assert_int_equal(s->counter[PB_STAT_FRAMES], WORLD_FRAMES);
    assert_int_equal(call(AT, PB_STATS_SELF, PAGE_SIZE, &written), PB_STATUS_OK);
    assert_int_equal(s->vcpu, 0);
    assert_int_equal(s->counter[PB_STAT_EXITS], 1);
    assert_int_equal(s->counter[PB_STAT_FILLS], 0);
}

static void as_much_as_there_is_room_for(void **state)
{
    u64 written;

    (void)state;
    world_start();
    for (u64 room = PB_STATS_HEADER; room <= PAGE_SIZE; room += sizeof(u64)) {
        u64 gpa = AT + PAGE_SIZE - room, n = MIN(room, sizeof(struct pb_stats));
        assert_int_equal(call(gpa, 0, room, &written), PB_STATUS_OK);
        assert_int_equal(written, n);
        assert_int_equal(((struct pb_stats *)(world_ram + gpa))->bytes, n);
        assert_memory_equal(before, world_ram, gpa);
        assert_memory_equal(before + gpa + n, world_ram + gpa + n, sizeof(before) - gpa - n);
    }
}

static void hostile_arguments_have_their_answers(void **state)
{
    static const u64 gpas[] = {0,           1,         AT - 8,   AT,       AT + 4,     AT + 2048,
                               AT + 2056,   AT + 4088, 1 << 20,  ~0ull,    ~0ull << 3, 1ull << 63,
                               ~0ull << 12, 0x3FF800,  0x3FFFF8, 0x400000, 0x400800};
    static const u64 whichs[] = {0,     1,          2,         63, 64, PB_STATS_SELF, PB_STATS_SELF + 1ull,
                                 ~0ull, 1ull << 32, 1ull << 63};
    static const u64 rooms[] = {0,    8,    56,   63,   64,   65,    72,         2047,
                                2048, 2056, 4095, 4096, 4104, ~0ull, 1ull << 32, ~7ull};

    (void)state;
    world_start();
    for (u32 g = 0; g < ARRAY_SIZE(gpas); g++)
        for (u32 w = 0; w < ARRAY_SIZE(whichs); w++)
            for (u32 r = 0; r < ARRAY_SIZE(rooms); r++) {
                u64 gpa = gpas[g], which = whichs[w], room = rooms[r], written;
                u32 want = PB_STATUS_OK, status = call(gpa, which, room, &written);
                if (room < 64 || room > 4096 || room % 8)
                    want = PB_STATUS_BAD_LENGTH;
                else if (which > 1 && which != PB_STATS_SELF)
                    want = PB_STATUS_NO_SUCH_VCPU;
                else if (gpa % 8 || gpa / 4096 != (gpa + room - 1) / 4096 || gpa >= WORLD_PAGES * PAGE_SIZE)
                    want = PB_STATUS_BAD_ADDRESS;
                if (status != want)
                    fail_msg("gpa %llx which %llx room %llx: %u, not %u", (unsigned long long)gpa,
                             (unsigned long long)which, (unsigned long long)room, status, want);
                memset(world_ram, 0, PAGE_SIZE);
            }
}

static void only_into_ram_that_it_may_write(void **state)
{
    static const enum p2m_type types[] = {P2M_NONE, P2M_RAM_RO, P2M_EMPTY};
    u64 written;

    (void)state;
    world_start();
    for (u32 i = 0; i < ARRAY_SIZE(types); i++) {
        p2m_set(&world_vm.p2m, AT >> PAGE_SHIFT, ptr_to_hpa(world_ram + AT), types[i], false);
        assert_int_equal(call(AT, 0, PAGE_SIZE, &written), PB_STATUS_BAD_ADDRESS);
    }
    p2m_set(&world_vm.p2m, AT >> PAGE_SHIFT, ptr_to_hpa(world_ram + AT), P2M_RAM_RW, false);
    assert_int_equal(call(AT, 0, PAGE_SIZE, &written), PB_STATUS_OK);
}

/* Nothing is derived any more from what the table held before the call, on either vCPU, after its next event. */
static void into_a_page_table_that_is_in_use(void **state)
{
    static const u64 rooms[] = {64, 72, 120, 128, PAGE_SIZE};
    u64 written;

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(rooms); i++) {
        world_start();
        for (u32 vcpu = 0; vcpu < WORLD_VCPUS; vcpu++)
            for (u64 page = 0; page < 12; page++)
                touch(vcpu, page, PF_W);
        assert_int_equal(call(4ull << PAGE_SHIFT, 0, rooms[i], &written), PB_STATUS_OK);
        for (u32 vcpu = 0; vcpu < WORLD_VCPUS; vcpu++) {
            struct shadow *sh = &world_vcpu[vcpu].shadow;
            struct shadow_fault f;
            struct audit_report report;
            struct flush flush;
            (void)shadow_invlpg(sh, GVA(WORLD_VA + (6ull << PAGE_SHIFT)));
            f = shadow_fault(sh, GVA(WORLD_VA + (6ull << PAGE_SHIFT)), 0, 0, false);
            assert_int_equal(f.verdict, SHADOW_GUEST_FAULT); /* entry 6 is reserved[0] now */
            assert_true(shadow_audit(sh, &report, &flush));
        }
    }
}

static void the_table_shows_what_is_not_zero(void **state)
{
    char text[8192];
    FILE *to = tmpfile();
    int saved = dup(2);
    size_t n;

    (void)state;
    world_start();
    counter_add(&world_vcpu[0].stats.by_reason[VMX_EXIT_CPUID], 11);
    counter_add(&world_vcpu[1].stats.by_reason[VMX_EXIT_CPUID], 31);
    counter_add(&world_vcpu[1].messages.refused, 7);
    fflush(stderr);
    dup2(fileno(to), 2);
    stats_print_all();
    fflush(stderr);
    dup2(saved, 2);
    rewind(to);
    n = fread(text, 1, sizeof(text) - 1, to);
    text[n] = 0;
    fclose(to);
    close(saved);
    assert_non_null(strstr(text, "vm world: 2 vCPUs"));
    assert_non_null(strstr(text, "    vCPU  0    vCPU  1        all\n"));
    assert_non_null(strstr(text, "  exits                            11         31         42  exits\n"));
    assert_non_null(strstr(text, "    CPUID                          11         31         42\n"));
    assert_non_null(strstr(text, "  refused                           0          7          7  calls\n"));
    assert_null(strstr(text, "VMCALL"));
    assert_null(strstr(text, "overflows"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counters_of_any_vcpu_of_the_vm),
        cmocka_unit_test(as_much_as_there_is_room_for),
        cmocka_unit_test(hostile_arguments_have_their_answers),
        cmocka_unit_test(only_into_ram_that_it_may_write),
        cmocka_unit_test(into_a_page_table_that_is_in_use),
        cmocka_unit_test(the_table_shows_what_is_not_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
