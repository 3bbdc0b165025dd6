/*
 * main.c - the patch channel beside other people's queues, in one run: what a post and its share of a drain
 * cost. Every row measures all kinds in turn, ROUNDS times, and shows each one's best, so that they see the
 * same machine.
 */
#define _GNU_SOURCE
#include "tests/bench/channel/bench.h"
#include "tests/bench/channel/matrix_costs.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUNDS 40
#define NEVER  1e9

volatile uint64_t bench_sink;

static const struct bench_kind *const kinds[] = {&bench_patchbay_self, &bench_patchbay, &bench_ck,
                                                 &bench_boost};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static uint64_t operations;

static double now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void require(bool condition, const struct bench_kind *kind, const char *what)
{
    if (condition)
        return;
    printf("%s: %s\n", kind->name, what);
    exit(1);
}

/* ---- two threads, each on a CPU of its own ---- */

struct job {
    const struct bench_kind *kind;
    bool round_trips;
    uint64_t count;
};
static pthread_barrier_t both_ready;

static bool stay_on_cpu(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    return pthread_setaffinity_np(pthread_self(), sizeof(set), &set) == 0;
}

static void *other_thread(void *arg)
{
    const struct job *job = arg;

    require(stay_on_cpu(1), job->kind, "two threads need two CPUs");
    pthread_barrier_wait(&both_ready);
    if (job->round_trips)
        job->kind->pong(job->count);
    else
        require(job->kind->consume(job->count) == job->count, job->kind, "patches are missing");
    return NULL;
}

static double two_threads(const struct bench_kind *kind, bool round_trips)
{
    struct job job = {kind, round_trips, operations / (round_trips ? 50 : 10)};
    pthread_t other;
    double start;

    kind->two_threads_init();
    pthread_barrier_init(&both_ready, NULL, 2);
    require(stay_on_cpu(0), kind, "two threads need two CPUs");
    require(!pthread_create(&other, NULL, other_thread, &job), kind, "no thread");
    pthread_barrier_wait(&both_ready);
    start = now_ns();
    if (round_trips)
        kind->ping(job.count);
    else
        kind->produce(job.count);
    pthread_join(other, NULL);
    return (now_ns() - start) / (double)(job.count * (round_trips ? 2 : 1));
}

/* ---- one thread ---- */

static double one_thread(const struct bench_kind *kind, uint32_t batch, enum bench_keys keys)
{
    uint64_t count = operations / batch * batch, drained;
    double start = now_ns(), ns;

    drained = kind->one_thread(count, batch, keys);
    ns = (now_ns() - start) / (double)count;
    require(keys == KEYS_DISTINCT ? drained == count : drained && drained <= count, kind,
            "a patch is missing");
    return ns;
}

struct row {
    const char *text;
    uint32_t batch; /* 0: two threads */
    enum bench_keys keys;
    bool round_trips;
};
static const struct row rows[] = {
    {"one thread: post, drain", 1, KEYS_DISTINCT, false},
    {"one thread: 8 posts, drain", 8, KEYS_DISTINCT, false},
    {"one thread: 32 posts, drain", 32, KEYS_DISTINCT, false},
    {"the same, each entry written twice", 32, KEYS_IN_PAIRS, false},
    {"the same, one entry written 32 times", 32, KEYS_ONE, false},
    {"two threads: as fast as they can", 0, KEYS_DISTINCT, false},
    {"two threads: there and back, each way", 0, KEYS_DISTINCT, true},
};

static void measure(const struct row *row)
{
    double best[KINDS];

    for (unsigned k = 0; k < KINDS; k++)
        best[k] = NEVER;
    for (unsigned round = 0; round < ROUNDS; round++)
        for (unsigned k = 0; k < KINDS; k++) {
            if (!row->batch && !kinds[k]->produce)
                continue;
            double ns = row->batch ? one_thread(kinds[k], row->batch, row->keys)
                                   : two_threads(kinds[k], row->round_trips);
            best[k] = ns < best[k] ? ns : best[k];
        }
    printf("%-40s", row->text);
    for (unsigned k = 0; k < KINDS; k++)
        if (best[k] < NEVER)
            printf("%16.2f", best[k]);
        else
            printf("%16s", "-");
    printf("\n");
}

static const char notes[] =
    "patchbay        a set: a patch for an entry that has one on its way is absorbed; the consumer reads in "
    "place,\n"
    "                compares with the primary, and has a full barrier while the producer absorbs\n"
    "patchbay, self  the same from a vCPU to itself: both ends on one CPU, plain stores\n"
    "ck_ring         Concurrency Kit, SPSC: a queue of copies; every write is transported\n"
    "spsc_queue      Boost.Lockfree: likewise\n";

int main(void)
{
    const char *text = getenv("PB_STEPS");

    operations = text ? strtoull(text, NULL, 0) : 1000000;
    printf("ns per patch of 32 bytes (its post and its share of a drain), the best of %d rounds\n%-40s",
           ROUNDS, "");
    for (unsigned k = 0; k < KINDS; k++)
        printf("%16s", kinds[k]->name);
    printf("\n");
    for (unsigned r = 0; r < sizeof(rows) / sizeof(rows[0]); r++)
        measure(&rows[r]);
    printf("\n%s\n", notes);
    matrix_costs();
    return 0;
}
