/* traps.c - the IDT, fixups, and what a trap of our own code looks like on the console. */
#include "arch/traps.h"
#include "arch/cpu.h"
#include "arch/idle.h"
#include "arch/image.h"
#include "arch/log.h"
#include "arch/percpu.h"
#include "arch/regs.h"

#define GATE_INTERRUPT   0x8E00u /* present, DPL 0, 64-bit interrupt gate: SDM Vol 3A figure 6-8 */
#define STUB_SIZE        16u     /* arch/traps.asm */
#define FRAMES_SHOWN     12u
#define STACK_WORDS_READ 256u

struct idt_gate {
    u16 offset0;
    u16 selector;
    u16 ist_type; /* bits 2:0 IST, 15:8 type */
    u16 offset16;
    u32 offset32;
    u32 reserved;
};
_Static_assert(sizeof(struct idt_gate) == 16, "SDM Vol 3A figure 6-8");

extern const u8 idle_timer_stub[]; /* arch/idle.asm */
extern const u8 traps_stubs[], traps_probe_return[], traps_probe_failed[];
extern const struct cpu_fixup fixups_start[], fixups_end[]; /* linker.ld */

/* All of them: a VM exit sets the limit of the IDT to 0xFFFF whatever it was (SDM Vol 3C 27.5.2). */
#define IDT_GATES 256u
static aligned_to(16) struct idt_gate idt[IDT_GATES];

/* Read by the NMI stub. traps_survivor: NULL until a CPU asks all others to stop, then never changes; the
 * release that sets it comes before the NMIs that make others look. traps_nmi_window: written once at boot,
 * before other CPUs start. */
_Atomic(const struct cpu *) traps_survivor;
struct nmi_window traps_nmi_window;

void traps_set_nmi_window(const void *start, const void *end, const void *resume_at)
{
    traps_nmi_window = (struct nmi_window){(u64)start, (u64)end, (u64)resume_at};
}

bool traps_request_stop(const struct cpu *survivor)
{
    const struct cpu *nobody = NULL;
    return atomic_compare_exchange_strong_explicit(&traps_survivor, &nobody, survivor, memory_order_release,
                                                   memory_order_acquire) ||
           nobody == survivor;
}

static void set_gate(u32 v, const void *handler, u16 ist)
{
    u64 at = (u64)handler;

    idt[v] = (struct idt_gate){.offset0 = (u16)at,
                               .selector = SELECTOR_CODE,
                               .ist_type = GATE_INTERRUPT | ist,
                               .offset16 = (u16)(at >> 16),
                               .offset32 = (u32)(at >> 32)};
}

void traps_init(void)
{
    for (u32 v = 0; v < VECTOR_EXCEPTIONS; v++)
        set_gate(v, traps_stubs + v * STUB_SIZE,
                 v == VECTOR_NMI  ? IST_NMI
                 : v == VECTOR_DF ? IST_DF
                 : v == VECTOR_MC ? IST_MC
                                  : 0);
    for (u32 v = VECTOR_EXCEPTIONS; v < IDT_GATES;
         v++) /* the timer's, and what the firmware's devices still send */
        set_gate(v, idle_timer_stub, 0);
}

void traps_load(void)
{
    struct cpu_table_register r = {sizeof(idt) - 1, (u64)idt};
    cpu_load_idt(&r);
}

/* The address to go on at after a fault at `rip`, or 0. */
static u64 find_fixup(u64 rip)
{
    u64 count = ((u64)fixups_end - (u64)fixups_start) / sizeof(struct cpu_fixup);

    for (const struct cpu_fixup *f = fixups_start; count; f++, count--)
        if ((u64)&f->at + (u64)(s64)f->at == rip)
            return (u64)&f->to + (u64)(s64)f->to;
    return 0;
}

/* A fetch that faults in cpu_probe_execute(): the address its CALL pushed is on top of the stack. */
static bool fix_probe(struct trap_frame *f)
{
    if (f->vector != VECTOR_PF || !(f->error & PF_I) || f->rip != cr2_read())
        return false;
    if (*(const u64 *)f->rsp != (u64)traps_probe_return)
        return false;
    f->rsp += sizeof(u64);
    f->rip = (u64)traps_probe_failed;
    return true;
}

static void dump_stack(const struct trap_frame *f)
{
    const struct cpu *cpu = this_cpu();
    u64 bottom = cpu->stack_top - CPU_STACK_PAGES * PAGE_SIZE;
    u32 shown = 0;

    if (f->rsp < bottom || f->rsp >= cpu->stack_top)
        return;
    const u64 *word = (const u64 *)ALIGN_UP(f->rsp, sizeof(u64));
    for (u32 i = 0; i < STACK_WORDS_READ && (u64)(word + i) < cpu->stack_top && shown < FRAMES_SHOWN; i++)
        if (image_has_text(word[i])) {
            log_line("  called from image+0x%lx (perhaps)", image_offset(word[i]));
            shown++;
        }
}

static void report_guard(void *address, u64 guard)
{
    if (ALIGN_DOWN(*(const u64 *)address, PAGE_SIZE) == guard)
        log_line("  cr2 is in a guard page: a stack of this CPU has overflowed");
}

void traps_dump(const struct trap_frame *f)
{
    static const char names[16][4] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                      "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

    log_line("  rip %016lx (image+0x%lx) cs %lx rflags %lx", f->rip, image_offset(f->rip), f->cs, f->rflags);
    for (u32 i = 0; i < ARRAY_SIZE(names) && f->cs; i += 4) /* no CS: only RIP and RSP are known */
        log_line("  %-3s %016lx  %-3s %016lx  %-3s %016lx  %-3s %016lx", names[i],
                 i == 4 ? f->rsp : f->gpr[i], names[i + 1], f->gpr[i + 1], names[i + 2], f->gpr[i + 2],
                 names[i + 3], f->gpr[i + 3]);
    log_line("  cr0 %lx cr2 %lx cr3 %lx cr4 %lx", cr0_read(), cr2_read(), cr3_read(), cr4_read());
    if (!cpu_count())
        return;
    cpu_area_guards(this_cpu(), report_guard, &(u64){cr2_read()});
    dump_stack(f);
}

void traps_handle(struct trap_frame *f)
{
    static const char names[] = "DEDB--BPOFBRUDNMDF--TSNPSSGPPF--MFACMCXMVECP"; /* two letters a vector */
    u64 to = find_fixup(f->rip);

    if (to) {
        f->rip = to;
        return;
    }
    if (fix_probe(f))
        return;
    u64 at = f->vector * 2 < sizeof(names) - 1 ? f->vector * 2 : 4;
    panic_trap(f, names + at);
}
