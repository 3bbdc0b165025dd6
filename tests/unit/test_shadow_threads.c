/* links: mm/shadow.c mm/shadow_pool.c mm/shadow_derive.c mm/shadow_fill.c mm/shadow_leaf.c mm/shadow_sync.c
 * mm/shadow_revoke.c mm/revoke.c mm/shadow_reach.c mm/shadow_patch.c mm/shadow_shared.c mm/audit.c
 * mm/rmap.c mm/trace.c mm/gwalk.c mm/p2m.c mm/guest_mem.c mm/channel.c mm/matrix.c */
/* libs: -lpthread */
/*
 * test_shadow_threads.c - the vCPUs of one guest as real threads on the real shadow code (also built with
 * ThreadSanitizer, tests/tsan): they edit the same page tables by traced and by native stores, and after INVLPG none may
 * use a translation older than the entry it had read before. PB_SEED, PB_STEPS (per thread).
 *
 * Now and then one does not page for a while, and stores by its EPT.
 *
 * Each entry has one writer; its frame number counts its versions (modulo VERSIONS), so "older" can be told. Now and then
 * it is not present: a fault that would then go to the guest with no exit must be its own.
 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/regs.h"
#include "mm/audit.h"
#include "tests/unit/shadow_host.h"

#define VCPUS        3u
#define PAGES        4096u
#define FRAMES       128u /* of shared tables */
#define FRAMES_OWN   40u  /* few: pages are killed, and their frames used again, while others revoke */
#define TABLES       4u   /* page tables 103 .. 106, under PD 102, PDPT 101, PML4 100 */
#define SLOTS        24u
#define FIRST_DATA   1024u
#define VERSIONS     2048u
#define LINKED       16u /* tables 110 .. 125, under PD slots LINK_SLOT + vCPU */
#define LINK_SLOT    8u
#define FIRST_LINKED (FIRST_DATA + VERSIONS) /* what they map */
#ifndef SHARED_SLOWER
#define SHARED_SLOWER \
    20 /* a thread that loses its CPU while it has the lock, or is the next, stops all; no vCPU ever does */
#endif
#define VA    (1ull << 39)
#define TABLE (PTE_P | PTE_W | PTE_A)
#define PAGE  (PTE_P | PTE_W | PTE_A | PTE_D)

static u8 *ram;
static _Atomic u64 p2m_words[PAGES];
static struct p2m p2m;
static struct trace traces[PAGES];
static struct trace_map trace_map;
static struct shadow_vm vm;
static struct shadow shadow[VCPUS];
static struct host_shadow host[VCPUS], shared_host;
static struct shadow_shared shared;
static bool share; /* the vCPUs share their tables */
static struct paging_state ps;
static _Atomic bool kicked[VCPUS], done[VCPUS];
static _Atomic u32 violations, wrong_faults;
static _Atomic u64 links_begun[VCPUS], links_done[VCPUS];
static u64 steps, seed;

struct vcpu {
    struct shadow *sh;
    u32 index;
    u64 rng;
    u64 version[TABLES][SLOTS];
    u64 native, emulated, forwarded, by_ept;
};

static u64 rnd(struct vcpu *v)
{
    v->rng ^= v->rng << 13;
    v->rng ^= v->rng >> 7;
    v->rng ^= v->rng << 17;
    return v->rng * 0x2545f4914f6cdd1dull >> 11;
}

static _Atomic u64 *entry_at(u64 gfn, u64 index)
{
    return (_Atomic u64 *)(ram + gfn * PAGE_SIZE) + index;
}

static u64 kick(void *context, u64 mask)
{
    u64 outside = 0;

    (void)context;
    for (u32 i = 0; i < VCPUS; i++) {
        if (!(mask & BIT(i)))
            continue;
        atomic_store(&kicked[i], true);
        outside |= atomic_load(&done[i]) ? BIT(i) : 0;
    }
    return outside;
}

/* What the hardware finds, at the last level that it gets to: 0 is a fault with P=0. */
static u64 walk(const struct shadow *sh, u64 va)
{
    u64 at = sh->root.v;
    for (int level = 4;; level--) {
        u64 e = atomic_load_explicit((_Atomic u64 *)at + (va >> (12 + 9 * (level - 1)) & 511),
                                     memory_order_acquire);
        if (!e || (e & ENTRY_REVOKED) || level == 1)
            return e;
        at = e & PTE_ADDR_MASK;
    }
}

static u64 leaf(const struct shadow *sh, u64 va)
{
    u64 e = walk(sh, va);

    return e & ENTRY_REVOKED ? 0 : e;
}

static u64 version_of_gfn(u64 gfn)
{
    return gfn - FIRST_DATA;
}
static u64 version_of_leaf(u64 e)
{
    return version_of_gfn(((e & PTE_ADDR_MASK) - (uintptr_t)ram) >> PAGE_SHIFT);
}

/* So that the others see what is half done, however few CPUs there are. */
static void pause_now_and_then(struct vcpu *v)
{
    if (rnd(v) % 8 == 0)
        sched_yield();
}

/* The guest stores v to an entry of its tables. */
static void store(struct vcpu *v, u64 gfn, u64 index, u64 value)
{
    gpa_t gpa = GPA(gfn << PAGE_SHIFT | index << 3);

    for (int tries = 0; tries < (share ? 1000000 : 100); tries++) {
        u64 mapped = leaf(v->sh, gpa.v);
        struct shadow_fault f;
        if (mapped &
            PTE_W) { /* natively, through the identity map; no exit, so no kick is served in between */
            atomic_store(entry_at(gfn, index), value);
            v->native++;
            v->by_ept += v->sh->ept_root;
            return;
        }
        f = shadow_fault(v->sh, GVA(gpa.v), PF_W | (mapped ? PF_P : 0), 0, false);
        if (f.verdict == SHADOW_TRACED_WRITE) {
            if (rnd(v) % 32 == 0) {
                shadow_give_up(v->sh, f.gpa);
                continue;
            }
            pause_now_and_then(v);
            if (guest_mem_write(&p2m, gpa, &value, sizeof value) != ERR_OK)
                break;
            pause_now_and_then(v);
            shadow_write_done(v->sh, gpa, sizeof value);
            v->emulated++;
            return;
        }
        if (share) /* the frames may be in quarantine until the others have looked */
            sched_yield();
    }
    atomic_fetch_add(&violations, 1);
}

static void edit(struct vcpu *v)
{
    u64 t = rnd(v) % TABLES, s = rnd(v) % SLOTS;

    s -= s % VCPUS;
    s += v->index;
    if (s >= SLOTS)
        return;
    v->version[t][s] = (v->version[t][s] + 1) % VERSIONS;
    store(v, 103 + t, s, (FIRST_DATA + v->version[t][s]) << PAGE_SHIFT | (rnd(v) % 3 ? PAGE : PAGE & ~PTE_P));
}

/* An access with no event before it: if it faults with no exit, the entry has not been present all the time. */
static void look(struct vcpu *v)
{
    u64 t = rnd(v) % TABLES, s = rnd(v) % SLOTS;
    u64 va = VA + (t << 21 | s << PAGE_SHIFT);
    u64 before = atomic_load(entry_at(103 + t, s)), e = walk(v->sh, va);

    if (!e && v->sh->filter != SHADOW_FILTER_NONE) {
        v->forwarded++;
        if ((before & PTE_P) && atomic_load(entry_at(103 + t, s)) == before)
            atomic_fetch_add(&wrong_faults, 1);
    } else if (!e || (e & ENTRY_REVOKED)) {
        shadow_fault(v->sh, GVA(va), 0, 0, false);
    }
}

/* Reads an entry as the guest does, makes the event, and uses the translation. */
static void check(struct vcpu *v, bool whole)
{
    u64 t = rnd(v) % TABLES, s = rnd(v) % SLOTS;
    u64 va = VA + (t << 21 | s << PAGE_SHIFT);
    u64 before = atomic_load(entry_at(103 + t, s)), e;

    if (whole)
        shadow_set_paging(v->sh, &ps);
    else
        shadow_invlpg(v->sh, GVA(va));
    e = leaf(v->sh, va);
    if (!e) {
        shadow_fault(v->sh, GVA(va), 0, 0, false);
        e = leaf(v->sh, va);
    }
    if (e && (version_of_leaf(e) - version_of_gfn((before & PTE_ADDR_MASK) >> PAGE_SHIFT)) % VERSIONS >=
                 VERSIONS / 2)
        atomic_fetch_add(&violations, 1);
}

static void relink(struct vcpu *v)
{
    u64 n = atomic_load(&links_begun[v->index]) + 1;

    atomic_store(&links_begun[v->index], n);
    store(v, 102, LINK_SLOT + v->index, (110 + n % LINKED) << PAGE_SHIFT | TABLE);
    atomic_store(&links_done[v->index], n);
}

static u64 linked_page(u64 table, u64 slot)
{
    return table % 3 || slot % 2 ? (FIRST_LINKED + table) << PAGE_SHIFT | PAGE : 0;
}

/* Is it what a table maps to which the link led at some time from its n-th change on? gfn: 0 if it maps nothing. */
static bool was_linked(u32 of, u64 n, u64 slot, u64 gfn)
{
    u64 last = atomic_load(&links_begun[of]);

    for (u64 count = 0; n <= last && count < LINKED; n++, count++)
        if (linked_page(n % LINKED, slot) >> PAGE_SHIFT == gfn)
            return true;
    return false;
}

static void look_through_link(struct vcpu *v, bool event)
{
    u64 of = rnd(v) % VCPUS, slot = rnd(v) % SLOTS;
    u64 va = VA + ((LINK_SLOT + of) << 21 | slot << PAGE_SHIFT);
    u64 done_before = atomic_load(&links_done[of]), e;

    if (event) {
        shadow_invlpg(v->sh, GVA(va));
        e = leaf(v->sh, va);
        if (!e)
            shadow_fault(v->sh, GVA(va), 0, 0, false);
        e = e ? e : leaf(v->sh, va);
        if (e && !was_linked((u32)of, done_before, slot, FIRST_DATA + version_of_leaf(e)))
            atomic_fetch_add(&violations, 1);
        return;
    }
    e = walk(v->sh, va);
    if (!e && v->sh->filter != SHADOW_FILTER_NONE) {
        v->forwarded++;
        if (!was_linked((u32)of, done_before, slot, 0))
            atomic_fetch_add(&wrong_faults, 1);
    } else if (!e || (e & ENTRY_REVOKED)) {
        shadow_fault(v->sh, GVA(va), 0, 0, false);
    }
}

static void serve_kick(struct vcpu *v)
{
    if (!atomic_load(&kicked[v->index]) || rnd(v) % 4)
        return;
    atomic_store(&kicked[v->index], false);
    shadow_service_kicks(v->sh);
}

static void do_without_paging(struct vcpu *v)
{
    const struct paging_state off = {.cr0 = CR0_PE, .maxphyaddr = 46};

    shadow_set_paging(v->sh, &off);
    for (u64 left = 1 + rnd(v) % 16; left; left--) {
        pause_now_and_then(v);
        serve_kick(v);
        rnd(v) % 4 ? edit(v) : relink(v);
    }
    shadow_set_paging(v->sh, &ps);
}

static void *run(void *context)
{
    struct vcpu *v = context;

    for (u64 i = 0; i < steps; i++) {
        u64 what = rnd(v) % 16;
        pause_now_and_then(v);
        serve_kick(v);
        if (rnd(v) % 128 == 0)
            do_without_paging(v);
        if (rnd(v) % 4 == 0 && what < 14)
            what < 1 ? relink(v) : look_through_link(v, what < 7);
        else if (what < 6)
            edit(v);
        else if (what < 10)
            look(v);
        else if (what < 14)
            check(v, false);
        else
            check(v, true);
        if (rnd(v) % (share ? 256 : 4096) == 0)
            shadow_clear(v->sh);
    }
    atomic_store(&done[v->index], true);
    if (share) /* as one that goes to sleep: who kicked it before, expects an answer */
        shadow_service_kicks(v->sh);
    return NULL;
}

static void setup(void)
{
    ram = mmap(NULL, PAGES * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    p2m_init(&p2m, p2m_words, PAGES);
    assert_int_equal(p2m_map_ram(&p2m, 0, ptr_to_hpa(ram), PAGES), ERR_OK);
    trace_map_init(&trace_map, traces, PAGES);
    vm = (struct shadow_vm){.p2m = &p2m, .traces = &trace_map, .vcpus = VCPUS, .kick = kick};
    vm.matrix = host_matrix(VCPUS, MIB);
    atomic_store(entry_at(100, 0), 200 << 12 | TABLE);
    atomic_store(entry_at(200, 0), 201 << 12 | TABLE);
    for (u64 i = 0; i < 8; i++)
        atomic_store(entry_at(201, i), i << 21 | PAGE | PTE_PS);
    atomic_store(entry_at(100, 1), 101 << 12 | TABLE);
    atomic_store(entry_at(101, 0), 102 << 12 | TABLE);
    for (u64 t = 0; t < TABLES; t++) {
        atomic_store(entry_at(102, t), (103 + t) << 12 | TABLE);
        for (u64 s = 0; s < SLOTS; s++)
            atomic_store(entry_at(103 + t, s), FIRST_DATA << 12 | PAGE);
    }
    for (u64 k = 0; k < LINKED; k++)
        for (u64 s = 0; s < SLOTS; s++)
            atomic_store(entry_at(110 + k, s), linked_page(k, s));
    for (u32 i = 0; i < VCPUS; i++) {
        atomic_store(entry_at(102, LINK_SLOT + i), 110 << 12 | TABLE);
        links_begun[i] = links_done[i] = 0;
    }
    ps = (struct paging_state){.cr0 = CR0_PE | CR0_PG | CR0_WP,
                               .cr4 = CR4_PAE,
                               .efer = EFER_LME | EFER_LMA,
                               .cr3 = 100 << 12,
                               .maxphyaddr = 46};
    for (u32 i = 0; i < VCPUS; i++) {
        struct shadow_config c = {.vm = &vm,
                                  .vcpu = i,
                                  .maxphyaddr = 46,
                                  .host_maxphyaddr = 46,
                                  .ept = true,
                                  .frame_count = share ? FRAMES : FRAMES_OWN,
                                  .tuning = SHADOW_TUNING_DEFAULT};
        c.tuning.flood_writes = (i + seed) % VCPUS == 0 || seed % 4 == 0 ? 0 : 3;
        c.tuning.calm_events = 2;
        c.tuning.stale = i == 1 ? SHADOW_STALE_INVALIDATE : SHADOW_STALE_REDERIVE;
        c.frames = ptr_to_hpa(
            mmap(NULL, FRAMES * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        c.hfn_base = (uintptr_t)ram >> 12;
        c.hfn_count = PAGES;
        if (share && i == 0)
            assert_int_equal(host_shared_init(&shared_host, &shared, &c), ERR_OK);
        c.shared = share ? &shared : NULL;
        assert_int_equal(host_shadow_init(&host[i], &shadow[i], &c), ERR_OK);
        shadow_set_paging(&shadow[i], &ps);
    }
}

static void run_threads(void)
{
    static struct vcpu vcpu[VCPUS];
    pthread_t thread[VCPUS];
    u64 native = 0, emulated = 0, forwarded = 0, posted = 0, skipped = 0, kicks = 0, reclaims = 0, by_ept = 0;

    seed = getenv("PB_SEED") ? strtoull(getenv("PB_SEED"), NULL, 0) : 1;
    steps = getenv("PB_STEPS") ? strtoull(getenv("PB_STEPS"), NULL, 0) : 150000;
    if (share)
        steps /= SHARED_SLOWER;
    setup();
    for (u32 i = 0; i < VCPUS; i++) {
        atomic_store(&done[i], false);
        vcpu[i] = (struct vcpu){.sh = &shadow[i], .index = i, .rng = seed * 77 + i + 1};
        assert_int_equal(pthread_create(&thread[i], NULL, run, &vcpu[i]), 0);
    }
    for (u32 i = 0; i < VCPUS; i++)
        pthread_join(thread[i], NULL);
    for (u32 i = 0; i < VCPUS; i++) {
        struct audit_report r;
        struct flush f;
        shadow_service_kicks(&shadow[i]);
        shadow_set_paging(&shadow[i], &ps);
        if (!shadow_audit(&shadow[i], &r, &f)) {
            shadow_audit_print(&r);
            fail_msg("audit of vCPU %u, seed %llu", i, (unsigned long long)seed);
        }
        native += vcpu[i].native;
        emulated += vcpu[i].emulated;
        forwarded += vcpu[i].forwarded;
        by_ept += vcpu[i].by_ept;
        struct shadow_stats s = shadow_stats_read(&shadow[i]);
        posted += s.patches_posted;
        skipped += s.patches_skipped;
        kicks += s.kicks_served;
        reclaims += s.reclaims;
    }
    if (atomic_load(&violations))
        fail_msg("%u stale translations, seed %llu", atomic_load(&violations), (unsigned long long)seed);
    if (atomic_load(&wrong_faults))
        fail_msg("%u faults of the guest's that were not its own, seed %llu", atomic_load(&wrong_faults),
                 (unsigned long long)seed);
    assert_true(by_ept);
    print_message("%u threads, %llu operations: %llu native (%llu by EPT) and %llu emulated stores, "
                  "%llu patches posted, "
                  "%llu skipped, "
                  "%llu kicks, %llu reclaims, %llu faults with no exit\n",
                  VCPUS, (unsigned long long)(steps * VCPUS), (unsigned long long)native,
                  (unsigned long long)by_ept, (unsigned long long)emulated, (unsigned long long)posted,
                  (unsigned long long)skipped, (unsigned long long)kicks, (unsigned long long)reclaims,
                  (unsigned long long)forwarded);
}

static void nobody_uses_an_older_translation_than_it_may(void **state)
{
    (void)state;
    share = false;
    run_threads();
}

static void nor_does_it_in_shared_tables(void **state)
{
    (void)state;
    share = true;
    run_threads();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_uses_an_older_translation_than_it_may),
        cmocka_unit_test(nor_does_it_in_shared_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
