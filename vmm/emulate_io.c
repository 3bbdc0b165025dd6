/* emulate_io.c - see emulate_io.h. */
#include "vmm/emulate_io.h"

#include "arch/regs.h"
#include "vmx/guest.h"

gva_t insn_effective_address(const struct insn *in, const struct emulate_state *st)
{
    if (in->mem_size == 0)
        return emulate_linear(in, st, INSN_SEG_SS,
                              emulate_cut(st->gpr[RSP] - in->op_size, emulate_stack_width(in, st)));
    return emulate_address(in, st);
}

/* SDM Vol. 3A sections 5.3 and 5.5; offsets are not above 4 GiB. */
static bool segment_allows(const struct vmx_seg *s, u64 offset, unsigned size, bool write)
{
    u64 last = offset + size - 1;
    bool code = s->access & VMX_AR_CODE;

    if (s->access & VMX_AR_UNUSABLE)
        return false;
    if (!(s->access & VMX_AR_WRITABLE) && (write || code)) /* in code segments the bit says "readable" */
        return false;
    if (write && code)
        return false;
    if (!code && (s->access & VMX_AR_EXPAND_DOWN))
        return offset > s->limit && last <= (s->access & VMX_AR_DB ? UINT32_MAX : UINT16_MAX);
    return last <= s->limit;
}

enum emulate_status emulate_check(const struct insn *in, struct emulate_state *st, unsigned seg, u64 offset,
                                  unsigned size, bool write, gva_t *gva)
{
    struct vmx_seg s;
    bool ok;

    *gva = emulate_linear(in, st, seg, offset);
    if (in->mode == CPU_MODE_64) {
        ok = emulate_is_canonical(gva->v) && emulate_is_canonical(gva->v + size - 1);
    } else {
        st->ops->segment_read(st->ctx, seg, &s);
        ok = segment_allows(&s, offset, size, write);
    }
    return ok ? EMULATE_OK : emulate_fault(st, seg == INSN_SEG_SS ? VECTOR_SS : VECTOR_GP, 0);
}

static u64 selector_of(const struct emulate_state *st, unsigned seg)
{
    struct vmx_seg s;

    st->ops->segment_read(st->ctx, seg, &s);
    return s.selector;
}

u64 emulate_source(const struct insn *in, const struct emulate_state *st)
{
    switch (in->src) {
    case INSN_OPERAND_REG: return emulate_reg_read(st, in->reg, in->high8, in->op_size);
    case INSN_OPERAND_IMM: return emulate_cut(in->imm, in->op_size);
    case INSN_OPERAND_CL: return (u8)st->gpr[RCX];
    case INSN_OPERAND_SEG: return selector_of(st, in->reg);
    default: return 0;
    }
}
