/*
 * explore.h - runs two or three threads of real code in every order there is.
 *
 * The code under test is compiled with gcc -fsanitize=thread and linked with explore.c instead of the
 * sanitizer's library: so every access to memory, plain or atomic, calls us before it happens, with its
 * order, and the code itself is what the hypervisor runs, unchanged. At each access to the shared arena the
 * explorer may go on with another thread.
 *
 * Memory is that of x86 (TSO): a thread's plain, relaxed and release stores go into its store buffer, which
 * it sees itself and which reaches the others one store at a time, in order, at any later moment; a seq_cst
 * store and every read-modify-write wait until the own buffer is empty. (Orders that x86 gives for nothing,
 * such as acquire, cannot be found missing here: ThreadSanitizer does that, tests/tsan.)
 *
 * A state is: the arena, the store buffers, and the threads' stacks and registers. States seen before are not
 * explored again, so the search ends.
 */
#pragma once
#include "arch/types.h"
#include <stdatomic.h>

#define MODEL_THREADS_MAX 3
#define MODEL_ARENA_BYTES 8192

/* All that threads share lives here. */
extern u8 model_arena[MODEL_ARENA_BYTES];
#define MODEL_SHARED(type) ((type *)(void *)model_arena)

struct model {
    const char *name;
    void (*set_up)(void); /* arena is zeroed before */
    void (*thread[MODEL_THREADS_MAX])(void);
    void (*check)(void); /* after all threads have ended and all buffers are empty */
    u64 bytes;           /* of the arena that are used; 0: all */
};

/* From set_up(): memory in the arena, 8-byte aligned, that only this thread touches, or that nobody changes.
 * Accesses to it are no places to go on with another thread. That it is so is checked. */
void model_private(u32 thread, const void *from, const void *to);
void model_constant(const void *from, const void *to);

/*
 * Mistakes in what the code leaves to its callers are made by the models themselves (those in the code: broken/). Which one,
 * build_model says; the names are those of the SPIN models.
 */
enum model_mistake {
    AS_IT_IS,
    STORE_WITHOUT_ORDERING,
    STORED_AGAIN,
    NOT_VALIDATED,
    NOT_LOOSE,
    NOT_READ_AGAIN,
    NOT_ANNOUNCED,
    ANNOUNCE_WITHOUT_ORDERING,
    ENDED_BEFORE_POSTED,
    NOT_TOLD,
    TOLD_LATE,
    NOT_REVOKED,
    REVOKED_LATE,
    FORWARDED_LOOSE,
    LISTED_LATE,
    NOT_LOOKED,
    PATCH_LOOKED_FIRST,
    PATCH_NOT_LOOKED,
    FRAME_NOT_LOOKED,
};
#define model_makes(mistake) (MODEL_MISTAKE == (mistake))

/* The running thread's number; -1 in set_up and check. */
int model_thread(void);

/* In threads and check: this must hold in every order. */
#define model_require(condition) model_require_(condition, #condition, __LINE__)
void model_require_(bool condition, const char *text, int line);

/*
 * Explores; prints what it saw. expect_broken: the code was broken on purpose, and a violation must be found.
 * Returns the exit code of the program.
 */
int model_run(const struct model *m, bool expect_broken);
