/* threads.h - real threads for the ThreadSanitizer programs. PB_STEPS bounds their work, PB_SEED varies it.
 */
#pragma once
#include "arch/types.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static inline u64 env_number(const char *name, u64 value)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 0) : value;
}

static inline u64 next_random(u64 *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state >> 11;
}

#define REQUIRE(condition)                                                   \
    do {                                                                     \
        if (!(condition)) {                                                  \
            printf("%s:%d: violated: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                         \
        }                                                                    \
    } while (0)

/* Runs body(i) in count threads and waits for all. */
static inline void run_threads(u32 count, void *(*body)(void *))
{
    pthread_t thread[16];

    REQUIRE(count <= 16);
    for (u32 i = 0; i < count; i++)
        REQUIRE(pthread_create(&thread[i], NULL, body, (void *)(uintptr_t)i) == 0);
    for (u32 i = 0; i < count; i++)
        REQUIRE(pthread_join(thread[i], NULL) == 0);
}
