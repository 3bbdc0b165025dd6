/* links: vmm/task.c vmm/descriptor.c */
/* test_task.c - hardware task switches. SDM Vol 3A chapter 7. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "arch/regs.h"
#include "vmm/task.h"

#define MEMORY 0x10000u
#define GDT    0x1000u
#define LDT    0x1800u
#define TSS_A  0x2000u
#define TSS_B  0x3000u
#define STACK  0x8000u

enum {
    CODE = 0x08,
    DATA = 0x10,
    SEL_A = 0x18,
    SEL_B = 0x20,
    SEL_LDT = 0x28,
    CONFORMING = 0x30,
    UCODE = 0x38,
    UDATA = 0x40,
    SEL_16 = 0x48,
    GDT_TOP = 0x4F
};

static struct world {
    u8 mem[MEMORY];
    u32 cr3, protected_page; /* writes there fault */
    u32 missing_page;        /* reads there fault too */
    u32 user_writes;
    bool bad_cr3;
} w;
static struct task_regs r;

static enum emulate_status access(u32 at, u32 size, bool write)
{
    assert_true(at + size <= MEMORY);
    for (u32 i = 0; i < size; i++) {
        u32 page = (at + i) >> 12;
        if ((w.missing_page && page == w.missing_page) ||
            (write && w.protected_page && page == w.protected_page))
            return EMULATE_FAULT;
    }
    return EMULATE_OK;
}
static enum emulate_status op_read(void *ctx, u32 at, void *to, u32 size)
{
    (void)ctx;
    enum emulate_status s = access(at, size, false);
    if (s == EMULATE_OK)
        memcpy(to, w.mem + at, size);
    return s;
}
static enum emulate_status op_check(void *ctx, u32 at, u32 size)
{
    (void)ctx;
    return access(at, size, true);
}
static enum emulate_status op_write(void *ctx, u32 at, const void *from, u32 size, bool user)
{
    (void)ctx;
    enum emulate_status s = access(at, size, true);
    w.user_writes += user;
    if (s == EMULATE_OK)
        memcpy(w.mem + at, from, size);
    return s;
}
static bool op_cr3(void *ctx, u32 cr3)
{
    (void)ctx;
    w.cr3 = cr3;
    return !w.bad_cr3;
}
static const struct task_ops ops = {op_read, op_check, op_write, op_cr3};

static void put(u32 at, u32 value)
{
    memcpy(w.mem + at, &value, sizeof(value));
}
static u32 get(u32 at)
{
    u32 value;
    memcpy(&value, w.mem + at, sizeof(value));
    return value;
}
static void descriptor(u32 table, u16 sel, u32 base, u32 limit, u32 access, u32 flags)
{
    put(table + (sel & ~7u), base << 16 | (limit & 0xFFFF));
    put(table + (sel & ~7u) + 4,
        (base >> 16 & 0xFF) | access << 8 | (limit & 0xF0000) | flags << 20 | (base & 0xFF000000));
}
static u8 access_byte(u16 sel)
{
    return w.mem[GDT + sel + 5];
}

static void set_tss(u32 tss, u32 eip, u32 eflags, u16 cs, u16 ss)
{
    put(tss + 28, 0x77000);
    put(tss + 32, eip);
    put(tss + 36, eflags);
    for (u32 i = 0; i < TASK_GPRS; i++)
        put(tss + 40 + 4 * i, 0xB0000000 + i);
    put(tss + 56, STACK);
    u16 sel[6] = {ss, cs, ss, ss, 0, 0};
    for (u32 i = 0; i < 6; i++)
        put(tss + 72 + 4 * i, sel[i]);
}

/* Task A runs in ring 0 with flat segments, task B is ready. */
static int setup(void **state)
{
    (void)state;
    memset(&w, 0, sizeof(w));
    descriptor(GDT, CODE, 0, 0xFFFFF, 0x9B, 0xC);
    descriptor(GDT, DATA, 0, 0xFFFFF, 0x93, 0xC);
    descriptor(GDT, SEL_A, TSS_A, 0x67, 0x8B, 0);
    descriptor(GDT, SEL_B, TSS_B, 0x67, 0x89, 0);
    descriptor(GDT, SEL_LDT, LDT, 0xF, 0x82, 0);
    descriptor(GDT, CONFORMING, 0, 0xFFFFF, 0x9F, 0xC);
    descriptor(GDT, UCODE, 0, 0xFFFFF, 0xFB, 0xC);
    descriptor(GDT, UDATA, 0, 0xFFFFF, 0xF2, 0xC); /* not accessed yet */
    descriptor(GDT, SEL_16, TSS_B, 0x2B, 0x81, 0);
    set_tss(TSS_B, 0x5000, 0x202, CODE, DATA);
    r = (struct task_regs){.eip = 0x4000, .eflags = 0x4046, .gdt_base = GDT, .gdt_limit = GDT_TOP};
    for (u32 i = 0; i < TASK_GPRS; i++)
        r.gpr[i] = 0xA0000000 + i;
    for (u32 i = VMX_SEG_ES; i <= VMX_SEG_GS; i++)
        r.seg[i] = (struct vmx_seg){DATA, ~0u, 0xC093, 0};
    r.seg[VMX_SEG_CS] = (struct vmx_seg){CODE, ~0u, 0xC09B, 0};
    r.seg[VMX_SEG_TR] = (struct vmx_seg){SEL_A, 0x67, 0x8B, TSS_A};
    r.seg[VMX_SEG_LDTR] = (struct vmx_seg){.access = VMX_AR_UNUSABLE};
    return 0;
}

static struct task_result go(struct task_request q)
{
    return task_switch(&r, &q, &ops, NULL);
}
static void expect_fault(struct task_result result, bool switched, u8 vector, u32 error)
{
    assert_int_equal(result.status, EMULATE_FAULT);
    assert_int_equal(result.switched, switched);
    assert_int_equal(result.vector, vector);
    if (vector != TASK_FAULT_RECORDED)
        assert_int_equal(result.error, error);
}
static void expect_done(struct task_result result)
{
    assert_int_equal(result.status, EMULATE_OK);
    assert_true(result.switched);
    assert_int_equal(result.vector, 0);
}

static void call_saves_links_and_loads(void **state)
{
    (void)state;
    descriptor(GDT, CODE, 0, 0xFFFFF, 0x9B, 0xE); /* L means nothing outside IA-32e mode: it is not loaded */
    expect_done(go((struct task_request){SEL_B, VMX_TASK_CALL, 7, false, false, 0}));
    assert_int_equal(get(TSS_A + 32), 0x4007);
    assert_int_equal(get(TSS_A + 36), 0x4046);
    assert_int_equal(get(TSS_A + 40), 0xA0000000);
    assert_int_equal(get(TSS_A + 68), 0xA0000007);
    assert_int_equal(get(TSS_A + 76), CODE);
    assert_int_equal(get(TSS_A + 92), DATA);
    assert_int_equal(get(TSS_A + 96), 0); /* the LDT is not saved, nor is CR3 */
    assert_int_equal(get(TSS_A + 28), 0);
    assert_int_equal(get(TSS_B), SEL_A);
    assert_int_equal(access_byte(SEL_A), 0x8B);
    assert_int_equal(access_byte(SEL_B), 0x8B);
    assert_int_equal(r.eip, 0x5000);
    assert_int_equal(r.eflags, 0x4202);
    assert_int_equal(r.gpr[TASK_EDI], 0xB0000007);
    assert_int_equal(r.gpr[TASK_ESP], STACK);
    assert_int_equal(w.cr3, 0x77000);
    assert_int_equal(r.seg[VMX_SEG_TR].selector, SEL_B);
    assert_int_equal(r.seg[VMX_SEG_TR].access, 0x8B);
    assert_int_equal(r.seg[VMX_SEG_TR].base, TSS_B);
    assert_int_equal(r.seg[VMX_SEG_CS].access, 0xC09B);
    assert_int_equal(r.seg[VMX_SEG_CS].limit, 0xFFFFFFFF);
    assert_int_equal(r.seg[VMX_SEG_FS].access, VMX_AR_UNUSABLE);
}

static void iret_goes_back(void **state)
{
    (void)state;
    expect_done(go((struct task_request){SEL_B, VMX_TASK_CALL, 7, false, false, 0}));
    struct task_regs b = r;
    r.eip = 0x5555;
    expect_done(go((struct task_request){SEL_A, VMX_TASK_IRET, 1, false, false, 0}));
    assert_int_equal(get(TSS_B + 32), 0x5556);
    assert_int_equal(get(TSS_B + 36), b.eflags & ~(u32)RFLAGS_NT);
    assert_int_equal(access_byte(SEL_A), 0x8B);
    assert_int_equal(access_byte(SEL_B), 0x89);
    assert_int_equal(r.eip, 0x4007);
    assert_int_equal(r.eflags, 0x4046);
    expect_fault(go((struct task_request){SEL_B, VMX_TASK_IRET, 1, false, false, 0}), false, VECTOR_TS,
                 SEL_B);
}

static void jump_frees_the_old_task(void **state)
{
    (void)state;
    expect_done(go((struct task_request){SEL_B, VMX_TASK_JMP, 7, false, false, 0}));
    assert_int_equal(access_byte(SEL_A), 0x89);
    assert_int_equal(access_byte(SEL_B), 0x8B);
    assert_int_equal(get(TSS_B), 0);
    assert_int_equal(r.eflags, 0x202);
}

static void gate_pushes_the_error_code(void **state)
{
    (void)state;
    expect_done(go((struct task_request){SEL_B, VMX_TASK_GATE, 0, true, true, 0xDEAD}));
    assert_int_equal(get(TSS_A + 32), 0x4000);
    assert_int_equal(r.gpr[TASK_ESP], STACK - 4);
    assert_int_equal(get(STACK - 4), 0xDEAD);
    assert_int_equal(get(TSS_B), SEL_A);
    assert_int_equal(w.user_writes, 0);
    setup(state);
    set_tss(TSS_B, 0x5000, 0x202, UCODE | 3, UDATA | 3);
    expect_done(go((struct task_request){SEL_B, VMX_TASK_GATE, 0, true, true, 1}));
    assert_int_equal(w.user_writes, 1);
    assert_int_equal(r.seg[VMX_SEG_SS].access, 0xC0F3);
    assert_int_equal(access_byte(UDATA), 0xF3); /* accessed now */
    setup(state);
    put(TSS_B + 56, 2); /* no room: wraps */
    expect_fault(go((struct task_request){SEL_B, VMX_TASK_GATE, 0, true, true, 1}), true, VECTOR_SS, 1);
}

static void refused_before_anything_changed(void **state)
{
    (void)state;
    static const struct {
        u16 selector;
        enum vmx_task_source source;
        u32 base, limit, access;
        u8 vector;
    } cases[] = {
        {SEL_B | 4, VMX_TASK_CALL, TSS_B, 0x67, 0x89, VECTOR_GP},
        {GDT_TOP + 1, VMX_TASK_CALL, TSS_B, 0x67, 0x89, VECTOR_GP},
        {GDT_TOP + 1, VMX_TASK_IRET, TSS_B, 0x67, 0x89, VECTOR_TS},
        {SEL_B, VMX_TASK_CALL, TSS_B, 0x67, 0x8B, VECTOR_GP}, /* busy */
        {SEL_B, VMX_TASK_CALL, TSS_B, 0x67, 0x99, VECTOR_GP}, /* a code segment */
        {SEL_B, VMX_TASK_CALL, TSS_B, 0x67, 0x85, VECTOR_GP}, /* a task gate */
        {SEL_B, VMX_TASK_CALL, TSS_B, 0x67, 0x09, VECTOR_NP},
        {SEL_B, VMX_TASK_CALL, TSS_B, 0x66, 0x89, VECTOR_TS},
        {SEL_B, VMX_TASK_CALL, TSS_B, 0x2A, 0x81, VECTOR_TS},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        setup(state);
        descriptor(GDT, SEL_B, cases[i].base, cases[i].limit, cases[i].access, 0);
        struct task_regs before = r;
        struct world memory = w;
        expect_fault(go((struct task_request){cases[i].selector, cases[i].source, 0, false, false, 0}), false,
                     cases[i].vector, cases[i].selector & ~3u);
        assert_memory_equal(&r, &before, sizeof(r));
        assert_memory_equal(&w, &memory, sizeof(w));
    }
    setup(state);
    r.seg[VMX_SEG_TR].limit = 0x66;
    expect_fault(go((struct task_request){SEL_B, VMX_TASK_CALL, 0, true, false, 0}), false, VECTOR_TS,
                 SEL_A | 1);
    for (u32 page = 1; page <= 3; page++) { /* GDT, old TSS, new TSS not writable */
        setup(state);
        w.protected_page = page;
        struct world memory = w;
        expect_fault(go((struct task_request){SEL_B, VMX_TASK_CALL, 0, false, false, 0}), false,
                     TASK_FAULT_RECORDED, 0);
        assert_memory_equal(&w, &memory, sizeof(w));
    }
}

static void segments_fault_in_the_new_task(void **state)
{
    (void)state;
    static const struct {
        u16 cs, ss, ds;
        u8 vector;
        u16 error;
    } cases[] = {
        {0, DATA, DATA, VECTOR_TS, 0},
        {DATA, DATA, DATA, VECTOR_TS, DATA},
        {CODE | 3, UDATA | 3, 0, VECTOR_TS, CODE}, /* CPL 3, DPL 0 */
        {UCODE, DATA, DATA, VECTOR_TS, UCODE},
        {CODE, 0, DATA, VECTOR_TS, 0},
        {CODE, CODE, DATA, VECTOR_TS, CODE},
        {CODE, DATA | 1, DATA, VECTOR_TS, DATA},
        {CODE, UDATA, DATA, VECTOR_TS, UDATA},
        {CODE, DATA, DATA | 3, VECTOR_TS, DATA},
        {CODE, DATA, SEL_LDT, VECTOR_TS, SEL_LDT},
        {CODE, DATA, GDT_TOP + 1, VECTOR_TS, GDT_TOP + 1},
        {CODE, DATA, 4 | 8, VECTOR_TS, 4 | 8}, /* no LDT */
        {CODE | 4, DATA, DATA, VECTOR_TS, CODE | 4},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        setup(state);
        set_tss(TSS_B, 0x5000, 0x202, cases[i].cs, cases[i].ss);
        put(TSS_B + 84, cases[i].ds);
        struct task_result result = go((struct task_request){SEL_B, VMX_TASK_GATE, 0, true, true, 5});
        expect_fault(result, true, cases[i].vector, cases[i].error | 1u);
        assert_int_equal(r.eip, 0x5000);
        assert_int_equal(r.seg[VMX_SEG_TR].selector, SEL_B);
        /* what a VM entry wants */
        assert_false(r.seg[VMX_SEG_CS].access & VMX_AR_UNUSABLE);
        assert_int_equal(r.seg[VMX_SEG_CS].selector & 3, r.seg[VMX_SEG_SS].selector & 3);
        assert_int_equal(r.seg[VMX_SEG_CS].access >> 5 & 3, r.seg[VMX_SEG_SS].access >> 5 & 3);
    }
    static const struct {
        u16 sel;
        u32 access;
        u8 vector;
    } absent[] = {{CODE, 0x1B, VECTOR_NP}, {DATA, 0x13, VECTOR_SS}};
    for (size_t i = 0; i < ARRAY_SIZE(absent); i++) {
        setup(state);
        descriptor(GDT, absent[i].sel, 0, 0xFFFFF, absent[i].access, 0xC);
        expect_fault(go((struct task_request){SEL_B, VMX_TASK_JMP, 7, false, false, 0}), true,
                     absent[i].vector, absent[i].sel);
    }
    setup(state);
    w.bad_cr3 = true;
    expect_fault(go((struct task_request){SEL_B, VMX_TASK_JMP, 7, false, false, 0}), true, VECTOR_GP, 0);
}

static void conforming_code_and_a_local_table(void **state)
{
    (void)state;
    set_tss(TSS_B, 0x5000, 0x202, CONFORMING | 3, UDATA | 3);
    put(TSS_B + 96, SEL_LDT);
    put(TSS_B + 88, 8 | 4 | 3);
    descriptor(LDT, 8, 0x12345678, 0xFF, 0xF3, 0);
    expect_done(go((struct task_request){SEL_B, VMX_TASK_CALL, 7, false, false, 0}));
    assert_int_equal(r.seg[VMX_SEG_CS].access, 0xC09F);
    assert_int_equal(r.seg[VMX_SEG_SS].access >> 5 & 3, 3);
    assert_int_equal(r.seg[VMX_SEG_LDTR].base, LDT);
    assert_int_equal(r.seg[VMX_SEG_LDTR].access, 0x82);
    assert_int_equal(r.seg[VMX_SEG_FS].base, 0x12345678);
    assert_int_equal(r.seg[VMX_SEG_FS].limit, 0xFF);
    setup(state);
    put(TSS_B + 96, DATA);
    expect_fault(go((struct task_request){SEL_B, VMX_TASK_CALL, 7, false, false, 0}), true, VECTOR_TS, DATA);
}

static void into_virtual_8086_mode(void **state)
{
    (void)state;
    set_tss(TSS_B, 0x100, 0x23002, 0x4200, 0x1234);
    put(TSS_B + 96, DATA); /* a bad LDT: the state is one of that mode all the same */
    expect_fault(go((struct task_request){SEL_B, VMX_TASK_JMP, 7, false, false, 0}), true, VECTOR_TS, DATA);
    for (u32 i = VMX_SEG_ES; i <= VMX_SEG_GS; i++) {
        assert_int_equal(r.seg[i].base, (u32)r.seg[i].selector << 4);
        assert_int_equal(r.seg[i].limit, 0xFFFF);
        assert_int_equal(r.seg[i].access, 0xF3);
    }
    assert_int_equal(r.seg[VMX_SEG_CS].base, 0x42000);
    assert_int_equal(r.eflags, 0x23002);
}

static void sixteen_bit_tasks_and_the_trap_bit(void **state)
{
    (void)state;
    put(TSS_B + 14, 0x5000 | 0x0202 << 16); /* IP, FLAGS */
    for (u32 i = 0; i < TASK_GPRS; i++)
        memcpy(w.mem + TSS_B + 18 + 2 * i, &(u16){(u16)(0x1000 + i)}, 2);
    u16 sel[5] = {DATA, CODE, DATA, DATA, 0};
    memcpy(w.mem + TSS_B + 34, sel, sizeof(sel));
    expect_done(go((struct task_request){SEL_16, VMX_TASK_CALL, 7, false, true, 0x12345}));
    assert_int_equal(r.eip, 0x5000);
    assert_int_equal(r.eflags, 0x4202);
    assert_int_equal(r.gpr[TASK_EDI], 0x1007);
    assert_int_equal(r.gpr[TASK_ESP], 0x1004 - 2);
    assert_int_equal(get(0x1002) & 0xFFFF, 0x2345);
    assert_int_equal(r.seg[VMX_SEG_FS].access, VMX_AR_UNUSABLE);
    assert_int_equal(r.seg[VMX_SEG_TR].access, 0x83);
    assert_int_equal(w.cr3, 0); /* it has none */
    setup(state);
    put(TSS_B + 100, 1);
    assert_true(go((struct task_request){SEL_B, VMX_TASK_CALL, 7, false, false, 0}).trap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(call_saves_links_and_loads, setup),
        cmocka_unit_test_setup(iret_goes_back, setup),
        cmocka_unit_test_setup(jump_frees_the_old_task, setup),
        cmocka_unit_test_setup(gate_pushes_the_error_code, setup),
        cmocka_unit_test_setup(refused_before_anything_changed, setup),
        cmocka_unit_test_setup(segments_fault_in_the_new_task, setup),
        cmocka_unit_test_setup(conforming_code_and_a_local_table, setup),
        cmocka_unit_test_setup(into_virtual_8086_mode, setup),
        cmocka_unit_test_setup(sixteen_bit_tasks_and_the_trap_bit, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
