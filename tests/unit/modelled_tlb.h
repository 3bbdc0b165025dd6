/*
 * modelled_tlb.h - the translation hardware of one logical processor, for tests of the shadow MMU: a TLB and
 * paging-structure caches tagged by one VPID, others tagged by the root of an EPT, whoever uses that on this processor,
 * a page walker over shadow tables in memory, and invalidation that does no more than it was asked to. Caches as much
 * as it may and forgets as little as it may (SDM Vol 3A 4.10, 3C 28.3).
 */
#pragma once
#include <stdio.h>
#include <string.h>

#include "arch/regs.h"
#include "mm/ept.h"
#include "mm/shadow.h"

#define TLB_LINES 1024
#define PSC_LINES 256
#define EPT_ROOTS 3 /* of as many the processor remembers something */

struct tlb_line {
    bool valid, global, write, user, exec, dirty;
    u64 vpn, frame;
};

/* A cached upper-level entry: where the next table is, and the rights down to there. */
struct psc_line {
    bool valid, write, user, exec;
    int level; /* of the entry */
    u64 prefix, table;
};

struct hw_caches {
    u64 root; /* of an EPT */
    struct tlb_line tlb[TLB_LINES];
    struct psc_line psc[PSC_LINES];
};

struct hw {
    struct hw_caches by_vpid, by_ept[EPT_ROOTS];
    struct hw *same; /* another vCPU's on the same processor: that one's by_ept counts */
    bool ept;        /* the EPT translates, and the guest does not page */
    u64 cr3;         /* or the EPT's root */
    bool four_level, smep, smap, pge;
    u64 pdpte[4];
    bool spare_bit;          /* MAXPHYADDR is below 52: bit 51 of an entry is reserved */
    u64 frames, frames_size; /* where shadow tables can be */
    const char *broken;      /* something no hardware would accept in a shadow table */
    u64 (*random)(void);
};

struct hw_result {
    bool ok;
    u64 hpa;
    u32 error;
};

/* What is cached of the EPT with that root; of another one no more, if there are too many. */
static inline struct hw_caches *hw_by_ept(struct hw *h, u64 root)
{
    struct hw_caches *all = h->same ? h->same->by_ept : h->by_ept, *c = all + root / PAGE_SIZE % EPT_ROOTS;

    for (u32 i = 0; i < EPT_ROOTS; i++)
        if (all[i].root == root)
            return &all[i];
        else if (!all[i].root)
            c = &all[i];
    memset(c, 0, sizeof *c);
    c->root = root;
    return c;
}

static inline struct hw_caches *hw_caches(struct hw *h)
{
    return h->ept ? hw_by_ept(h, h->cr3) : &h->by_vpid;
}

static inline struct tlb_line *tlb_line_of(struct hw *h, u64 va)
{
    return &hw_caches(h)->tlb[(va >> 12) * 0x9e3779b97f4a7c15ull >> 54];
}

static inline struct psc_line *psc_line_of(struct hw *h, int level, u64 prefix)
{
    return &hw_caches(h)->psc[(prefix * 4 + (u64)level) * 0x9e3779b97f4a7c15ull >> 56];
}

static inline void hw_forget_address(struct hw *h, u64 va)
{
    struct tlb_line *t = tlb_line_of(h, va);
    if (t->valid && t->vpn == va >> 12)
        t->valid = false;
    for (int level = 2; level <= 4; level++) {
        struct psc_line *p = psc_line_of(h, level, va >> (12 + 9 * (level - 1)));
        if (p->valid && p->level == level && p->prefix == va >> (12 + 9 * (level - 1)))
            p->valid = false;
    }
}

/* As sh wants it, with what it has as root now: by INVEPT, or by INVVPID. */
static inline void hw_flush(struct hw *h, const struct shadow *sh, struct flush f)
{
    struct hw_caches *c = &h->by_vpid;

    if (f.width == FLUSH_NONE)
        return;
    if (sh->ept_root) {
        hw_by_ept(h, sh->root.v)->root = 0;
        return;
    }
    h->ept = false;
    switch (f.width) {
    case FLUSH_ADDRESS: hw_forget_address(h, f.gva.v); return;
    case FLUSH_NONGLOBAL:
        memset(c->psc, 0, sizeof c->psc);
        for (int i = 0; i < TLB_LINES; i++)
            if (!(c->tlb[i].global && h->pge))
                c->tlb[i].valid = false;
        return;
    default: memset(c, 0, sizeof *c);
    }
}

/* VM entry: without EPT the PDPTEs are read from memory each time (SDM Vol 3C 26.3.2.4). */
static inline void hw_enter(struct hw *h, const struct shadow *sh)
{
    h->cr3 = sh->root.v;
    h->ept = sh->ept_root;
    h->four_level = h->ept || gwalk_mode_of(&sh->paging) == GWALK_LONG;
    bool paged = gwalk_mode_of(&sh->paging) !=
                 GWALK_UNPAGED; /* else the guest's SMEP and SMAP are kept from the CPU */
    h->smep = paged && (sh->paging.cr4 & CR4_SMEP);
    h->smap = paged && (sh->paging.cr4 & CR4_SMAP);
    h->pge = sh->paging.cr4 & CR4_PGE;
    if (!h->four_level) {
        if (h->cr3 >> 32 || (h->cr3 & 31))
            h->broken = "PAE root above 4 GiB or not aligned";
        memcpy(h->pdpte, (void *)h->cr3, sizeof h->pdpte);
        for (int i = 0; i < 4; i++)
            if ((h->pdpte[i] & 1) && (h->pdpte[i] & 0xfff00000000001e6ull))
                h->broken = "reserved bits in a shadow PDPTE";
    }
}

static inline bool hw_allows(const struct hw *h, const struct tlb_line *t, bool write, bool user, bool fetch,
                             bool ac)
{
    if (user && !t->user)
        return false;
    if (fetch)
        return t->exec && (user || !t->user || !h->smep);
    if (!user && t->user && h->smap && !ac)
        return false;
    return !write || t->write; /* CR0.WP=1 always */
}

#define HW_RESERVED_BITS 0x7ff0000000000000ull /* where the shadow never has anything; PAE: reserved */
#define HW_SPARE_BIT     0x0008000000000000ull

/* One entry of an EPT (SDM Vol 3C tables 28-1 to 28-6), as one of the other tables has its rights; 0: an EPT violation. */
static inline u64 hw_ept_entry(struct hw *h, u64 e, int level)
{
    u64 expected = level == 1 ? EPT_WB | EPT_IPAT : 0;

    if (!(e & (EPT_READ | EPT_WRITE | EPT_EXECUTE))) {
        if (e)
            h->broken = "bits in an EPT entry that is not present";
        return 0;
    }
    if ((e & (EPT_READ | EPT_EXECUTE)) != (EPT_READ | EPT_EXECUTE) || (e & 0xfff0000000000ff8ull) != expected)
        h->broken = "an EPT entry that is misconfigured, or not meant";
    return (e & PTE_ADDR_MASK) | PTE_P | PTE_U | (e & EPT_WRITE ? PTE_W : 0);
}

/* Walks the tables in memory (from the deepest cached entry, most of the time) and caches what it used.
 * False: *why is P and RSVD of the error code. */
static inline bool hw_walk(struct hw *h, u64 va, bool write, struct tlb_line *out, u32 *why)
{
    struct tlb_line t = {.valid = true, .write = true, .user = true, .exec = true, .vpn = va >> 12};
    u64 table = h->cr3;
    int level = 4;

    *why = 0;
    if (!h->four_level) {
        u64 pdpte = h->pdpte[va >> 30 & 3];
        if (!(pdpte & 1))
            return false;
        table = pdpte & PTE_ADDR_MASK;
        level = 2;
    }
    for (int l = 2; l <= (h->four_level ? 4 : 2); l++) {
        struct psc_line *p = psc_line_of(h, l, va >> (12 + 9 * (l - 1)));
        if (p->valid && p->level == l && p->prefix == va >> (12 + 9 * (l - 1)) && h->random() % 8) {
            table = p->table;
            level = l - 1;
            t.write = p->write;
            t.user = p->user;
            t.exec = p->exec;
            break;
        }
    }
    for (;; level--) {
        if (h->frames_size && table - h->frames >= h->frames_size) {
            h->broken = "the walk left the shadow's frames"; /* an old link led to what was another page */
            return false;
        }
        u64 *e = (u64 *)table + (va >> (12 + 9 * (level - 1)) & 511), meant;
        if (h->ept) {
            meant = hw_ept_entry(h, *e, level);
            e = &meant;
        }
        if (!(*e & PTE_P)) {
            if (*e)
                h->broken = "bits in a shadow entry that is not present";
            return false;
        }
        if (h->spare_bit && (*e & HW_SPARE_BIT)) {
            if (*e != ~0ull && level == 1) /* a link may be revoked (mm/revoke.h) */
                h->broken = "bits of the guest's in an absent shadow entry";
            *why = 9;
            return false;
        }
        if (*e & HW_RESERVED_BITS)
            h->broken = "reserved bits in a shadow entry";
        *e |= PTE_A;
        t.write &= *e >> 1 & 1;
        t.user &= *e >> 2 & 1;
        t.exec &= !(*e >> 63);
        if (level == 1) {
            t.frame = *e & PTE_ADDR_MASK;
            t.global = *e & PTE_G;
            if (write && t.write)
                *e |= PTE_D;
            t.dirty = *e & PTE_D;
            *out = t;
            return true;
        }
        if (*e & PTE_PS)
            h->broken = "large page in the shadow";
        table = *e & PTE_ADDR_MASK;
        *psc_line_of(h, level, va >> (12 + 9 * (level - 1))) =
            (struct psc_line){true, t.write, t.user, t.exec, level, va >> (12 + 9 * (level - 1)), table};
    }
}

/* One access. A fault forgets the address (SDM Vol 3A 4.10.4.1). */
static inline struct hw_result hw_access(struct hw *h, u64 va, bool write, bool user, bool fetch, bool ac)
{
    struct hw_result r = {false, 0, (write ? 2u : 0u) | (user ? 4u : 0u) | (fetch ? 16u : 0u)};
    struct tlb_line *line = tlb_line_of(h, va), t;
    bool hit = line->valid && line->vpn == va >> 12 && h->random() % 16;
    u32 why = 0;

    if (hit) {
        t = *line;
    } else if (hw_walk(h, va, write, &t, &why)) {
        *line = t;
        hit = true;
    }
    if (hit && hw_allows(h, &t, write, user, fetch, ac)) {
        r.ok = true;
        r.hpa = t.frame | (va & 0xfff);
        return r;
    }
    r.error |= hit ? 1 : why;
    hw_forget_address(h, va);
    return r;
}

/* Hardware may translate any address at any time. */
static inline void hw_speculate(struct hw *h, u64 va)
{
    struct tlb_line t;
    u32 why;
    if (hw_walk(h, va, false, &t, &why))
        *tlb_line_of(h, va) = t;
}
