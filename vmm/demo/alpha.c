/*
 * alpha.c - the demonstration's first VM: gives a page away, shares one, then exchanges pages with its peer.
 * It polls and waits in the hypervisor; interrupts stay off.
 */
#include "vmm/demo/exchange.h"

#define VA_BASE    0x1000000000ull
#define VA_STEP    (2 * (s64)PAGE_SIZE) /* a hole behind every page */
#define SHORT_WAIT 1000                 /* microseconds */
#define LONG_WAIT  100000

static struct exchange x;
static struct pb_message kept;
static bool have_kept;

static bool next(struct pb_message *to)
{
    if (have_kept) {
        *to = kept;
        have_kept = false;
        return true;
    }
    return talk_receive(to, 0) == PB_STATUS_OK;
}

/* Waits in the receive call; what it brings is kept for next(). */
static void idle(bool may_sleep)
{
    if (!have_kept)
        have_kept = talk_receive(&kept, may_sleep ? LONG_WAIT : SHORT_WAIT) == PB_STATUS_OK;
}

static void donate_text(void)
{
    static const char text[] = "This page was written in alpha. No byte of it was copied on the way.";
    u64 va, gpa = exchange_own_page(&va), word;
    struct fault f;

    memcpy((void *)va, text, sizeof(text));
    say("alpha: donating page 0x%llx, which I see at 0x%llx, to %s", (unsigned long long)gpa,
        (unsigned long long)va, x.peer_name);
    exchange_send(&x, PB_KIND_DONATE, gpa, TAG_TEXT, 0);
    f = try_read(va, &word);
    if (!f.taken || f.vector != VECTOR_PF || f.address != va)
        exchange_fail("the donated page can still be read", va, f.vector);
    say("alpha: reading it again: page fault at 0x%llx, error code 0x%llx, as it should be",
        (unsigned long long)f.address, (unsigned long long)f.error);
    f = try_write(va, 1);
    if (!f.taken || f.vector != VECTOR_PF || f.address != va || !(f.error & PF_W))
        exchange_fail("the donated page can still be written", va, f.error);
    exchange_leave(gpa);
}

static void share_text(void)
{
    static const char text[] = "This page is alpha's; you may read it.";
    u64 va, gpa = exchange_own_page(&va), status;
    struct pb_message m;

    memcpy((void *)va, text, sizeof(text));
    exchange_send(&x, PB_KIND_SHARE_RO, gpa, TAG_SHARED, 0);
    exchange_expect(&x, TAG_SEEN, &m);
    if (memcmp((void *)va, text, sizeof(text)) != 0)
        exchange_fail("the shared page was changed", va, 0);
    status = guest_call(PB_CALL_RECLAIM, gpa, 0, 0).status;
    if (status != PB_STATUS_OK)
        exchange_fail("the shared page could not be taken back", status, gpa);
    say("alpha: the page I shared is unchanged, and mine alone again");
}

int alpha_main(const char *cmdline)
{
    x.next = next;
    x.idle = idle;
    exchange_init(&x, "alpha", cmdline, VA_BASE, VA_STEP);
    donate_text();
    share_text();
    return exchange_rounds(&x, cmdline);
}
