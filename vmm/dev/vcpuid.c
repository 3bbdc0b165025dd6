/* vcpuid.c - builds a VM's CPUID table and answers from it. SDM Vol 2A, CPUID; Vol 3A 8.9 for topology. */
#include "vmm/dev/vcpuid.h"
#include "arch/msr.h"
#include "arch/regs.h"
#include "arch/string.h"

#define LEAF_CACHES      0x4u
#define EXT_BASE         CPUID_LEAF_EXT_MAX
#define HV_BASE          CPUID_LEAF_HYPERVISOR
#define HV_SIGNATURE     "PatchbayVMM"
#define SIGNATURE_BYTES  12
#define TOPOLOGY_SMT     0x100u
#define TOPOLOGY_CORE    0x200u
#define CACHE_TYPE       0x1Fu
#define CACHE_LEVEL(eax) (((eax) >> 5) & 7)
#define CACHE_FIXED      0x3FFFu /* the bits below "sharing" and "cores" */
#define CORES_MASK       0x3Fu
#define CACHE_ROWS       5
#define TOPOLOGY_ROWS    2
#define XSAVE_ROWS       3
#define XSAVE_LEGACY     576u /* 512 of FXSAVE, 64 of header */
#define XSAVE_AVX        2    /* component number */
#define XSAVE_XGETBV1    0x4u
#define BUS_MHZ          100u
#define MHZ              1000000ull
#define KHZ              1000ull
#define LINEAR_BITS      48u
#define PHYSICAL_DEFAULT 36u
#define PHYSICAL_LEAST   32u

struct rule {
    u32 leaf;
    u8 reg;
    u32 pass, force;
};

static const struct rule rules[] = {
#define X(leaf_number, reg_name, pass_mask, force_mask) \
    {leaf_number, CPUID_##reg_name, (u32)(pass_mask), (u32)(force_mask)},
#include "vmm/dev/vcpuid.def"
#undef X
};

static u32 *reg_of(struct cpuid_regs *r, u32 reg)
{
    return reg == CPUID_EAX ? &r->eax : reg == CPUID_EBX ? &r->ebx : reg == CPUID_ECX ? &r->ecx : &r->edx;
}

/* The host's leaf, 0 where it has none (CPUID itself would answer with another leaf's data). */
static struct cpuid_regs host_leaf(const struct vcpuid_config *c, u32 leaf, u32 subleaf)
{
    struct cpuid_regs max = {0}, r = {0};
    c->host(c->host_ctx, leaf & EXT_BASE, 0, &max);
    if (leaf <= max.eax && (max.eax & EXT_BASE) == (leaf & EXT_BASE))
        c->host(c->host_ctx, leaf, subleaf, &r);
    return r;
}

static struct vcpuid_entry *entry_of(struct vcpuid *t, u32 leaf)
{
    return leaf >= EXT_BASE ? &t->ext[leaf - EXT_BASE] : &t->basic[leaf];
}

static u32 log2_up(u32 n)
{
    return n <= 1 ? 0 : 32 - (u32)__builtin_clz(n - 1);
}

static void build_caches(struct vcpuid *t, const struct vcpuid_config *c, u32 row)
{
    u32 ids = (1u << log2_up(c->vcpus)) - 1;
    t->basic[LEAF_CACHES].dynamic = VCPUID_DYN_SUBLEAVES;
    t->basic[LEAF_CACHES].sub_first = (u8)row;
    for (u32 i = 0; i < CACHE_ROWS - 1; i++) { /* the last row stays 0: no more caches */
        struct cpuid_regs r = host_leaf(c, LEAF_CACHES, i);
        if ((r.eax & CACHE_TYPE) == 0)
            break;
        /* One package; every vCPU a core of its own; the last level is shared by all of them. */
        u32 sharing = CACHE_LEVEL(r.eax) >= 3 ? ids : 0;
        r.eax = (r.eax & CACHE_FIXED) | sharing << 14 | (ids & CORES_MASK) << 26;
        t->sub[row + i] = r;
    }
    t->basic[LEAF_CACHES].sub_count = CACHE_ROWS;
}

static void build_topology(struct vcpuid *t, const struct vcpuid_config *c, u32 row)
{
    struct vcpuid_entry *e = &t->basic[CPUID_LEAF_TOPOLOGY];
    e->dynamic = VCPUID_DYN_SUBLEAVES;
    e->leaf_class = CPUID_LEAF_TOPOLOGY;
    e->sub_first = (u8)row;
    e->sub_count = TOPOLOGY_ROWS;
    t->sub[row] = (struct cpuid_regs){.eax = 0, .ebx = 1, .ecx = TOPOLOGY_SMT};
    t->sub[row + 1] =
        (struct cpuid_regs){.eax = log2_up(c->vcpus), .ebx = c->vcpus, .ecx = TOPOLOGY_CORE | 1};

    struct cpuid_regs *f = &t->basic[CPUID_LEAF_FEATURES].regs;
    f->ebx |= (1u << log2_up(c->vcpus)) << 16;
    if (c->vcpus > 1)
        f->edx |= (u32)CPUID_HTT;
}

static void build_xsave(struct vcpuid *t, const struct vcpuid_config *c, u32 row)
{
    struct cpuid_regs host = host_leaf(c, CPUID_LEAF_XSAVE, 0);
    struct cpuid_regs avx = host_leaf(c, CPUID_LEAF_XSAVE, XSAVE_AVX);
    struct cpuid_regs *features = &t->basic[CPUID_LEAF_FEATURES].regs;
    struct vcpuid_entry *e = &t->basic[CPUID_LEAF_XSAVE];

    e->dynamic = VCPUID_DYN_SUBLEAVES;
    e->leaf_class = CPUID_LEAF_XSAVE;
    e->sub_first = (u8)row;
    e->sub_count = XSAVE_ROWS;
    t->xcr0 = c->xcr0 & host.eax & (XCR0_X87 | XCR0_SSE | XCR0_AVX);
    if (!(features->ecx & CPUID_XSAVE) || (t->xcr0 & (XCR0_X87 | XCR0_SSE)) != (XCR0_X87 | XCR0_SSE))
        t->xcr0 = 0;
    if (!(t->xcr0 & XCR0_AVX)) {
        features->ecx &= ~(u32)(CPUID_AVX | CPUID_FMA | CPUID_F16C);
        t->basic[CPUID_LEAF_EXTENDED].regs.ebx &= ~(u32)CPUID_AVX2;
        t->basic[CPUID_LEAF_EXTENDED].regs.ecx &= ~(u32)(CPUID_VAES | CPUID_VPCLMULQDQ);
    }
    if (!t->xcr0) {
        features->ecx &= ~(u32)CPUID_XSAVE;
        return;
    }
    t->xsave_area_avx = t->xcr0 & XCR0_AVX ? avx.eax + avx.ebx : XSAVE_LEGACY;
    t->sub[row] = (struct cpuid_regs){.eax = (u32)t->xcr0, .ecx = t->xsave_area_avx};
    t->sub[row + 1].eax =
        host_leaf(c, CPUID_LEAF_XSAVE, 1).eax & (u32)(CPUID_XSAVEOPT | CPUID_XSAVEC | (int)XSAVE_XGETBV1);
    if (t->xcr0 & XCR0_AVX)
        t->sub[row + 2] = (struct cpuid_regs){.eax = avx.eax, .ebx = avx.ebx};
}

static void build_frequencies(struct vcpuid *t, const struct vcpuid_config *c)
{
    u32 mhz = (u32)MAX(c->tsc_hz / MHZ, 1);
    t->basic[CPUID_LEAF_TSC].regs =
        (struct cpuid_regs){.eax = 1, .ebx = (u32)(c->tsc_hz / c->crystal_hz), .ecx = (u32)c->crystal_hz};
    t->basic[CPUID_LEAF_FREQUENCY].regs = (struct cpuid_regs){.eax = mhz, .ebx = mhz, .ecx = BUS_MHZ};
    t->hv[2].regs = (struct cpuid_regs){.eax = (u32)(c->tsc_hz / KHZ), .ebx = (u32)(c->crystal_hz / KHZ)};
}

static void build_identity(struct vcpuid *t, const struct vcpuid_config *c)
{
    struct cpuid_regs vendor = host_leaf(c, 0, 0);
    char signature[SIGNATURE_BYTES] = HV_SIGNATURE;
    struct cpuid_regs *hv = &t->hv[0].regs;

    vendor.eax = VCPUID_BASIC_LEAVES - 1;
    t->basic[0].regs = vendor;
    t->basic[CPUID_LEAF_FEATURES].dynamic = VCPUID_DYN_FEATURES;
    hv->eax = HV_BASE + VCPUID_HV_LEAVES - 1;
    memcpy(&hv->ebx, signature, 4);
    memcpy(&hv->ecx, signature + 4, 4);
    memcpy(&hv->edx, signature + 8, 4);
    t->hv[1].regs = (struct cpuid_regs){.eax = c->abi_version, .ebx = c->vm_id};
}

static void build_addresses(struct vcpuid *t, const struct vcpuid_config *c)
{
    u32 host = host_leaf(c, CPUID_LEAF_ADDRESS, 0).eax & 0xFF;
    t->maxphyaddr = MAX(MIN(host ? host : PHYSICAL_DEFAULT, c->maxphyaddr), PHYSICAL_LEAST);
    t->ext[0].regs.eax = CPUID_LEAF_ADDRESS;
    t->ext[CPUID_LEAF_ADDRESS - EXT_BASE].regs.eax = t->maxphyaddr | LINEAR_BITS << 8;
}

/* What the configuration shows or hides. */
static void apply_choices(struct vcpuid *t, const struct vcpuid_config *c)
{
    struct cpuid_regs *features = &t->basic[CPUID_LEAF_FEATURES].regs;
    struct cpuid_regs *extended = &t->basic[CPUID_LEAF_EXTENDED].regs;
    struct cpuid_regs *ext = &t->ext[CPUID_LEAF_EXT_FEATURE - EXT_BASE].regs;

    t->basic[CPUID_LEAF_EXTENDED].dynamic = VCPUID_DYN_SUBLEAVES; /* subleaf 0 is in regs, the rest 0 */
    t->basic[CPUID_LEAF_EXTENDED].leaf_class = CPUID_LEAF_EXTENDED;
    if (c->pages_1g)
        ext->edx |= (u32)CPUID_PAGE1GB;
    else
        ext->edx &= ~(u32)CPUID_PAGE1GB;
    if (!c->rdtscp) {
        ext->edx &= ~(u32)CPUID_RDTSCP;
        extended->ecx &= ~(u32)CPUID_RDPID;
    }
    if (!c->rdrand) {
        features->ecx &= ~(u32)CPUID_RDRAND;
        extended->ebx &= ~(u32)CPUID_RDSEED;
    }
    if (c->invariant_tsc)
        t->ext[CPUID_LEAF_POWER - EXT_BASE].regs.edx = (u32)CPUID_INVARIANT_TSC;
    t->arch_capabilities = c->arch_capabilities;
    if (c->arch_capabilities)
        extended->edx |= (u32)CPUID_ARCH_CAPABILITIES;
}

static u64 settable_cr4(const struct vcpuid *t)
{
    static const struct {
        u64 cr4;
        enum cpuid_feature feature;
    } bits[] = {
        {CR4_VME | CR4_PVI, CPUID_FEATURE_VME},
        {CR4_TSD, CPUID_FEATURE_TSC},
        {CR4_DE, CPUID_FEATURE_DE},
        {CR4_PSE, CPUID_FEATURE_PSE},
        {CR4_PAE, CPUID_FEATURE_PAE},
        {CR4_MCE, CPUID_FEATURE_MCE},
        {CR4_PGE, CPUID_FEATURE_PGE},
        {CR4_OSFXSR, CPUID_FEATURE_FXSR},
        {CR4_OSXMMEXCPT, CPUID_FEATURE_SSE},
        {CR4_OSXSAVE, CPUID_FEATURE_XSAVE},
        {CR4_FSGSBASE, CPUID_FEATURE_FSGSBASE},
        {CR4_SMEP, CPUID_FEATURE_SMEP},
        {CR4_SMAP, CPUID_FEATURE_SMAP},
        {CR4_UMIP, CPUID_FEATURE_UMIP},
    };
    u64 cr4 = CR4_PCE; /* without counters it allows nothing: RDPMC is #GP anyway */

    for (size_t i = 0; i < ARRAY_SIZE(bits); i++) {
        struct cpuid_location at = cpuid_locate(bits[i].feature);
        if (vcpuid_has(t, at.leaf, (enum cpuid_reg)at.reg, 1u << at.bit))
            cr4 |= bits[i].cr4;
    }
    return cr4;
}

enum err vcpuid_init(struct vcpuid *t, const struct vcpuid_config *c)
{
    if (!c->host || !c->crystal_hz || !c->vcpus || c->crystal_hz > c->tsc_hz)
        return ERR_INVALID;
    memset(t, 0, sizeof *t);
    for (u32 i = 0; i < ARRAY_SIZE(rules); i++) {
        struct cpuid_regs host = host_leaf(c, rules[i].leaf, 0);
        *reg_of(&entry_of(t, rules[i].leaf)->regs, rules[i].reg) =
            (*reg_of(&host, rules[i].reg) & rules[i].pass) | rules[i].force;
    }
    build_identity(t, c);
    build_addresses(t, c);
    build_frequencies(t, c);
    build_caches(t, c, 0);
    build_topology(t, c, CACHE_ROWS);
    build_xsave(t, c, CACHE_ROWS + TOPOLOGY_ROWS);
    apply_choices(t, c);
    t->cr4 = settable_cr4(t);
    return ERR_OK;
}

/* ------------------------------------------------------------------ answering */

static void query_subleaf(const struct vcpuid *t, const struct vcpuid_entry *e, const struct vcpuid_state *s,
                          u32 subleaf, struct cpuid_regs *out)
{
    if (e->leaf_class == CPUID_LEAF_EXTENDED) {
        if (subleaf != 0)
            *out = (struct cpuid_regs){0};
        return;
    }
    *out = subleaf < e->sub_count ? t->sub[e->sub_first + subleaf] : (struct cpuid_regs){0};
    if (e->leaf_class == CPUID_LEAF_TOPOLOGY) {
        if (subleaf >= e->sub_count)
            out->ecx = subleaf & 0xFF;
        out->edx = s->apic_id;
    } else if (e->leaf_class == CPUID_LEAF_XSAVE && subleaf <= 1 && t->xcr0) {
        out->ebx = s->xcr0 & XCR0_AVX ? t->xsave_area_avx : XSAVE_LEGACY;
    }
}

void vcpuid_query(const struct vcpuid *t, const struct vcpuid_state *s, u32 leaf, u32 subleaf,
                  struct cpuid_regs *out)
{
    const struct vcpuid_entry *e = vcpuid_entry(t, leaf);

    *out = e->regs;
    if (likely(e->dynamic == VCPUID_STATIC))
        return;
    if (e->dynamic == VCPUID_DYN_SUBLEAVES) {
        query_subleaf(t, e, s, subleaf, out);
        return;
    }
    out->ebx |= s->apic_id << 24;
    if (s->cr4 & CR4_OSXSAVE)
        out->ecx |= (u32)CPUID_OSXSAVE;
    if (!(s->apic_base & APIC_BASE_EN))
        out->edx &= ~(u32)CPUID_APIC;
}

bool vcpuid_has(const struct vcpuid *t, u32 leaf, enum cpuid_reg reg, u32 mask)
{
    static const struct vcpuid_state reset = {.apic_base = APIC_BASE_EN};
    struct cpuid_regs r;
    vcpuid_query(t, &reset, leaf, 0, &r);
    return (*reg_of(&r, reg) & mask) == mask;
}
