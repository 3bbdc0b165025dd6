/*
 * revoke.pml - faults of the guest's own with no exit while another vCPU stores to its tables (mm/revoke.h), for SPIN:
 * written from the description, not from the code. The owner's shadow page of table T has one entry: forwarded, or (upper) a
 * link on the way to one that is. A producer stores to T and to another table. Both CPUs have a store buffer.
 *
 * On its exits the owner drains, derives the entry, lets its guest store to T, or gives the page's frame another use. Its
 * guest then reads the primary and uses the entry: where a fault needs no exit, the entry must be what the primary says.
 *
 * spin_model runs it as it is, and once for each mistake:
 *   -DREVOKED_LATE              the producer revokes after its store
 *   -DNOT_EXCHANGED             it looks at the entry, then stores: what the owner wrote in between is lost
 *   -DLINKS_LEFT                it revokes what is forwarded, not the links to it
 *   -DNOT_ANNOUNCED             it does not announce its store
 *   -DANNOUNCE_WITHOUT_ORDERING ... or looks in the list while the announcement is buffered
 *   -DENDED_BEFORE_POSTED       ... or ends it before the patch is there
 *   -DNOT_LOOKED                the owner does not look whether a store was announced while it wrote
 *   -DLOOK_WITHOUT_ORDERING     ... or looks while what it wrote is buffered
 *   -DPATCH_LOOKED_FIRST        ... or looks for a patch first, then for an announcement
 *   -DPATCH_NOT_LOOKED          ... or for an announcement alone
 *   -DLISTED_LATE               ... or lists the page after it has looked
 *   -DA_CLEARED_BY_STORE        the owner clears A in a link by a load and a store, and does not look
 *   -DFRAME_NOT_LOOKED          a frame is used again whoever stores to its table
 *   -DREMOVE_WITHOUT_ORDERING   ... or the owner looks while the page's removal from the list is buffered
 */
#ifndef WRITES
#define WRITES 2
#endif
#ifndef EXITS
#define EXITS 3
#endif
#define ABSENT  15 /* entries: this, or the primary that they were derived from, perhaps revoked */
#define REVOKED 16

#define ENTRY   0 /* memory */
#define LIST    1
#define PRIMARY 2
#define POSTED  3 /* patches to T */
#define STORING 4
#define TO_T    5 /* where it stores: T, or the other table */

byte mem[6];
chan owners = [3] of {byte, byte};
chan producers = [3] of {byte, byte};
bool upper, used_again;

/* Which entries another vCPU takes out of use. 0 of a leaf table is a primary with P=0. */
#define IN_USE(e)   (e < ABSENT && (upper || e == 0))
#ifdef LINKS_LEFT
#define REVOKE(e)   (e == 0 && !upper)
#else
#define REVOKE(e)   IN_USE(e)
#endif
#define REVOKED_OF(e) (upper -> e + REVOKED : ABSENT)

active proctype store_buffers()
{
    byte at, value;
end:
    do
    :: atomic { owners?at,value -> mem[at] = value; at = 0; value = 0 }
    :: atomic { producers?at,value -> mem[at] = value; at = 0; value = 0 }
    od
}

/* -- producer -- */

inline revoke()
{
    if
    :: mem[LIST] ->
        e = mem[ENTRY];
        do
        :: !REVOKE(e) -> break
        :: REVOKE(e) ->
#ifdef NOT_EXCHANGED
            producers!ENTRY,REVOKED_OF(e);
            break
#else
            empty(producers);
            atomic {
                if
                :: mem[ENTRY] == e -> assert(!used_again); mem[ENTRY] = REVOKED_OF(e); break
                :: else -> e = mem[ENTRY]
                fi
            }
#endif
        od;
        e = 0
    :: else
    fi
}

proctype producer()
{
    byte w = 0, e, value;
    bool to_t;

    do
    :: w == WRITES -> break
    :: w < WRITES ->
        w++;
        if
        :: to_t = true
        :: to_t = false
        fi;
#ifndef NOT_ANNOUNCED
        producers!TO_T,to_t;
        producers!STORING,1;
#endif
#ifndef ANNOUNCE_WITHOUT_ORDERING
        empty(producers);
#endif
        if
        :: to_t ->
#ifndef REVOKED_LATE
            revoke();
#endif
            if
            :: value = 0
            :: value = 1
            fi;
            producers!PRIMARY,value;
            empty(producers);
#ifdef REVOKED_LATE
            revoke();
#endif
#ifdef ENDED_BEFORE_POSTED
            producers!STORING,0;
            producers!POSTED,w
#else
            producers!POSTED,w;
            producers!STORING,0
#endif
        :: else -> producers!STORING,0
        fi
    od
}

/* -- owner -- */

inline write(value)
{
    /* What it finds is what it wrote, but for what the producer may do: its own accounts are right. */
    assert(nempty(owners) || mem[ENTRY] == last || (IN_USE(last) && mem[ENTRY] == REVOKED_OF(last)));
#ifndef LISTED_LATE
    if
    :: !listed -> owners!LIST,1; listed = true
    :: else
    fi;
#endif
    last = value;
    owners!ENTRY,last;
    unproven = true
}

inline drain()
{
    if
    :: mem[STORING] -> again = mem[TO_T]
    :: else
    fi;
    if
    :: mem[POSTED] != seen -> seen = mem[POSTED]; again = true
    :: else
    fi;
    if
    :: again && !killed -> write(mem[PRIMARY])
    :: else
    fi;
    again = false
}

inline look_for_store()
{
    if
    :: mem[STORING] -> again = again || mem[TO_T]
    :: else
    fi
}

inline look_for_patch()
{
#ifndef PATCH_NOT_LOOKED
    again = again || mem[POSTED] != seen
#else
    skip
#endif
}

/* May faults go to the guest with no exit now? */
inline prove()
{
#ifndef LOOK_WITHOUT_ORDERING
    empty(owners);
#endif
#ifndef NOT_LOOKED
#ifdef PATCH_LOOKED_FIRST
    look_for_patch();
    look_for_store();
#else
    look_for_store();
    look_for_patch();
#endif
#endif
    unproven = again;
    again = false;
#ifdef LISTED_LATE
    if
    :: !listed -> owners!LIST,1; listed = true
    :: else
    fi
#endif
}

inline use_again()
{
#ifndef FRAME_NOT_LOOKED
    look_for_store();
#endif
    if
    :: again -> again = false
    :: else -> used_again = true; empty(owners); mem[ENTRY] = 0
    fi
}

inline clear_accessed()
{
#ifdef A_CLEARED_BY_STORE
    empty(owners);
    e = mem[ENTRY];
    if
    :: IN_USE(e) -> owners!ENTRY,e
    :: else
    fi;
    e = 0
#else
    skip /* by one locked operation: the entry stays what it is */
#endif
}

inline run_guest()
{
    empty(owners);
    seen_primary = mem[PRIMARY];
    assert(!(IN_USE(mem[ENTRY]) && mem[ENTRY] != seen_primary));
    seen_primary = 0
}

proctype owner()
{
    byte round = 0, seen = 0, last = ABSENT, seen_primary, e;
    bool listed, unproven, killed, again;

    do
    :: round == EXITS || used_again -> break
    :: round < EXITS && !used_again ->
        round++;
        if
        :: drain()
        :: skip
        fi;
        if
        :: !killed -> write(mem[PRIMARY])
        :: !killed ->
            empty(owners);
            if
            :: mem[PRIMARY] = 0
            :: mem[PRIMARY] = 2
            fi;
            write(mem[PRIMARY])
        :: !killed ->
            killed = true;
            owners!LIST,0;
#ifndef REMOVE_WITHOUT_ORDERING
            empty(owners);
#endif
            use_again()
        :: killed -> use_again()
        :: !killed -> clear_accessed()
        fi;
        if
        :: unproven && !killed -> prove()
        :: else
        fi;
        if
        :: !unproven && !killed -> run_guest()
        :: else
        fi
    od
}

init
{
    atomic {
        mem[ENTRY] = ABSENT;
        if
        :: upper = false
        :: upper = true
        fi;
        run owner();
        run producer()
    }
}
