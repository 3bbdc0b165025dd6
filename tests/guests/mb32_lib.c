/* mb32_lib.c - text on the 16550, exceptions and single accesses of the 32-bit guest. */
#include "tests/guests/mb32.h"

#include <stdarg.h>

#define COM1           0x3F8
#define COM1_LSR       0x3FD
#define COM1_SCRATCH   0x3FF
#define LSR_THR_EMPTY  0x20
#define EXIT_PORT      0xF4
#define CODE_SELECTOR  0x08
#define DATA_SELECTOR  0x10
#define TASK_SELECTOR  0x18 /* of this task's TSS */
#define READER         0x20 /* of the other's */
#define TSS_WORDS      26
#define TSS_FREE       0x0000890000000067 /* SDM Vol 3A figure 7-3, without its base */
#define TSS_CR3        7                  /* words of a TSS: figure 7-2 */
#define TSS_EIP        8
#define TSS_EFLAGS     9
#define TSS_ES         18
#define TSS_CS         19
#define GATE_TASK      0x8500u
#define GATE_INTERRUPT 0x8E00u /* present, 32-bit interrupt gate: SDM Vol 3A 6.11 */
#define STUB_SIZE      16

struct gate {
    u16 offset_low, selector, flags, offset_high;
};
struct packed_layout table_register {
    u16 limit;
    u32 base;
};

extern const char trap_stubs[], read_at[], write_at[], access_done[];
u32 read_raw(u32 address);
void write_raw(u32 address, u32 value);
void exec_raw(u32 address);
extern const char set_cr0_at[], set_cr3_at[], set_cr4_at[];
void set_cr0_raw(u32 value);
void set_cr3_raw(u32 value);
void set_cr4_raw(u32 value);

static struct gate idt[32];
static u64 gdt[6] = {
    0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF, 0, 0, /* strings, 0x28: */ 0x00C0930000000000};
static u32 tss[2][TSS_WORDS];
extern u32 task_address, task_value;
extern u32 insb_end[2];
extern const char insb_at[], insb_short_at[], insb_done[];
void insb_raw(u32 offset, u32 count);
void insb_short_raw(u32 offset, u32 count);
extern const char task_reader[], int1_done[];
void int1_raw(void);
static struct fault last;
static u32 exec_target;

static void out8(u16 port, u8 value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static void put_char(char c)
{
    u8 status;

    do
        __asm__ volatile("inb %1, %0" : "=a"(status) : "Nd"((u16)COM1_LSR));
    while (!(status & LSR_THR_EMPTY));
    out8(COM1, (u8)c);
}

static void put_number(u32 n, u32 base)
{
    char digits[12];
    u32 count = 0;

    do {
        digits[count++] = "0123456789abcdef"[n % base];
        n /= base;
    } while (n);
    while (count)
        put_char(digits[--count]);
}

void say(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    for (; *fmt; fmt++) {
        if (*fmt != '%') {
            put_char(*fmt);
            continue;
        }
        fmt++;
        if (*fmt == 's')
            for (const char *s = va_arg(args, const char *); *s; s++)
                put_char(*s);
        else
            put_number(va_arg(args, u32), *fmt == 'x' ? 16 : 10);
    }
    va_end(args);
    put_char('\n');
}

no_return void guest_exit(u32 code)
{
    out8(EXIT_PORT, (u8)code);
    for (;;)
        __asm__ volatile("cli; hlt");
}

no_return void fail(const char *what, u32 got, u32 want)
{
    say("mb32: FAIL %s: 0x%x, expected 0x%x", what, got, want);
    guest_exit(1);
}

void trap_init(void)
{
    struct table_register g = {sizeof(gdt) - 1, (u32)gdt}, i = {sizeof(idt) - 1, (u32)idt};

    for (u32 n = 0; n < 32; n++) {
        u32 stub = (u32)trap_stubs + n * STUB_SIZE;

        idt[n] = (struct gate){(u16)stub, CODE_SELECTOR, GATE_INTERRUPT, (u16)(stub >> 16)};
    }
    __asm__ volatile("lgdt %0\n\t"
                     "ljmp %2, $1f\n"
                     "1: movl %3, %%eax\n\t"
                     "movl %%eax, %%ds\n\t"
                     "movl %%eax, %%es\n\t"
                     "movl %%eax, %%fs\n\t"
                     "movl %%eax, %%gs\n\t"
                     "movl %%eax, %%ss\n\t"
                     "lidt %1"
                     :
                     : "m"(g), "m"(i), "i"(CODE_SELECTOR), "i"(DATA_SELECTOR)
                     : "eax", "memory");
}

void guest_trap(struct trap_frame *frame)
{
    last = (struct fault){true, frame->vector, frame->error, get_cr2(), 0, frame->eflags};
    if (frame->vector == VECTOR_DB) {
        last.address = frame->eip;
        last.value = (u32)int1_done;
        return;
    }
    if (exec_target && frame->eip == exec_target) {
        frame->eip = (u32)access_done; /* a RET: the return address is still on the stack */
    } else if (frame->eip == (u32)insb_at || frame->eip == (u32)insb_short_at) {
        frame->eip = (u32)insb_done;
    } else if (frame->eip == (u32)read_at || frame->eip == (u32)write_at) {
        frame->eip = (u32)access_done;
    } else {
        say("mb32: FAIL exception %u, error 0x%x, eip 0x%x, cr2 0x%x", frame->vector, frame->error,
            frame->eip, last.address);
        guest_exit(2);
    }
}

struct fault try_read(u32 address)
{
    last.taken = false;
    u32 value = read_raw(address);
    last.value = value;
    return last;
}

struct fault try_write(u32 address, u32 value)
{
    last.taken = false;
    write_raw(address, value);
    return last;
}

struct fault try_exec(u32 address)
{
    last.taken = false;
    exec_target = address;
    exec_raw(address);
    exec_target = 0;
    return last;
}

#define TRY_SET_CR(n)                      \
    struct fault try_set_cr##n(u32 value)  \
    {                                      \
        last.taken = false;                \
        exec_target = (u32)set_cr##n##_at; \
        set_cr##n##_raw(value);            \
        exec_target = 0;                   \
        return last;                       \
    }
TRY_SET_CR(0)
TRY_SET_CR(3)
TRY_SET_CR(4)

struct fault try_insb(u32 pages, u32 offset, u32 count, bool short_addresses, u32 end[2])
{
    u32 last_page = pages - 1;

    gdt[5] = (gdt[5] & ~(u64)0x000F00000000FFFF) | (last_page & 0xFFFF) | (u64)(last_page >> 16) << 48;
    out8(COM1_SCRATCH, 0x5A);
    last.taken = false;
    if (short_addresses)
        insb_short_raw(offset, count);
    else
        insb_raw(offset, count);
    end[0] = insb_end[0];
    end[1] = insb_end[1];
    return last;
}

struct fault try_int1(void)
{
    last.taken = false;
    int1_raw();
    return last;
}

void tasks_init(void)
{
    for (u32 i = 0; i < 2; i++) {
        u64 base = (u32)tss[i];

        gdt[TASK_SELECTOR / 8 + i] = TSS_FREE | (base & 0xFFFFFF) << 16 | (base >> 24) << 56;
    }
    for (u32 i = TSS_ES; i < TSS_ES + 6; i++)
        tss[1][i] = i == TSS_CS ? CODE_SELECTOR : DATA_SELECTOR;
    idt[VECTOR_BP] = (struct gate){0, READER, GATE_TASK, 0};
    __asm__ volatile("ltr %w0" : : "r"(TASK_SELECTOR));
}

static void prepare_reader(u32 address)
{
    task_address = address;
    tss[1][TSS_EIP] = (u32)task_reader;
    tss[1][TSS_EFLAGS] = (u32)RFLAGS_FIXED1;
    tss[0][TSS_CR3] = tss[1][TSS_CR3] = get_cr3(); /* not saved by a switch */
}

u32 read_by_task_call(u32 address)
{
    prepare_reader(address);
    __asm__ volatile("lcall %0, $0" : : "i"(READER) : "memory");
    return task_value;
}

u32 read_by_task_gate(u32 address)
{
    prepare_reader(address);
    __asm__ volatile("int3" : : : "memory");
    return task_value;
}
