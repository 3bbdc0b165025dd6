/*
 * cpu.h - single instructions as functions: the one header of arch/ with inline assembly.
 *
 * "_safe" functions survive a #GP of their instruction (arch/traps.h looks the faulting address up in the
 * .fixups table) and return false then. A "memory" clobber stands where the instruction orders or changes
 * what the compiler might keep in registers.
 */
#pragma once
#include "arch/cpuid.h"
#include "arch/types.h"

/* One entry of .fixups: if the instruction at `at` faults, go on at `to`. Both relative to the field itself.
 */
struct cpu_fixup {
    int32_t at, to;
};
#define CPU_FIXUP(at, to)                                                                         \
    ".pushsection .fixups,\"a\",@progbits\n .balign 4\n .long " #at " - .\n .long " #to " - .\n " \
    ".popsection\n"

/* Descriptor-table register image, SDM Vol 3A 2.4 */
struct packed_layout cpu_table_register {
    u16 limit;
    u64 base;
};
_Static_assert(sizeof(struct cpu_table_register) == 10, "SDM Vol 3A figure 2-6");

/* ---- model-specific registers ---- */
static inline u64 msr_read(u32 msr)
{
    u32 lo, hi;
    __asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
    return (u64)hi << 32 | lo;
}

static inline void msr_write(u32 msr, u64 value)
{
    __asm__ volatile("wrmsr" : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

static inline bool must_check msr_write_safe(u32 msr, u64 value)
{
    u32 ok = 0;
    __asm__ volatile("1: wrmsr\n mov $1, %[ok]\n 2:\n" CPU_FIXUP(1b, 2b)
                     : [ok] "+r"(ok)
                     : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32))
                     : "memory");
    return ok;
}

/* ---- identification and time ---- */
static inline struct cpuid_regs cpuid_read(u32 leaf, u32 subleaf)
{
    struct cpuid_regs r;
    __asm__ volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(subleaf));
    return r;
}

/* Not ordered against surrounding instructions. */
static inline u64 tsc_read(void)
{
    u64 lo, hi; /* the upper halves are zeroed */
    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
    return hi << 32 | lo;
}

/* ---- control and debug registers ---- */
#define CPU_REGISTER(name)                                              \
    static inline u64 name##_read(void)                                 \
    {                                                                   \
        u64 value;                                                      \
        __asm__ volatile("mov %%" #name ", %0" : "=r"(value));          \
        return value;                                                   \
    }                                                                   \
    static inline void name##_write(u64 value)                          \
    {                                                                   \
        __asm__ volatile("mov %0, %%" #name : : "r"(value) : "memory"); \
    }
CPU_REGISTER(cr0)
CPU_REGISTER(cr2)
CPU_REGISTER(cr3)
CPU_REGISTER(cr4)
CPU_REGISTER(dr0)
CPU_REGISTER(dr1)
CPU_REGISTER(dr2)
CPU_REGISTER(dr3)
CPU_REGISTER(dr6)
CPU_REGISTER(dr7)
#undef CPU_REGISTER

/* ---- segments and tables ---- */
static inline void cpu_load_gdt(const struct cpu_table_register *r)
{
    __asm__ volatile("lgdt %0" : : "m"(*r));
}
static inline void cpu_load_idt(const struct cpu_table_register *r)
{
    __asm__ volatile("lidt %0" : : "m"(*r));
}
static inline struct cpu_table_register cpu_store_gdt(void)
{
    struct cpu_table_register r;
    __asm__ volatile("sgdt %0" : "=m"(r));
    return r;
}
static inline struct cpu_table_register cpu_store_idt(void)
{
    struct cpu_table_register r;
    __asm__ volatile("sidt %0" : "=m"(r));
    return r;
}
static inline void cpu_load_tr(u16 selector)
{
    __asm__ volatile("ltr %0" : : "r"(selector) : "memory");
}

/* Loads CS by a far return and the data segment registers with `data`; FS and GS get the null selector (their
 * bases are zero after that: set IA32_GS_BASE next). */
static inline void cpu_load_segments(u16 code, u16 data)
{
    u64 scratch;
    __asm__ volatile("push %q[code]\n lea 1f(%%rip), %[scratch]\n push %[scratch]\n lretq\n 1:\n"
                     "mov %w[data], %%ds\n mov %w[data], %%es\n mov %w[data], %%ss\n"
                     "xor %k[scratch], %k[scratch]\n mov %w[scratch], %%fs\n mov %w[scratch], %%gs\n"
                     : [scratch] "=&r"(scratch)
                     : [code] "r"((u64)code), [data] "r"(data)
                     : "memory");
}

/* The first 8 bytes of the per-CPU block (arch/percpu.h): its own address. */
static inline void *cpu_gs_self(void)
{
    void *self;
    __asm__("mov %%gs:0, %0" : "=r"(self));
    return self;
}

/* ---- memory and caches ---- */
static inline void cpu_invlpg(u64 address)
{
    __asm__ volatile("invlpg (%0)" : : "r"(address) : "memory");
}

/* Copies/fills upwards; the count is in units of the name. */
static inline void cpu_copy_bytes(void *to, const void *from, size_t n)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}
/* Copies n bytes, the last first. */
static inline void cpu_copy_bytes_down(u8 *to, const u8 *from, size_t n)
{
    u8 *t = to + n - 1;
    const u8 *f = from + n - 1;
    __asm__ volatile("std\n rep movsb\n cld" : "+D"(t), "+S"(f), "+c"(n) : : "memory", "cc");
}
static inline void cpu_copy_quads(void *to, const void *from, size_t n)
{
    __asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}
static inline void cpu_fill_bytes(void *to, u8 value, size_t n)
{
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(value) : "memory");
}
static inline void cpu_fill_quads(void *to, u64 value, size_t n)
{
    __asm__ volatile("rep stosq" : "+D"(to), "+c"(n) : "a"(value) : "memory");
}

/* Makes earlier stores visible before a WRMSR to the x2APIC or TSC-deadline registers, which are not
 * serializing (SDM Vol 3A 10.12.3). */
static inline void cpu_order_before_wrmsr(void)
{
    __asm__ volatile("mfence\n lfence" : : : "memory");
}

/* One access of exactly this width to device memory. */
static inline u32 mmio_read32(u64 address)
{
    u32 value;
    __asm__ volatile("movl (%1), %0" : "=r"(value) : "r"(address) : "memory");
    return value;
}
static inline void mmio_write32(u64 address, u32 value)
{
    __asm__ volatile("movl %1, (%0)" : : "r"(address), "r"(value) : "memory");
}

/* ---- flow ---- */
static inline void cpu_pause(void)
{
    __asm__ volatile("pause");
}
static inline void cpu_halt(void)
{
    __asm__ volatile("hlt" : : : "memory");
}
static inline void cpu_disable_interrupts(void)
{
    __asm__ volatile("cli" : : : "memory");
}

/* Runs our own NMI handler as if an NMI had come. Its IRET ends the blocking of NMIs that an NMI VM exit
 * leaves behind (SDM Vol 3C 27.2.1), and the handler counts it and honours a stop request. Call once for each
 * NMI exit. */
static inline void cpu_run_nmi_handler(void)
{
    __asm__ volatile("int $2" : : : "memory");
}
static inline u64 cpu_flags(void)
{
    u64 flags;
    __asm__ volatile("pushfq\n pop %0" : "=r"(flags) : : "memory");
    return flags;
}

/* Goes on in function(argument) on another stack; the present stack is given up. stack_top is 16-byte
 * aligned. */
static inline no_return void cpu_switch_stack(u64 stack_top, void (*function)(void *), void *argument)
{
    __asm__ volatile("mov %0, %%rsp\n xor %%ebp, %%ebp\n call *%1\n ud2"
                     :
                     : "r"(stack_top), "r"(function), "D"(argument)
                     : "memory");
    __builtin_unreachable();
}

/* Probes of the self-test: false if the access faults. */
static inline bool must_check cpu_probe_read(u64 address)
{
    u32 ok = 0;
    u8 byte;
    __asm__ volatile("1: movb (%[a]), %[b]\n mov $1, %[ok]\n 2:\n" CPU_FIXUP(1b, 2b)
                     : [ok] "+r"(ok), [b] "=&q"(byte)
                     : [a] "r"(address)
                     : "memory");
    return ok;
}
/* Writes back the byte that is there. */
static inline bool must_check cpu_probe_write(u64 address)
{
    u32 ok = 0;
    __asm__ volatile("1: lock orb $0, (%[a])\n mov $1, %[ok]\n 2:\n" CPU_FIXUP(1b, 2b)
                     : [ok] "+r"(ok)
                     : [a] "r"(address)
                     : "memory", "cc");
    return ok;
}
/* Calls `address`, where a RET instruction must stand; a fault of the fetch itself returns false. */
bool must_check cpu_probe_execute(u64 address);

/* ---- ports ---- */
static inline u8 port_read8(u16 port)
{
    u8 value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}
static inline u32 port_read32(u16 port)
{
    u32 value;
    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}
static inline void port_write8(u16 port, u8 value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

/* ---- x87/SSE/AVX state, SDM Vol 1 chapter 13; `area` is 64-byte aligned (FXSAVE: 16) ---- */
static inline void xcr0_write(u64 value)
{
    __asm__ volatile("xsetbv" : : "c"(0), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}
static inline void cpu_fxsave(void *area)
{
    __asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory");
}
/* What every MMX instruction does first: the x87 stack is empty at top 0, all registers valid. */
static inline void cpu_mmx_begin(void)
{
    __asm__ volatile("movq %%mm0, %%mm0" : : : "memory");
}
static inline void cpu_fxrstor(const void *area)
{
    __asm__ volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
}
static inline void cpu_xsave(void *area, u64 mask)
{
    __asm__ volatile("xsave64 (%0)" : : "r"(area), "a"((u32)mask), "d"((u32)(mask >> 32)) : "memory");
}
static inline void cpu_xrstor(const void *area, u64 mask)
{
    __asm__ volatile("xrstor64 (%0)" : : "r"(area), "a"((u32)mask), "d"((u32)(mask >> 32)) : "memory");
}
