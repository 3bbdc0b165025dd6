/*
 * channel.pml - the patch channel's protocol for SPIN (design "Shadow MMU" point 4), written from the design, not from
 * the code: one producer, one consumer, two page-table entries with one channel entry each, and resync when the way is
 * taken by the other one. The producer's stores go through a store buffer of one place, as on x86.
 *
 * spin_model runs it as it is, and once for each mistake:
 *   -DCLEAR_AFTER_VALIDATE   the consumer reads the primary, then frees the entry
 *   -DFLAG_BEFORE_BODY       the flag is set before the body is written
 *   -DSKIP_WITHOUT_ORDERING  the producer looks at the flag while its store of the primary is still in the buffer
 *   -DRESYNC_CLEARED_LATE    resync is cleared after the consumer has read everything again
 *   -DPENDING_CLEARED_LATE   the summary is cleared after the drain
 */
#define N      2 /* page-table entries */
#define WRITES 4
#define NONE   255

byte primary[N];
byte copy[N];       /* derived by the consumer */
bool used;          /* one way: the flag, */
byte body_key;      /* and the body: which entry, */
byte body_derived;  /* the derived value, */
byte body_seen;     /* the primary seen */
bool resync;
bool summary;
byte done[N];       /* what the guest on the consumer's vCPU may know of */
byte buffered_key = NONE, buffered_value; /* the producer's store buffer */
bool producer_ended;

inline store_primary(k, v)
{
    buffered_key == NONE;
    atomic { buffered_value = v; buffered_key = k }
}

inline wait_for_buffer()
{
    buffered_key == NONE
}

active proctype store_buffer()
{
end:
    do
    :: atomic { buffered_key != NONE -> primary[buffered_key] = buffered_value; buffered_key = NONE }
    od
}

inline write_body(k, v)
{
    body_key = k;
    body_derived = v;
    body_seen = v
}

inline post(k, v)
{
#ifndef SKIP_WITHOUT_ORDERING
    wait_for_buffer();
#endif
    if
    :: used && body_key == k -> skip /* absorbed: its own earlier patch, which it alone writes */
    :: used && body_key != k -> resync = true; summary = true
    :: !used ->
#ifdef FLAG_BEFORE_BODY
        used = true;
        write_body(k, v);
#else
        write_body(k, v);
        used = true;
#endif
        summary = true
    fi
}

active proctype producer()
{
    byte w = 0, k;
    do
    :: w == WRITES -> break
    :: w < WRITES ->
        if
        :: k = 0
        :: k = 1
        fi;
        w++;
        store_primary(k, w);
        post(k, w);
        wait_for_buffer(); /* the message to the other guest comes after the store */
        done[k] = w
    od;
    producer_ended = true
}

inline derive(k, v, seen, now)
{
    if
    :: now == seen -> copy[k] = v   /* still valid: the derived value is applied */
    :: else -> copy[k] = now        /* derived again */
    fi
}

inline drain()
{
    if
    :: summary ->
#ifndef PENDING_CLEARED_LATE
        summary = false;
#endif
        if
        :: used ->
            d_step { key = body_key; v = body_derived; seen = body_seen };
#ifdef CLEAR_AFTER_VALIDATE
            now = primary[key];
            used = false;
#else
            used = false;
            now = primary[key];
#endif
            derive(key, v, seen, now)
        :: else
        fi;
        if
        :: resync ->
#ifndef RESYNC_CLEARED_LATE
            resync = false;
#endif
            copy[0] = primary[0];
            copy[1] = primary[1];
#ifdef RESYNC_CLEARED_LATE
            resync = false
#endif
        :: else
        fi;
#ifdef PENDING_CLEARED_LATE
        summary = false
#endif
    :: else
    fi
}

active proctype consumer()
{
    byte key, v, seen, now, known0, known1, round = 0;
    do
    :: round == 3 -> break
    :: round < 3 ->
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
