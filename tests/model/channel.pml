/*
 * channel.pml - the patch channel's protocol for SPIN (mm/channel.h), written from its description, not from the
 * code: one producer, one consumer, PLACES places, two page-table entries. Each CPU has a store buffer where it
 * matters, as on x86: the producer's for the primary, the consumer's for `closed`. The producer begins armed or not.
 *
 * spin_model runs it as it is, and once for each mistake:
 *   -DSTORE_WITHOUT_ORDERING  the producer looks whether it may skip while its store of the primary is buffered
 *   -DCLEAR_AFTER_VALIDATE    the consumer reads the primaries, then ends skipping
 *   -DNOT_VALIDATED           the consumer applies what the patch says, whatever the primary is now
 *   -DCLOSE_WITHOUT_FENCE     the consumer reads the primaries while its store of `closed` is buffered
 *   -DFLAG_BEFORE_BODY        an entry is marked in use before it is written
 *   -DFREE_BEFORE_BODY_READ   entries are freed before they are read
 *   -DROOM_WHEN_CLOSED        places are used again when they are closed, not when they are free
 *   -DSKIP_WHEN_CLOSED        the producer skips onto entries that are being consumed
 *   -DSKIP_WHEN_NOT_ARMED     the producer skips onto entries that it posted before it was armed
 *   -DARMED_NOT_TOLD          the producer is armed and does not say so
 *   -DOLD_ENTRIES_STAY_ARMED  armed again, it skips onto entries from when it was not
 *   -DNOT_TOLD                no room is taken for an entry in use
 *   -DLOST_CLEARED_LATE       `lost` is cleared after the consumer has read everything again
 *   -DSEEN_READ_LATE          the consumer notes as seen what is posted after the drain
 */
#define KEYS   2
#define PLACES 2
#ifndef WRITES
#define WRITES 4 /* 5 takes a minute, 6 a long time: make soak */
#endif
#define EVENTS 2
#define NONE   255

byte primary[KEYS];
byte body_key[PLACES], body_seen[PLACES];
byte posted;        /* ticket << 1 | armed */
byte closed, freed; /* tickets */
bool lost;
byte copy[KEYS]; /* derived by the consumer */
byte done[KEYS]; /* what the guest on the consumer's vCPU may know of */
byte buffered_key = NONE, buffered_value; /* the producer's store buffer */
byte buffered_closed = NONE;              /* the consumer's */
bool producer_ended;

active proctype store_buffers()
{
end:
    do
    :: atomic { buffered_key != NONE -> primary[buffered_key] = buffered_value; buffered_key = NONE }
    :: atomic { buffered_closed != NONE -> closed = buffered_closed; buffered_closed = NONE }
    od
}

/* -- producer -- */

byte next, free_below, armed_from, stop_at = PLACES;
bool armed, repeats;

inline write_body(k, v)
{
    body_key[next % PLACES] = k;
    body_seen[next % PLACES] = v
}

inline mark_in_use()
{
#ifdef ARMED_NOT_TOLD
    posted = (next + 1) << 1
#else
    posted = (next + 1) << 1 | armed
#endif
}

/* The latest ticket that may be in use and has this key. */
inline find(k)
{
    d_step {
        found = NONE;
        t = free_below;
        do
        :: t == next -> break
        :: t != next ->
            if
            :: body_key[t % PLACES] == k -> found = t
            :: else
            fi;
            t++
        od;
        t = 0
    }
}

#ifdef SKIP_WHEN_NOT_ARMED
#define SKIPS    true
#define MAY_SKIP (found >= now_closed)
#elif defined(SKIP_WHEN_CLOSED)
#define SKIPS    armed
#define MAY_SKIP (found >= armed_from)
#else
#define SKIPS    armed
#define MAY_SKIP (found >= now_closed && found >= armed_from)
#endif

#ifdef OLD_ENTRIES_STAY_ARMED
#define REMEMBER skip
#else
#define REMEMBER armed_from = next
#endif

inline absorb()
{
    skipped = false;
    if
    :: found != NONE ->
        now_closed = closed;
        free_below = freed;
        if
        :: found >= free_below ->
            repeats = true;
            if
            :: SKIPS -> skipped = MAY_SKIP
            :: else -> armed = true; REMEMBER
            fi
        :: else
        fi
    :: else
    fi
}

inline make_room()
{
    if
    :: next == stop_at ->
        if
        :: !repeats ->
            armed = false
        :: else
        fi;
        repeats = false;
#ifdef ROOM_WHEN_CLOSED
        free_below = closed;
#else
        free_below = freed;
#endif
        stop_at = free_below + PLACES
    :: else
    fi
}

inline post(k, v)
{
#ifndef STORE_WITHOUT_ORDERING
    buffered_key == NONE;
#endif
    find(k);
    absorb();
    if
    :: skipped -> skip
    :: else ->
        make_room();
        if
        :: next == stop_at ->
#ifndef NOT_TOLD
            buffered_key == NONE; /* a locked operation */
            lost = true
#else
            skip
#endif
        :: else ->
#ifdef FLAG_BEFORE_BODY
            mark_in_use();
            write_body(k, v);
#else
            buffered_key == NONE; /* stores in order */
            write_body(k, v);
            mark_in_use();
#endif
            next++
        fi
    fi
}

active proctype producer()
{
    byte w = 0, k, found, t, now_closed;
    bool skipped;

    if
    :: armed = true
    :: armed = false
    fi;
    do
    :: w == WRITES -> break
    :: w < WRITES ->
        if
        :: k = 0
        :: k = 1
        fi;
        w++;
        buffered_key == NONE;
        atomic { buffered_value = w; buffered_key = k };
        post(k, w);
        buffered_key == NONE; /* the message to the other guest comes after the store */
        done[k] = w
    od;
    producer_ended = true
}

/* -- consumer -- */

byte seen;

inline close(ticket)
{
    buffered_closed = ticket;
#ifndef CLOSE_WITHOUT_FENCE
    buffered_closed == NONE
#endif
}

inline consume(ticket)
{
    key = body_key[ticket % PLACES];
    value = body_seen[ticket % PLACES];
    now = primary[key];
#ifdef NOT_VALIDATED
    now = value;
#endif
    if
    :: now == value -> copy[key] = value /* still valid: the derived value is applied */
    :: else -> copy[key] = now           /* derived again */
    fi
}

inline drain()
{
    word = posted;
    if
    :: word != seen ->
#ifndef SEEN_READ_LATE
        seen = word;
#endif
        at = freed;
#ifndef CLEAR_AFTER_VALIDATE
        if
        :: word & 1 -> close(word >> 1)
        :: else
        fi;
#endif
#ifdef FREE_BEFORE_BODY_READ
        freed = word >> 1;
#endif
        do
        :: at == word >> 1 -> break
        :: at != word >> 1 -> consume(at); at++
        od;
        buffered_closed == NONE; /* stores in order */
#ifdef CLEAR_AFTER_VALIDATE
        closed = word >> 1;
#endif
        freed = word >> 1;
#ifdef SEEN_READ_LATE
        seen = posted
#endif
    :: else
    fi;
    if
    :: lost ->
#ifndef LOST_CLEARED_LATE
        lost = false;
#endif
        copy[0] = primary[0];
        copy[1] = primary[1];
#ifdef LOST_CLEARED_LATE
        lost = false
#endif
    :: else
    fi
}

active proctype consumer()
{
    byte key, value, now, known0, known1, word, at, round = 0;

    do
    :: round == EVENTS -> break
    :: round < EVENTS ->
        known0 = done[0];
        known1 = done[1];
        drain();
        assert(copy[0] >= known0 && copy[1] >= known1);
        round++
    od;
    producer_ended;
    drain();
    assert(copy[0] == primary[0] && copy[1] == primary[1])
}
