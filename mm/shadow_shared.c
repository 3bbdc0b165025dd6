/*
 * shadow_shared.c - one set of shadow tables for all vCPUs of a VM (`shadow = shared`, P62).
 *
 * What shadow.h offers works on a view, with the view's vCPU: under the lock the view is copied into the tables'
 * struct shadow, the call is made with that, as if the tables were this vCPU's own, and the view is copied out again.
 * To the matrix and to the traces the VM is one consumer (number 0); each vCPU is a producer as ever. So one vCPU's event
 * brings the tables up to date for all; what it may leave behind is in the TLBs of the others:
 *
 *   what their guest may see gone     each view is told at its next call that entries were narrowed: then its INVLPG and
 *                                     MOV CR3 flush as after a change of its own
 *   a trace's write protection        a writable mapping counts for every vCPU (shadow.users): they are all kicked, and
 *                                     the table is loose until each has flushed and taken its bit back
 *   a shadow frame that is used again is in quarantine before, until every vCPU has flushed
 *
 * Nobody waits: who finds all frames in quarantine goes back to its guest, and faults again until the others, which
 * have been kicked, have looked. That ends: a vCPU in the guest leaves it for the kick and makes a call, whoever else
 * faults meanwhile; one that is outside flushes before it goes in, so it counts as flushed already. A root, which cannot
 * be done without, needs no quarantine, because nothing but the CR3 of a vCPU ever leads there; there are spare frames for
 * one per vCPU.
 *
 * The tables' entries may be in use by other CPUs while they change. Each is one atomic word that is stored whole, and
 * all that the hardware ever stores is A, in an entry that is present (a leaf is made with D=1). If that falls between a
 * load and a store here, an A is lost or too many, which is a hint for reclaim and prefilling only.
 */
#include "mm/shadow_shared.h"

#include "arch/string.h"

/* What a view is: the beginning of struct shadow. */
#define VIEW_BYTES offsetof(struct shadow, vm)

static u64 registered(const struct shadow_vm *vm)
{
    u64 mask = 0;

    for (u32 i = 0; i < vm->vcpus; i++)
        mask |= vm->vcpu[i] ? BIT(i) : 0;
    return mask;
}

/* Every vCPU of mask must flush before its guest runs on. Returns those that are in the guest now. */
static u64 make_flush(struct shadow *sh, u64 mask)
{
    struct shadow_shared *s = sh->shared;

    s->must_flush |= mask;
    if (!mask || !sh->vm->kick)
        return mask;
    counter_one(&sh->stats.kicks_sent);
    return mask & ~sh->vm->kick(sh->vm->kick_context, mask);
}

/* Everybody has flushed. */
static void end_quarantine(struct shadow *sh)
{
    for (u32 no = 0; no < sh->frame_count; no++)
        if (sh->page[no].state == PAGE_CUT)
            shadow_frame_give(sh, no);
    sh->shared->cut_count = 0;
}

void shadow_shared_quarantine(struct shadow *sh)
{
    struct shadow_shared *s = sh->shared;

    for (u32 no = 0; no < sh->frame_count; no++) {
        if (sh->page[no].state != PAGE_STALE)
            continue;
        sh->page[no].state = PAGE_CUT;
        s->cut_count++;
    }
    sh->stale_count = 0;
    s->awaited = make_flush(sh, registered(sh->vm) & ~BIT(sh->vcpu));
    if (!s->awaited)
        end_quarantine(sh);
}

bool shadow_shared_install(struct shadow *sh, u64 gfn, u64 writable)
{
    struct trace *t = trace_of(sh->vm->traces, gfn);
    u64 inside;

    for (u64 left = writable; left; left &= left - 1)
        shadow_request_protection(sh, (u32)__builtin_ctzll(left), gfn);
    inside = make_flush(sh, writable);
    for (u64 outside = writable & ~inside; outside; outside &= outside - 1)
        trace_clear_writable(t, (u32)__builtin_ctzll(outside));
    return !inside;
}

/*
 * A shadow of one vCPU's own may link first and read what is behind the link before its guest runs (shadow_settle). Here
 * the guest is running, on other CPUs. What lies deeper than a leaf table is linked anew, so it comes by here, too.
 */
void shadow_shared_before_link(struct shadow *sh, u32 no)
{
    u64 key = sh->page[no].key;

    if (key_direct(key) || !sh->page[no].live)
        return;
    if (key_level(key) > 1) {
        shadow_page_clear(sh, no);
        return;
    }
    shadow_page_rederive(sh, no);
}

bool shadow_shared_is_root(const struct shadow *sh, u32 no)
{
    for (u32 i = 0; i < sh->vm->vcpus; i++) {
        const struct shadow *view = sh->vm->vcpu[i];
        if (i != sh->vcpu && view && !view->pae_root && view->root_page == no)
            return true;
    }
    return false;
}

void shadow_shared_free_all(struct shadow *sh)
{
    sh->stale_count = sh->shared->spare_count = 0;
    for (u32 no = sh->frame_count; no-- > 0;)
        if (sh->page[no].state != PAGE_LIVE && sh->page[no].state != PAGE_CUT)
            shadow_shared_give_root(sh, no);
}

void shadow_shared_give_root(struct shadow *sh, u32 no)
{
    struct shadow_shared *s = sh->shared;

    if (s->spare_count == sh->vm->vcpus) {
        shadow_frame_give(sh, no);
        return;
    }
    memset(&sh->page[no], 0, sizeof sh->page[no]);
    sh->page[no].state = PAGE_TAKEN;
    s->spare[s->spare_count++] = no;
}

/*
 * A frame for a root when none is free. There are always as many spare frames and roots made as there are vCPUs; of
 * those roots the others use one each at most, and this vCPU is about to leave its own.
 */
void shadow_shared_spare_root(struct shadow *sh)
{
    struct shadow_shared *s = sh->shared;

    for (u32 no = 0; !s->spare_count && no < sh->frame_count; no++)
        if (sh->page[no].state == PAGE_LIVE && key_level(sh->page[no].key) == 4 &&
            !shadow_shared_is_root(sh, no))
            shadow_page_kill(sh, no);
    if (s->spare_count)
        shadow_frame_give(sh, s->spare[--s->spare_count]);
}

void shadow_shared_cut_roots(struct shadow *sh, bool all)
{
    for (u32 i = 0; i < sh->vm->vcpus; i++)
        if (sh->vm->vcpu[i])
            shadow_cut_pae_roots(sh, sh->vm->vcpu[i]->low_frame, all);
}

/* ---- views ---- */

struct shadow *shadow_shared_enter(struct shadow *view)
{
    struct shadow_shared *s = view->view_of;
    struct shadow *sh = &s->tables;
    u64 own = BIT(view->vcpu);

    spinlock_acquire(&s->lock);
    memcpy(sh, view, VIEW_BYTES);
    sh->stale |= (u8)((sh->narrowed_seen != s->narrowed ? STALE_TLB : 0) |
                      (sh->narrowed_upper_seen != s->narrowed_upper ? STALE_TLB | STALE_UPPER : 0));
    if (unlikely(sh->pae_root)) /* ways down are known by the root's page: its slot has another's number */
        leaf_forget(sh);
    if (unlikely(s->must_flush & own)) {
        s->must_flush &= ~own;
        shadow_owe(sh, FLUSH_ALL);
        if (s->awaited & own) {
            s->awaited &= ~own;
            if (!s->awaited)
                end_quarantine(sh);
        }
    }
    return sh;
}

void shadow_shared_leave(struct shadow *view, struct shadow *sh)
{
    struct shadow_shared *s = sh->shared;

    s->narrowed += (sh->stale & STALE_TELL) != 0;
    s->narrowed_upper += (sh->stale & STALE_TELL_UPPER) != 0;
    sh->stale &= STALE_TLB | STALE_UPPER;
    sh->narrowed_seen = s->narrowed;
    sh->narrowed_upper_seen = s->narrowed_upper;
    memcpy(view, sh, VIEW_BYTES);
    spinlock_release(&s->lock);
}

/* The call of shadow.h, made on the tables. */
#define ON_TABLES(call, parameters, ...)               \
    struct flush shadow_shared_##call parameters {     \
        struct shadow *sh = shadow_shared_enter(view); \
        struct flush f = shadow_##call(__VA_ARGS__);   \
                                                       \
        shadow_shared_leave(view, sh);                 \
        return f;                                      \
    }
ON_TABLES(set_paging, (struct shadow * view, const struct paging_state *ps), sh, ps)
ON_TABLES(set_cr3, (struct shadow * view, u64 cr3), sh, cr3)
ON_TABLES(invlpg, (struct shadow * view, gva_t gva), sh, gva)
ON_TABLES(write_done, (struct shadow * view, gpa_t gpa, u32 length), sh, gpa, length)
ON_TABLES(give_up, (struct shadow * view, gpa_t gpa), sh, gpa)
ON_TABLES(rewrite, (struct shadow * view, gpa_t gpa), sh, gpa)
ON_TABLES(drop_frame, (struct shadow * view, u64 gfn, hpa_t frame, bool read_only), sh, gfn, frame, read_only)
ON_TABLES(clear, (struct shadow * view), sh)
#undef ON_TABLES

struct shadow_fault shadow_shared_fault(struct shadow *view, gva_t gva, u32 error_code, u32 cpl, bool ac)
{
    struct shadow_fault out = {SHADOW_RESUME, 0, GPA(0), FLUSH_NOTHING};
    struct shadow *sh = shadow_shared_enter(view);

    shadow_pool_ensure(sh);
    if (likely(sh->free_count >= FRAMES_RESERVE))
        out = shadow_fault(sh, gva, error_code, cpl, ac);
    else
        out.flush = shadow_take_owed(sh); /* all is in quarantine: again */
    shadow_shared_leave(view, sh);
    return out;
}

/*
 * The vCPU flushes, so none of its translations is writable of a frame that is traced: the tables have no such entry.
 * While it is not, they may have, and the bit stays.
 */
static void let_go(struct shadow *sh, u64 gfn)
{
    struct trace *t = trace_of(sh->vm->traces, gfn);

    if (t && trace_active(t))
        trace_clear_writable(t, sh->vcpu);
}

struct flush shadow_shared_service_kicks(struct shadow *view)
{
    struct shadow *sh = shadow_shared_enter(view);
    struct flush f;

    for (u32 i = 0; i < SHADOW_KICK_SLOTS; i++) {
        u64 gfn = atomic_exchange_explicit(&view->kick_gfn[i], 0, memory_order_acquire);
        if (!gfn)
            continue;
        let_go(sh, gfn - 1);
        shadow_owe(sh, FLUSH_ALL);
        counter_one(&sh->stats.kicks_served);
    }
    if (atomic_exchange_explicit(&view->kick_all, false, memory_order_acquire)) {
        for (u64 gfn = 0; gfn < sh->vm->traces->count; gfn++)
            let_go(sh, gfn);
        shadow_owe(sh, FLUSH_ALL);
        counter_one(&sh->stats.kicks_served);
    }
    f = shadow_take_owed(sh);
    shadow_shared_leave(view, sh);
    return f;
}

/* ---- set-up ---- */

enum err shadow_shared_init(struct shadow_shared *s, const struct shadow_config *c)
{
    struct shadow_config for_all = *c;
    struct shadow *sh = &s->tables;

    memset(s, 0, sizeof *s);
    if (c->vm->vcpus < 2 || c->frame_count < SHADOW_FRAMES_MIN * c->vm->vcpus)
        return ERR_INVALID;
    sh->shared = s;
    for_all.vcpu = 0; /* the consumer */
    enum err e = shadow_make_tables(sh, &for_all);
    if (e != ERR_OK)
        return e;
    sh->tuning.loose_max = (u16)MAX(sh->tuning.loose_max, c->vm->vcpus); /* roots cannot be dropped */
    sh->users = BIT(c->vm->vcpus - 1) | (BIT(c->vm->vcpus - 1) - 1);
    return ERR_OK;
}

void shadow_shared_make_view(struct shadow *view, const struct shadow_config *c)
{
    memset(view, 0, sizeof *view);
    view->vm = c->vm;
    view->view_of = c->shared;
    view->vcpu = c->vcpu;
    view->maxphyaddr = c->maxphyaddr;
    view->low_frame = hpa_to_ptr(c->low_frame);
    view->pae = c->metadata;
    view->pae_root = view->lookup_slow = true;
    view->mode = GWALK_UNPAGED;
    view->paging.maxphyaddr = c->maxphyaddr;
    view->wp0_forced_gfn = ~0ull;
    shadow_recent_forget(view);
    memset(view->low_frame, 0, PAGE_SIZE);
    memset(view->pae, 0, shadow_metadata_size(c));
}
