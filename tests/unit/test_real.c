/* links: vmm/real_insn.c vmm/real_exits.c vmm/real_decode.c vmm/real_deliver.c vmm/real_memory.c vmm/real_shape.c
 * vmm/decode_fetch.c vmm/decode_map.c vmx/event.c */
/*
 * test_real.c - real mode by hand: limits, the vector table, what becomes an exit, the shapes that stand in for it.
 * test_real_unicorn.c compares the effects of instructions.
 */
#include "tests/unit/real_machine.h"

static void put16(u32 at, u16 value)
{
    memcpy(memory + at, &value, sizeof(value));
}

static u16 get16(u32 at)
{
    u16 value;

    memcpy(&value, memory + at, sizeof(value));
    return value;
}

static enum real_outcome run(struct real_cpu *c, const char *bytes, size_t n, struct real_exit *exit)
{
    return real_execute((const u8 *)bytes, n, c, exit);
}
#define RUN(c, bytes, exit) run(c, bytes, sizeof(bytes) - 1, exit)

/* ---- the vector table ---- */

static void an_interrupt_goes_through_the_table(void **state)
{
    struct real_cpu c = fresh();
    struct real_exit exit;

    (void)state;
    real_load_segment(&c.seg[CS], 0x1234);
    c.eflags |= RFLAGS_IF | RFLAGS_TF | RFLAGS_AC | RFLAGS_CF;
    put16(0x21 * 4, 0x5678);
    put16(0x21 * 4 + 2, 0x2000);
    assert_int_equal(RUN(&c, "\xCD\x21", &exit), REAL_DONE);
    assert_int_equal(c.seg[CS].selector, 0x2000);
    assert_int_equal(c.seg[CS].base, 0x20000);
    assert_int_equal(c.eip, 0x5678);
    assert_int_equal(c.gpr[SP], 0x7FFA);
    assert_int_equal(get16(0x7FFA), 0x102);
    assert_int_equal(get16(0x7FFC), 0x1234);
    assert_int_equal(get16(0x7FFE), RFLAGS_IF | RFLAGS_TF | RFLAGS_CF | RFLAGS_FIXED1);
    assert_int_equal(c.eflags, RFLAGS_CF | RFLAGS_FIXED1);
    assert_true(c.no_step);
    assert_int_equal(RUN(&c, "\xCF", &exit), REAL_DONE);
    assert_int_equal(c.eip, 0x102);
    assert_int_equal(c.seg[CS].selector, 0x1234);
    assert_true(c.eflags & RFLAGS_IF);
    assert_true(c.iret);
}

static void what_the_table_does_not_reach_is_gp_then_df_then_shutdown(void **state)
{
    struct real_cpu c = fresh(), before;
    struct real_exit exit;

    (void)state;
    put16(13 * 4, 0x1300);
    put16(13 * 4 + 2, 0);
    put16(8 * 4, 0x0800);
    put16(8 * 4 + 2, 0);
    c.idtr.limit = 13 * 4 + 3;
    assert_int_equal(RUN(&c, "\xCD\x0E", &exit), REAL_FAULT);
    assert_int_equal(c.fault, VECTOR_GP);
    assert_int_equal(c.eip, 0x100);
    assert_int_equal(real_deliver(&c, 14, false), REAL_DONE); /* an interrupt: #GP instead */
    assert_int_equal(c.eip, 0x1300);
    c = fresh();
    c.idtr.limit = 8 * 4 + 3;
    assert_int_equal(real_deliver(&c, VECTOR_GP, true), REAL_DONE); /* an exception and #GP: #DF */
    assert_int_equal(c.eip, 0x800);
    c = before = fresh();
    before.idtr.limit = c.idtr.limit = 8 * 4 + 2;
    assert_int_equal(real_deliver(&c, VECTOR_GP, true), REAL_FAULT);
    assert_int_equal(c.eip, before.eip);
    assert_int_equal(c.gpr[SP], before.gpr[SP]);
    c = fresh();
    c.gpr[SP] = 1; /* no room: #SS, which finds none either */
    assert_int_equal(RUN(&c, "\xCD\x0E", &exit), REAL_FAULT);
    assert_int_equal(c.fault, VECTOR_SS);
    assert_int_equal(real_deliver(&c, VECTOR_SS, true), REAL_FAULT);
    c = fresh();
    c.idtr.base = 0x500;
    fault_at = 0x500 + 9 * 4;
    assert_int_equal(real_vector(&c, 9), REAL_FAULT);
    assert_int_equal(c.fault, VECTOR_PF);
    fault_at = UINT32_MAX;
}

/* ---- limits ---- */

static void limits_are_kept(void **state)
{
    struct real_cpu c = fresh();
    struct real_exit exit;

    (void)state;
    c.gpr[SP] = 0xFFFF;
    assert_int_equal(RUN(&c, "\x9D", &exit), REAL_FAULT); /* POPF across the end */
    assert_int_equal(c.fault, VECTOR_SS);
    c.gpr[SP] = 0;
    assert_int_equal(RUN(&c, "\x9C", &exit), REAL_DONE); /* PUSHF wraps */
    assert_int_equal(c.gpr[SP], 0xFFFE);
    c = fresh();
    assert_int_equal(RUN(&c, "\x8E\x06\xFF\xFF", &exit), REAL_FAULT); /* MOV ES, [FFFF] */
    assert_int_equal(c.fault, VECTOR_GP);
    assert_int_equal(RUN(&c, "\x36\x8E\x06\xFF\xFF", &exit), REAL_FAULT); /* the same in SS */
    assert_int_equal(c.fault, VECTOR_SS);
    assert_int_equal(RUN(&c, "\x66\xEA\x00\x00\x01\x00\x00\x00", &exit), REAL_FAULT); /* JMP FAR beyond CS */
    assert_int_equal(c.fault, VECTOR_GP);
    c.seg[DS].limit = UINT32_MAX; /* "unreal" */
    put16(0x10010, 0x4321);
    assert_int_equal(RUN(&c, "\x67\x8E\x05\x10\x00\x01\x00", &exit), REAL_DONE); /* MOV ES, [00010010] */
    assert_int_equal(c.seg[ES].selector, 0x4321);
    assert_int_equal(c.seg[ES].limit, 0xFFFF);
    c.seg[DS] = (struct vmx_seg){0, 0xFFF, 0x97, 0}; /* expand-down: above the limit only */
    assert_false(real_in_limit(&c.seg[DS], 0xFFF, 1));
    assert_true(real_in_limit(&c.seg[DS], 0x1000, 4));
    assert_false(real_in_limit(&c.seg[DS], 0xFFFD, 4));
}

static void code_ends_at_its_limit(void **state)
{
    struct real_cpu c = fresh();
    struct real_exit exit;

    (void)state;
    assert_int_equal(real_code_size(&c.seg[CS], 0xFFF8, 15), 8);
    assert_int_equal(real_code_size(&c.seg[CS], 0xFFF0, 15), 15);
    assert_int_equal(real_code_size(&c.seg[CS], 0x10000, 15), 0);
    c.seg[CS].limit = UINT32_MAX;
    assert_int_equal(real_code_size(&c.seg[CS], 0xFFFFFFFF, 15), 1);
    assert_int_equal(real_execute((const u8 *)"\xFA", 0, &c, &exit), REAL_OTHER);
    c.eip = 0xFFFF;
    assert_int_equal(RUN(&c, "\xFA", &exit), REAL_DONE);
    assert_int_equal(c.eip, 0x10000); /* it does not wrap */
    assert_int_equal(real_shape_of(c.seg, c.eip), REAL_HELD);
}

static void blocking_is_told(void **state)
{
    struct real_cpu c = fresh();
    struct real_exit exit;

    (void)state;
    assert_int_equal(RUN(&c, "\xFB", &exit), REAL_DONE);
    assert_true(c.sti && (c.eflags & RFLAGS_IF));
    assert_int_equal(RUN(&c, "\xFB", &exit), REAL_DONE);
    assert_false(c.sti); /* it was on already */
    assert_int_equal(RUN(&c, "\x17", &exit), REAL_DONE);
    assert_true(c.ss);
    assert_int_equal(RUN(&c, "\xF0\xFA", &exit), REAL_FAULT); /* LOCK CLI */
    assert_int_equal(c.fault, VECTOR_UD);
    assert_int_equal(RUN(&c, "\x8E\xC8", &exit), REAL_FAULT); /* MOV CS, AX */
    assert_int_equal(c.fault, VECTOR_UD);
    assert_int_equal(RUN(&c, "\x0F\x00\xD8", &exit), REAL_FAULT); /* LTR AX */
    assert_int_equal(c.fault, VECTOR_UD);
    assert_int_equal(RUN(&c, "\x89\x07", &exit), REAL_OTHER); /* MOV [BX], AX */
    assert_int_equal(RUN(&c, "\xEA\x00", &exit), REAL_OTHER); /* its end cannot be fetched */
}

/* ---- exits ---- */

static void others_become_exits(void **state)
{
    static const struct {
        const char *bytes;
        u32 length, reason;
        u64 qualification;
    } rows[] = {
        {"\xF4", 1, VMX_EXIT_HLT, 0},
        {"\xE4\x60", 2, VMX_EXIT_IO, 0x600008},
        {"\xE7\x70", 2, VMX_EXIT_IO, 0x700001},
        {"\xEC", 1, VMX_EXIT_IO, 0x3F80008},
        {"\x66\xEF", 2, VMX_EXIT_IO, 0x3F80003},
        {"\x6C", 1, VMX_EXIT_IO, 0x3F80018},
        {"\xF3\x66\x6F", 3, VMX_EXIT_IO, 0x3F80033},
        {"\x0F\x20\xC3", 3, VMX_EXIT_CR_ACCESS, 0x310},
        {"\x0F\x22\xD8", 3, VMX_EXIT_CR_ACCESS, 0x3},
        {"\x0F\x22\x18", 3, VMX_EXIT_CR_ACCESS, 0x3}, /* mod is ignored */
        {"\x0F\x21\xFA", 3, VMX_EXIT_MOV_DR, 0x217},
        {"\x0F\x23\xC1", 3, VMX_EXIT_MOV_DR, 0x100},
        {"\x0F\x01\xF0", 3, VMX_EXIT_CR_ACCESS, 0x10030}, /* LMSW AX */
        {"\x0F\x06", 2, VMX_EXIT_CR_ACCESS, 0x20},
        {"\x0F\x01\x3E\x34\x12", 5, VMX_EXIT_INVLPG, 0x1234},
        {"\x0F\x01\xD1", 3, VMX_EXIT_XSETBV, 0},
        {"\x0F\x08", 2, VMX_EXIT_INVD, 0},
        {"\x0F\x09", 2, VMX_EXIT_WBINVD, 0},
        {"\x0F\x30", 2, VMX_EXIT_WRMSR, 0},
        {"\x0F\x32", 2, VMX_EXIT_RDMSR, 0},
        {"\x0F\x33", 2, VMX_EXIT_RDPMC, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct real_cpu c = fresh();
        struct real_exit exit = {0};
        c.gpr[AX] = 1;
        c.gpr[DX] = 0x3F8;
        assert_int_equal(run(&c, rows[i].bytes, rows[i].length, &exit), REAL_EXIT);
        assert_int_equal(exit.reason, rows[i].reason);
        assert_int_equal(exit.qualification, rows[i].qualification);
        assert_int_equal(exit.length, rows[i].length);
        assert_int_equal(c.eip, 0x100);
    }
}

/* ---- shapes ---- */

static void segments_choose_the_shape(void **state)
{
    struct real_cpu c = fresh();
    struct vmx_seg out[REAL_SEGS];

    (void)state;
    real_load_segment(&c.seg[CS], 0x9F00);
    assert_int_equal(real_shape_of(c.seg, 0x100), REAL_VM86);
    assert_false(real_is_unreal(c.seg));
    assert_int_equal(real_shape_of(c.seg, 0x10000), REAL_HELD);
    c.seg[GS] = (struct vmx_seg){0x10, UINT32_MAX, 0xC093, 0}; /* loaded in protected mode: flat */
    assert_int_equal(real_shape_of(c.seg, 0x100), REAL_VM86);
    assert_true(real_is_unreal(c.seg));
    real_shape_segments(c.seg, REAL_VM86, out);
    assert_int_equal(out[GS].selector, 0);
    assert_int_equal(out[CS].selector, 0x9F00);
    for (u32 s = 0; s < REAL_SEGS; s++) {
        assert_int_equal(out[s].base, out[s].selector * 16);
        assert_int_equal(out[s].limit, 0xFFFF);
        assert_int_equal(out[s].access, 0xF3);
    }
    c.seg[GS].base = 0x12345;
    assert_int_equal(real_shape_of(c.seg, 0x100), REAL_HELD);
    c = fresh();
    c.seg[CS] = (struct vmx_seg){0x8, 0xFFFF, 0x9B, 0}; /* before the far jump */
    assert_int_equal(real_shape_of(c.seg, 0x100), REAL_HELD);
    real_shape_segments(c.seg, REAL_HELD, out);
    assert_int_equal(out[CS].selector, 0xB);
    assert_int_equal(out[CS].access, 0xFB);
    assert_int_equal(out[SS].selector, 3);
    assert_int_equal(out[SS].access, 0xF3);
    c.seg[DS].limit = UINT32_MAX;
    real_shape_segments(c.seg, REAL_OFF, out);
    assert_int_equal(out[CS].selector, 8);
    assert_int_equal(out[CS].access, 0x9B);
    assert_int_equal(out[DS].access, 0x80F3);
    c.seg[FS] = (struct vmx_seg){0x3, 0, VMX_AR_UNUSABLE, 0};
    real_adopt_segment(&c.seg[FS]);
    assert_int_equal(c.seg[FS].base, 0x30);
    assert_int_equal(c.seg[FS].limit, 0xFFFF);
    c.seg[CS].access |= VMX_AR_DB;
    assert_int_equal(real_shape_of(c.seg, 0x100), REAL_HELD);
}

/* What a CPU that ran real mode itself leaves in its segment registers, as it may be in them without that ability. */
static void native_segments_settle(void **state)
{
    struct vmx_seg cs = {0x0803, 0xFFFF, 0x93, 0x8000}, ss = {0x1002, 0xFFFF, 0x93, 0x10020},
                   ds = {0x0007, 0xFFFFFFFF, 0x8093, 0}, null = {3, 0, VMX_AR_UNUSABLE, 0};
    struct vmx_seg flat = {0x08, 0xFFFFFFFF, 0xC09B, 0}, conforming = {0x0B, 0xFFFFFFFF, 0xC09F, 0};

    (void)state;
    assert_true(real_settle_segment(&cs, CS, 0));
    assert_int_equal(cs.access, 0x9B);
    assert_int_equal(cs.selector, 0x0800);
    assert_int_equal(cs.base, 0x8000);
    assert_true(real_settle_segment(&ss, SS, 0));
    assert_int_equal(ss.access, 0x93);
    assert_int_equal(ss.selector, 0x1000);
    assert_true(real_settle_segment(&ds, DS, 0));
    assert_int_equal(ds.access, 0x80F3);
    assert_int_equal(ds.selector, 7);
    assert_false(real_settle_segment(&flat, CS, 0));
    assert_false(real_settle_segment(&conforming, DS, 0));
    assert_int_equal(conforming.access, 0xC09F);
    (void)!real_settle_segment(&null, ES, 0);
    assert_true(null.access & VMX_AR_UNUSABLE);
    assert_int_equal(null.selector, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(native_segments_settle),
        cmocka_unit_test(an_interrupt_goes_through_the_table),
        cmocka_unit_test(what_the_table_does_not_reach_is_gp_then_df_then_shutdown),
        cmocka_unit_test(limits_are_kept),
        cmocka_unit_test(code_ends_at_its_limit),
        cmocka_unit_test(blocking_is_told),
        cmocka_unit_test(others_become_exits),
        cmocka_unit_test(segments_choose_the_shape),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
