/* links: ipc/grant.c */
/* test_grant.c - the page ownership state machine: every state with every event, against the list of what is
 * legal, written down a second time and in words; and what two VMs can reach together (Q9). */
#include "ipc/grant.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const states[GRANT_STATES] = {"none",    "owned",     "pinned",    "empty",
                                                 "offered", "shared-ro", "shared-rw", "lent",
                                                 "held-ro", "held-rw",   "held-lent", "moving"};
static const char *const events[GRANT_EVENTS] = {"nothing",   "share-ro",  "share-rw",     "lend",  "donate",
                                                 "take-back", "pin",       "unpin",        "offer", "land-ro",
                                                 "land-rw",   "land-lent", "land-donated", "leave"};

/* state event -> state; everything else is illegal */
static const char *const legal[][3] = {
    {"owned", "share-ro", "shared-ro"},
    {"owned", "share-rw", "shared-rw"},
    {"owned", "lend", "lent"},
    {"owned", "donate", "empty"},
    {"owned", "pin", "pinned"},
    {"pinned", "unpin", "owned"},
    {"shared-ro", "take-back", "owned"},
    {"shared-rw", "take-back", "owned"},
    {"lent", "take-back", "owned"},
    {"empty", "offer", "offered"},
    {"offered", "land-ro", "held-ro"},
    {"offered", "land-rw", "held-rw"},
    {"offered", "land-lent", "held-lent"},
    {"offered", "land-donated", "owned"},
    {"held-ro", "leave", "empty"},
    {"held-rw", "leave", "empty"},
    {"held-lent", "leave", "empty"},
};

static const char *const *rule(u32 s, u32 e)
{
    for (u32 i = 0; i < ARRAY_SIZE(legal); i++)
        if (!strcmp(legal[i][0], states[s]) && !strcmp(legal[i][1], events[e]))
            return legal[i];
    return NULL;
}

static u32 refusal(u32 s, u32 e)
{
    if (!strcmp(states[s], "none"))
        return PB_STATUS_BAD_PAGE;
    if (!strcmp(states[s], "moving"))
        return PB_STATUS_PAGE_BUSY;
    if (!strcmp(events[e], "offer"))
        return PB_STATUS_SLOT_IN_USE;
    if (!strcmp(states[s], "pinned"))
        return PB_STATUS_PAGE_BUSY;
    if (!strcmp(states[s], "owned"))
        return PB_STATUS_PAGE_NOT_OUT;
    if (!strcmp(states[s], "lent"))
        return PB_STATUS_PAGE_LENT;
    if (!strncmp(states[s], "shared", 6))
        return PB_STATUS_PAGE_SHARED;
    if (!strncmp(states[s], "held", 4))
        return PB_STATUS_PAGE_FOREIGN;
    return PB_STATUS_PAGE_EMPTY;
}

static void test_every_transition(void **state)
{
    u32 allowed = 0;

    (void)state;
    for (u32 s = 0; s < GRANT_STATES; s++)
        for (u32 e = 0; e < GRANT_EVENTS; e++) {
            enum grant_state after = GRANT_STATES;
            u32 status = grant_next((enum grant_state)s, (enum grant_event)e, &after);
            const char *const *r = rule(s, e);
            if (r) {
                allowed++;
                assert_int_equal(status, PB_STATUS_OK);
                assert_string_equal(states[after], r[2]);
            } else {
                assert_int_equal(status, refusal(s, e));
                assert_int_equal(after, GRANT_STATES);
            }
        }
    assert_int_equal(allowed, ARRAY_SIZE(legal));
}

static void test_every_begin(void **state)
{
    _Atomic u64 word[2];
    struct grants g;
    struct grant was;

    (void)state;
    grants_init(&g, word, 2);
    for (u32 s = 0; s < GRANT_STATES; s++)
        for (u32 e = 0; e < GRANT_EVENTS; e++) {
            grants_set(&g, 1, 5, (enum grant_state)s);
            assert_int_equal(grants_get(&g, 0).state, GRANT_NONE);
            u32 status = grant_begin(&g, 1, (enum grant_event)e, &was);
            if (!rule(s, e)) {
                assert_int_equal(status, refusal(s, e));
                assert_int_equal(grants_get(&g, 1).state, s);
                continue;
            }
            assert_int_equal(status, PB_STATUS_OK);
            assert_int_equal(was.state, s);
            assert_int_equal(grants_get(&g, 1).state, GRANT_MOVING);
            struct grant other;
            assert_int_equal(grant_begin(&g, 1, (enum grant_event)e, &other), PB_STATUS_PAGE_BUSY);
            grant_abort(&g, 1, &was);
            assert_int_equal(grants_get(&g, 1).state, s);
            assert_int_equal(grant_begin(&g, 1, (enum grant_event)e, &was), PB_STATUS_OK);
            grant_commit(&g, 1, (enum grant_event)e, &was, 7, (1ull << 40) - 1);
            assert_string_equal(states[grants_get(&g, 1).state], rule(s, e)[2]);
            assert_int_equal(grants_get(&g, 1).peer, 7);
            assert_int_equal(grants_get(&g, 1).peer_gfn, (1ull << 40) - 1);
        }
    assert_int_equal(grant_begin(&g, 2, GRANT_OFFER, &was), PB_STATUS_BAD_PAGE);
    assert_int_equal(grant_begin(&g, ~0ull, GRANT_OFFER, &was), PB_STATUS_BAD_PAGE);
    assert_int_equal(grants_get(&g, 2).state, GRANT_NONE);
}

/* One frame, two VMs with one place each: all states that the pairs of events lead to, and in each of them
 * the page is had by exactly one of them, or by both in a way both know of. */
static void test_two_parties(void **state)
{
    static const enum grant_event both[][2] = {
        {GRANT_SHARE_RO, GRANT_LAND_RO},    {GRANT_SHARE_RW, GRANT_LAND_RW}, {GRANT_LEND, GRANT_LAND_LENT},
        {GRANT_DONATE, GRANT_LAND_DONATED}, {GRANT_TAKE_BACK, GRANT_LEAVE},
    };
    static const enum grant_event alone[] = {GRANT_PIN, GRANT_UNPIN, GRANT_OFFER};
    bool seen[GRANT_STATES][GRANT_STATES] = {{false}}, grew = true;
    u32 count = 0;

    (void)state;
    seen[GRANT_OWNED][GRANT_EMPTY] = true;
    while (grew) {
        grew = false;
        for (u32 a = 0; a < GRANT_STATES; a++)
            for (u32 b = 0; b < GRANT_STATES; b++) {
                enum grant_state x, y;
                if (!seen[a][b])
                    continue;
                for (u32 i = 0; i < ARRAY_SIZE(both); i++) {
                    if (grant_next((enum grant_state)a, both[i][0], &x) == PB_STATUS_OK &&
                        grant_next((enum grant_state)b, both[i][1], &y) == PB_STATUS_OK && !seen[x][y])
                        grew = seen[x][y] = true;
                    if (grant_next((enum grant_state)a, both[i][1], &x) == PB_STATUS_OK &&
                        grant_next((enum grant_state)b, both[i][0], &y) == PB_STATUS_OK && !seen[x][y])
                        grew = seen[x][y] = true;
                }
                for (u32 i = 0; i < ARRAY_SIZE(alone); i++) {
                    if (grant_next((enum grant_state)a, alone[i], &x) == PB_STATUS_OK && !seen[x][b])
                        grew = seen[x][b] = true;
                    if (grant_next((enum grant_state)b, alone[i], &y) == PB_STATUS_OK && !seen[a][y])
                        grew = seen[a][y] = true;
                }
            }
    }
    for (u32 a = 0; a < GRANT_STATES; a++)
        for (u32 b = 0; b < GRANT_STATES; b++) {
            bool a_has = a == GRANT_OWNED || a == GRANT_PINNED, b_has = b == GRANT_OWNED || b == GRANT_PINNED;
            bool a_not = a == GRANT_EMPTY || a == GRANT_OFFERED,
                 b_not = b == GRANT_EMPTY || b == GRANT_OFFERED;
            bool out =
                (a == GRANT_SHARED_RO && b == GRANT_HELD_RO) ||
                (a == GRANT_SHARED_RW && b == GRANT_HELD_RW) || (a == GRANT_LENT && b == GRANT_HELD_LENT) ||
                (b == GRANT_SHARED_RO && a == GRANT_HELD_RO) ||
                (b == GRANT_SHARED_RW && a == GRANT_HELD_RW) || (b == GRANT_LENT && a == GRANT_HELD_LENT);
            assert_int_equal(seen[a][b], (a_has && b_not) || (a_not && b_has) || out);
            count += seen[a][b];
        }
    assert_int_equal(count, 14);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_transition),
        cmocka_unit_test(test_every_begin),
        cmocka_unit_test(test_two_parties),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
