/* exchange.c - pages to and fro; see exchange.h. */
#include "vmm/demo/exchange.h"

#define MIN_WINDOW   2 /* a page donated and a page shared */
#define OWN_SLOTS    32
#define MAX_SLOTS    64
#define OWN_BASE     0x800000ull /* guest-physical; not in the identity map */
#define IDENTITY_END OWN_BASE
#define WORDS        (PAGE_SIZE / sizeof(u64))
#define PATIENCE_S   600
#define DEFAULT_HZ   1000000000ull

enum slot_state { SLOT_EMPTY, SLOT_OFFERED, SLOT_OWNED, SLOT_HELD };

static struct slot {
    u64 gpa, va;
    enum slot_state state;
} slots[MAX_SLOTS];
static u32 slot_count;
static u64 deadline;

no_return void exchange_fail(const char *what, u64 a, u64 b)
{
    say("demo: FAIL %s (0x%llx, 0x%llx)", what, (unsigned long long)a, (unsigned long long)b);
    guest_exit(1);
}

static void progress(void)
{
    u64 hz = guest_self()->tsc_hz;

    deadline = guest_ticks() + PATIENCE_S * (hz ? hz : DEFAULT_HZ);
}

static struct slot *slot_of(u64 gpa)
{
    for (u32 i = 0; i < slot_count; i++) {
        if (slots[i].gpa == gpa)
            return &slots[i];
    }
    exchange_fail("a page landed where no slot is", gpa, 0);
}

static void add_slot(u64 gpa, u64 va, enum slot_state state)
{
    slots[slot_count++] = (struct slot){gpa, va, state};
    if (state == SLOT_OWNED)
        page_map(va, gpa, MAP_WRITE);
}

void exchange_init(struct exchange *x, const char *me, const char *cmdline, u64 va_base, s64 va_step)
{
    const struct pb_info *self = guest_self();
    s64 peer;

    x->me = me;
    paging_init(IDENTITY_END);
    if (!talk_init())
        exchange_fail("this is not Patchbay", 0, 0);
    option_word(cmdline, "peer", x->peer_name, sizeof(x->peer_name));
    peer = talk_find(x->peer_name);
    if (peer < 0)
        exchange_fail("there is no VM of the name in peer=", 0, 0);
    x->peer = (u32)peer;
    if (self->window_pages < MIN_WINDOW)
        exchange_fail("the landing window is too small", self->window_pages, MIN_WINDOW);
    for (u32 i = 0; i < OWN_SLOTS; i++)
        add_slot(OWN_BASE + i * PAGE_SIZE, va_base + (u64)((s64)i * va_step), SLOT_OWNED);
    for (u32 i = 0; i < self->window_pages && slot_count < MAX_SLOTS; i++)
        add_slot(self->window_gpa + i * PAGE_SIZE, va_base + (u64)((s64)slot_count * va_step), SLOT_EMPTY);
    progress();
}

u64 exchange_land(u64 gpa)
{
    struct slot *slot = slot_of(gpa);

    if (slot->state != SLOT_OFFERED)
        exchange_fail("a page landed in a slot that was not offered", gpa, slot->state);
    slot->state = SLOT_OWNED;
    page_map(slot->va, gpa, MAP_WRITE);
    return slot->va;
}

void exchange_leave(u64 gpa)
{
    struct slot *slot = slot_of(gpa);

    slot->state = SLOT_EMPTY;
    page_unmap(slot->va);
}

void exchange_hold(u64 gpa)
{
    slot_of(gpa)->state = SLOT_HELD;
}

static struct slot *own_slot(void)
{
    static u32 turn;

    for (u32 i = 0; i < slot_count; i++) {
        struct slot *slot = &slots[turn++ % slot_count];

        if (slot->state == SLOT_OWNED)
            return slot;
    }
    return NULL;
}

u64 exchange_own_page(u64 *va)
{
    struct slot *slot = own_slot();

    if (!slot)
        exchange_fail("no page left", 0, 0);
    *va = slot->va;
    return slot->gpa;
}

void exchange_offer(void)
{
    for (u32 i = 0; i < slot_count; i++) {
        u32 n = 0;
        struct call_result r;

        while (i + n < slot_count && slots[i + n].state == SLOT_EMPTY &&
               slots[i + n].gpa == slots[i].gpa + n * PAGE_SIZE)
            n++;
        if (n == 0)
            continue;
        r = guest_call(PB_CALL_OFFER, slots[i].gpa, n, 0);
        if (r.rbx > n || (r.status != PB_STATUS_OK && r.status != PB_STATUS_FULL))
            exchange_fail("offering empty pages was refused", r.status, slots[i].gpa);
        for (u32 k = 0; k < r.rbx; k++)
            slots[i + k].state = SLOT_OFFERED;
        if (r.status == PB_STATUS_FULL)
            return;
        i += n - 1;
    }
}

/* PB_STATUS_OK, or a status that asks to try again. */
static u64 send(struct exchange *x, u16 kind, u64 page, enum payload_tag tag, u64 index)
{
    struct payload payload = {tag, index};
    u64 status = talk_send(x->peer, kind, page, &payload, sizeof(payload));

    switch (status) {
    case PB_STATUS_OK: progress(); return status;
    case PB_STATUS_QUEUE_FULL:
    case PB_STATUS_NO_LANDING:
    case PB_STATUS_PAGE_BUSY:
        x->refused++;
        if (guest_ticks() > deadline)
            exchange_fail("the peer has had no room for ten minutes", status, index);
        return status;
    default:
        say("%s: sending to %s: %s", x->me, x->peer_name, status_text(status));
        exchange_fail("a message was refused", status, index);
    }
}

void exchange_send(struct exchange *x, u16 kind, u64 page, enum payload_tag tag, u64 index)
{
    while (send(x, kind, page, tag, index) != PB_STATUS_OK)
        x->idle(false);
}

/* Whether the message is one of the demonstration's; what the hypervisor itself says is dealt with here. */
static bool check_message(struct exchange *x, const struct pb_message *m)
{
    progress();
    if (m->kind == PB_KIND_REVOKED)
        exchange_leave(m->page);
    if (m->kind >= PB_KIND_RETURNED)
        return false;
    if (m->sender != x->peer || m->receiver != guest_self()->id)
        exchange_fail("a message has the wrong identities", m->sender, m->receiver);
    if (m->sequence <= x->last_sequence)
        exchange_fail("a message is out of sequence", m->sequence, x->last_sequence);
    x->last_sequence = m->sequence;
    return true;
}

void exchange_expect(struct exchange *x, enum payload_tag tag, struct pb_message *m)
{
    struct payload payload;

    for (;;) {
        if (guest_ticks() > deadline)
            exchange_fail("no message for ten minutes", tag, 0);
        exchange_offer();
        if (!x->next(m)) {
            x->idle(true);
        } else if (check_message(x, m)) {
            memcpy(&payload, m->data, sizeof(payload));
            if (payload.tag != tag)
                exchange_fail("a message is not the expected one", payload.tag, tag);
            return;
        }
    }
}

static u64 first_word(u32 sender, u64 index)
{
    return (index + 1) * 0x9E3779B97F4A7C15ull ^ ((u64)sender << 56);
}
#define WORD_STEP 0xD1B54A32D192ED03ull /* odd: every word of a page differs */

static void fill(u64 va, u32 sender, u64 index)
{
    u64 word = first_word(sender, index), *page = (u64 *)va;

    for (u32 i = 0; i < WORDS; i++, word += WORD_STEP)
        page[i] = word;
}

static void check_page(u64 va, u32 sender, u64 index)
{
    u64 word = first_word(sender, index);
    const u64 *page = (const u64 *)va;

    for (u32 i = 0; i < WORDS; i++, word += WORD_STEP) {
        if (page[i] != word) {
            say("demo: FAIL page %llu of VM %u, word %u: 0x%llx instead of 0x%llx", (unsigned long long)index,
                sender, i, (unsigned long long)page[i], (unsigned long long)word);
            guest_exit(1);
        }
    }
}

static void take_page(struct exchange *x, const struct pb_message *m)
{
    struct payload payload;

    memcpy(&payload, m->data, sizeof(payload));
    if (m->kind != PB_KIND_DONATE || m->length != sizeof(payload) || payload.tag != TAG_PAGE)
        exchange_fail("a message is no page", m->kind, payload.tag);
    if (payload.index != x->received)
        exchange_fail("a page was lost, doubled or overtaken", payload.index, x->received);
    check_page(exchange_land(m->page), m->sender, payload.index);
    x->received++;
}

/* One page on its way; false if there is none to send or no room for it. */
static bool send_page(struct exchange *x)
{
    struct slot *slot = own_slot();

    if (!slot)
        return false;
    fill(slot->va, guest_self()->id, x->sent);
    if (send(x, PB_KIND_DONATE, slot->gpa, TAG_PAGE, x->sent) != PB_STATUS_OK)
        return false;
    exchange_leave(slot->gpa);
    x->sent++;
    return true;
}

void exchange_run(struct exchange *x, u64 target)
{
    struct pb_message m;

    while (x->sent < target || x->received < target) {
        bool moved = false;

        exchange_offer();
        while (x->next(&m)) {
            if (check_message(x, &m))
                take_page(x, &m);
            moved = true;
        }
        for (u32 burst = 0; burst < 8 && x->sent < target && send_page(x); burst++)
            moved = true;
        if (guest_ticks() > deadline)
            exchange_fail("nothing has moved for ten minutes", x->sent, x->received);
        if (!moved)
            x->idle(x->sent == target);
    }
}

int exchange_rounds(struct exchange *x, const char *cmdline)
{
    u64 pages = option_number(cmdline, "pages", 1000), rounds = option_number(cmdline, "rounds", 1), done = 0;

    for (u64 round = 1; round <= rounds; round++) {
        done += pages;
        exchange_run(x, done);
        say("%s: round %llu: %llu pages to %s and %llu back, every word as it should be", x->me,
            (unsigned long long)round, (unsigned long long)pages, x->peer_name, (unsigned long long)pages);
    }
    say("demo: PASS %s sent %llu pages and received %llu, refused and repeated %llu times", x->me,
        (unsigned long long)x->sent, (unsigned long long)x->received, (unsigned long long)x->refused);
    return 0;
}
