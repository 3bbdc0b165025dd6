/* exit_io.c - IN, OUT, INS, OUTS: SDM Vol 3C table 27-5. Permissions (IOPL, I/O bitmap) the CPU has checked.
 */
#include "vmm/access.h"
#include "vmm/console.h"
#include "vmm/emulate_io.h"
#include "vmm/exit.h"
#include "vmm/paging.h"

#define PORT_DEBUG   0xE9
#define STRING_LIMIT 256u /* elements per exit; the instruction goes on at the next entry */

/* INSB, INSD, OUTSB, OUTSD; and STOSB, STOSD, LODSB, LODSD */
#define OPCODE_INS         0x6C
#define OPCODE_STOS        0xAA
#define OPCODE_STRING_MASK 0xFC

static u64 size_mask(unsigned size)
{
    return size == 8 ? ~0ull : BIT(8 * size) - 1;
}

/* The string instruction at RIP, read as STOS or LODS: these have the same operand in memory. */
static enum emulate_status decode_string(struct vcpu *v, bool in, struct insn *insn)
{
    enum emulate_status status = access_fetch(v);
    u8 *code = v->access.code;
    u32 at = 0, bytes = v->access.fetch_bytes;

    if (status != EMULATE_OK)
        return status;
    while (at < bytes && (code[at] & OPCODE_STRING_MASK) != OPCODE_INS)
        at++;
    if (at < bytes)
        code[at] += OPCODE_STOS - OPCODE_INS;
    if (decode_insn(code, bytes, (enum cpu_mode)v->access.code_bits, insn) != ERR_OK ||
        insn->op != (in ? INSN_STOS : INSN_LODS))
        return EMULATE_RETRY; /* another vCPU has changed it since */
    return EMULATE_OK;
}

static void set_part(u64 *reg, unsigned size, u64 value)
{
    *reg = size == 8 ? value : size == 4 ? (u32)value : (*reg & ~size_mask(size)) | (value & size_mask(size));
}

/* One element at `at`. */
static enum emulate_status transfer(struct vcpu *v, u64 q, gva_t at)
{
    bool in = vmx_io_is_in(q);
    unsigned size = vmx_io_size(q);
    u32 value = 0;
    /* before a byte is taken from the device */
    enum emulate_status status = in ? access_check_write(v, at, size) : access_read(v, at, &value, size);

    if (status != EMULATE_OK)
        return status;
    vplat_io(&v->vm->platform, tsc_read(), vmx_io_port(q), size, !in, &value);
    return in ? access_write(v, at, &value, size) : EMULATE_OK;
}

/* The CPU exits before it looks at the operand (SDM Vol 3C 25.1.1): the segment and its limit are checked here. */
static rarely_run enum exit_result string_io(struct vcpu *v, u64 q)
{
    bool in = vmx_io_is_in(q), rep = vmx_io_has_rep(q);
    unsigned size = vmx_io_size(q), pointer = in ? VMX_RDI : VMX_RSI;
    u64 step = vmx_guest_rflags() & RFLAGS_DF ? -(u64)size : size, left = 1;
    u64 *gpr = v->vmx.gpr;
    struct insn insn;
    struct emulate_state st;

    paging_sync(v);
    access_begin(v, vmx_guest_cpl(), vmx_guest_rflags());
    enum emulate_status status = decode_string(v, in, &insn);
    if (status == EMULATE_OK) {
        access_state_load(v, &insn, &st);
        left = rep ? gpr[VMX_RCX] & size_mask(insn.addr_size) : 1;
    }
    for (u32 n = 0; status == EMULATE_OK && left && n < STRING_LIMIT; n++) {
        gva_t at;
        status =
            emulate_check(&insn, &st, insn.mem.seg, gpr[pointer] & size_mask(insn.addr_size), size, in, &at);
        if (status == EMULATE_OK)
            status = transfer(v, q, at);
        if (status != EMULATE_OK)
            break;
        left--;
        set_part(&gpr[pointer], insn.addr_size, gpr[pointer] + step);
        if (rep)
            set_part(&gpr[VMX_RCX], insn.addr_size, left);
    }
    if (status == EMULATE_FAULT)
        return exit_inject_found(v);
    if (status == EMULATE_UNKNOWN) {
        vm_fail(v, "string instruction for port 0x%x fetched from device memory", vmx_io_port(q));
        return EXIT_YIELD;
    }
    if (status == EMULATE_OK && !left)
        return exit_done(v);
    return EXIT_RESUME;
}

/* What a device has to say to a vCPU, this one too, it says by struct vplat_ops. */
static inline enum exit_result access(struct vcpu *v, u64 q)
{
    unsigned size = vmx_io_size(q);
    u32 value = (u32)v->vmx.gpr[VMX_RAX];

    if (unlikely(vmx_io_is_string(q)))
        return string_io(v, q);
    if (unlikely(vmx_io_port(q) == PORT_DEBUG && !vmm_console_room(2)))
        return EXIT_YIELD; /* it has no "busy" bit: the instruction is tried again */
    vplat_io(&v->vm->platform, tsc_read(), vmx_io_port(q), size, !vmx_io_is_in(q), &value);
    if (vmx_io_is_in(q))
        set_part(&v->vmx.gpr[VMX_RAX], size, value);
    return exit_done(v);
}

enum exit_result exit_io(struct vcpu *v)
{
    return access(v, vmcs_read(VMCS_EXIT_QUALIFICATION));
}

rarely_run enum exit_result exit_io_access(struct vcpu *v, u64 q)
{
    return access(v, q);
}
