/* links: vmx/event.c */
/* test_vmx_event.c - every combination of events against the tables of SDM Vol. 3A 6.15, spelled out here
 * anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "arch/regs.h"
#include "vmx/event.h"

/* Table 6-4 by vector: '.' benign, 'C' contributory, 'P' page fault, 'D' double fault */
static const char classes[33] = "C.......D.CCCCP.....PC..........";

static char class_of(struct vmx_event e)
{
    bool exception = vmx_event_valid(e) && vmx_event_type(e) == VMX_EVENT_EXCEPTION;

    return exception && vmx_event_vector(e) < 32 ? classes[vmx_event_vector(e)] : '.';
}

/* Table 6-5 as text: what happens for first (row) and second (column): S serially, D double fault, T shutdown
 */
static char outcome(char first, char second)
{
    static const char *rows[] = {". .S CS PS DS", "C .S CD PS DS", "P .S CD PD DD", "D .S CT PT DT"};

    for (size_t r = 0; r < 4; r++)
        if (rows[r][0] == first)
            for (const char *p = rows[r] + 2; *p; p += p[2] ? 3 : 2)
                if (p[0] == second)
                    return p[1];
    return '?';
}

static void check_pair(struct vmx_event first, uint8_t vector, bool protected_mode)
{
    struct vmx_event second = vmx_event_exception(vector, 0x1234, protected_mode), out;
    bool goes_on = vmx_event_combine(first, second, protected_mode, &out);

    switch (outcome(class_of(first), class_of(second))) {
    case 'S':
        assert_true(goes_on);
        assert_memory_equal(&out, &second, sizeof out);
        break;
    case 'D':
        assert_true(goes_on);
        assert_int_equal(vmx_event_vector(out), VECTOR_DF);
        assert_int_equal(out.error, 0);
        assert_int_equal(out.info & VMX_EVENT_HAS_ERROR, protected_mode ? VMX_EVENT_HAS_ERROR : 0);
        break;
    case 'T':
        assert_false(goes_on);
        assert_int_equal(out.info, 0);
        break;
    default: fail_msg("no outcome for vector %u after %08x", vector, first.info);
    }
}

static void all_pairs_follow_the_tables(void **state)
{
    (void)state;
    for (unsigned type = 0; type < 8; type++)
        for (unsigned first = 0; first < 256; first++)
            for (unsigned second = 0; second < 32; second++) {
                if (second == VECTOR_DF)
                    continue; /* nothing raises #DF by itself */
                check_pair(vmx_event_make((enum vmx_event_type)type, (u8)first), (u8)second, true);
                check_pair(vmx_event_make((enum vmx_event_type)type, (u8)first), (u8)second, false);
            }
    for (unsigned second = 0; second < 32; second++)
        if (second != VECTOR_DF)
            check_pair((struct vmx_event){0, 0, 0}, (u8)second, true);
}

static void error_codes_go_with_their_vectors(void **state)
{
    const char *have = "........E.EEEEE..E...E..........";

    (void)state;
    for (unsigned v = 0; v < 32; v++) {
        struct vmx_event e = vmx_event_exception((u8)v, 0xFFFF5678, true);
        assert_int_equal(!!(e.info & VMX_EVENT_HAS_ERROR), have[v] == 'E');
        assert_int_equal(vmx_vector_has_error((u8)v), have[v] == 'E');
        assert_int_equal(e.error, have[v] != 'E' ? 0 : v == VECTOR_DF ? 0 : 0x5678);
        assert_int_equal(vmx_event_exception((u8)v, 1, false).info & VMX_EVENT_HAS_ERROR, 0);
    }
    for (unsigned v = 32; v < 256; v++)
        assert_false(vmx_vector_has_error((u8)v));
}

/* For each kind of interrupted event: it comes again unchanged, and only what has to be written is. */
static void check_recovery(const struct vmx_interrupted *in)
{
    struct vmx_recovery out = vmx_event_recover(in);
    unsigned type = in->idt_info >> 8 & 7;

    if (!(in->idt_info & VMX_EVENT_VALID)) {
        bool reblock = in->iret_unblocked && !in->double_fault;
        assert_int_equal(out.event.info, 0);
        assert_int_equal(out.iret_reblocked, reblock);
        assert_int_equal(out.interruptibility, in->interruptibility | (reblock ? 8 : 0));
        return;
    }
    assert_int_equal(out.event.info, in->idt_info & ~0x1000u);
    assert_int_equal(out.event.error, in->idt_info & 0x800 ? in->idt_error : 0);
    assert_int_equal(out.event.length, type == 4 || type == 5 || type == 6 ? in->length : 0);
    assert_int_equal(out.interruptibility, type == 2 ? in->interruptibility & ~8u : in->interruptibility);
    assert_false(out.iret_reblocked);
}

static void interrupted_events_come_again(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits < 1u << 16; bits++) {
        struct vmx_interrupted in = {
            .idt_info = (bits & 1 ? VMX_EVENT_VALID : 0) | (bits >> 1 & 7) << 8 | (bits & 16 ? 0x800 : 0) |
                        (bits & 32 ? 0x1000 : 0) | (bits & 64 ? 0x21 : 0x0E),
            .idt_error = 0xABC,
            .length = bits & 128 ? 2 : 3,
            .interruptibility = bits >> 8 & 31,
            .iret_unblocked = bits >> 13 & 1,
            .double_fault = bits >> 14 & 1,
        };
        check_recovery(&in);
    }
}

static void interrupts_wait_for_their_moment(void **state)
{
    (void)state;
    for (unsigned blocking = 0; blocking < 32; blocking++)
        for (unsigned fl = 0; fl < 2; fl++)
            for (unsigned armed = 0; armed < 2; armed++) {
                u64 rflags = fl ? RFLAGS_IF | RFLAGS_FIXED1 : RFLAGS_FIXED1;
                bool sti_or_mov_ss = blocking & 3;
                assert_int_equal(vmx_interrupt_allowed(rflags, blocking, armed),
                                 fl && !sti_or_mov_ss && !armed);
                assert_int_equal(vmx_nmi_allowed(blocking, armed), !(blocking & 15) && !armed);
                assert_true(vmx_nmi_by_interrupt_window(false, blocking));
                assert_int_equal(vmx_nmi_by_interrupt_window(true, blocking), blocking & 1);
            }
}

/* Else the entry fails when a guest steps over STI or MOV SS: TF is set, and BS is not (test_vmx_check.c). And no NMI
 * comes in the handler of an exception that the delivery of one has met. */
static void an_exception_ends_the_shadow_it_came_in_and_keeps_nmis_blocked(void **state)
{
    const struct vmx_event none = {0, 0, 0}, nmi = vmx_event_make(VMX_EVENT_NMI, VECTOR_NMI),
                           irq = vmx_event_make(VMX_EVENT_INTERRUPT, 0x42);

    (void)state;
    for (u32 type = 0; type < 8; type++)
        for (u32 vector = 0; vector < 256; vector++)
            for (u32 blocking = 0; blocking < 32; blocking++) {
                bool debug = vector == VECTOR_DB &&
                             (type == VMX_EVENT_EXCEPTION || type == VMX_EVENT_PRIVILEGED_EXCEPTION);
                struct vmx_event e = vmx_event_make((enum vmx_event_type)type, (u8)vector);
                u32 after = debug ? blocking & ~3u : blocking;
                assert_int_equal(vmx_event_blocking(none, e, blocking), after);
                assert_int_equal(vmx_event_blocking(irq, e, blocking), after);
                assert_int_equal(vmx_event_blocking(nmi, e, blocking), after | 8);
            }
    assert_int_equal(vmx_event_blocking(none, (struct vmx_event){VECTOR_DB, 0, 0}, 3), 3); /* no event */
}

static void only_reasons_within_delivery_are_looked_at(void **state)
{
    (void)state;
    for (u32 reason = 0; reason < 200; reason++)
        assert_int_equal(vmx_reason_has_event(reason),
                         reason == 0 || reason == 44 || reason == 48 || reason == 49 || reason == 62);
    assert_false(vmx_reason_has_event(1u << 31)); /* a failed entry */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_pairs_follow_the_tables),
        cmocka_unit_test(error_codes_go_with_their_vectors),
        cmocka_unit_test(interrupted_events_come_again),
        cmocka_unit_test(interrupts_wait_for_their_moment),
        cmocka_unit_test(an_exception_ends_the_shadow_it_came_in_and_keeps_nmis_blocked),
        cmocka_unit_test(only_reasons_within_delivery_are_looked_at),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
