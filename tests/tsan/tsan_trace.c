/*
 * tsan_trace.c - vCPUs as threads that make writable mappings, install and remove traces, give them up, and have
 * events (mm/trace.c with mm/matrix.c; the steps are those of mm/shadow_sync.c, mm/shadow_reach.c and
 * mm/shadow_patch.c). A frame has one entry for each vCPU to write. After an event nothing that a vCPU derived is older
 * than what it knew before.
 */
#include "mm/matrix.h"
#include "mm/trace.h"
#include "tests/tsan/threads.h"

#include <string.h>

#define VCPUS      3u
#define FRAMES     5u
#define WHOLE      0xffffu /* index of a patch: the frame is not traced any more */
#define HEAP_BYTES (1u << 20)

static struct matrix m;
static u8 heap[HEAP_BYTES] aligned_to(64);
static _Atomic u64 heap_used;
static struct trace traces[FRAMES];
static _Atomic u64 primary[FRAMES][VCPUS];
static _Atomic u64 told[FRAMES][VCPUS];
static _Atomic u64 kicks[VCPUS];   /* frames that others want write-protected */
static _Atomic u64 writing[VCPUS]; /* frame + 1 */
static u64 steps;
static _Atomic u64 native, emulated, installs, kicked, given_up, events;

struct vcpu {
    u32 me;
    bool mapped[FRAMES], interested[FRAMES], loose[FRAMES];
    u64 copy[FRAMES][VCPUS];
};

static void count(_Atomic u64 *what)
{
    atomic_fetch_add_explicit(what, 1, memory_order_relaxed);
}

static void *take_memory(void *ctx, u64 bytes)
{
    u64 at = atomic_fetch_add_explicit(&heap_used, ALIGN_UP(bytes, 64), memory_order_relaxed);

    (void)ctx;
    return at + bytes <= HEAP_BYTES ? heap + at : NULL;
}

static void protect(struct vcpu *v, u64 frame)
{
    v->mapped[frame] = false;
    trace_clear_writable(&traces[frame], v->me);
}

static void serve_kicks(struct vcpu *v)
{
    u64 frames = atomic_exchange_explicit(&kicks[v->me], 0, memory_order_acquire);

    for (; frames; frames &= frames - 1) {
        protect(v, (u64)__builtin_ctzll(frames));
        count(&kicked);
    }
}

static void derive(struct vcpu *v, u64 frame)
{
    for (u32 i = 0; i < VCPUS; i++)
        v->copy[frame][i] = atomic_load_explicit(&primary[frame][i], memory_order_seq_cst);
}

static void install(struct vcpu *v, u64 frame)
{
    u64 writable = trace_install(&traces[frame], v->me);

    if (writable & BIT(v->me))
        protect(v, frame);
    writable &= ~BIT(v->me);
    v->interested[frame] = true;
    v->loose[frame] = writable != 0;
    for (; writable; writable &= writable - 1)
        atomic_fetch_or_explicit(&kicks[__builtin_ctzll(writable)], BIT(frame), memory_order_release);
    derive(v, frame);
    count(&installs);
}

static void give_up(struct vcpu *v, u64 frame)
{
    u64 interest;

    atomic_store_explicit(&writing[v->me], frame + 1, memory_order_seq_cst);
    interest = trace_give_up(&traces[frame]) & ~BIT(v->me);
    v->loose[frame] = true;
    for (; interest; interest &= interest - 1)
        (void)matrix_post(&m, v->me, (u32)__builtin_ctzll(interest),
                          &(struct patch){.frame = frame, .index = WHOLE});
    atomic_store_explicit(&writing[v->me], 0, memory_order_release);
    count(&given_up);
}

static void store(struct vcpu *v, u64 frame)
{
    u64 value = atomic_load_explicit(&primary[frame][v->me], memory_order_relaxed) + 1;

    if (!v->mapped[frame])
        v->mapped[frame] = trace_allow_writable(&traces[frame], BIT(v->me));
    if (v->mapped[frame]) {
        atomic_store_explicit(&primary[frame][v->me], value, memory_order_release);
        count(&native);
    } else {
        atomic_store_explicit(&writing[v->me], frame + 1, memory_order_seq_cst);
        atomic_store_explicit(&primary[frame][v->me], value, memory_order_seq_cst);
        for (u64 to = trace_interest(&traces[frame]); to; to &= to - 1)
            (void)matrix_post(
                &m, v->me, (u32)__builtin_ctzll(to),
                &(struct patch){.frame = frame, .index = (u16)v->me, .primary = value, .derived = value});
        atomic_store_explicit(&writing[v->me], 0, memory_order_release);
        count(&emulated);
    }
    atomic_store_explicit(&told[frame][v->me], value, memory_order_release);
}

static void take(void *ctx, const struct patch *p)
{
    struct vcpu *v = ctx;

    if (p->index == WHOLE)
        v->loose[p->frame] = true;
    else
        v->copy[p->frame][p->index] =
            atomic_load_explicit(&primary[p->frame][p->index], memory_order_seq_cst);
}

static void event(struct vcpu *v)
{
    u64 known[FRAMES][VCPUS];

    for (u32 f = 0; f < FRAMES; f++)
        for (u32 i = 0; i < VCPUS; i++)
            known[f][i] = atomic_load_explicit(&told[f][i], memory_order_acquire);
    for (u32 i = 0; i < VCPUS; i++) {
        u64 frame = atomic_load_explicit(&writing[i], memory_order_seq_cst);
        if (frame)
            derive(v, frame - 1);
    }
    if (matrix_pending(&m, v->me) && matrix_drain(&m, v->me, take, v))
        memset(v->loose, true, sizeof(v->loose)); /* what was lost may have been WHOLE */
    for (u32 f = 0; f < FRAMES; f++) {
        if (v->loose[f] && v->interested[f])
            install(v, f); /* reads it again */
        for (u32 i = 0; i < VCPUS && v->interested[f]; i++)
            REQUIRE(v->copy[f][i] >= known[f][i]);
    }
    count(&events);
}

static void *vcpu_main(void *arg)
{
    struct vcpu v = {.me = (u32)(uintptr_t)arg};
    u64 random = env_number("PB_SEED", 1) * 77 + v.me * 1009 + 1;

    for (u64 n = 0; n < steps; n++) {
        u64 r = next_random(&random), frame = r / 64 % FRAMES;
        serve_kicks(&v);
        switch (r % 64) {
        case 0: give_up(&v, frame); break;
        case 1:
            trace_remove(&traces[frame], v.me);
            v.interested[frame] = false;
            break;
        case 2:
        case 3:
        case 4: install(&v, frame); break;
        default:
            if (r % 4)
                store(&v, frame);
            else
                event(&v);
        }
    }
    return NULL;
}

int main(void)
{
    steps = env_number("PB_STEPS", 500000);
    REQUIRE(matrix_init(&m, VCPUS, take_memory(NULL, matrix_metadata_size(VCPUS)), take_memory, NULL) ==
            ERR_OK);
    run_threads(VCPUS, vcpu_main);
    printf("traces: %u threads, %llu operations: %llu native and %llu emulated stores, %llu installs, %llu "
           "kicks "
           "served, %llu given up, %llu events\n",
           VCPUS, (unsigned long long)(steps * VCPUS), (unsigned long long)native,
           (unsigned long long)emulated, (unsigned long long)installs, (unsigned long long)kicked,
           (unsigned long long)given_up, (unsigned long long)events);
    return 0;
}
