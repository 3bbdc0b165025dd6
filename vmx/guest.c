/* guest.c - first register states of guests. */
#include "vmx/guest.h"
#include "arch/regs.h"

#define AR_PRESENT     (VMX_AR_P | VMX_AR_S | VMX_AR_ACCESSED | VMX_AR_WRITABLE)
#define AR_DATA        (AR_PRESENT | VMX_AR_DB | VMX_AR_G)
#define AR_CODE32      (AR_DATA | VMX_AR_CODE)
#define AR_CODE64      (AR_PRESENT | VMX_AR_CODE | VMX_AR_L | VMX_AR_G)
#define AR_TSS         (VMX_AR_P | VMX_TYPE_TSS)
#define LIMIT_FLAT     0xFFFFFFFFu
#define LIMIT_REAL     0xFFFFu
#define LIMIT_TSS      0x67u
/* Linux, Documentation/x86/boot.rst, 64-bit boot protocol; multiboot leaves the selectors open. */
#define LINUX_CODE     0x10
#define LINUX_DATA     0x18
#define FLAT32_CODE    0x08
#define FLAT32_DATA    0x10
#define RESET_SELECTOR 0xF000u
#define RESET_BASE     0xFFFF0000u
#define RESET_IP       0xFFF0u

static void flat(struct vmx_guest_init *init, u16 code, u32 code_access, u16 data)
{
    for (unsigned i = VMX_SEG_ES; i <= VMX_SEG_GS; i++)
        init->seg[i] = (struct vmx_seg){data, LIMIT_FLAT, AR_DATA, 0};
    init->seg[VMX_SEG_CS] = (struct vmx_seg){code, LIMIT_FLAT, code_access, 0};
    init->seg[VMX_SEG_LDTR] = (struct vmx_seg){0, 0, VMX_AR_UNUSABLE, 0};
    init->seg[VMX_SEG_TR] = (struct vmx_seg){0, LIMIT_TSS, AR_TSS, 0};
}

void vmx_guest_init_long64(struct vmx_guest_init *init, u64 rip, u64 rsp, u64 cr3)
{
    *init = (struct vmx_guest_init){.rip = rip,
                                    .rsp = rsp,
                                    .rflags = RFLAGS_FIXED1,
                                    .cr0 = CR0_PG | CR0_PE | CR0_ET | CR0_NE | CR0_WP,
                                    .cr3 = cr3,
                                    .cr4 = CR4_PAE,
                                    .efer = EFER_LME | EFER_LMA | EFER_NXE};
    flat(init, LINUX_CODE, AR_CODE64, LINUX_DATA);
}

void vmx_guest_init_protected32(struct vmx_guest_init *init, u64 rip, u64 rsp)
{
    *init = (struct vmx_guest_init){
        .rip = rip, .rsp = rsp, .rflags = RFLAGS_FIXED1, .cr0 = CR0_PE | CR0_ET | CR0_NE};
    flat(init, FLAT32_CODE, AR_CODE32, FLAT32_DATA);
}

void vmx_guest_init_real(struct vmx_guest_init *init, u16 selector, u16 ip)
{
    *init = (struct vmx_guest_init){.rip = ip,
                                    .rflags = RFLAGS_FIXED1,
                                    .cr0 = CR0_ET | CR0_CD | CR0_NW,
                                    .gdtr_limit = LIMIT_REAL,
                                    .idtr_limit = LIMIT_REAL};
    for (unsigned i = VMX_SEG_ES; i <= VMX_SEG_GS; i++)
        init->seg[i] = (struct vmx_seg){0, LIMIT_REAL, AR_PRESENT, 0};
    init->seg[VMX_SEG_CS].selector = selector;
    init->seg[VMX_SEG_CS].base = (u64)selector << 4;
    init->seg[VMX_SEG_CS].access |= VMX_AR_CODE;
    init->seg[VMX_SEG_LDTR] = (struct vmx_seg){0, LIMIT_REAL, VMX_AR_P | VMX_TYPE_LDT, 0};
    init->seg[VMX_SEG_TR] = (struct vmx_seg){0, LIMIT_REAL, AR_TSS, 0};
}

void vmx_guest_init_reset(struct vmx_guest_init *init)
{
    vmx_guest_init_real(init, RESET_SELECTOR, RESET_IP);
    init->seg[VMX_SEG_CS].base = RESET_BASE;
}
