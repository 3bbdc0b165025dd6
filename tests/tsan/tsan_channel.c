/*
 * tsan_channel.c - vCPUs as threads on one matrix of patch channels (mm/channel.c, mm/matrix.c): each writes
 * entries of shared tables and posts, and drains now and then. Every thread keeps its own derived copy; after
 * a drain no entry may be older than what the thread knew before; in the end all copies are what the tables
 * are.
 *
 * Besides wrong results ThreadSanitizer reports every access that no order covers (P55, P56).
 */
#include "mm/matrix.h"
#include "tests/tsan/threads.h"

#include <string.h>

#define VCPUS   4u
#define TABLES  3u
#define INDICES 40u

static struct matrix m;
static u8 heap[1 << 20] aligned_to(64);
static _Atomic u64 heap_used;
static u64 heap_limit = sizeof(heap);

/* Entries grow. Written by one vCPU each (index % VCPUS), so that "older" means "smaller". */
static _Atomic u64 primary[TABLES][INDICES];
static _Atomic u64 told[TABLES][INDICES]; /* what the guest has said to the others that it wrote */
static u64 copy[VCPUS][TABLES][INDICES];
static _Atomic u64 posted, absorbed, overflowed, resyncs, drained;
static u64 steps;

static void *take_memory(void *ctx, u64 bytes)
{
    u64 at = atomic_fetch_add_explicit(&heap_used, ALIGN_UP(bytes, 64), memory_order_relaxed);

    (void)ctx;
    return at + bytes <= heap_limit ? heap + at : NULL;
}

static void write_entry(u32 vcpu, u64 table, u16 index)
{
    u64 value = atomic_load_explicit(&primary[table][index], memory_order_relaxed) + 1;
    struct patch p = {.frame = table, .index = index, .derived = value << 8 | table, .primary = value};

    atomic_store_explicit(&primary[table][index], value, memory_order_seq_cst);
    for (u32 c = 0; c < VCPUS; c++) {
        enum channel_posted r = matrix_post(&m, vcpu, c, &p);
        atomic_fetch_add_explicit(r == CHANNEL_POSTED     ? &posted
                                  : r == CHANNEL_ABSORBED ? &absorbed
                                                          : &overflowed,
                                  1, memory_order_relaxed);
    }
    atomic_store_explicit(&told[table][index], value, memory_order_release);
}

static void apply(void *ctx, const struct patch *p)
{
    u64(*mine)[INDICES] = ctx;
    u64 now = atomic_load_explicit(&primary[p->frame][p->index], memory_order_seq_cst);

    mine[p->frame][p->index] = now == p->primary ? p->derived >> 8 : now;
    REQUIRE(now != p->primary || (p->derived & 0xff) == p->frame);
    atomic_fetch_add_explicit(&drained, 1, memory_order_relaxed);
}

static void event(u32 vcpu)
{
    u64 known[TABLES][INDICES];

    for (u64 t = 0; t < TABLES; t++)
        for (u64 i = 0; i < INDICES; i++)
            known[t][i] = atomic_load_explicit(&told[t][i], memory_order_acquire);
    if (matrix_pending(&m, vcpu) && matrix_drain(&m, vcpu, apply, copy[vcpu])) {
        atomic_fetch_add_explicit(&resyncs, 1, memory_order_relaxed);
        for (u64 t = 0; t < TABLES; t++)
            for (u64 i = 0; i < INDICES; i++)
                copy[vcpu][t][i] = atomic_load_explicit(&primary[t][i], memory_order_seq_cst);
    }
    for (u64 t = 0; t < TABLES; t++)
        for (u64 i = 0; i < INDICES; i++)
            REQUIRE(copy[vcpu][t][i] >= known[t][i]);
}

static void *vcpu_main(void *arg)
{
    u32 vcpu = (u32)(uintptr_t)arg;
    u64 random = env_number("PB_SEED", 1) * 77 + vcpu * 1009 + 1;

    for (u64 n = 0; n < steps; n++) {
        u64 r = next_random(&random), range = r & 0x1000 ? VCPUS : INDICES; /* often the same few entries */
        if (r % 8)
            write_entry(vcpu, r / 8 % TABLES, (u16)(r / 64 % (range / VCPUS) * VCPUS + vcpu));
        else
            event(vcpu);
    }
    return NULL;
}

static void run(u64 limit)
{
    memset(heap, 0, sizeof(heap));
    memset((void *)primary, 0, sizeof(primary));
    memset((void *)told, 0, sizeof(told));
    memset(copy, 0, sizeof(copy));
    heap_used = 0;
    heap_limit = sizeof(heap);
    REQUIRE(matrix_init(&m, VCPUS, take_memory(NULL, matrix_metadata_size(VCPUS)), take_memory, NULL) ==
            ERR_OK);
    heap_limit = MIN(heap_limit, heap_used + limit);
    run_threads(VCPUS, vcpu_main);
    for (u32 v = 0; v < VCPUS; v++) {
        event(v);
        for (u64 t = 0; t < TABLES; t++)
            for (u64 i = 0; i < INDICES; i++)
                REQUIRE(copy[v][t][i] == primary[t][i]);
    }
}

int main(void)
{
    steps = env_number("PB_STEPS", 200000);
    run(sizeof(heap)); /* every pair has a channel */
    run(5000);         /* memory for four of them */
    printf(
        "channel and matrix: %u threads, %llu operations: %llu posted, %llu absorbed, %llu overflowed, %llu "
        "drained, %llu resyncs\n",
        VCPUS, (unsigned long long)(steps * 2 * VCPUS), (unsigned long long)posted,
        (unsigned long long)absorbed, (unsigned long long)overflowed, (unsigned long long)drained,
        (unsigned long long)resyncs);
    return 0;
}
