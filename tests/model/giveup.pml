/*
 * giveup.pml - ending a trace for everybody (mm/trace.h, mm/README.md), for SPIN: three vCPUs. The consumer has derived an entry
 * of the table, forwarded where its primary is 0 (mm/revoke.h); the giver ends the trace; the writer then maps the table
 * writable and stores with no exit. The consumer may trace the table again later, and asks the writer for its mapping.
 *
 * At each event what the consumer has derived is not older than what it knew; and a fault with no exit is one that the
 * primary gives. (Store buffers are in trace.pml and revoke.pml: here the orders of whole steps are enough.)
 *
 * spin_model runs it as it is, and once for each mistake:
 *   -DNOT_ANNOUNCED     the giver does not announce that it ends the trace
 *   -DNOT_TOLD          ... does not tell who relied on it
 *   -DTOLD_LATE         ... tells them when the announcement has ended
 *   -DNOT_REVOKED       ... does not revoke what is forwarded
 *   -DREVOKED_LATE      ... does so when the trace has ended
 *   -DFORWARDED_LOOSE   the consumer forwards faults of a table that is not traced
 *   -DNOT_LOOKED        ... or does not look whether something was announced while it did
 *   -DNOT_LOOSE         traced again, it relies on the trace before the writer has given its mapping up
 *   -DNOT_READ_AGAIN    ... or does not read again what it had derived before
 */
#ifndef WRITES
#define WRITES 3
#endif
#ifndef EVENTS
#define EVENTS 3
#endif
#define ABSENT  15
#define ENTRY   1 /* patches */
#define LOOSE   2

byte primary, done;
byte entry = ABSENT; /* the consumer's: ABSENT, or the primary it was derived from; 0 is forwarded */
bool interest = true, writable, kicked;
bool giving_up, storing; /* announced */
byte posted;

inline revoke()
{
    d_step {
        if
        :: entry == 0 -> entry = ABSENT
        :: else
        fi
    }
}

inline tell(what)
{
    d_step { posted = posted | what }
}

active proctype giver()
{
    bool told;

#ifndef NOT_ANNOUNCED
    giving_up = true;
#endif
#if !defined(NOT_REVOKED) && !defined(REVOKED_LATE)
    revoke();
#endif
    d_step { told = interest; interest = false };
#ifdef REVOKED_LATE
    revoke();
#endif
#ifdef TOLD_LATE
    giving_up = false;
#endif
#ifndef NOT_TOLD
    if
    :: told -> tell(LOOSE)
    :: else
    fi;
#endif
    giving_up = false
}

active proctype writer()
{
    byte w = 0;
    bool mapped;

    do
    :: w == WRITES -> break
    :: kicked -> kicked = false; mapped = false; writable = false
    :: w < WRITES ->
        w++;
        if
        :: !mapped ->
            writable = true;
            mapped = !interest;
            if
            :: !mapped -> writable = false
            :: else
            fi
        :: else
        fi;
        if
        :: mapped -> primary = w
        :: else ->
            storing = true;
            if
            :: interest -> revoke()
            :: else
            fi;
            primary = w;
            if
            :: interest -> tell(ENTRY)
            :: else
            fi;
            storing = false
        fi;
        done = w
    od
}

/* -- consumer -- */

inline derive()
{
    value = primary;
#ifndef FORWARDED_LOOSE
    if
    :: value == 0 && loose -> value = ABSENT
    :: else
    fi;
#endif
    entry = value;
    unproven = true;
    value = 0
}

inline drain()
{
    again = giving_up || storing;
    d_step { told = posted; posted = 0 };
    loose = loose || told & LOOSE;
    if
    :: again || told || loose -> derive()
    :: else
    fi;
    told = 0;
    again = false
}

inline trace_again()
{
    interest = true;
    again = writable;
    kicked = again;
#ifdef NOT_LOOSE
    again = false;
#endif
    if
    :: !again ->
        loose = false;
#ifndef NOT_READ_AGAIN
        derive()
#endif
    :: else
    fi;
    again = false
}

/* May faults go to the guest with no exit now? */
inline prove()
{
#ifndef NOT_LOOKED
    unproven = giving_up || storing;
    unproven = unproven || posted != 0
#else
    unproven = false
#endif
}

active proctype consumer()
{
    byte event = 0, known, value, told;
    bool loose, again, unproven;

    do
    :: event == EVENTS -> break
    :: event < EVENTS ->
        event++;
        known = done;
        drain();
        assert(entry == ABSENT || entry >= known);
        if
        :: loose -> trace_again()
        :: derive()
        :: skip
        fi;
        if
        :: unproven -> prove()
        :: else
        fi;
        known = primary;
        assert(unproven || entry != 0 || known == 0);
        known = 0
    od
}
