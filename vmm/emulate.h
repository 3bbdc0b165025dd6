/*
 * emulate.h - carries out one decoded instruction on guest registers and, by callbacks, on guest memory.
 *
 *   struct insn --> effective address --> read/write/cmpxchg callbacks --> registers, flags, RIP
 *
 * Invariants:
 *  - Nothing is changed before the last memory access of the instruction (of the iteration, for REP) has
 *    succeeded. On EMULATE_FAULT, EMULATE_RETRY and EMULATE_UNKNOWN registers are as they were, except that
 *    finished REP iterations stay finished with RCX, RSI and RDI moved on: entering the guest again at the
 *    same RIP continues correctly.
 *  - A store is one callback of the instruction's whole size. Every read-modify-write, with LOCK or without,
 *    ends in one compare-and-exchange callback of the whole size, so it is atomic (without LOCK that is stronger
 *    than hardware promises and always legal).
 *  - Results and defined flags are those of the SDM. Of those that it calls undefined: AF is cleared by logic
 *    and shifts; BT and its kin keep OF, SF, AF and PF; OF after a shift or rotation by more than one is that of
 *    its last step, for SAR 0; CF after SHL and SHR by more than the operand has bits is 0.
 */
#pragma once
#include "vmm/decode.h"
#include "vmx/guest.h"

enum emulate_status {
    EMULATE_OK,      /* instruction complete, RIP after it */
    EMULATE_PARTIAL, /* REP: some iterations done, RIP still on it; enter the guest again. Callbacks do not
                        use it */
    EMULATE_FAULT,   /* a guest fault was found and recorded (ops.fault); the caller injects it */
    EMULATE_RETRY,   /* a callback lost a race or needs the guest re-entered; nothing done */
    EMULATE_UNKNOWN, /* cannot be emulated; nothing done (the caller gives up the trace) */
};

/* Segment registers, numbered as the VMCS has them (struct vmx_seg); GDTR and IDTR have base and limit only. */
enum { EMULATE_LDTR = INSN_SEG_COUNT, EMULATE_TR, EMULATE_GDTR, EMULATE_IDTR };

/* Numbers for ops.vector_*: XMM 0..15, then the eight MMX registers. */
enum { EMULATE_MMX = 16 };

/*
 * Guest memory and registers as the emulator sees them. Addresses are linear: the callback does the canonical
 * check, the page walk and the permissions of the current privilege level, the alignment check, and splits an
 * access that crosses a page. size is 1, 2, 4, 8 or 16; values are little endian in v[0], and v[1] holds bits
 * 127:64 of a 16-byte value (otherwise it is not to be looked at). Callbacks that return a status return
 * EMULATE_OK, _FAULT, _RETRY or _UNKNOWN.
 */
struct emulate_ops {
    /* for_write: the first half of a read-modify-write; a fault is one of a write access. */
    enum emulate_status (*read)(void *ctx, gva_t gva, unsigned size, bool for_write, u64 v[2]);
    enum emulate_status (*write)(void *ctx, gva_t gva, unsigned size, const u64 v[2]);
    /*
     * Second half of a read-modify-write, always after a read with for_write of the same address. Memory:
     * stores desired if memory equals expected, atomically, and gives what was there in seen; seen ==
     * expected is success. Needs write permission either way. desired may equal expected (CMPXCHG that fails
     * writes back). Device: stores desired and sets seen = expected.
     */
    enum emulate_status (*cmpxchg)(void *ctx, gva_t gva, unsigned size, const u64 expected[2],
                                   const u64 desired[2], u64 seen[2]);
    void (*vector_read)(void *ctx, unsigned reg, u64 v[2]);
    void (*vector_write)(void *ctx, unsigned reg, const u64 v[2]); /* bits above 127 stay */
    /* The rest is for rare instructions. Records an exception; returns EMULATE_FAULT. */
    enum emulate_status (*fault)(void *ctx, unsigned vector, u32 error);
    void (*segment_read)(void *ctx, unsigned seg, struct vmx_seg *out);
    /* Also ends or begins what follows from it: after SS, interrupts are blocked for an instruction. */
    void (*segment_write)(void *ctx, unsigned seg, const struct vmx_seg *value);
    /* The accesses that follow are (not) those of the CPU itself to its tables: supervisor, whatever the CPL.
     */
    void (*implicit)(void *ctx, bool on);
    u64 (*cr0_read)(void *ctx);
    u64 (*cr4_read)(void *ctx);
    bool (*long_mode)(void *ctx); /* EFER.LMA */
};

/*
 * Caller fills everything up to tzcnt. gpr points to 16 registers in SDM order (0 RAX, 1 RCX, 2 RDX,
 * 3 RBX, 4 RSP, 5 RBP, 6 RSI, 7 RDI, 8..15); gpr[4] has to be right only if insn_uses_rsp(), and seg_base[s]
 * only for the segments in insn_segments().
 */
struct emulate_state {
    u64 *gpr;
    u64 rip;
    u64 rflags;
    u64 seg_base[INSN_SEG_COUNT];
    const struct emulate_ops *ops;
    void *ctx;
    u32 rep_limit; /* iterations of a REP at most in this call; 0 counts as 1 */
    u8 cpl;
    u8 stack_size; /* bytes of the stack pointer in 16- and 32-bit code: SS.B ? 4 : 2; unused in 64-bit code
                    */
    bool tzcnt;    /* the CPU has TZCNT and LZCNT; others take them for BSF and BSR */
    bool lzcnt;
    /*
     * Result: RFLAGS.TF was set, so a single-step #DB (DR6.BS) is due after this instruction or REP
     * iteration. Only meaningful with EMULATE_OK and EMULATE_PARTIAL. The caller also ends blocking by STI
     * and by MOV SS when the status is EMULATE_OK, unless loaded_ss.
     */
    bool debug_trap;
    bool loaded_ss; /* result: MOV or POP to SS: interrupts and traps wait for one instruction more */
};

/*
 * Linear address of the instruction's memory operand, including the effect of a register bit offset and the
 * wrap of 16- and 32-bit addressing. String instructions: the source for LODS, the other operand for all
 * else. PUSH, PUSHF and CALL without a memory operand: where the value is pushed.
 */
gva_t insn_effective_address(const struct insn *insn, const struct emulate_state *st);

/* Carries out insn (decoded at st->rip). On EMULATE_OK RFLAGS.RF is clear; on a REP stopped midway it is set.
 */
must_check enum emulate_status emulate_insn(const struct insn *insn, struct emulate_state *st);
