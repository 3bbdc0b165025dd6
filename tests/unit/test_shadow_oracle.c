/* links: mm/shadow.c mm/shadow_pool.c mm/shadow_derive.c mm/shadow_fill.c mm/shadow_leaf.c mm/shadow_sync.c
 * mm/shadow_revoke.c mm/revoke.c mm/shadow_reach.c mm/shadow_patch.c mm/shadow_shared.c mm/audit.c
 * mm/rmap.c mm/trace.c mm/gwalk.c mm/p2m.c mm/guest_mem.c mm/channel.c mm/matrix.c */
/*
 * test_shadow_oracle.c - random guests on the shadow MMU with a modelled TLB; every access must have a result
 * that the SDM allows (walk_oracle.h). 1 to 3 vCPUs, all paging modes, tables that are data and themselves,
 * tiny pools, every tuning. The same run with one kind of flush left out must be caught.
 *
 * PB_SEED is the first guest's seed, PB_STEPS how many steps all guests make together: 120 thousand, and 2 million in
 * `make test` (PB_THOROUGH). A failure names its guest: one with that seed alone does the same again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "mm/audit.h"
#include "mm/shadow_internal.h"
#include "mm/shadow_quick.h"
#include "tests/unit/modelled_tlb.h"
#include "tests/unit/shadow_host.h"
#include "tests/unit/walk_oracle.h"

#define VCPUS_MAX  3
#define FRAMES_MAX 160
#define MAXPHY     46

#define GUEST_STEPS    2000ull /* then there is another guest, with the next seed */
#define STEPS          120000ull
#define STEPS_THOROUGH 2000000ull
#define MUTATED_STEPS  1600000ull

/* Where a flush was asked for; a mutated run leaves one of them out. */
enum place {
    AT_NOTHING,
    AT_FAULT,
    AT_INVLPG,
    AT_INVLPG_WIDE, /* more than the address becomes the address */
    AT_CR3,
    AT_CONTROLS,
    AT_DROP,
    AT_KICK,
    AT_INVEPT, /* any of an unpaged vCPU */
    AT_WRITE,
    /* Not flushes: */
    AT_FILTER, /* the filter of page faults is always on */
    AT_REVOKE, /* stores do not revoke other vCPUs' entries */
    AT_PROOF,  /* nor does a vCPU look whether they could have */
    /* Shared tables: */
    AT_OTHERS,     /* what another vCPU's call narrowed is not told */
    AT_TRACE,      /* vCPUs that are outside need not flush for a trace */
    AT_QUARANTINE, /* likewise for shadow frames that are used again */
};
static const char *const place_name[] = {
    "nothing", "fault", "invlpg", "invlpg's wide",   "mov cr3", "control change", "drop",  "kick",
    "INVEPT",  "write", "filter", "store of others", "proof",   "another's call", "trace", "quarantine"};

struct vcpu {
    struct shadow sh;
    struct hw hw;
    struct o_view view;
    bool kicked;
    bool must_serve; /* it was kicked while it was not in the guest: before it is */
};

static u8 *ram, *pool;
static struct host_shadow host[VCPUS_MAX];
static struct vcpu vcpu[VCPUS_MAX];
static u32 vcpus;
static _Atomic u64 p2m_words[O_PAGES];
static struct p2m p2m;
static struct trace traces[O_PAGES];
static struct trace_map trace_map;
static struct shadow_vm vm;
static bool share, ept;
static struct host_shadow shared_host;
static struct shadow_shared shared;
static struct oracle oracle;
static u64 quick_loads;
static u64 rng_state, seed_now, step_now, forwarded, forwarded_smp, by_ept;
static enum place mutation;
static bool violated;
static char violation[400];
static struct vcpu *violated_by; /* and at: for the explanation */
static u64 violated_at;

static u64 rnd(void)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return rng_state * 0x2545f4914f6cdd1dull;
}
static bool one_in(unsigned n)
{
    return (rnd() >> 20) % n == 0;
}
static u64 env(const char *name, u64 otherwise)
{
    const char *s = getenv(name);
    return s ? strtoull(s, NULL, 0) : otherwise;
}

static void __attribute__((format(printf, 1, 2))) violate(const char *fmt, ...)
{
    va_list args;
    int n;
    if (violated)
        return;
    violated = true;
    n = snprintf(violation, sizeof violation, "seed %llu step %llu: ", (unsigned long long)seed_now,
                 (unsigned long long)step_now);
    va_start(args, fmt);
    vsnprintf(violation + n, sizeof violation - (size_t)n, fmt, args);
    va_end(args);
}

static void flush(struct vcpu *c, struct flush f, enum place at)
{
    if (f.width == FLUSH_NONE)
        return;
    if (mutation == AT_INVLPG_WIDE && at == AT_INVLPG && f.width == FLUSH_CONTEXT)
        return; /* the address itself was flushed by the caller */
    if (mutation == at && at != AT_NOTHING)
        return;
    if (mutation == AT_INVEPT && c->sh.ept_root)
        return;
    hw_flush(&c->hw, &c->sh, f);
}

/* ---- guest memory contents ---- */
static const u16 index1[] = {0, 1, 2, 7, 40, 511};
static const u16 index2[] = {0, 1, 3, 256};
static const u16 index34[] = {0, 1, 511};

/* What kind of guest this is: 1 = nearly everything it writes is good, 0 = nothing is sacred. */
static unsigned order;
static unsigned demand; /* one in so many of its edits is the beginning of demand paging */
static unsigned churn;  /* one in so many of the rare steps changes the p2m */

static u64 random_entry(const struct paging_state *ps)
{
    u64 e = (rnd() % (order ? 40 : O_PAGES)) << 12;
    e |= one_in(9 + order * 40) ? 0 : 1;
    e |= one_in(4 + order * 4) ? 0 : 2;
    e |= one_in(4 + order * 12) ? 0 : 4;
    e |= one_in(4 + order * 8) ? 0 : 0x20;
    e |= one_in(3 + order * 3) ? 0 : 0x40;
    e |= one_in(5) ? 0x100 : 0;
    e |= rnd() & 0xe18;
    if (one_in(14))
        e = (e & ~0xff000ull) | 0x80;
    if (ps->cr4 & CR4_PAE) {
        e |= one_in(9 + order * 20) ? PTE_NX : 0;
        e |= one_in(60 + order * 1000) ? 1ull << (MAXPHY + rnd() % (63 - MAXPHY)) : 0;
        return e;
    }
    return e;
}

static u64 random_word(const struct paging_state *ps)
{
    u64 e = random_entry(ps);
    if (!(ps->cr4 & CR4_PAE))
        e = (e & 0xffffffff) | random_entry(ps) << 32;
    return one_in(25 + order * 50) ? 0 : e;
}

static u64 random_va(const struct paging_state *ps)
{
    u64 i1 = index1[rnd() % ARRAY_SIZE(index1)], i2 = index2[rnd() % ARRAY_SIZE(index2)];
    u64 i3 = index34[rnd() % ARRAY_SIZE(index34)], i4 = index34[rnd() % ARRAY_SIZE(index34)];
    u64 low = i1 << 12 | i2 << 21 | (rnd() & 0xff8);
    if (gwalk_mode_of(ps) != GWALK_LONG)
        return low | (i3 & 3) << 30;
    low |= i3 << 30 | i4 << 39;
    return (u64)((s64)(low << 16) >> 16);
}

/* Remembers the values of all entries that a walk of va uses now. */
static void note_path(const struct paging_state *ps, u64 va)
{
    struct gwalk w;
    gwalk(&p2m, ps, GVA(va), 0, &w);
    for (u32 level = w.top; level >= w.level && level > 0 && level <= 4; level--)
        o_note(&oracle, w.entry_gpa[level].v);
}

static void step(struct vcpu *c, int depth);

struct access {
    u64 va;
    bool write, user, fetch, ac, implicit;
};
static void do_access(struct vcpu *c, const struct access *wanted, int depth);
static u64 edited_va;

/* AT_REVOKE: c does not find the pages of others. */
static void hide_pages(struct vcpu *c, bool hide)
{
    static _Atomic u64 *list[VCPUS_MAX];

    for (u32 i = 0; i < vcpus && mutation == AT_REVOKE; i++) {
        if (&vcpu[i] == c)
            continue;
        if (hide)
            list[i] = vcpu[i].sh.list.word;
        vcpu[i].sh.list.word = hide ? NULL : list[i];
    }
}

static void serve_kick(struct vcpu *c)
{
    c->kicked = c->must_serve = false;
    flush(c, shadow_service_kicks(&c->sh), AT_KICK);
}

static void enter_guest(struct vcpu *c)
{
    if (c->must_serve)
        serve_kick(c);
    hw_enter(&c->hw, &c->sh);
}

/* Between the steps of what c does, another vCPU does something, now and then at the address whose tables c edits. */
static void interlude(struct vcpu *c, int depth)
{
    if (vcpus > 1 && depth == 0 && one_in(3)) {
        struct vcpu *other = &vcpu[rnd() % vcpus];
        if (other != c)
            for (u64 n = rnd() % 4; n > 0 && !violated; n--) {
                struct access a = {edited_va ^ (rnd() % 4) << 12, one_in(3), one_in(2), false, true, false};
                if (one_in(2))
                    do_access(other, &a, 1);
                else
                    step(other, 1);
            }
    }
}

/* The guest stores to its memory by an instruction that is emulated if the frame is traced. */
static void guest_store(struct vcpu *c, u64 gpa, const void *bytes, u32 length, int depth)
{
    struct flush f;

    if (p2m_entry_type(p2m_get(&p2m, gpa >> 12)) != P2M_RAM_RW || (gpa & 0xfff) + length > PAGE_SIZE)
        return;
    hide_pages(c, true);
    shadow_write_begin(&c->sh, GPA(gpa), length);
    hide_pages(c, false);
    interlude(c, depth);
    if (guest_mem_write(&p2m, GPA(gpa), bytes, length) != ERR_OK) {
        return;
    }
    for (u64 w = gpa & ~7ull; w < gpa + length; w += 8)
        o_note(&oracle, w);
    interlude(c, depth);
    hide_pages(c, true);
    f = shadow_write_done(&c->sh, GPA(gpa), length);
    hide_pages(c, false);
    flush(c, f, AT_WRITE);
}

static bool kick_pending(const struct vcpu *c, u64 gfn)
{
    if (share)
        return atomic_load(&traces[gfn].writable) & BIT((u64)(c - vcpu));
    if (atomic_load(&c->sh.kick_all))
        return true;
    for (int i = 0; i < SHADOW_KICK_SLOTS; i++)
        if (atomic_load(&c->sh.kick_gfn[i]) == gfn + 1)
            return true;
    return false;
}

static void emulate_store(struct vcpu *c, u64 gpa, int depth)
{
    u64 value[2] = {random_word(&c->view.ps), random_word(&c->view.ps)};
    u32 length = one_in(6) ? 1u << rnd() % 3 : one_in(8) ? 16 : 8;
    if (length == 8 && !one_in(10))
        gpa &= ~7ull;
    if ((gpa & 0xfff) + length > PAGE_SIZE)
        length = 1;
    guest_store(c, gpa, value, length, depth);
}

/* A write went through on the hardware. */
static void hardware_store_value(struct vcpu *c, u64 gpa, u64 value)
{
    u64 gfn = gpa >> 12;
    u64 interest = trace_interest(&traces[gfn]);

    if (interest && !kick_pending(c, gfn))
        violate("write to gfn %llx went past its trace (interest %llx)", (unsigned long long)gfn,
                (unsigned long long)interest);
    memcpy(ram + (gpa & ~7ull), &value, 8);
    o_note(&oracle, gpa);
}

static void hardware_store(struct vcpu *c, u64 gpa)
{
    hardware_store_value(c, gpa, random_word(&c->view.ps));
}

static void access_succeeded(struct vcpu *c, const struct access *a, u64 hpa)
{
    u64 gpa = hpa - (u64)(uintptr_t)ram;
    enum p2m_type type = p2m_entry_type(p2m_get(&p2m, gpa >> 12));

    if (gpa >= O_PAGES * PAGE_SIZE || (type != P2M_RAM_RW && (type != P2M_RAM_RO || a->write))) {
        violate("va %llx reached gpa %llx, not RAM it may use", (unsigned long long)a->va,
                (unsigned long long)gpa);
        return;
    }
    if (!o_success_legal(&oracle, &c->view, a->va, a->write, a->user, a->fetch, a->ac && !a->implicit, gpa))
        violate("vcpu %d va %llx w%d u%d x%d ac%d: illegal success at gpa %llx", (int)(c - vcpu),
                (unsigned long long)a->va, a->write, a->user, a->fetch, a->ac, (unsigned long long)gpa);
    if (a->write && !violated)
        hardware_store(c, gpa);
}

static void explain(struct vcpu *c, u64 va)
{
    const struct shadow *tables = share ? &shared.tables : &c->sh;
    struct gwalk w;
    if (mutation != AT_NOTHING || !violated)
        return;
    gwalk(&p2m, &c->view.ps, GVA(va), 0, &w);
    print_message("mode %d cr0 %llx cr4 %llx efer %llx cr3 %llx; now %llu, full %llu cr3 %llu upper %llu va "
                  "%llu; walk fault %d %x level %d gpa %llx\n",
                  w.mode, (unsigned long long)c->view.ps.cr0, (unsigned long long)c->view.ps.cr4,
                  (unsigned long long)c->view.ps.efer, (unsigned long long)c->view.ps.cr3,
                  (unsigned long long)oracle.now, (unsigned long long)c->view.t_full,
                  (unsigned long long)c->view.t_cr3, (unsigned long long)c->view.t_upper,
                  (unsigned long long)o_va_time(&c->view, va), w.fault, w.error, w.level,
                  (unsigned long long)w.gpa.v);
    for (u32 l = w.top; l >= w.level && l > 0 && l < 5; l--) {
        struct o_word *o = w.entry_gpa[l].v / 8 < O_WORDS ? &oracle.word[w.entry_gpa[l].v / 8] : NULL;
        u64 t = w.entry_gpa[l].v >> 12;
        print_message("  level %u at %llx: %llx, interest %llx:", l, (unsigned long long)w.entry_gpa[l].v,
                      (unsigned long long)w.entry[l],
                      (unsigned long long)(t < O_PAGES ? trace_interest(&traces[t]) : 0));
        for (u32 i = 0; o && i < o->n; i++)
            print_message(" %llu:%llx", (unsigned long long)o->v[i].time, (unsigned long long)o->v[i].value);
        print_message("\n");
    }
    u64 table = c->sh.root.v;
    u32 level = c->sh.pae_root ? 3 : 4;
    for (; level > 0; level--) {
        u64 slot = level == 3 && c->sh.pae_root ? va >> 30 & 3 : va >> (12 + 9 * (level - 1)) & 511;
        u64 e = ((u64 *)table)[slot];
        print_message("  shadow level %u: %llx%s\n", level, (unsigned long long)e,
                      level == 1 && e ? " (guest RAM)" : "");
        if (!e || e == ENTRY_ABSENT)
            break;
        table = e & PTE_ADDR_MASK;
    }
    print_message(
        "  ram at %p, root flags %x, loose %u upper %u, tuning prefill %u flood %u calm %u loose %u\n",
        (void *)ram, c->sh.pae_root ? 0 : tables->page[c->sh.root_page].flags, tables->loose_count,
        tables->loose_upper, tables->tuning.prefill, tables->tuning.flood_writes, tables->tuning.calm_events,
        tables->tuning.loose_max);
}

static void check_verdict(struct vcpu *c, const struct access *a, const struct shadow_fault *f)
{
    bool ac = a->ac && !a->implicit;
    bool fault = f->verdict == SHADOW_GUEST_FAULT;
    enum p2m_type type;

    if (!o_now(&oracle, &c->view.ps, a->va, a->write, a->user, a->fetch, ac, fault, f->error, f->gpa.v))
        violate("va %llx w%d u%d x%d ac%d: verdict %d error %x gpa %llx is not what the tables say",
                (unsigned long long)a->va, a->write, a->user, a->fetch, a->ac, f->verdict, f->error,
                (unsigned long long)f->gpa.v);
    type = p2m_entry_type(p2m_get(&p2m, f->gpa.v >> 12));
    if ((f->verdict == SHADOW_MMIO && type != P2M_NONE) ||
        (f->verdict == SHADOW_EMPTY_PAGE && type != P2M_EMPTY) ||
        (f->verdict == SHADOW_RO_PAGE && (type != P2M_RAM_RO || !a->write)) ||
        (f->verdict == SHADOW_TRACED_WRITE && (type != P2M_RAM_RW || !a->write)))
        violate("verdict %d for a page of type %d", f->verdict, type);
}

/* The VMCS's page-fault error-code mask and match (SDM Vol 3C 25.2). */
static bool exits(enum shadow_filter filter, u32 error)
{
    switch (filter) {
    case SHADOW_FILTER_NOT_PRESENT: return error & 1;
    case SHADOW_FILTER_DATA: return error & 17;
    default: return true;
    }
}

/* The hardware's fault goes to the guest with no exit. An entry that is not present is cached nowhere, so it is
 * so now; only the way to it may be old. */
static void check_forwarded(struct vcpu *c, const struct access *a, u32 error)
{
    forwarded++;
    forwarded_smp += vcpus > 1;
    if (!o_fault_legal(&oracle, &c->view, a->va, error))
        violate("va %llx error %x: a fault of the guest's that its tables do not give",
                (unsigned long long)a->va, error);
    o_va_set(&c->view, a->va, ++oracle.now);
}

/* Linear addresses have 32 bits outside of 64-bit mode; some were chosen before another vCPU's tables, or mode. */
static u64 linear(const struct vcpu *c, u64 va)
{
    return gwalk_mode_of(&c->view.ps) == GWALK_LONG ? va : (u32)va;
}

static void do_access(struct vcpu *c, const struct access *wanted, int depth)
{
    struct access narrowed = *wanted, *a = &narrowed;

    narrowed.va = linear(c, wanted->va);
    for (int tries = 0; tries < (share ? 100 : 24) && !violated; tries++) {
        struct hw_result r;
        struct shadow_fault f;

        violated_by = c;
        violated_at = a->va;
        if (mutation == AT_PROOF && c->sh.unproven) {
            c->sh.unproven = false;
            shadow_choose_filter(&c->sh);
        }
        enter_guest(c);
        by_ept += c->hw.ept;
        r = hw_access(&c->hw, a->va, a->write, a->user, a->fetch, a->ac && !a->implicit);
        if (c->hw.broken) {
            violate("%s", c->hw.broken);
            return;
        }
        if (r.ok) {
            access_succeeded(c, a, r.hpa);
            return;
        }
        if (!exits(mutation == AT_FILTER && c->sh.can_forward && c->sh.mode == GWALK_LONG
                       ? SHADOW_FILTER_NOT_PRESENT
                       : c->sh.filter,
                   r.error)) {
            check_forwarded(c, a, r.error);
            if (tries < 2 && one_in(2))
                continue; /* the guest's handler thinks that all is well */
            return;
        }
        interlude(c, depth);
        hide_pages(c, true);
        f = shadow_fault(&c->sh, GVA(a->va), r.error, a->user || a->implicit ? 3 : 0, a->ac);
        hide_pages(c, false);
        note_path(&c->view.ps, a->va);
        flush(c, f.flush, AT_FAULT);
        if (f.verdict == SHADOW_RESUME) {
            for (u32 i = 0; share && i < vcpus; i++)
                if (vcpu[i].kicked && one_in(4)) /* frames may be in quarantine until it has flushed */
                    serve_kick(&vcpu[i]);
            continue;
        }
        check_verdict(c, a, &f);
        if (f.verdict == SHADOW_TRACED_WRITE) {
            /* Giving up an untraced page is for WP=0 with SMAP, where it is known to bend SMAP for that page.
             */
            if (one_in(6) && trace_interest(&traces[f.gpa.v >> 12])) {
                hide_pages(c, true);
                f.flush = shadow_give_up(&c->sh, f.gpa);
                hide_pages(c, false);
                flush(c, f.flush, AT_WRITE);
                continue;
            }
            emulate_store(c, f.gpa.v, depth);
        }
        if (f.verdict == SHADOW_GUEST_FAULT)
            o_va_set(&c->view, a->va, ++oracle.now);
        return;
    }
    violate("va %llx w%d u%d x%d: no progress", (unsigned long long)a->va, a->write, a->user, a->fetch);
}

/* ---- the guest's events ---- */
/* AT_OTHERS: c is told nothing. */
static void overhear(struct vcpu *c)
{
    if (mutation != AT_OTHERS)
        return;
    c->sh.narrowed_seen = shared.narrowed;
    c->sh.narrowed_upper_seen = shared.narrowed_upper;
}

static struct flush set_cr3(struct shadow *sh, u64 cr3)
{
    bool all;

    if (!shadow_set_cr3_quick(sh, cr3, &all))
        return shadow_set_cr3(sh, cr3);
    quick_loads++;
    return (struct flush){all ? FLUSH_NONGLOBAL : FLUSH_NONE, {0}};
}

static void set_paging(struct vcpu *c, struct paging_state ps, bool controls)
{
    struct o_view *v = &c->view;

    ps.efer &= ~EFER_LMA;
    if ((ps.efer & EFER_LME) && (ps.cr0 & CR0_PG))
        ps.efer |= EFER_LMA;
    if (gwalk_mode_of(&ps) == GWALK_PAE && !gwalk_load_pdptes(&p2m, &ps))
        return;
    overhear(c);
    if (!controls && c->sh.mode == GWALK_LONG)
        flush(c, set_cr3(&c->sh, ps.cr3), AT_CR3);
    else
        flush(c, shadow_set_paging(&c->sh, &ps), controls ? AT_CONTROLS : AT_CR3);
    v->ps = ps;
    v->t_cr3 = v->t_upper = ++oracle.now;
    if (controls) {
        v->t_full = oracle.now;
        v->roots = 0;
        v->roots_lost = false;
    }
    if (v->roots == O_ROOTS) {
        v->roots_lost = true;
        v->roots = 0;
    }
    v->root[v->roots] = ps;
    v->root_time[v->roots++] = oracle.now;
}

static void random_controls(struct vcpu *c)
{
    struct paging_state ps = c->view.ps;

    switch (rnd() % 8) {
    case 0: ps.cr0 ^= CR0_WP; break;
    case 1: ps.cr4 ^= CR4_SMEP; break;
    case 2: ps.cr4 ^= CR4_SMAP; break;
    case 3: ps.cr4 ^= CR4_PGE; break;
    case 4: ps.efer ^= EFER_NXE; break;
    case 5: ps.cr4 ^= gwalk_mode_of(&ps) == GWALK_32BIT ? CR4_PSE : CR4_PGE; break;
    case 6: ps.cr0 ^= CR0_PG; break;
    default: ps.cr0 |= CR0_WP | CR0_PG;
    }
    set_paging(c, ps, ps.cr0 != c->view.ps.cr0 || ps.cr4 != c->view.ps.cr4 || ps.efer != c->view.ps.efer);
}

static void mov_cr3(struct vcpu *c)
{
    struct paging_state ps = c->view.ps;
    if (!one_in(3))
        ps.cr3 = (rnd() % (one_in(4) ? O_PAGES : 5)) << 12;
    set_paging(c, ps, false);
}

static void invlpg(struct vcpu *c, u64 va)
{
    struct flush f;
    va = linear(c, va);
    overhear(c);
    f = shadow_invlpg(&c->sh, GVA(va));
    if (mutation == AT_INVLPG_WIDE)
        hw_forget_address(&c->hw, va);
    flush(c, f, AT_INVLPG);
    o_va_set(&c->view, va, ++oracle.now);
    o_large_set(&c->view, va, 21, oracle.now);
    o_large_set(&c->view, va, 22, oracle.now);
    o_large_set(&c->view, va, 30, oracle.now);
    c->view.t_upper = oracle.now;
}

/* Writes an entry that a walk uses: the guest edits its tables. */
static void edit_path(struct vcpu *c, u64 va, int depth)
{
    struct gwalk w;
    u64 e, gpa;
    u32 level, size = c->view.ps.cr4 & CR4_PAE ? 8 : 4;

    gwalk(&p2m, &c->view.ps, GVA(va), 0, &w);
    if (!w.top || w.level > w.top)
        return;
    edited_va = va;
    level = one_in(3) ? w.level + (u32)rnd() % (w.top - w.level + 1u) : w.level;
    gpa = w.entry_gpa[level].v;
    e = w.entry[level];
    switch (rnd() % 8) {
    case 0: e ^= PTE_W; break;
    case 1: e ^= PTE_U; break;
    case 2: e &= ~PTE_A; break;
    case 3: e &= ~PTE_D; break;
    case 4: e ^= PTE_P; break;
    case 5: e = (e & ~0xff000ull) | (rnd() % O_PAGES) << 12; break;
    default: e = random_entry(&c->view.ps);
    }
    guest_store(c, gpa, &e, size, depth);
}

/* Demand paging: faults, and entries made present (or not) with no INVLPG, all over a region. */
static void demand_paging(struct vcpu *c, u64 va, int depth)
{
    for (u64 n = 2 + rnd() % 12; n > 0 && !violated; n--) {
        struct access a = {va ^ (rnd() % 8) << 12, one_in(2), one_in(2), false, true, false};
        struct gwalk w;
        u64 e;
        edited_va = a.va;
        do_access(c, &a, depth);
        gwalk(&p2m, &c->view.ps, GVA(a.va), 0, &w);
        if (!w.top || w.level > w.top)
            return;
        e = (w.entry[w.level] ^ (w.level > 1 || one_in(4) ? PTE_P : 0)) | (w.fault ? PTE_P : 0);
        e |= PTE_A | PTE_D | PTE_W | PTE_U;
        if (p2m_entry_type(p2m_get(&p2m, w.entry_gpa[w.level].v >> 12)) == P2M_RAM_RW && one_in(3) &&
            !trace_interest(&traces[w.entry_gpa[w.level].v >> 12])) {
            hardware_store_value(c, w.entry_gpa[w.level].v & ~7ull, e);
        } else {
            guest_store(c, w.entry_gpa[w.level].v, &e, c->view.ps.cr4 & CR4_PAE ? 8 : 4, depth);
        }
        do_access(c, &a, depth);
        if (one_in(6))
            mov_cr3(c);
    }
}

/* Two vCPUs in one address space: what one makes present (or takes away) the other faults at, before, amid and after. */
static void demand_together(struct vcpu *c, u64 va, int depth)
{
    struct vcpu *other = &vcpu[rnd() % vcpus];

    if (other == c || depth || gwalk_mode_of(&other->view.ps) != gwalk_mode_of(&c->view.ps))
        return;
    if (other->view.ps.cr3 != c->view.ps.cr3) {
        struct paging_state ps = other->view.ps;
        ps.cr3 = c->view.ps.cr3;
        set_paging(other, ps, false);
    }
    for (u64 n = 2 + rnd() % 12; n > 0 && !violated; n--) {
        struct access a = {va ^ (rnd() % 4) << 12, one_in(3), one_in(2), false, true, false};
        struct gwalk w;
        u64 e;
        edited_va = a.va;
        do_access(other, &a, depth);
        gwalk(&p2m, &c->view.ps, GVA(a.va), 0, &w);
        if (!w.top || w.level > w.top)
            return;
        e = w.fault || one_in(4) ? w.entry[w.level] ^ PTE_P : w.entry[w.level] & ~1ull;
        e |= PTE_A | PTE_D | PTE_W | PTE_U;
        guest_store(c, w.entry_gpa[w.level].v, &e, c->view.ps.cr4 & CR4_PAE ? 8 : 4, depth);
        do_access(other, &a, depth);
        if (e & PTE_P)
            continue;
        if (share &&
            one_in(
                2)) { /* c's event brings the tables up to date, and leaves nothing to do for the other's */
            invlpg(c, a.va);
            set_paging(other, other->view.ps, false);
            do_access(other, &a, depth);
        } else {
            invlpg(other, a.va);
        }
    }
}

/* The page table page becomes something else altogether: a long write. */
static void rewrite_page(struct vcpu *c, int depth)
{
    u64 page[512], gfn = rnd() % 40;
    for (int i = 0; i < 512; i++)
        page[i] = one_in(2) ? 0 : random_word(&c->view.ps);
    guest_store(c, gfn << 12, page, one_in(2) ? PAGE_SIZE : 256, depth);
}

/* Somebody outside the VM writes a page it shares. */
static void outside_store(void)
{
    u64 gfn = rnd() % O_PAGES, map = p2m_get(&p2m, gfn), value = random_word(&vcpu[0].view.ps);
    u64 gpa = gfn << 12 | (u64)index1[rnd() % ARRAY_SIZE(index1)] << 3;
    if (!p2m_entry_is_ram(map) || p2m_entry_exclusive(map))
        return;
    memcpy(ram + gpa, &value, 8);
    o_note(&oracle, gpa);
}

static void change_page(void)
{
    struct vcpu *c = &vcpu[rnd() % vcpus];
    const struct tlb_line *tlb = hw_caches(&c->hw)->tlb, *used = &tlb[rnd() % TLB_LINES];
    u64 gfn = 5 + rnd() % (O_PAGES - 5);
    static const enum p2m_type types[] = {P2M_NONE,   P2M_RAM_RW, P2M_RAM_RW,
                                          P2M_RAM_RW, P2M_RAM_RO, P2M_EMPTY};
    enum p2m_type type = types[rnd() % ARRAY_SIZE(types)];
    struct access again = {0};
    hpa_t frame;

    for (int i = 0; i < TLB_LINES && !used->valid; i++) /* best a page that the hardware knows */
        used = used == &tlb[TLB_LINES - 1] ? tlb : used + 1;
    if (used->valid && used->frame - (uintptr_t)ram >= 5 * PAGE_SIZE)
        gfn = (used->frame - (uintptr_t)ram) >> 12;
    again.va = (u64)((s64)(used->vpn << 28) >> 16);
    again.user = used->user;
    again.ac = true;
    frame = ptr_to_hpa(ram + (gfn << 12));
    p2m_set(&p2m, gfn, frame, type, one_in(3));
    for (u32 i = 0; i < vcpus; i++)
        flush(&vcpu[i], shadow_drop_frame(&vcpu[i].sh, gfn, frame, type == P2M_RAM_RO), AT_DROP);
    if (used->valid || mutation != AT_DROP)
        do_access(c, &again, 0);
}

static void audit(struct vcpu *c)
{
    struct audit_report report;
    struct flush f;
    bool clean = shadow_audit(&c->sh, &report, &f);
    flush(c, f, AT_NOTHING);
    if (!clean) {
        if (mutation == AT_NOTHING)
            shadow_audit_print(&report);
        violate("audit: %s", audit_kind_name(report.kind));
    }
}

static void step(struct vcpu *c, int depth)
{
    u64 va = random_va(&c->view.ps), kind = rnd() % 100;
    struct access a = {va, one_in(3), one_in(2), false, one_in(2), false};

    if (violated)
        return;
    if (c->kicked && one_in(2))
        serve_kick(c);
    if (one_in(4))
        enter_guest(c), hw_speculate(&c->hw, random_va(&c->view.ps));
    if (c->hw.broken)
        violate("%s", c->hw.broken);
    a.fetch = !a.write && one_in(4);
    a.implicit = !a.user && one_in(5);
    if (kind < 55) {
        do_access(c, &a, depth);
    } else if (kind < 78 && vcpus > 1 && one_in(demand)) {
        demand_together(c, va, depth);
    } else if (kind < 78 && one_in(demand)) {
        demand_paging(c, va, depth);
    } else if (kind < 78) {
        edit_path(c, va, depth);
        if (one_in(2))
            invlpg(c, va);
        do_access(c, &a, depth);
    } else if (kind < 86) {
        invlpg(c, va);
    } else if (kind < 92) {
        mov_cr3(c);
    } else if (kind < 94) {
        random_controls(c);
    } else if (kind < 96) {
        emulate_store(c, (rnd() % 40) << 12 | (u64)index1[rnd() % ARRAY_SIZE(index1)] << 3, depth);
    } else if (kind < 97) {
        rewrite_page(c, depth);
    } else if (kind < 98) {
        outside_store();
    } else if (depth == 0 && one_in(churn)) {
        change_page();
    } else if (one_in(10)) {
        audit(c);
    } else if (one_in(share ? 8 : 100)) {
        flush(c, shadow_clear(&c->sh), AT_NOTHING);
    }
}

/* ---- one guest ---- */
static u64 kick(void *context, u64 mask)
{
    bool quarantine = share && shared.cut_count && !shared.awaited;
    u64 outside = 0;
    (void)context;
    if (share && mutation == (quarantine ? AT_QUARANTINE : AT_TRACE)) {
        shared.must_flush &= ~mask | shared.awaited;
        return mask;
    }
    for (u32 i = 0; i < vcpus; i++) {
        if (!(mask & BIT(i)))
            continue;
        vcpu[i].kicked = true;
        if (share && one_in(3)) {
            vcpu[i].must_serve = true;
            outside |= BIT(i);
        }
    }
    return outside;
}

static struct shadow_tuning random_tuning(void)
{
    static const u16 prefill[] = {1, 8, 64, 512}, few[] = {0, 1, 3, 6}, loose[] = {1, 2, 8, 64};
    return (struct shadow_tuning){.prefill = prefill[rnd() % 4],
                                  .prefill_used = prefill[rnd() % 4],
                                  .flood_writes = few[rnd() % 4],
                                  .calm_events = (u8)few[rnd() % 4],
                                  .demand_faults = (u8)few[rnd() % 4],
                                  .loose_max = loose[rnd() % 4],
                                  .stale = one_in(2) ? SHADOW_STALE_REDERIVE : SHADOW_STALE_INVALIDATE};
}

static struct paging_state random_mode(void)
{
    struct paging_state ps = {.cr0 = CR0_PE | CR0_PG | CR0_WP, .maxphyaddr = MAXPHY};
    switch (rnd() % 4) {
    case 0: ps.cr4 = CR4_PSE; break;
    case 1:
        ps.cr4 = CR4_PAE;
        ps.efer = EFER_NXE;
        break;
    default: ps.cr4 = CR4_PAE; ps.efer = EFER_NXE | EFER_LME | EFER_LMA;
    }
    ps.cr3 = (rnd() % 5) << 12;
    return ps;
}

static void make_memory(const struct paging_state *ps)
{
    for (u64 g = 0; g < O_PAGES; g++) {
        enum p2m_type type = g < 40   ? P2M_RAM_RW
                             : g < 42 ? P2M_RAM_RW
                             : g < 44 ? P2M_RAM_RO
                             : g < 46 ? P2M_EMPTY
                                      : P2M_NONE;
        p2m_set(&p2m, g, ptr_to_hpa(ram + g * PAGE_SIZE), type, g == 40 || g == 41);
        for (u64 i = 0; i < 512; i++) {
            u64 w = random_word(ps);
            memcpy(ram + g * PAGE_SIZE + i * 8, &w, 8);
        }
    }
    if (gwalk_mode_of(ps) == GWALK_PAE)
        for (u64 i = 0; i < 5 * 512; i++) {
            u64 w;
            memcpy(&w, ram + i * 8, 8);
            if (i % 512 < 4) /* PDPTEs that load, most of the time */
                w = (w & 0x000ffffffffff001ull) & ~(one_in(9) ? 0 : ~0ull << MAXPHY);
            memcpy(ram + i * 8, &w, 8);
        }
    memset(oracle.word, 0, O_WORDS * sizeof *oracle.word);
    oracle.now = 1;
    for (u64 i = 0; i < O_WORDS; i++)
        o_note(&oracle, i * 8);
}

static void make_vcpu(u32 i, struct shadow_config *config, bool spare_bit)
{
    struct vcpu *c = &vcpu[i];

    config->vcpu = i;
    assert_int_equal(host_shadow_init(&host[i], &c->sh, config), ERR_OK);
    memset(&c->hw, 0, sizeof c->hw);
    c->hw.random = rnd;
    c->hw.spare_bit = spare_bit;
    c->hw.frames = config->frames.v;
    c->hw.frames_size = config->frame_count * PAGE_SIZE;
    memset(&c->view, 0, sizeof c->view);
    c->view.ps.maxphyaddr = MAXPHY;
    c->kicked = c->must_serve = false;
}

static struct shadow_config random_config(u32 i, bool spare_bit)
{
    struct shadow_config config = {.vm = &vm, .maxphyaddr = MAXPHY, .tuning = random_tuning()};

    config.frame_count = one_in(2) ? SHADOW_FRAMES_MIN + (u32)(rnd() % 32) : FRAMES_MAX;
    if (share)
        config.frame_count = vcpus * (one_in(2) ? SHADOW_FRAMES_MIN : FRAMES_MAX);
    config.frames = ptr_to_hpa(pool + i * FRAMES_MAX * PAGE_SIZE);
    config.hfn_base = (uintptr_t)ram >> 12;
    config.hfn_count = O_PAGES;
    config.host_maxphyaddr = spare_bit ? MAXPHY : 52;
    config.ept = ept;
    if (share)
        assert_int_equal(host_shared_init(&shared_host, &shared, &config), ERR_OK);
    return config;
}

static void setup(void)
{
    struct shadow_config config;
    struct paging_state ps;
    bool spare_bit, one_processor = one_in(2);
    if (!ram) {
        ram = mmap(NULL, O_PAGES * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        pool = mmap(NULL, VCPUS_MAX * FRAMES_MAX * PAGE_SIZE, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        oracle.word = calloc(O_WORDS, sizeof *oracle.word);
    }
    oracle.ram = ram;
    oracle.p2m = &p2m;
    violated = false;
    order = !one_in(3);
    churn = one_in(2) ? 20 : 2;
    demand = one_in(2) ? 40 : one_in(2) ? 4 : 2;
    spare_bit = !one_in(4);
    ept = one_in(2);
    ps = random_mode();
    p2m_init(&p2m, p2m_words, O_PAGES);
    trace_map_init(&trace_map, traces, O_PAGES);
    make_memory(&ps);
    vcpus = share ? 2 + (u32)(rnd() % (VCPUS_MAX - 1)) : 1 + (one_in(2) ? (u32)(rnd() % VCPUS_MAX) : 0);
    vm = (struct shadow_vm){.p2m = &p2m, .traces = &trace_map, .vcpus = vcpus, .kick = kick};
    vm.matrix = host_matrix(vcpus, one_in(4) ? 0 : MIB);
    for (u32 i = 0; i < vcpus; i++) {
        struct vcpu *c = &vcpu[i];
        if (i == 0 || !share)
            config = random_config(i, spare_bit);
        make_vcpu(i, &config, spare_bit);
        c->hw.same = i && one_processor ? &vcpu[0].hw : NULL;
        set_paging(c, ps, true);
        while (gwalk_mode_of(&c->view.ps) != gwalk_mode_of(&ps)) { /* PDPTEs did not load */
            ps.cr3 = (rnd() % 5) << 12;
            for (int k = 0; k < 4; k++) {
                u64 w = (rnd() % 40) << 12 | 1;
                memcpy(ram + (ps.cr3 & ~0xfffull) + k * 8, &w, 8);
                o_note(&oracle, ps.cr3 + (u64)k * 8);
            }
            set_paging(c, ps, true);
        }
    }
}

static u64 run(u64 seed, u64 steps, enum place m, struct shadow_stats *total)
{
    seed_now = seed;
    mutation = m;
    rng_state = seed * 0x9e3779b97f4a7c15ull + 0x1234567;
    for (int i = 0; i < 8; i++)
        rnd();
    setup();
    for (step_now = 0; step_now < steps && !violated; step_now++)
        step(&vcpu[rnd() % vcpus], 0);
    if (violated && violated_by)
        explain(violated_by, violated_at);
    for (u32 i = 0; i < (share ? 1 : vcpus) && total; i++) {
        const u64 *from = (const u64 *)(share ? &shared.tables.stats : &vcpu[i].sh.stats);
        for (size_t k = 0; k < offsetof(struct shadow_stats, pages_used) / sizeof(u64); k++)
            ((u64 *)total)[k] += from[k];
    }
    return step_now;
}

static void run_guests(u64 steps)
{
    u64 first = env("PB_SEED", 1), done = 0, guests = 0;
    struct shadow_stats s = {0};
    forwarded = 0;
    for (; done < steps; guests++) {
        done += run(first + guests, MIN(GUEST_STEPS, steps - done), AT_NOTHING, &s);
        if (violated)
            fail_msg("%s\nagain: PB_SEED=%llu PB_STEPS=%llu build/unit/test_shadow_oracle", violation,
                     (unsigned long long)seed_now, GUEST_STEPS);
    }
    print_message(
        "%llu steps, seeds %llu..%llu: %llu fills, %llu guest faults, %llu traced writes, "
        "%llu posted, %llu applied, %llu rederived, %llu invalidated, %llu resyncs, %llu traces, %llu given "
        "up, "
        "%llu retraced, %llu kicks, %llu reclaims, %llu loose syncs, %llu faults with no exit (%llu with "
        "several "
        "vCPUs), %llu quick loads of CR3, %llu accesses by EPT\n",
        (unsigned long long)done, (unsigned long long)first, (unsigned long long)(first + guests - 1),
        (unsigned long long)s.fills, (unsigned long long)s.guest_faults, (unsigned long long)s.traced_writes,
        (unsigned long long)s.patches_posted, (unsigned long long)s.patches_applied,
        (unsigned long long)s.patches_rederived, (unsigned long long)s.patches_invalidated,
        (unsigned long long)s.resyncs, (unsigned long long)s.traces_installed,
        (unsigned long long)s.traces_given_up, (unsigned long long)s.retraced,
        (unsigned long long)s.kicks_served, (unsigned long long)s.reclaims, (unsigned long long)s.loose_syncs,
        (unsigned long long)forwarded, (unsigned long long)forwarded_smp, (unsigned long long)quick_loads,
        (unsigned long long)by_ept);
}

static void every_result_is_legal(void **state)
{
    (void)state;
    share = false;
    run_guests(env("PB_STEPS", getenv("PB_THOROUGH") ? STEPS_THOROUGH : STEPS));
}

static void every_result_of_shared_tables_is_legal(void **state)
{
    (void)state;
    share = true;
    run_guests(env("PB_STEPS", getenv("PB_THOROUGH") ? STEPS_THOROUGH / 2 : STEPS / 2));
}

static void leave_out(enum place from, enum place to)
{
    for (enum place m = from; m <= to; m++) {
        /* A write owes a flush only where a trace ends or begins: seldom the reason alone. Nothing is forwarded in shared
         * tables. */
        if (m == AT_WRITE || (share && m >= AT_FILTER && m <= AT_PROOF))
            continue;
        u64 done = 0, seed = 1000;
        while (done < MUTATED_STEPS) {
            done += run(seed++, GUEST_STEPS, m, NULL);
            if (violated)
                break;
        }
        if (violated) {
            char found[sizeof violation];
            memcpy(found, violation, sizeof found);
            run(seed - 1, GUEST_STEPS, AT_NOTHING, NULL);
            if (violated)
                fail_msg("not due to the mutation: %s", violation);
            memcpy(violation, found, sizeof found);
            violated = true;
        }
        if (!violated)
            fail_msg("leaving out the flush (or filter) at %s was not noticed in %llu steps", place_name[m],
                     (unsigned long long)done);
        print_message("without the flush at %s: noticed after %llu steps: %s\n", place_name[m],
                      (unsigned long long)done, violation);
    }
}

static void a_missing_flush_is_caught(void **state)
{
    (void)state;
    share = false;
    leave_out(AT_FAULT, AT_PROOF);
}

static void a_missing_flush_of_shared_tables_is_caught(void **state)
{
    (void)state;
    share = true;
    leave_out(AT_FAULT, AT_QUARANTINE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_result_is_legal),
        cmocka_unit_test(every_result_of_shared_tables_is_legal),
        cmocka_unit_test(a_missing_flush_is_caught),
        cmocka_unit_test(a_missing_flush_of_shared_tables_is_caught),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
