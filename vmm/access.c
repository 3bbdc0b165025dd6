/*
 * access.c - guest memory by linear address, as the guest itself would reach it now.
 *
 *   gva --canonical?--> gwalk (sets A and D) --> gpa --> RAM    read, write, compare-and-exchange, report the write
 *                                                        none   the virtual platform
 *                                                        empty  #PF, the page is away
 *
 * A write is done only when both pages it touches can be written. The page whose traced write made the exit
 * has been translated already (access_hint()), and so has the code, by the shadow.
 */
#include "vmm/access_internal.h"

#include "arch/string.h"
#include "vmm/events.h"

static enum emulate_status fault(struct vcpu *v, u8 vector, u32 error, gva_t address)
{
    v->access.fault_address = address;
    return access_fault(v, vector, error);
}

/* Where a byte of the guest's address space is; the page has the rights that access needs. */
static enum emulate_status translate(struct vcpu *v, gva_t gva, u32 access, gpa_t *gpa)
{
    struct vcpu_access *a = &v->access;
    struct gwalk walk;

    if (!(access & GWALK_FETCH) && access_hinted(a, gva, 1)) {
        *gpa = GPA(a->hint_gpa.v | (gva.v & PAGE_MASK));
        return EMULATE_OK;
    }
    if (!linear_is_canonical(gva.v))
        return fault(v, VECTOR_GP, 0, gva);
    if (!gwalk(&v->vm->p2m, &v->shadow.paging, gva, access | a->rights | GWALK_SET_AD, &walk))
        return fault(v, VECTOR_PF, walk.error, gva);
    *gpa = walk.gpa;
    enum p2m_type type = p2m_entry_type(p2m_get(&v->vm->p2m, gpa->v >> PAGE_SHIFT));
    u32 code = (u32)((access & GWALK_WRITE ? PF_W : 0) | (a->rights & GWALK_USER ? PF_U : 0));
    if (type == P2M_EMPTY)
        return fault(v, VECTOR_PF, code, gva);
    if (type == P2M_RAM_RO && (access & GWALK_WRITE))
        return fault(v, VECTOR_PF, (u32)PF_P | code, gva);
    return EMULATE_OK;
}

/* One access that may cross a page, as at most two pieces. */
struct pieces {
    gpa_t gpa[2];
    unsigned size[2];
};

static enum emulate_status translate_range(struct vcpu *v, gva_t gva, unsigned size, u32 access,
                                           struct pieces *p)
{
    unsigned room = (unsigned)(PAGE_SIZE - (gva.v & PAGE_MASK));
    enum emulate_status s = translate(v, gva, access, &p->gpa[0]);

    p->size[0] = MIN(size, room);
    p->size[1] = size - p->size[0];
    if (s == EMULATE_OK && p->size[1])
        s = translate(v, GVA(gva.v + p->size[0]), access, &p->gpa[1]);
    if (s == EMULATE_OK && unlikely(v->access.aligned) && v->access.rights && size <= WORD && gva.v % size)
        s = access_fault(v, VECTOR_AC, 0);
    return s;
}

enum emulate_status access_check_write(struct vcpu *v, gva_t gva, unsigned size)
{
    struct pieces p;

    return translate_range(v, gva, size, GWALK_WRITE, &p);
}

static bool is_ram(const struct vcpu *v, gpa_t gpa)
{
    return p2m_entry_is_ram(p2m_get(&v->vm->p2m, gpa.v >> PAGE_SHIFT));
}

/* Device access of any size within a page, split at 8-byte words. */
static void device(struct vcpu *v, gpa_t gpa, unsigned size, bool write, u8 *bytes)
{
    u64 now = tsc_read();

    while (size) {
        unsigned n = MIN(size, WORD - (unsigned)(gpa.v % WORD));
        u64 value = 0;
        if (write)
            memcpy(&value, bytes, n);
        vplat_mmio(&v->vm->platform, v->index, now, gpa, n, write, &value);
        if (!write)
            memcpy(bytes, &value, n);
        gpa.v += n;
        bytes += n;
        size -= n;
    }
    if (write)
        events_expect(v);
}

/* A store that may hit a page table. */
static enum err write_ram(struct vcpu *v, gpa_t gpa, const void *from, unsigned size)
{
    shadow_write_begin(&v->shadow, gpa, size);
    enum err e = guest_mem_write(&v->vm->p2m, gpa, from, size);
    vcpu_flush(v, shadow_write_done(&v->shadow, gpa, size));
    v->access.begun = ACCESS_NOT_BEGUN;
    return e;
}

enum emulate_status access_read(struct vcpu *v, gva_t gva, void *to, unsigned size)
{
    struct pieces p;
    u8 *bytes = to;
    enum emulate_status s = translate_range(v, gva, size, 0, &p);

    for (unsigned i = 0; s == EMULATE_OK && i < 2 && p.size[i]; i++) {
        if (!is_ram(v, p.gpa[i]))
            device(v, p.gpa[i], p.size[i], false, bytes);
        else if (guest_mem_read(&v->vm->p2m, p.gpa[i], bytes, p.size[i]) != ERR_OK)
            s = EMULATE_RETRY; /* the page left between the look and the read */
        bytes += p.size[i];
    }
    return s;
}

enum emulate_status access_write(struct vcpu *v, gva_t gva, const void *from, unsigned size)
{
    struct pieces p;
    u8 bytes[16];
    u8 *at = bytes;
    enum emulate_status s = translate_range(v, gva, size, GWALK_WRITE, &p);

    memcpy(bytes, from, size);
    for (unsigned i = 0; s == EMULATE_OK && i < 2 && p.size[i]; i++) {
        if (!is_ram(v, p.gpa[i]))
            device(v, p.gpa[i], p.size[i], true, at);
        else if (write_ram(v, p.gpa[i], at, p.size[i]) != ERR_OK)
            s = EMULATE_RETRY;
        at += p.size[i];
    }
    return s;
}

enum emulate_status access_read_for(struct vcpu *v, gva_t gva, unsigned size, bool for_write, u64 value[2])
{
    struct pieces p;

    value[0] = value[1] = 0;
    if (for_write) {
        enum emulate_status s = translate_range(v, gva, size, GWALK_WRITE, &p);
        if (s != EMULATE_OK)
            return s;
    }
    return access_read(v, gva, value, size);
}

/* Anything but naturally aligned words of memory. A device has no need of atomicity; of memory alone no
 * compare-and-exchange of ours does it: without its trace the page lets the CPU. */
enum emulate_status access_cmpxchg(struct vcpu *v, gva_t gva, unsigned size, const u64 desired[2],
                                   u64 seen[2])
{
    struct pieces p;
    enum emulate_status s = translate_range(v, gva, size, GWALK_WRITE, &p);

    if (s != EMULATE_OK)
        return s;
    if (!is_ram(v, p.gpa[0]) || (p.size[1] && !is_ram(v, p.gpa[1])))
        return access_write(v, gva, desired, size);
    if (size > WORD || gva.v % size)
        return EMULATE_UNKNOWN;
    shadow_write_begin(&v->shadow, p.gpa[0], size);
    enum err e = guest_mem_cmpxchg(&v->vm->p2m, p.gpa[0], size, &seen[0], desired[0]);
    vcpu_flush(v, shadow_write_done(&v->shadow, p.gpa[0], size));
    v->access.begun = ACCESS_NOT_BEGUN;
    return e == ERR_OK ? EMULATE_OK : EMULATE_RETRY;
}

/* Byte by byte as the CPU would fetch: the guest's tables decide, and the second page may be missing. */
enum emulate_status access_fetch_slowly(struct vcpu *v, gva_t at)
{
    struct vcpu_access *a = &v->access;
    unsigned got = 0;

    while (got < INSN_MAX_LENGTH) {
        unsigned n = MIN(INSN_MAX_LENGTH - got, (unsigned)(PAGE_SIZE - (at.v & PAGE_MASK)));
        gpa_t gpa = GPA(0);
        enum emulate_status s = translate(v, at, GWALK_FETCH, &gpa);
        if (s == EMULATE_OK && guest_mem_read(&v->vm->p2m, gpa, a->code + got, n) != ERR_OK)
            s = EMULATE_UNKNOWN; /* code in device memory */
        if (s != EMULATE_OK) {
            if (!got)
                return s;
            break;
        }
        got += n;
        at.v += n;
    }
    a->fetch_bytes = got; /* a fault found behind them counts if they are not a whole instruction */
    return EMULATE_OK;
}
