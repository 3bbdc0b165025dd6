/*
 * matrix.pml - what the matrix adds to its channels (mm/matrix.h), for SPIN: two producers and one consumer. A channel
 * is a counter here: taking it means reading the producer's page-table entry. The second producer's channel may be
 * one that cannot be made: it tells what it writes as lost, with a store buffer for its primary.
 *
 * spin_model runs it as it is, and once for each mistake:
 *   -DSEEN_READ_LATE          the consumer notes as seen what is posted after it has drained the channel
 *   -DSEEN_OF_ANOTHER         one producer's patches make the consumer forget to look at the other one's
 *   -DNOT_TOLD                a channel that cannot be made is told to nobody
 *   -DLOST_CLEARED_LATE       `lost` is cleared after the consumer has read everything again
 *   -DSTORE_WITHOUT_ORDERING  the producer looks at `lost` while its store of the primary is buffered
 */
#ifndef WRITES
#define WRITES 3
#endif
#ifndef EVENTS
#define EVENTS 2
#endif

byte primary[2], posted[2], copy[2], done[2];
bool lost; /* the second producer's bit */
bool has_channel;
bool buffered;
byte buffered_value;
byte ended;

active proctype store_buffer()
{
end:
    do
    :: atomic { buffered -> primary[1] = buffered_value; buffered = false }
    od
}

proctype producer(byte me)
{
    byte w = 0;
    do
    :: w == WRITES -> break
    :: w < WRITES ->
        w++;
        if
        :: me == 0 -> primary[0] = w
        :: me == 1 ->
            !buffered;
            atomic { buffered_value = w; buffered = true };
#ifndef STORE_WITHOUT_ORDERING
            !buffered
#endif
        fi;
        if
        :: me == 0 || has_channel ->
            me == 0 || !buffered; /* stores in order */
            posted[me] = w
        :: else ->
#ifdef NOT_TOLD
            skip
#else
            if
            :: lost
            :: else -> !buffered; lost = true /* a locked operation */
            fi
#endif
        fi;
        me == 0 || !buffered;
        done[me] = w
    od;
    ended++
}

inline take(p)
{
    copy[p] = primary[p]
}

inline drain_one(p)
{
    word = posted[p];
    if
    :: word != seen[p] ->
#ifndef SEEN_READ_LATE
        seen[p] = word;
#endif
        take(p);
#ifdef SEEN_READ_LATE
        seen[p] = posted[p];
#endif
#ifdef SEEN_OF_ANOTHER
        seen[1 - p] = posted[1 - p]
#endif
    :: else
    fi
}

inline drain()
{
    drain_one(0);
    drain_one(1);
    if
    :: lost ->
#ifndef LOST_CLEARED_LATE
        lost = false;
#endif
        take(0);
        take(1);
#ifdef LOST_CLEARED_LATE
        lost = false
#endif
    :: else
    fi
}

active proctype consumer()
{
    byte word, known0, known1, round = 0, seen[2];

    if
    :: has_channel = true
    :: has_channel = false
    fi;
    run producer(0);
    run producer(1);
    do
    :: round == EVENTS -> break
    :: round < EVENTS ->
        known0 = done[0];
        known1 = done[1];
        drain();
        assert(copy[0] >= known0 && copy[1] >= known1);
        round++
    od;
    ended == 2;
    drain();
    assert(copy[0] == WRITES && copy[1] == WRITES)
}
