/*
 * walk_oracle.h - which results the SDM allows for an access, given the whole history of the guest's tables.
 *
 * Every word of guest RAM keeps the values it had and when. For one vCPU and address, T is the time since
 * which no old translation may exist (its last MOV CR3, INVLPG or #PF of the address, ...). A result is
 * allowed if it comes out of a walk in which every entry has some value it had since T. Upper-level entries
 * are cached apart from whole translations and every INVLPG forgets all of those, so a walk must be either
 *   (A) upper entries from after the last INVLPG of any address, leaf from after T, or
 *   (B) a whole translation made before that INVLPG: every entry from between T and it.
 */
#pragma once
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/types.h"
#include "mm/gwalk.h"
#include "mm/p2m.h"

#define O_PAGES   48
#define O_WORDS   (O_PAGES * 512)
#define O_HISTORY 40
#define O_ROOTS   24
#define O_VAS     4096

struct o_word {
    u32 n;
    bool lost; /* older values were thrown away at lost_until */
    u64 lost_until;
    struct {
        u64 time, value;
    } v[O_HISTORY];
};

struct oracle {
    u8 *ram;
    struct p2m *p2m;
    u64 now;
    struct o_word *word;
};

/* One vCPU's invalidation times. */
struct o_view {
    struct paging_state ps;
    u64 t_full;  /* everything, global too */
    u64 t_cr3;   /* everything but global */
    u64 t_upper; /* cached upper-level entries */
    struct {
        u64 va, time;
    } t_va[O_VAS]; /* by hash of the page */
    struct {
        u64 key, time;
    } t_large[O_VAS];
    u32 roots;
    struct paging_state root[O_ROOTS]; /* since t_full, for global translations */
    u64 root_time[O_ROOTS];
    bool roots_lost;
};

static inline bool o_readable(const struct oracle *o, u64 gpa)
{
    return p2m_entry_is_ram(p2m_get(o->p2m, gpa >> 12)) && gpa >> 12 < O_PAGES;
}

static inline u64 o_memory(const struct oracle *o, u64 word)
{
    u64 v;
    memcpy(&v, o->ram + word * 8, 8);
    return v;
}

/* The word's value may have changed: remember. */
static inline void o_note(struct oracle *o, u64 gpa)
{
    u64 word = gpa / 8, v;
    struct o_word *w;
    if (word >= O_WORDS)
        return;
    w = &o->word[word];
    v = o_memory(o, word);
    if (w->n && w->v[w->n - 1].value == v)
        return;
    if (w->n == O_HISTORY) {
        w->lost = true;
        w->lost_until = w->v[O_HISTORY / 2].time;
        memmove(&w->v[0], &w->v[O_HISTORY / 2], sizeof w->v[0] * (O_HISTORY / 2));
        w->n = O_HISTORY / 2;
    }
    w->v[w->n].time = ++o->now;
    w->v[w->n++].value = v;
}

/* What a walk asks and finds. */
struct o_ask {
    struct oracle *o;
    const struct paging_state *ps;
    u64 va;
    bool write, user, fetch, ac;
    u64 upper_from, leaf_from, until; /* times */
    const struct o_view *view;        /* for t_large, may be NULL */
    bool need_global;
    bool want_fault;
    bool fault_now; /* the entry that is not present must be so now */
    u64 gpa;        /* wanted address */
    u32 error;      /* or wanted error code */
    bool found, unknown;
    u32 budget;
};

static inline u64 o_va_time(const struct o_view *v, u64 va)
{
    u64 i = (va >> 12) * 0x9e3779b97f4a7c15ull >> 52;
    return v->t_va[i].va == va >> 12 ? v->t_va[i].time : 0;
}
static inline void o_va_set(struct o_view *v, u64 va, u64 now)
{
    u64 i = (va >> 12) * 0x9e3779b97f4a7c15ull >> 52;
    v->t_va[i].va = va >> 12;
    v->t_va[i].time = now;
}
static inline u64 o_large_key(u64 va, int shift)
{
    return (va >> shift) * 64 + (u64)shift;
}
static inline u64 o_large_time(const struct o_view *v, u64 va, int shift)
{
    u64 k = o_large_key(va, shift), i = k * 0x9e3779b97f4a7c15ull >> 52;
    return v->t_large[i].key == k ? v->t_large[i].time : 0;
}
static inline void o_large_set(struct o_view *v, u64 va, int shift, u64 now)
{
    u64 k = o_large_key(va, shift), i = k * 0x9e3779b97f4a7c15ull >> 52;
    v->t_large[i].key = k;
    v->t_large[i].time = now;
}

struct o_rights {
    bool w, u, x, a;
};

static inline void o_result_fault(struct o_ask *q, bool present, bool reserved)
{
    const struct paging_state *ps = q->ps;
    u32 error = (present ? 1u : 0) | (q->write ? 2u : 0) | (q->user ? 4u : 0) | (reserved ? 8u : 0);
    if (q->fetch && ((ps->cr4 >> 20 & 1) || ((ps->cr4 >> 5 & 1) && (ps->efer >> 11 & 1))))
        error |= 16;
    if (q->want_fault && q->error == error)
        q->found = true;
}

static inline bool o_permitted(const struct o_ask *q, struct o_rights r)
{
    bool wp = q->ps->cr0 >> 16 & 1, smep = q->ps->cr4 >> 20 & 1, smap = q->ps->cr4 >> 21 & 1;
    if (q->user && !r.u)
        return false;
    if (q->fetch)
        return r.x && (q->user || !r.u || !smep);
    if (!q->user && r.u && smap && !q->ac)
        return false;
    return !q->write || r.w || (!q->user && !wp);
}

static inline void o_result_leaf(struct o_ask *q, struct o_rights r, u64 e, u64 base, int shift)
{
    if (!o_permitted(q, r)) {
        o_result_fault(q, true, false);
        return;
    }
    if (q->want_fault || q->gpa != (base | (q->va & ((1ull << shift) - 1))))
        return;
    if (!r.a || (q->write && !(e & 0x40)) || (q->need_global && !(e & 0x100)))
        return;
    q->found = true;
}

static inline void o_level(struct o_ask *q, u64 table, int level, struct o_rights r);

/* One possible value of one entry. */
static inline void o_entry(struct o_ask *q, u64 e, int level, struct o_rights r, bool leaf_time_ok,
                           bool upper_time_ok, bool large_time_ok, bool is_now)
{
    const struct paging_state *ps = q->ps;
    bool lma = ps->efer >> 10 & 1, pae = ps->cr4 >> 5 & 1, nxe = ps->efer >> 11 & 1, pse = ps->cr4 >> 4 & 1;
    int mp = ps->maxphyaddr;
    bool large, bad = false;
    u64 base;

    if (!(e & 1)) {
        if (!q->fault_now || is_now)
            o_result_fault(q, false, false);
        return;
    }
    r.w &= e >> 1 & 1;
    r.u &= e >> 2 & 1;
    r.a &= e >> 5 & 1;
    if (lma || pae) {
        large = level > 1 && level < 4 && (e >> 7 & 1);
        for (int b = mp; b < (lma ? 52 : 63); b++)
            bad |= e >> b & 1;
        bad |= (e >> 63) && !nxe;
        bad |= level == 4 && (e >> 7 & 1);
        for (int b = 13; large && b < 12 + 9 * (level - 1); b++)
            bad |= e >> b & 1;
        r.x &= !(e >> 63);
        base = e & 0x000ffffffffff000ull;
        if (large || level == 1) {
            int shift = 12 + 9 * (level - 1);
            if (bad)
                o_result_fault(q, true, true);
            else if (level == 1 ? leaf_time_ok : large_time_ok)
                o_result_leaf(q, r, e, base >> shift << shift, shift);
            return;
        }
    } else {
        large = level == 2 && pse && (e >> 7 & 1);
        base = e & 0xfffff000;
        if (large) {
            int top = mp < 40 ? mp : 40;
            for (int b = top - 19; b <= 21; b++)
                bad |= e >> b & 1;
            if (bad)
                o_result_fault(q, true, true);
            else if (large_time_ok)
                o_result_leaf(q, r, e, (e & 0xffc00000) | (e >> 13 & 255) << 32, 22);
            return;
        }
        if (level == 1) {
            if (leaf_time_ok)
                o_result_leaf(q, r, e, base, 12);
            return;
        }
    }
    if (bad)
        o_result_fault(q, true, true);
    else if (upper_time_ok)
        o_level(q, base, level - 1, r);
}

static inline void o_level(struct o_ask *q, u64 table, int level, struct o_rights r)
{
    bool wide = (q->ps->efer >> 10 & 1) || (q->ps->cr4 >> 5 & 1);
    int shift = wide ? 12 + 9 * (level - 1) : level == 2 ? 22 : 12;
    u64 at = wide ? table + (q->va >> shift & 511) * 8 : table + (q->va >> shift & 1023) * 4;
    int large_shift = shift;
    struct o_word *w;
    u64 large_from;

    if (q->found || !q->budget--) {
        q->unknown |= !q->found;
        return;
    }
    if (!o_readable(q->o, at)) {
        o_result_fault(q, false, false);
        return;
    }
    w = &q->o->word[at / 8];
    large_from = q->view ? o_large_time(q->view, q->va, large_shift) : 0;
    large_from = large_from > q->leaf_from ? large_from : q->leaf_from;
    if (w->lost && w->lost_until > (q->leaf_from < q->upper_from ? q->leaf_from : q->upper_from))
        q->unknown = true;
    for (u32 i = w->n; i-- > 0 && !q->found;) {
        u64 from = w->v[i].time, to = i + 1 < w->n ? w->v[i + 1].time - 1 : ~0ull, e = w->v[i].value;
        if (to < q->leaf_from && to < q->upper_from)
            break;
        if (from > q->until)
            continue;
        if (p2m_entry_type(p2m_get(q->o->p2m, at >> 12)) == P2M_RAM_RO)
            e |= wide ? 0x60 : 0x6000000060ull; /* A and D cannot be set there and count as set */
        if (!wide)
            e = at & 4 ? e >> 32 : e & 0xffffffff;
        o_entry(q, e, level, r, to >= q->leaf_from, to >= q->upper_from, to >= large_from, to == ~0ull);
    }
}

static inline void o_from_root(struct o_ask *q)
{
    const struct paging_state *ps = q->ps;
    struct o_rights r = {true, true, true, true};

    if (!(ps->cr0 >> 31 & 1)) {
        if (!q->want_fault && q->gpa == (q->va & 0xffffffff) && !q->need_global)
            q->found = true;
    } else if (ps->efer >> 10 & 1) {
        o_level(q, ps->cr3 & 0x000ffffffffff000ull, 4, r);
    } else if (ps->cr4 >> 5 & 1) {
        u64 pdpte = ps->pdpte[q->va >> 30 & 3];
        if (pdpte & 1)
            o_level(q, pdpte & 0x000ffffffffff000ull, 2, r);
        else
            o_result_fault(q, false, false);
    } else {
        o_level(q, ps->cr3 & 0xfffff000, 2, r);
    }
}

static inline u64 o_max(u64 a, u64 b)
{
    return a > b ? a : b;
}

/* Is it legal that the access went to gpa? */
static inline bool o_success_legal(struct oracle *o, const struct o_view *v, u64 va, bool write, bool user,
                                   bool fetch, bool ac, u64 gpa)
{
    u64 t = o_max(v->t_cr3, o_va_time(v, va)), tg = o_max(v->t_full, o_va_time(v, va));
    struct o_ask base = {.o = o,
                         .ps = &v->ps,
                         .va = va,
                         .write = write,
                         .user = user,
                         .fetch = fetch,
                         .ac = ac,
                         .gpa = gpa,
                         .view = v};
    bool unknown = false;

    for (int way = 0; way < 2; way++) {
        struct o_ask q = base;
        q.budget = 20000;
        q.leaf_from = t;
        q.upper_from = way ? t : o_max(t, v->t_upper);
        q.until = way ? v->t_upper : ~0ull;
        if (way && v->t_upper < t)
            continue;
        o_from_root(&q);
        if (q.found)
            return true;
        unknown |= q.unknown;
    }
    for (u32 i = 0; i < v->roots; i++) { /* global translations outlive MOV CR3 */
        struct paging_state ps = v->ps;
        struct o_ask q = base;
        if (i + 1 < v->roots && v->root_time[i + 1] < tg)
            continue;
        if (!(v->ps.cr4 >> 7 & 1))
            break;
        ps.cr3 = v->root[i].cr3;
        memcpy(ps.pdpte, v->root[i].pdpte, sizeof ps.pdpte);
        q.ps = &ps;
        q.budget = 20000;
        q.leaf_from = q.upper_from = tg;
        q.until = ~0ull;
        q.need_global = true;
        o_from_root(&q);
        if (q.found)
            return true;
        unknown |= q.unknown;
    }
    return unknown || v->roots_lost;
}

/* The walk of memory as it is now: does it give exactly this? */
static inline bool o_now(struct oracle *o, const struct paging_state *ps, u64 va, bool write, bool user,
                         bool fetch, bool ac, bool want_fault, u32 error, u64 gpa)
{
    struct o_ask q = {.o = o,
                      .ps = ps,
                      .va = va,
                      .write = write,
                      .user = user,
                      .fetch = fetch,
                      .ac = ac,
                      .want_fault = want_fault,
                      .error = error,
                      .gpa = gpa,
                      .budget = 100};
    q.leaf_from = q.upper_from = o->now;
    q.until = ~0ull;
    o_from_root(&q);
    return q.found;
}

/* Is a #PF with that error code (P=0) legal without an exit? */
static inline bool o_fault_legal(struct oracle *o, const struct o_view *v, u64 va, u32 error)
{
    struct o_ask q = {.o = o,
                      .ps = &v->ps,
                      .va = va,
                      .write = error & 2,
                      .user = error & 4,
                      .fetch = error & 16,
                      .want_fault = true,
                      .fault_now = true,
                      .error = error,
                      .until = ~0ull,
                      .budget = 20000};
    q.leaf_from = q.upper_from = o_max(o_max(v->t_cr3, o_va_time(v, va)), v->t_upper);
    o_from_root(&q);
    return q.found || q.unknown;
}
