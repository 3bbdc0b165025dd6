/* real_shape.c - what stands in for real mode's segments: see real_cpu.h. */
#include "vmm/real_cpu.h"
#include "vmx/bits.h"

#define LIMIT_REAL  0xFFFFu
#define LIMIT_BYTES 0xFFFFFu /* beyond it: pages */
#define LIMIT_LOW   0xFFFu
#define ACCESS_VM86 0xF3u /* SDM Vol 3C 26.3.1.2 */
#define ACCESS_DATA (VMX_AR_P | VMX_AR_S | VMX_AR_WRITABLE | VMX_AR_ACCESSED)
#define PARAGRAPH   16u

static bool is_code(u32 access)
{
    return access & VMX_AR_CODE;
}

static bool expands_down(const struct vmx_seg *s)
{
    return !is_code(s->access) && (s->access & VMX_AR_EXPAND_DOWN);
}

bool real_in_limit(const struct vmx_seg *s, u32 offset, unsigned size)
{
    u64 last = (u64)offset + size - 1;

    if (expands_down(s))
        return offset > s->limit && last <= ((s->access & VMX_AR_DB) ? UINT32_MAX : LIMIT_REAL);
    return last <= s->limit;
}

size_t real_code_size(const struct vmx_seg *cs, u32 eip, size_t n)
{
    return eip > cs->limit ? 0 : (size_t)MIN((u64)n, (u64)cs->limit - eip + 1);
}

/* Whether virtual-8086 mode can have it, its limit apart if that is too large. */
static bool fits_vm86(const struct vmx_seg *s, u32 number)
{
    bool fixed = number == VMX_SEG_CS || number == VMX_SEG_SS;

    if (s->limit < LIMIT_REAL || expands_down(s))
        return false;
    if (fixed)
        return s->base == (u32)s->selector * PARAGRAPH && !(s->access & VMX_AR_DB);
    return s->base % PARAGRAPH == 0 && s->base / PARAGRAPH <= UINT16_MAX && !is_code(s->access) &&
           (s->access & VMX_AR_WRITABLE);
}

enum real_shape real_shape_of(const struct vmx_seg seg[REAL_SEGS], u32 eip)
{
    for (u32 s = 0; s < REAL_SEGS; s++)
        if (!fits_vm86(&seg[s], s))
            return REAL_HELD;
    return eip <= LIMIT_REAL ? REAL_VM86 : REAL_HELD;
}

bool real_is_unreal(const struct vmx_seg seg[REAL_SEGS])
{
    for (u32 s = 0; s < REAL_SEGS; s++)
        if (seg[s].limit > LIMIT_REAL)
            return true;
    return false;
}

/* A cached descriptor as the entry checks want one. */
static struct vmx_seg descriptor(const struct vmx_seg *s, u32 type, u32 dpl)
{
    struct vmx_seg out = *s;

    out.base = (u32)s->base;
    out.access =
        type | VMX_AR_P | VMX_AR_S | VMX_AR_ACCESSED | dpl << VMX_AR_DPL_SHIFT | (s->access & VMX_AR_DB);
    if (s->limit > LIMIT_BYTES) {
        out.access |= VMX_AR_G;
        out.limit |= LIMIT_LOW;
    }
    return out;
}

void real_shape_segments(const struct vmx_seg seg[REAL_SEGS], enum real_shape shape,
                         struct vmx_seg out[REAL_SEGS])
{
    /* CPL, RPL of CS and SS and their DPL have to agree; data segments with DPL 3 go with every RPL */
    u32 level = shape == REAL_HELD ? SELECTOR_RPL : 0;

    for (u32 s = 0; s < REAL_SEGS; s++) {
        u32 type = seg[s].access & VMX_AR_TYPE_MASK;
        if (shape == REAL_VM86) {
            out[s] = (struct vmx_seg){(u16)(seg[s].base / PARAGRAPH), LIMIT_REAL, ACCESS_VM86, seg[s].base};
            continue;
        }
        if (s == VMX_SEG_CS || s == VMX_SEG_SS) {
            type = s == VMX_SEG_CS ? VMX_AR_CODE | VMX_AR_WRITABLE
                                   : VMX_AR_WRITABLE | (type & VMX_AR_EXPAND_DOWN);
            out[s] = descriptor(&seg[s], type, level);
            out[s].selector = (u16)((seg[s].selector & ~SELECTOR_RPL) | level);
        } else {
            if (is_code(type))
                type |= VMX_AR_WRITABLE; /* readable */
            out[s] = descriptor(&seg[s], type, SELECTOR_RPL);
        }
    }
}

bool real_settle_segment(struct vmx_seg *s, u32 number, u32 cpl)
{
    const u32 conforming = VMX_AR_CODE | VMX_AR_EXPAND_DOWN;
    u32 rpl = s->selector & SELECTOR_RPL, dpl = vmx_access_dpl(s->access);
    struct vmx_seg was = *s;

    if (number == VMX_SEG_CS || number == VMX_SEG_SS) {
        s->selector = (u16)((s->selector & ~SELECTOR_RPL) | cpl);
        if (number == VMX_SEG_CS && !is_code(s->access))
            s->access |= VMX_AR_CODE;
    } else if (dpl < rpl && (s->access & conforming) != conforming) {
        s->access |= VMX_AR_DPL_MASK; /* nobody looks at it after the load */
    }
    return s->selector != was.selector || s->access != was.access;
}

void real_adopt_segment(struct vmx_seg *s)
{
    if (!(s->access & VMX_AR_UNUSABLE)) {
        s->base = (u32)s->base;
        return;
    }
    *s = (struct vmx_seg){s->selector, LIMIT_REAL, ACCESS_DATA, (u32)s->selector * PARAGRAPH};
}
