/* msr_bitmap.c - the MSR bitmap, SDM Vol. 3C 24.6.9. */
#include "vmx/msr_bitmap.h"
#include "arch/msr.h"
#include "arch/string.h"

#define MSR_RANGE      0x2000u
#define MSR_HIGH_FIRST 0xC0000000u

void vmx_msr_bitmap_exit_all(struct vmx_msr_bitmap *bitmap)
{
    memset(bitmap, -1, sizeof *bitmap);
}

/* The byte with the bit of `msr`, which has one. */
static u8 *find(struct vmx_msr_bitmap *bitmap, u32 msr, bool write)
{
    if (msr < MSR_RANGE)
        return &(write ? bitmap->write_low : bitmap->read_low)[msr / 8];
    return &(write ? bitmap->write_high : bitmap->read_high)[(msr - MSR_HIGH_FIRST) / 8];
}

static void pass(struct vmx_msr_bitmap *bitmap, u32 msr, bool write)
{
    *find(bitmap, msr, write) &= (u8) ~(1u << msr % 8);
}

void vmx_msr_bitmap_pass_switched(struct vmx_msr_bitmap *bitmap)
{
    static const u32 switched[] = {MSR_IA32_FS_BASE,     MSR_IA32_GS_BASE,     MSR_IA32_KERNEL_GS_BASE,
                                   MSR_IA32_STAR,        MSR_IA32_LSTAR,       MSR_IA32_CSTAR,
                                   MSR_IA32_FMASK,       MSR_IA32_SYSENTER_CS, MSR_IA32_SYSENTER_ESP,
                                   MSR_IA32_SYSENTER_EIP};

    for (size_t i = 0; i < ARRAY_SIZE(switched); i++) {
        pass(bitmap, switched[i], false);
        pass(bitmap, switched[i], true);
    }
}
