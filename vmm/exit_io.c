/* exit_io.c - IN, OUT, INS, OUTS: SDM Vol 3C table 27-5. Permissions (IOPL, I/O bitmap) the CPU has checked.
 */
#include "vmm/access.h"
#include "vmm/console.h"
#include "vmm/exit.h"
#include "vmm/paging.h"

#define PORT_DEBUG   0xE9
#define STRING_LIMIT 256u /* elements per exit; the instruction goes on at the next entry */

#define PREFIX_ADDRESS_SIZE 0x67
#define OPCODE_INS          0x6C /* 6C..6F: INS, OUTS */
#define OPCODE_STRING_MASK  0xFC

static u64 size_mask(unsigned size)
{
    return size == 8 ? ~0ull : BIT(8 * size) - 1;
}

/* Address size of the string instruction at RIP, in bytes; 0: *status says why not. */
static unsigned string_address_size(struct vcpu *v, enum emulate_status *status)
{
    unsigned bits = vmx_guest_code_bits(&v->vmx);
    bool prefix = false;

    *status = access_fetch(v);
    if (*status != EMULATE_OK)
        return 0;
    for (u32 i = 0; i < v->access.fetch_bytes; i++) {
        if ((v->access.code[i] & OPCODE_STRING_MASK) == OPCODE_INS)
            break;
        prefix |= v->access.code[i] == PREFIX_ADDRESS_SIZE;
    }
    if (bits == 64)
        return prefix ? 4 : 8;
    return (bits == 32) != prefix ? 4 : 2;
}

static void set_part(u64 *reg, unsigned size, u64 value)
{
    *reg = size == 8 ? value : size == 4 ? (u32)value : (*reg & ~size_mask(size)) | (value & size_mask(size));
}

static rarely_run enum exit_result string_io(struct vcpu *v, u64 q)
{
    bool in = vmx_io_is_in(q), rep = vmx_io_has_rep(q);
    unsigned size = vmx_io_size(q), pointer = in ? VMX_RDI : VMX_RSI;
    bool real = v->real.io_elements != 0;
    gva_t at = real ? GVA(v->real.io_linear) : vmx_exit_linear();
    u32 most = real ? v->real.io_elements : STRING_LIMIT;
    s64 step = vmx_guest_rflags() & RFLAGS_DF ? -(s64)size : (s64)size;
    enum emulate_status status;

    paging_sync(v);
    access_begin(v, vmx_guest_cpl(), vmx_guest_rflags());
    unsigned address_size = string_address_size(v, &status);
    u64 left = rep ? v->vmx.gpr[VMX_RCX] & size_mask(address_size ? address_size : 8) : 1;
    for (u32 n = 0; status == EMULATE_OK && left && n < most; n++, left--) {
        u32 value = 0;
        if (!in)
            status = access_read(v, at, &value, size);
        else
            status = access_check_write(v, at, size); /* before a byte is taken from the device */
        if (status == EMULATE_OK)
            vplat_io(&v->vm->platform, tsc_read(), vmx_io_port(q), size, !in, &value);
        if (in && status == EMULATE_OK)
            status = access_write(v, at, &value, size);
        if (status != EMULATE_OK)
            break;
        at.v += (u64)step;
        set_part(&v->vmx.gpr[pointer], address_size, v->vmx.gpr[pointer] + (u64)step);
        if (rep)
            set_part(&v->vmx.gpr[VMX_RCX], address_size, v->vmx.gpr[VMX_RCX] - 1);
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
