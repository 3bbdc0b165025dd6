/* fpu.c - see fpu.h. */
#include "vmm/fpu.h"

#include "arch/cpu.h"
#include "arch/regs.h"
#include "arch/string.h"

static u64 components; /* written by the boot CPU before others run */

#define FCW_INIT     0x037Fu /* SDM Vol 1 8.1.5 */
#define MXCSR_INIT   0x1F80u /* 10.2.3 */
#define MXCSR_OFFSET 24

u64 fpu_components(void)
{
    return components;
}

void fpu_enable(void)
{
    if (!cpu_has(CPUID_FEATURE_XSAVE))
        return;
    struct cpuid_regs r = cpuid_read(CPUID_LEAF_XSAVE, 0);
    components = r.eax & (XCR0_X87 | XCR0_SSE | XCR0_AVX);
    cr4_write(cr4_read() | CR4_OSXSAVE);
    xcr0_write(components);
}

void fpu_area_init(void *area)
{
    u16 fcw = FCW_INIT;
    u32 mxcsr = MXCSR_INIT;

    memcpy(area, &fcw, sizeof(fcw));
    memcpy((u8 *)area + MXCSR_OFFSET, &mxcsr, sizeof(mxcsr));
}

void fpu_switch(void *from, const void *to, u64 to_xcr0)
{
    if (!components) {
        if (from)
            cpu_fxsave(from);
        cpu_fxrstor(to);
        return;
    }
    xcr0_write(components);
    if (from)
        cpu_xsave(from, components);
    cpu_xrstor(to, components);
    xcr0_write(to_xcr0);
}
