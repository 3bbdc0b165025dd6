/*
 * access_quick.c - the usual accesses of emulated instructions: eight aligned bytes in the page whose traced
 * write made the exit, a register of the device whose page did, code that the shadow maps. All else is in access.c.
 */
#include "vmm/access_internal.h"

#include "mm/shadow_lookup.h"
#include "vmm/events.h"

#define NARROW_WORD 4u

struct packed_layout unaligned {
    u64 word;
};

void access_begin(struct vcpu *v, u32 cpl, u64 rflags)
{
    struct vcpu_access *a = &v->access;

    a->cpl = (u8)cpl;
    a->rflags = rflags;
    a->rights = (u32)((cpl == 3 ? GWALK_USER : 0) | (rflags & RFLAGS_AC ? GWALK_AC : 0));
    a->explicit_rights = a->rights;
    /* not in real mode, whose CPL is 0 whatever it runs at here */
    a->aligned = cpl == 3 && rflags & RFLAGS_AC && !(~vmx_guest_cr0() & (CR0_AM | CR0_PE));
    a->fault_vector = 0;
    a->hint_page = a->device_page = 0;
}

void access_hint(struct vcpu *v, gva_t at, gpa_t gpa)
{
    struct vcpu_access *a = &v->access;

    a->hint_gpa = GPA(ALIGN_DOWN(gpa.v, PAGE_SIZE));
    a->hint_bytes = guest_mem_pointer(&v->vm->p2m, a->hint_gpa, true);
    a->hint_page = a->hint_bytes ? ALIGN_DOWN(at.v, PAGE_SIZE) | 1 : 0;
    a->begun = ALIGN_DOWN(gpa.v, WORD);
}

void access_hint_device(struct vcpu *v, gva_t at, gpa_t gpa, bool write)
{
    struct vcpu_access *a = &v->access;

    a->device_gpa = GPA(ALIGN_DOWN(gpa.v, PAGE_SIZE));
    a->device_page = ALIGN_DOWN(at.v, PAGE_SIZE) | 1;
    a->device_access = write ? GWALK_WRITE : 0;
}

/* Is it within one word of the device's page, and permitted as the access was that made the exit? */
static inline bool at_register(const struct vcpu_access *a, gva_t gva, unsigned size, bool write)
{
    return (ALIGN_DOWN(gva.v, PAGE_SIZE) | 1) == a->device_page && (!write || a->device_access) &&
           gva.v % WORD + size <= WORD && !a->aligned;
}

static void register_access(struct vcpu *v, gva_t gva, unsigned size, bool write, u64 *value)
{
    gpa_t gpa = GPA(v->access.device_gpa.v | (gva.v & PAGE_MASK));

    vplat_mmio(&v->vm->platform, v->index, tsc_read(), gpa, size, write, value);
    if (write)
        events_expect(v);
}

/* Before a store to the page of the hint: its address. shadow_write_done() is for the caller. */
static inline gpa_t hinted_begin(struct vcpu *v, gva_t gva, unsigned size)
{
    gpa_t gpa = GPA(v->access.hint_gpa.v | (gva.v & PAGE_MASK));

    if (unlikely(v->access.begun != ALIGN_DOWN(gpa.v, WORD)))
        shadow_write_begin(&v->shadow, gpa, size);
    v->access.begun = ACCESS_NOT_BEGUN;
    return gpa;
}

/* An entry of a page table: 4 or 8 bytes, naturally aligned. NULL: anything else, or not in the hint's page. */
static inline void *hinted_entry(const struct vcpu *v, gva_t gva, unsigned size)
{
    if (unlikely((size != WORD && size != NARROW_WORD) || (gva.v & (size - 1))))
        return NULL;
    return access_hinted(&v->access, gva, size);
}

static enum emulate_status read_op(void *ctx, gva_t gva, unsigned size, bool for_write, u64 value[2])
{
    struct vcpu *v = ctx;
    const void *at = hinted_entry(v, gva, size);

    if (likely(at)) {
        value[0] = likely(size == WORD) ? atomic_load_explicit((const _Atomic u64 *)at, memory_order_relaxed)
                                        : atomic_load_explicit((const _Atomic u32 *)at, memory_order_relaxed);
        return EMULATE_OK;
    }
    if (at_register(&v->access, gva, size, for_write)) {
        value[0] = value[1] = 0;
        register_access(v, gva, size, false, value);
        return EMULATE_OK;
    }
    return access_read_for(v, gva, size, for_write, value);
}

static enum emulate_status write_op(void *ctx, gva_t gva, unsigned size, const u64 value[2])
{
    struct vcpu *v = ctx;
    void *at = hinted_entry(v, gva, size);

    if (likely(at)) {
        gpa_t gpa = hinted_begin(v, gva, size);
        if (likely(size == WORD))
            atomic_store_explicit((_Atomic u64 *)at, value[0], memory_order_seq_cst);
        else
            atomic_store_explicit((_Atomic u32 *)at, (u32)value[0], memory_order_seq_cst);
        vcpu_flush(v, shadow_write_done(&v->shadow, gpa, size));
        return EMULATE_OK;
    }
    if (at_register(&v->access, gva, size, true)) {
        u64 word = size == WORD ? value[0] : value[0] & (BIT(8 * size) - 1);
        register_access(v, gva, size, true, &word);
        return EMULATE_OK;
    }
    return access_write(v, gva, value, size);
}

static enum emulate_status cmpxchg_op(void *ctx, gva_t gva, unsigned size, const u64 expected[2],
                                      const u64 desired[2], u64 seen[2])
{
    struct vcpu *v = ctx;
    void *at = hinted_entry(v, gva, size);
    gpa_t gpa;

    seen[0] = expected[0];
    seen[1] = expected[1];
    if (unlikely(!at))
        return access_cmpxchg(v, gva, size, desired, seen);
    gpa = hinted_begin(v, gva, size);
    if (likely(size == WORD)) {
        atomic_compare_exchange_strong((_Atomic u64 *)at, &seen[0], desired[0]);
    } else {
        u32 old = (u32)expected[0];
        atomic_compare_exchange_strong((_Atomic u32 *)at, &old, (u32)desired[0]);
        seen[0] = old;
    }
    vcpu_flush(v, shadow_write_done(&v->shadow, gpa, size));
    return EMULATE_OK;
}

const struct emulate_ops access_ops = {
    .read = read_op,
    .write = write_op,
    .cmpxchg = cmpxchg_op,
    .vector_read = access_vector_read,
    .vector_write = access_vector_write,
    .fault = access_fault,
    .segment_read = access_segment_read,
    .segment_write = access_segment_write,
    .implicit = access_implicit,
    .cr0_read = access_cr0_read,
    .cr4_read = access_cr4_read,
    .long_mode = access_long_mode,
};

enum emulate_status access_fetch(struct vcpu *v)
{
    struct vcpu_access *a = &v->access;
    gva_t at = GVA(vmx_guest_rip(&v->vmx));
    hpa_t code;

    a->code_bits = (u8)vmx_guest_code_bits(&v->vmx);
    if (unlikely(a->code_bits != 64))
        at = GVA((u32)(at.v + vmx_segment_base(VMX_SEG_CS)));
    if (unlikely((at.v & PAGE_MASK) > PAGE_SIZE - DECODE_WINDOW) ||
        unlikely(!shadow_lookup(&v->shadow, at, &code)))
        return access_fetch_slowly(v, at);
    a->window[0] = ((const struct unaligned *)hpa_to_ptr(code))[0].word;
    a->window[1] = ((const struct unaligned *)hpa_to_ptr(code))[1].word;
    a->fetch_bytes = DECODE_WINDOW;
    return EMULATE_OK;
}
