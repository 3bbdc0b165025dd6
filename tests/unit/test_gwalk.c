/* links: mm/gwalk.c mm/p2m.c mm/guest_mem.c */
/*
 * test_gwalk.c - the guest walk against a naive model written from the SDM's tables alone, on fuzzed page
 * tables, and hand-made cases for each mode (P64). PB_SEED, PB_STEPS.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/regs.h"
#include "mm/gwalk.h"

#define PAGES   64
#define RAM_GFN 0 /* RAM: 0 .. 47; read-only 48 .. 51; empty 52 .. 55; the rest is a hole */

static u8 *ram;
static _Atomic u64 p2m_words[PAGES];
static struct p2m p2m;
static u64 rng_state;

static u64 rnd(void)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return rng_state * 0x2545f4914f6cdd1dull;
}
static bool one_in(unsigned n)
{
    return rnd() % n == 0;
}
static u64 env(const char *name, u64 otherwise)
{
    const char *s = getenv(name);
    return s ? strtoull(s, NULL, 0) : otherwise;
}

static void setup_memory(void)
{
    if (!ram)
        ram = aligned_alloc(PAGE_SIZE, PAGES * PAGE_SIZE);
    memset(ram, 0, PAGES * PAGE_SIZE);
    p2m_init(&p2m, p2m_words, PAGES);
    for (u64 g = 0; g < 56; g++)
        p2m_set(&p2m, g, ptr_to_hpa(ram + g * PAGE_SIZE),
                g < 48   ? P2M_RAM_RW
                : g < 52 ? P2M_RAM_RO
                         : P2M_EMPTY,
                false);
}

/* ---- the naive model: SDM Vol 3A 4.3 - 4.7, one case after the other ---- */
struct naive {
    bool ok;
    u32 error;
    u64 gpa;
    bool w, u, x;
    int n;
    u64 where[4], value[4]; /* entries used, first to last */
    int size;
};

static u64 peek(u64 gpa, int bytes)
{
    u64 v = 0;
    if (gpa / PAGE_SIZE >= 52)
        return 0;
    memcpy(&v, ram + gpa, (size_t)bytes);
    return v;
}

static void model_fail(struct naive *m, bool present, bool reserved, const struct paging_state *ps,
                       bool write, bool user, bool fetch)
{
    m->ok = false;
    m->error = 0;
    if (present)
        m->error |= 1;
    if (write)
        m->error |= 2;
    if (user)
        m->error |= 4;
    if (reserved)
        m->error |= 8;
    if (fetch && ((ps->cr4 >> 20 & 1) || ((ps->cr4 >> 5 & 1) && (ps->efer >> 11 & 1))))
        m->error |= 16;
}

static bool any_bits(u64 v, int high, int low)
{
    for (int b = low; b <= high; b++)
        if (v >> b & 1)
            return true;
    return false;
}

static struct naive model(const struct paging_state *ps, u64 gva, bool write, bool user, bool fetch, bool ac)
{
    struct naive m = {.ok = true, .w = true, .u = true, .x = true};
    bool pg = ps->cr0 >> 31 & 1, wp = ps->cr0 >> 16 & 1, pae = ps->cr4 >> 5 & 1, pse = ps->cr4 >> 4 & 1;
    bool lma = ps->efer >> 10 & 1, nxe = ps->efer >> 11 & 1, smep = ps->cr4 >> 20 & 1,
         smap = ps->cr4 >> 21 & 1;
    int mp = ps->maxphyaddr;
    bool bad = false, absent = false;

    if (!pg) {
        m.gpa = gva & 0xffffffff;
        return m;
    }
    if (!lma && !pae) { /* 32-bit paging, tables 4-3 .. 4-6 */
        u64 pde_at = (ps->cr3 & 0xfffff000) + (gva >> 22 & 1023) * 4;
        u64 pde = peek(pde_at, 4), pte, pte_at;
        m.where[m.n] = pde_at;
        m.value[m.n++] = pde;
        m.w &= pde >> 1 & 1;
        m.u &= pde >> 2 & 1;
        if (!(pde & 1)) {
            absent = true;
        } else if (pse && (pde >> 7 & 1)) {
            int top = mp < 40 ? mp : 40;
            bad = any_bits(pde, 21, top - 19);
            m.gpa = (pde >> 22 & 1023) << 22 | (pde >> 13 & 255) << 32 | (gva & 0x3fffff);
            m.size = 22;
        } else {
            pte_at = (pde & 0xfffff000) + (gva >> 12 & 1023) * 4;
            pte = peek(pte_at, 4);
            m.where[m.n] = pte_at;
            m.value[m.n++] = pte;
            m.w &= pte >> 1 & 1;
            m.u &= pte >> 2 & 1;
            absent = !(pte & 1);
            m.gpa = (pte & 0xfffff000) | (gva & 0xfff);
            m.size = 12;
        }
    } else {
        u64 table = ps->cr3 & 0x000ffffffffff000ull;
        int level = 4;
        if (!lma) {
            u64 pdpte = ps->pdpte[gva >> 30 & 3];
            gva &= 0xffffffff;
            absent = !(pdpte & 1);
            table = pdpte & 0x000ffffffffff000ull;
            level = 2;
        }
        while (!absent && !bad) {
            int shift = 12 + 9 * (level - 1);
            u64 at = table + (gva >> shift & 511) * 8, e = peek(at, 8);
            m.where[m.n] = at;
            m.value[m.n++] = e;
            if (!(e & 1)) {
                absent = true;
                break;
            }
            if (mp < 52)
                bad |= any_bits(e, 51, mp);
            if (!lma)
                bad |= any_bits(e, 62, 52);
            if (!nxe)
                bad |= e >> 63;
            if (level == 4)
                bad |= e >> 7 & 1;
            m.w &= e >> 1 & 1;
            m.u &= e >> 2 & 1;
            m.x &= !(e >> 63);
            if (level == 1 || (level < 4 && (e >> 7 & 1))) {
                if (level == 2)
                    bad |= any_bits(e, 20, 13);
                if (level == 3)
                    bad |= any_bits(e, 29, 13);
                m.size = shift;
                m.gpa = ((e & 0x000fffffffffffffull) >> shift << shift) | (gva & ((1ull << shift) - 1));
                break;
            }
            table = e & 0x000ffffffffff000ull;
            level--;
        }
    }
    if (absent) {
        model_fail(&m, false, false, ps, write, user, fetch);
        return m;
    }
    if (bad) {
        model_fail(&m, true, true, ps, write, user, fetch);
        return m;
    }
    bool allowed;
    if (user && !m.u)
        allowed = false;
    else if (fetch)
        allowed = m.x && (user || !m.u || !smep);
    else if (!user && m.u && smap && !ac)
        allowed = false;
    else
        allowed = !write || m.w || (!user && !wp);
    if (!allowed)
        model_fail(&m, true, false, ps, write, user, fetch);
    return m;
}

/* ---- fuzzed tables ---- */
static u64 random_gfn(void)
{
    return one_in(12) ? 48 + rnd() % 16 : rnd() % 48;
}

static u64 random_entry8(int maxphy, bool large_likely)
{
    u64 e = random_gfn() << 12;
    e |= rnd() & 0xe1f;
    if (!one_in(8))
        e |= 1;
    if (!one_in(4))
        e |= 6;
    e |= rnd() & 0x60;
    if (one_in(large_likely ? 3 : 20)) {
        e |= 0x80;
        if (!one_in(3))
            e &= ~0x3fffe000ull;
    }
    if (one_in(6))
        e |= 1ull << 63;
    if (one_in(30))
        e |= 1ull << (maxphy + (int)(rnd() % (unsigned)(63 - maxphy)));
    if (one_in(40))
        e |= 1ull << (32 + rnd() % 20);
    return e;
}

static u32 random_entry4(void)
{
    u32 e = (u32)(random_gfn() << 12) | (rnd() & 0xe7f);
    if (!one_in(8))
        e |= 1;
    if (!one_in(4))
        e |= 6;
    if (one_in(4)) {
        e |= 0x80;
        if (!one_in(3))
            e &= ~0x3fe000u;
        if (one_in(3))
            e |= (u32)(rnd() & 0x3fe000);
    }
    return e;
}

static void random_state(struct paging_state *ps)
{
    static const u8 widths[] = {32, 36, 39, 40, 46, 52};
    memset(ps, 0, sizeof *ps);
    ps->maxphyaddr = widths[rnd() % ARRAY_SIZE(widths)];
    ps->cr0 = CR0_PE | (one_in(20) ? 0 : CR0_PG) | (one_in(3) ? 0 : CR0_WP);
    ps->cr4 = (one_in(3) ? 0 : CR4_PSE) | (one_in(2) ? CR4_SMEP : 0) | (one_in(2) ? CR4_SMAP : 0);
    ps->efer = one_in(3) ? 0 : EFER_NXE;
    switch (rnd() % 3) {
    case 0: break;
    case 1: ps->cr4 |= CR4_PAE; break;
    default: ps->cr4 |= CR4_PAE; ps->efer |= EFER_LME | (ps->cr0 & CR0_PG ? EFER_LMA : 0);
    }
    ps->cr3 = random_gfn() << 12 | (rnd() & 0x18);
    for (int i = 0; i < 4; i++)
        ps->pdpte[i] = random_gfn() << 12 | !one_in(6);
}

static void fill_tables(const struct paging_state *ps)
{
    bool four = !(ps->cr4 & CR4_PAE);
    for (u64 g = 0; g < 52; g++)
        for (unsigned i = 0; i < 512; i++) {
            u64 v = four ? random_entry4() | (u64)random_entry4() << 32
                         : random_entry8(ps->maxphyaddr, one_in(3));
            memcpy(ram + g * PAGE_SIZE + i * 8, &v, 8);
        }
}

static u64 random_gva(void)
{
    u64 v = rnd();
    return one_in(3) ? v & 0xffffffff : (u64)((s64)(v << 16) >> 16);
}

static void check_ad(const struct naive *m, const struct paging_state *ps, bool write)
{
    int bytes = ps->cr4 & CR4_PAE ? 8 : 4;
    for (int i = 0; i < m->n; i++) {
        u64 want = m->value[i], now = peek(m->where[i], bytes);
        bool changed_by_alias = false;
        if (m->ok && m->where[i] / PAGE_SIZE < 48)
            want |= 0x20 | (i == m->n - 1 && write ? 0x40 : 0);
        for (int k = 0; k < m->n; k++) /* the same entry used on two levels */
            changed_by_alias |= k != i && m->where[k] == m->where[i];
        if (!changed_by_alias)
            assert_int_equal(now, want);
    }
}

static void walks_agree_with_the_model(void **state)
{
    u64 seed = env("PB_SEED", 1), steps = env("PB_STEPS", 300000), faults = 0;
    struct paging_state ps;
    (void)state;
    rng_state = seed * 0x9e3779b97f4a7c15ull + 1;
    setup_memory();
    for (u64 step = 0; step < steps; step++) {
        struct gwalk w;
        struct naive m;
        u64 gva = random_gva();
        bool write = one_in(3), fetch = !write && one_in(3), user = one_in(2), ac = one_in(2), ad = one_in(2);
        u32 access = (write ? GWALK_WRITE : 0) | (fetch ? GWALK_FETCH : 0) | (user ? GWALK_USER : 0) |
                     (ac ? GWALK_AC : 0) | (ad ? GWALK_SET_AD : 0);
        bool ok;

        if (step % 500 == 0) {
            random_state(&ps);
            fill_tables(&ps);
        }
        m = model(&ps, gva, write, user, fetch, ac);
        ok = gwalk(&p2m, &ps, GVA(gva), access, &w);
        if (ok != m.ok || (ok ? w.gpa.v != m.gpa : w.error != m.error))
            fail_msg("seed %llu step %llu: gva %llx access %x: got %d %llx error %x, model %d %llx error %x",
                     (unsigned long long)seed, (unsigned long long)step, (unsigned long long)gva, access, ok,
                     (unsigned long long)w.gpa.v, w.error, m.ok, (unsigned long long)m.gpa, m.error);
        assert_int_equal(w.fault, !ok);
        if (ok && w.top) {
            assert_int_equal(w.rights & GWALK_RIGHT_W, m.w ? GWALK_RIGHT_W : 0);
            assert_int_equal(w.rights & GWALK_RIGHT_U, m.u ? GWALK_RIGHT_U : 0);
            assert_int_equal(w.rights & GWALK_RIGHT_X, m.x ? GWALK_RIGHT_X : 0);
            assert_int_equal(w.shift, m.size);
            assert_int_equal(w.top - w.level + 1, m.n);
            for (int i = 0; i < m.n; i++)
                assert_int_equal(w.entry_gpa[w.top - i].v, m.where[i]);
        }
        if (ad)
            check_ad(&m, &ps, write);
        faults += !ok;
    }
    print_message("%llu walks, %llu of them faulted, seed %llu\n", (unsigned long long)steps,
                  (unsigned long long)faults, (unsigned long long)seed);
}

static void reserved_bits_follow_the_tables(void **state)
{
    (void)state;
    assert_int_equal(gwalk_reserved_bits_4m(40), 0x200000);
    assert_int_equal(gwalk_reserved_bits_4m(52), 0x200000);
    assert_int_equal(gwalk_reserved_bits_4m(36), 0x3e0000);
    assert_int_equal(gwalk_reserved_bits_4m(32), 0x3fe000);
    assert_int_equal(gwalk_4m_base(0x00c02083).v, 0x100c00000ull);
    assert_int_equal(gwalk_reserved_bits(GWALK_LONG, true, 52, 1, false), 0);
    assert_int_equal(gwalk_reserved_bits(GWALK_PAE, false, 36, 1, false), 0xfffffff000000000ull);
}

static void pdptes_are_checked_when_loaded(void **state)
{
    struct paging_state ps = {.cr0 = CR0_PG, .cr4 = CR4_PAE, .cr3 = 0x3020, .maxphyaddr = 36};
    u64 good[4] = {0x1001, 0, 0x2019, 0x1e6 /* not present: anything goes */}, bad;
    (void)state;
    setup_memory();
    memcpy(ram + 0x3020, good, sizeof good);
    assert_true(gwalk_load_pdptes(&p2m, &ps));
    assert_memory_equal(ps.pdpte, good, sizeof good);
    bad = 0x1003; /* bit 1 */
    memcpy(ram + 0x3028, &bad, 8);
    assert_false(gwalk_load_pdptes(&p2m, &ps));
    assert_memory_equal(ps.pdpte, good, sizeof good);
    bad = 0x1000000001ull; /* bit 36 = MAXPHYADDR */
    memcpy(ram + 0x3028, &bad, 8);
    assert_false(gwalk_load_pdptes(&p2m, &ps));
    ps.cr3 = 60ull << 12; /* a hole */
    assert_false(gwalk_load_pdptes(&p2m, &ps));
}

static void few_bits_load_pdptes(void **state)
{
    const u64 cr0 = CR0_CD | CR0_NW | CR0_PG,
              cr4 = CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP; /* SDM Vol 3A 4.4.1 */
    (void)state;
    for (u32 bit = 0; bit < 32; bit++) {
        struct paging_state to = {.cr0 = CR0_PE | CR0_PG, .cr4 = CR4_PAE}, from = to, other = to;
        from.cr0 ^= BIT(bit);
        other.cr4 ^= BIT(bit);
        assert_int_equal(gwalk_loads_pdptes(&from, &to), (cr0 & BIT(bit)) != 0);
        assert_int_equal(gwalk_loads_pdptes(&other, &to), (cr4 & BIT(bit)) != 0);
        to.efer = EFER_LME | EFER_LMA;
        assert_false(gwalk_loads_pdptes(&from, &to));
        to = (struct paging_state){.cr0 = CR0_PE | CR0_PG};
        assert_false(gwalk_loads_pdptes(&other, &to));
        to = (struct paging_state){.cr0 = CR0_PE, .cr4 = CR4_PAE};
        assert_false(gwalk_loads_pdptes(&from, &to));
    }
}

static void guest_memory_helpers(void **state)
{
    u8 out[64], in[64];
    u64 old;
    (void)state;
    setup_memory();
    for (unsigned i = 0; i < sizeof in; i++)
        in[i] = (u8)(i * 7 + 1);
    assert_int_equal(guest_mem_write(&p2m, GPA(0x1fe1), in, sizeof in), ERR_OK); /* crosses a page */
    assert_int_equal(guest_mem_read(&p2m, GPA(0x1fe1), out, sizeof out), ERR_OK);
    assert_memory_equal(in, out, sizeof in);
    assert_memory_equal(ram + 0x1fe1, in, sizeof in);
    assert_int_equal(guest_mem_write(&p2m, GPA(48 * PAGE_SIZE - 4), in, 8),
                     ERR_DENIED);                 /* into read-only RAM */
    assert_int_equal(ram[48 * PAGE_SIZE - 4], 0); /* and nothing happened */
    assert_int_equal(guest_mem_read(&p2m, GPA(52 * PAGE_SIZE - 4), out, 8), ERR_FAULT);
    assert_int_equal(guest_mem_read(&p2m, GPA(~0ull - 3), out, 8), ERR_FAULT);
    assert_int_equal(guest_mem_read(&p2m, GPA(1ull << 60), out, 1), ERR_FAULT);
    assert_int_equal(guest_mem_read(&p2m, GPA(1ull << 60), out, 0), ERR_OK);
    assert_int_equal(guest_mem_zero(&p2m, GPA(0x1fe0), 40), ERR_OK);
    assert_int_equal(ram[0x1ff0], 0);
    for (u32 size = 1; size <= 8; size *= 2) {
        u64 mask = size == 8 ? ~0ull : (1ull << size * 8) - 1, probe = 0;
        memset(ram + 0x2000, 0x5a, 16);
        old = 0x5a5a5a5a5a5a5a5aull & mask;
        assert_int_equal(guest_mem_cmpxchg(&p2m, GPA(0x2008), size, &old, 0x1122334455667788ull), ERR_OK);
        assert_int_equal(old, 0x5a5a5a5a5a5a5a5aull & mask);
        memcpy(&probe, ram + 0x2008, size);
        assert_int_equal(probe, 0x1122334455667788ull & mask);
        old = 0;
        assert_int_equal(guest_mem_cmpxchg(&p2m, GPA(0x2008), size, &old, 7), ERR_OK);
        assert_int_equal(old, 0x1122334455667788ull & mask);
        memcpy(&probe, ram + 0x2008, size);
        assert_int_equal(probe, 0x1122334455667788ull & mask);
    }
    assert_int_equal(guest_mem_cmpxchg(&p2m, GPA(0x2001), 4, &old, 7), ERR_INVALID);
    assert_int_equal(guest_mem_cmpxchg(&p2m, GPA(0x2000), 3, &old, 7), ERR_INVALID);
    assert_int_equal(guest_mem_cmpxchg(&p2m, GPA(48 * PAGE_SIZE), 4, &old, 7), ERR_DENIED);
    assert_int_equal(p2m_set(&p2m, 1ull << 50, HPA(0), P2M_RAM_RW, false), P2M_NONE);
    assert_int_equal(p2m_map_ram(&p2m, 60, HPA(0), 5), ERR_RANGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reserved_bits_follow_the_tables),
        cmocka_unit_test(pdptes_are_checked_when_loaded),
        cmocka_unit_test(few_bits_load_pdptes),
        cmocka_unit_test(guest_memory_helpers),
        cmocka_unit_test(walks_agree_with_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
