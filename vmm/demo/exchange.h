/*
 * exchange.h - two guests send each other pages and check every word.
 *
 * Each side has slots: guest-physical pages that hold a page of its own (OWNED), are empty, or are empty and
 * offered to the hypervisor as landing places. A page that is sent leaves an empty slot behind; a page that
 * is received fills an offered one and is sent on later with new content. Slot i is seen at a virtual address
 * that has nothing to do with its guest-physical one.
 */
#pragma once
#include "vmm/demo/guest.h"

enum payload_tag { TAG_TEXT = 1, TAG_SHARED, TAG_SEEN, TAG_PAGE };

/* What the inline bytes of the demonstration's messages hold. */
struct payload {
    u64 tag;
    u64 index; /* of pages: 0, 1, 2... */
};

struct exchange {
    const char *me;
    char peer_name[32];
    u32 peer;
    u64 sent, received; /* pages */
    u64 refused, last_sequence;
    bool (*next)(struct pb_message *to); /* the next message, if there is one */
    void (*idle)(
        bool may_sleep); /* nothing to do until a message comes, or (false) until the peer has room */
};

/* Slots, tables and the peer by name; ends the guest with a message if that is not possible. `va_base`: where
 * slot pages are seen; `va_step` their distance. */
void exchange_init(struct exchange *x, const char *me, const char *cmdline, u64 va_base, s64 va_step);

/* The slot at a guest-physical address becomes OWNED and visible; its virtual address. */
u64 exchange_land(u64 gpa);
/* The opposite: it is an empty slot. */
void exchange_leave(u64 gpa);
/* An OWNED slot whose page is the peer's: it is not sent on; revoking it empties the slot. */
void exchange_hold(u64 gpa);
/* A page of our own: its address, and *va. */
u64 exchange_own_page(u64 *va);
/* Empty slots are offered as landing places. */
void exchange_offer(void);

/* Sends, again and again while the peer has no room. Anything else that fails ends the guest. */
void exchange_send(struct exchange *x, u16 kind, u64 page, enum payload_tag tag, u64 index);
/* Waits for a message with this tag from the peer, checked for sender and sequence. */
void exchange_expect(struct exchange *x, enum payload_tag tag, struct pb_message *m);

/* Until `target` pages in all were sent and as many received. */
void exchange_run(struct exchange *x, u64 target);

/* Rounds of pages as the command line says, and the last words. Returns the exit code. */
int exchange_rounds(struct exchange *x, const char *cmdline);

/* The two sides. */
int alpha_main(const char *cmdline);
int beta_main(const char *cmdline);

no_return void exchange_fail(const char *what, u64 a, u64 b);
