/*
 * bench.h - one kind of channel as the comparison sees it. Each kind is a file of its own that defines
 * `channel_of_kind`, kind_init(), kind_post() and kind_drain(), and then includes loops.h: so each is compiled
 * with its post and drain inlined, and the loops are the same text for all. C and C++.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define BENCH_ENTRIES 32u
#define ALWAYS_INLINE inline __attribute__((always_inline)) /* for all kinds alike */

/* A patch, for all kinds: 32 bytes, by value. */
struct bench_patch {
    uint64_t frame, derived, primary;
    uint16_t index;
    uint32_t unused;
};

/* What the keys of successive patches are. */
enum bench_keys {
    KEYS_DISTINCT, /* an entry of another slot each time */
    KEYS_IN_PAIRS, /* each entry is written twice */
    KEYS_ONE,      /* one entry is written again and again */
};

struct bench_kind {
    const char *name;
    /* One thread: `count` patches, a drain after each `batch`; returns those that were drained. */
    uint64_t (*one_thread)(uint64_t count, uint32_t batch, enum bench_keys keys);
    /* Two threads: NULL if the kind cannot. The producer's end and the consumer's; both return patches posted
     * or taken. The consumer ends when it has seen the last one. */
    void (*two_threads_init)(void);
    void (*produce)(uint64_t count);
    uint64_t (*consume)(uint64_t count);
    /* Two channels: ping posts to the first and waits for an answer in the second, pong answers. */
    void (*ping)(uint64_t rounds);
    void (*pong)(uint64_t rounds);
};

#ifdef __cplusplus
extern "C" {
#endif
extern const struct bench_kind bench_patchbay, bench_patchbay_self, bench_ck, bench_boost;
/* All bytes of what was drained end up here, so that no work is left out. */
extern volatile uint64_t bench_sink;
#ifdef __cplusplus
}
#endif
