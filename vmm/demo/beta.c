/*
 * beta.c - the demonstration's second VM: is interrupted when a message comes, reads the page at its own
 * virtual address, then exchanges pages with its peer.
 */
#include "vmm/demo/exchange.h"

#define VA_BASE 0x7F0000000000ull
#define VA_STEP (-(s64)PAGE_SIZE) /* downwards */
#define VECTOR  0x40

static struct exchange x;
static u64 interrupts; /* written by the handler, on this vCPU */

static void on_message(void)
{
    __atomic_fetch_add(&interrupts, 1, __ATOMIC_RELAXED);
}

static bool next(struct pb_message *to)
{
    return talk_inbox(to);
}

/* Halts until the next interrupt, unless a message came before interrupts were off. */
static void idle(bool may_sleep)
{
    if (!may_sleep) {
        guest_call(PB_CALL_YIELD, 0, 0, 0);
        return;
    }
    __asm__ volatile("cli");
    if (!talk_inbox_ready())
        __asm__ volatile("sti; hlt" : : : "memory");
    __asm__ volatile("sti");
}

static void read_text(void)
{
    struct pb_message m;
    u64 va;

    exchange_expect(&x, TAG_TEXT, &m);
    if (__atomic_load_n(&interrupts, __ATOMIC_RELAXED) == 0)
        exchange_fail("a message came without its interrupt", 0, 0);
    if (m.kind != PB_KIND_DONATE)
        exchange_fail("the first message is no donated page", m.kind, 0);
    va = exchange_land(m.page);
    say("beta: interrupt 0x%x: message %llu from VM %u (%s) to VM %u; its page is at 0x%llx, which I see at "
        "0x%llx",
        VECTOR, (unsigned long long)m.sequence, m.sender, x.peer_name, m.receiver, (unsigned long long)m.page,
        (unsigned long long)va);
    say("beta: it reads: \"%s\"", (const char *)va);
    ((char *)va)[0] = 't'; /* it is mine */
    if (((char *)va)[0] != 't')
        exchange_fail("the received page cannot be written", va, 0);
}

static void read_shared(void)
{
    struct pb_message m;
    struct fault f;
    u64 va;

    exchange_expect(&x, TAG_SHARED, &m);
    if (m.kind != PB_KIND_SHARE_RO)
        exchange_fail("the second message is no shared page", m.kind, 0);
    va = exchange_land(m.page);
    say("beta: a shared page reads: \"%s\"", (const char *)va);
    f = try_write(va, 1);
    if (!f.taken || f.vector != VECTOR_PF || f.address != va || !(f.error & PF_W))
        exchange_fail("the read-only page can be written", va, f.error);
    say("beta: writing to it: page fault at 0x%llx, error code 0x%llx, as it should be",
        (unsigned long long)f.address, (unsigned long long)f.error);
    exchange_hold(m.page);
    exchange_send(&x, PB_KIND_DATA, 0, TAG_SEEN, 0);
}

int beta_main(const char *cmdline)
{
    x.next = next;
    x.idle = idle;
    exchange_init(&x, "beta", cmdline, VA_BASE, VA_STEP);
    trap_on_interrupt(VECTOR, on_message);
    talk_arm(VECTOR);
    exchange_offer();
    __asm__ volatile("sti");
    read_text();
    read_shared();
    return exchange_rounds(&x, cmdline);
}
