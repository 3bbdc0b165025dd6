/*
 * real_cpu.h - real mode as a value: registers and segment caches of a CPU with CR0.PE=0, and what its
 * instructions and interrupts do to them (SDM Vol 3A chapter 20, Vol 2). Pure; vmm/real.h joins it with a vCPU.
 *
 *   bytes at CS:IP --> real_execute() --> DONE   registers and memory are as after the instruction
 *                                         EXIT   it is one that a hypervisor carries out: as an exit of its own
 *                                         FAULT  an exception, for real_deliver()
 *                                         OTHER  not one that virtual-8086 mode treats differently
 *
 * VT-x without unrestricted guest cannot enter a guest with PE=0. The segments choose what runs in its place:
 *
 *   VM86    virtual-8086 mode: every base is 16 times a selector. Sensitive instructions are #GP exits.
 *   HELD    16- or 32-bit code at CPL 3 in protected mode, with the cached descriptors as they are and empty
 *           descriptor tables: every load of a segment register is a #GP exit. For what VM86 cannot have: the
 *           instructions between MOV CR0 and the far jump, bases of other kinds, "unreal" limits.
 */
#pragma once
#include "vmm/emulate.h"
#include "vmx/guest.h"

enum real_shape {
    REAL_OFF, /* PE=1, or the CPU runs real mode by itself */
    REAL_VM86,
    REAL_HELD,
};

#define REAL_SEGS (VMX_SEG_GS + 1) /* ES CS SS DS FS GS, in the order of enum vmx_segment */

struct real_table {
    u64 base;
    u32 limit;
};

/* A vCPU's real mode, or that it is not in it; private to vmm/real*.c but for `shape`. */
struct real_state {
    u8 shape;             /* enum real_shape of what the VMCS holds */
    bool stepping;        /* HELD for one instruction that VM86 cannot do, under TF; then VM86 again */
    bool step_tf;         /* the guest's own TF meanwhile */
    u16 iopl;             /* the guest's RFLAGS.IOPL, in place */
    u16 given[REAL_SEGS]; /* selectors in the VMCS as last written: another one there is the guest's load */
    struct vmx_seg seg[REAL_SEGS], tr, ldtr;
    struct real_table gdtr, idtr;
    u32 sysenter_cs;
};

/* Memory by linear address; sizes 1, 2 and 4. EMULATE_FAULT: a #PF is to be delivered. */
struct real_ops {
    enum emulate_status (*read)(void *ctx, u32 linear, unsigned size, u32 *value);
    enum emulate_status (*write)(void *ctx, u32 linear, unsigned size, u32 value);
};

/* What the guest believes to have: VM is 0, IOPL is its own. */
struct real_cpu {
    u64 gpr[8]; /* RAX RCX RDX RBX RSP RBP RSI RDI; real mode has no others */
    u32 eip, eflags;
    struct vmx_seg seg[REAL_SEGS];
    struct real_table gdtr, idtr;
    const struct real_ops *ops;
    void *ctx;
    u8 fault;     /* vector, with REAL_FAULT */
    bool sti, ss; /* result: blocking by STI, by a load of SS, begins */
    bool no_step; /* result: TF does not trap after this instruction (INT n) */
    bool iret;    /* result: NMIs are unblocked */
};

enum real_outcome {
    REAL_DONE,
    REAL_EXIT,
    REAL_FAULT, /* nothing has changed but memory that the instruction had already written */
    REAL_OTHER,
    REAL_RETRY, /* a page changed hands meanwhile: enter the guest again */
};

/* REAL_EXIT: as VT-x reports the instruction (SDM Vol 3C 27.2.1). */
struct real_exit {
    u32 reason; /* enum vmx_exit_reason_number */
    u32 length;
    u64 qualification;
};

/* How many of the n bytes at CS:IP lie within the limit of CS. */
size_t real_code_size(const struct vmx_seg *cs, u32 eip, size_t n);

/* Carries out the instruction in bytes[0..n), which stand at CS:IP. cpu changes on REAL_DONE only. Length and
 * operands of REAL_EXIT are in *exit. */
must_check enum real_outcome real_execute(const u8 *bytes, size_t n, struct real_cpu *cpu,
                                          struct real_exit *exit);

/* One delivery through the vector table at IDTR.base: pushes FLAGS, CS and IP, clears IF, TF, AC and RF. FAULT:
 * cpu->fault says which exception that raised, nothing else has changed. */
must_check enum real_outcome real_vector(struct real_cpu *cpu, u8 vector);
/* The same with what follows from faults (SDM Vol 3A 6.15). `exception`: of the CPU, not INT n, an interrupt
 * or NMI. FAULT: the guest shuts down. */
must_check enum real_outcome real_deliver(struct real_cpu *cpu, u8 vector, bool exception);

/* ---- segments ---- */

/* Do size bytes at offset lie within the segment's limit? */
bool real_in_limit(const struct vmx_seg *s, u32 offset, unsigned size);
/* What the CPU can be entered as. */
enum real_shape real_shape_of(const struct vmx_seg seg[REAL_SEGS], u32 eip);
/* Does a segment reach further than VM86 lets it? */
bool real_is_unreal(const struct vmx_seg seg[REAL_SEGS]);
/* Segments for the VMCS that obey the entry checks (26.3.1.2) of the shape; REAL_OFF: of protected mode right
 * after PE was set. VM86: where the guest's selector does not name its base, another one that does. */
void real_shape_segments(const struct vmx_seg seg[REAL_SEGS], enum real_shape shape,
                         struct vmx_seg out[REAL_SEGS]);
/* A segment register (its number, and the CPL) of a guest that the CPU ran natively and that is now to be entered without
 * unrestricted guest, in protected mode: what only real mode leaves in CS, and RPLs that only it permits, become what
 * the entry checks want (26.3.1.2). True: *s has changed. */
bool must_check real_settle_segment(struct vmx_seg *s, u32 number, u32 cpl);
/* Segments that stop being protected mode's: null ones can be used. */
void real_adopt_segment(struct vmx_seg *s);
/* Loads a segment register as real mode does: limit and rights stay. */
static inline void real_load_segment(struct vmx_seg *s, u16 selector)
{
    s->selector = selector;
    s->base = (u32)selector << 4;
}
