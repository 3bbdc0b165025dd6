/*
 * cpus64_pages.c - pages that leave the VM while all its vCPUs read them.
 *
 *   donor: each vCPU in turn fills a page, waits until all others have read it, and gives it to the sink; from the
 *          moment the call returns, nobody here may get at it, and at no time see what the sink writes to it
 *   sink:  checks what it gets and overwrites it at once
 */
#include "tests/guests/cpus64.h"

#define GIVEN_BASE 0x1000000ull      /* 16 MiB: mapped by large pages there ... */
#define GIVEN_VA   0x500000000000ull /* ... and here by small ones, every other time */

static volatile u64 phase; /* 2n + 1: page n is filled, 2n + 2: it is gone */
static volatile u64 seen[VCPUS_MAX];

static u64 stamp_of(u64 n)
{
    return (n + 1) * 0x9E3779B97F4A7C15ull;
}

static u64 address_of(u64 n)
{
    return (n % 2 ? GIVEN_VA : GIVEN_BASE) + n * PAGE_SIZE;
}

static void send_until_taken(u64 me, u32 to, u16 kind, u64 page)
{
    u64 status;

    do {
        status = talk_send(to, kind, page, &page, sizeof(page));
        __asm__ volatile("pause");
    } while (status == PB_STATUS_QUEUE_FULL || status == PB_STATUS_NO_LANDING);
    if (status != PB_STATUS_OK)
        smp_fail("send", me, status, PB_STATUS_OK);
}

static void give(u64 me, u32 peer, u64 n)
{
    u64 page = GIVEN_BASE + n * PAGE_SIZE, value;

    page_map(GIVEN_VA + n * PAGE_SIZE, page, PTE_W);
    *(volatile u64 *)page = stamp_of(n);
    phase = 2 * n + 1;
    for (u64 i = 0; i < vcpus; i++)
        if (i != me)
            smp_wait("reading the page", i, &seen[i], 2 * n + 1);
    send_until_taken(me, peer, PB_KIND_DONATE, page);
    phase = 2 * n + 2;
    if (!try_read(address_of(n), &value).taken)
        smp_fail("own page after it was given away", me, value, 0);
}

static void watch(u64 me, u64 n)
{
    while (phase < 2 * n + 1)
        __asm__ volatile("pause");
    for (;;) {
        u64 before = phase, value = 0;
        bool faulted = try_read(address_of(n), &value).taken;

        __asm__ volatile("pause");
        if (!faulted && value != stamp_of(n))
            smp_fail("content of a page", me, value, stamp_of(n));
        if (before == 2 * n + 2 && !faulted)
            smp_fail("page that was given away", me, value, 0);
        if (before == 2 * n + 2)
            return;
        if (!faulted)
            seen[me] = 2 * n + 1;
        else if (seen[me] != 2 * n + 1)
            smp_fail("page that is still here", me, faulted, 0);
    }
}

void pages_donor(u64 me, u32 peer, u64 pages)
{
    for (u64 n = 0; n < pages; n++) {
        if (n % vcpus == me)
            give(me, peer, n);
        else
            watch(me, n);
        smp_barrier();
    }
    if (me == 0)
        send_until_taken(me, peer, PB_KIND_DATA, 0);
}

u64 pages_sink(void)
{
    const struct pb_info *self = guest_self();
    struct pb_message m;
    u64 n = 0;

    (void)guest_call(PB_CALL_OFFER, self->window_gpa, self->window_pages, 0);
    for (;;) {
        u64 status = talk_receive(&m, 1000);

        if (status == PB_STATUS_OK && m.kind == PB_KIND_DATA)
            return n;
        if (status != PB_STATUS_OK || m.kind != PB_KIND_DONATE)
            continue;
        volatile u64 *at = (volatile u64 *)(GIVEN_VA + n * PAGE_SIZE);
        page_map((u64)at, m.page, PTE_W);
        if (*at != stamp_of(n))
            smp_fail("page that arrived", 0, *at, stamp_of(n));
        *at = ~stamp_of(n);
        n++;
    }
}
