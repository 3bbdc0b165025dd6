/*
 * trace.pml - installing a trace against making a writable mapping (mm/trace.h), and a store to a traced table against
 * the event of the vCPU that derived from it, for SPIN. Both CPUs have a store buffer.
 *
 * The writer makes a writable mapping if it may, or its store exits and is emulated: announced, made, posted. The guest
 * on the other vCPU may know of the store from a message or by looking. The installer relies on its trace only if
 * nobody was in the writable mask; else the table is loose, and read again at each event.
 *
 * spin_model runs it as it is, and once for each mistake:
 *   -DINSTALL_LOOKS_FIRST       the installer reads the writable mask before it sets its interest
 *   -DINSTALL_WITHOUT_ORDERING  ... while its store of the interest bit is buffered
 *   -DMAP_LOOKS_FIRST           the mapper looks for interest before it sets its writable bit
 *   -DMAP_WITHOUT_ORDERING      ... while its store of the writable bit is buffered
 *   -DNOT_LOOSE                 the installer relies on its trace whoever has the table mapped writable
 *   -DNOT_ANNOUNCED             a store to a traced table is not announced before it is made
 */
#ifndef WRITES
#define WRITES 2
#endif
#ifndef EVENTS
#define EVENTS 3
#endif

bool interest, writable;
byte primary, derived, posted, done;
bool writing;
bool buffered_interest, buffered_writable;

active proctype store_buffers()
{
end:
    do
    :: atomic { buffered_interest -> interest = true; buffered_interest = false }
    :: atomic { buffered_writable -> writable = true; buffered_writable = false }
    od
}

inline set_writable()
{
    buffered_writable = true;
#ifndef MAP_WITHOUT_ORDERING
    !buffered_writable
#endif
}

/* mapped: a writable mapping may be made */
inline allow_writable()
{
#ifdef MAP_LOOKS_FIRST
    mapped = !interest;
    if
    :: mapped -> set_writable()
    :: else
    fi
#else
    set_writable();
    mapped = !interest;
    if
    :: !mapped -> !buffered_writable; writable = false
    :: else
    fi
#endif
}

active proctype writer()
{
    byte w = 0;
    bool mapped = false;

    do
    :: w == WRITES -> break
    :: w < WRITES ->
        w++;
        if
        :: !mapped -> allow_writable()
        :: else
        fi;
        if
        :: mapped ->
            primary = w /* it may be before or after the bit is visible: nothing else is ordered by it */
        :: else ->
#ifndef NOT_ANNOUNCED
            writing = true;
#endif
            primary = w;
            if
            :: interest -> posted = w
            :: else
            fi;
            writing = false
        fi;
        done = w
    od
}

active proctype installer()
{
    byte known, looked, round = 0, seen_posted = 0;
    bool loose, again;

#ifdef INSTALL_LOOKS_FIRST
    loose = writable;
    interest = true;
#else
    buffered_interest = true;
#ifndef INSTALL_WITHOUT_ORDERING
    !buffered_interest;
#endif
    loose = writable;
#endif
#ifdef NOT_LOOSE
    loose = false;
#endif
    derived = primary;
    do
    :: round == EVENTS -> break
    :: round < EVENTS ->
        known = done;
        looked = primary;
        again = loose || writing;
        if
        :: again || posted != seen_posted -> seen_posted = posted; derived = primary
        :: else
        fi;
        assert(derived >= known);
        assert(derived >= looked);
        round++
    od
}
