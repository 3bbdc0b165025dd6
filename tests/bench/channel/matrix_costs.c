/* matrix_costs.c - see matrix_costs.h. A child does each thing often before it is counted. */
#define _GNU_SOURCE
#include "tests/bench/channel/matrix_costs.h"

#include "mm/matrix.h"
#include "tests/bench/steps.h"

#include <stdlib.h>
#include <string.h>

static const u32 sizes[] = {1, 2, 4, 8, 16, 64};

static struct matrix m;
static u8 heap[16 << 20] aligned_to(4096);
static u64 heap_used;
static volatile u64 taken;

static void *take_memory(void *ctx, u64 bytes)
{
    void *at = heap + heap_used;

    (void)ctx;
    heap_used += ALIGN_UP(bytes, 64);
    return heap_used <= sizeof(heap) ? at : NULL;
}

static void take(void *ctx, const struct patch *p)
{
    (void)ctx;
    taken += p->primary;
}

static struct patch number(u64 n)
{
    return (struct patch){.frame = 7, .index = (u16)(n % 512), .derived = n << 12, .primary = n};
}

/* Nobody is used to duplicates, every channel that is used exists, and everything is drained. */
static void set_up(u32 vcpus, u32 interested)
{
    memset(heap, 0, heap_used);
    heap_used = 0;
    if (matrix_init(&m, vcpus, take_memory(NULL, matrix_metadata_size(vcpus)), take_memory, NULL) != ERR_OK)
        exit(2);
    for (u64 n = 0; n < 3 * CHANNEL_ENTRIES + 1; n++)
        for (u32 c = 0; c < interested; c++) {
            struct patch p = number(n);
            (void)matrix_post(&m, 0, (c + 1) % vcpus, &p);
            (void)!matrix_drain(&m, (c + 1) % vcpus, take, NULL);
        }
}

enum what { NOTHING, POST_ONE, POST_TWO, LOOK, DRAIN_ONE, WHATS };

static __attribute__((noinline)) void act(enum what what, u32 vcpus, const struct patch *p)
{
    u32 consumer = vcpus > 1 ? 1 : 0;

    switch (what) {
    case POST_TWO: (void)matrix_post(&m, 0, 2 % vcpus, p); /* fall through */
    case POST_ONE: (void)matrix_post(&m, 0, consumer, p); break;
    case LOOK: taken += matrix_pending(&m, consumer); break;
    case DRAIN_ONE: (void)!matrix_drain(&m, consumer, take, NULL); break;
    default: break;
    }
}

struct scene {
    enum what what;
    u32 vcpus;
    bool counted; /* false: nothing between the marks */
};

static void child(const void *arg)
{
    const struct scene *s = arg;
    struct patch p = number(400);

    set_up(s->vcpus, s->what == POST_TWO ? 2 : 1);
    if (s->what == DRAIN_ONE)
        act(POST_ONE, s->vcpus, &p);
    STEPS_MARK();
    act(s->counted ? s->what : NOTHING, s->vcpus, &p);
    STEPS_MARK();
}

static u64 instructions(enum what what, u32 vcpus)
{
    struct scene s = {what, vcpus, true}, nothing = {what, vcpus, false};

    return steps_of(child, &s) - steps_of(child, &nothing);
}

void matrix_costs(void)
{
    static const char *const text[] = {[POST_ONE] = "a patch for one vCPU with interest",
                                       [POST_TWO] = "a patch for two",
                                       [LOOK] = "an event: is there anything?",
                                       [DRAIN_ONE] = "an event: one patch taken"};

    printf("instructions in a matrix of so many vCPUs\n%-40s", "");
    for (u32 i = 0; i < ARRAY_SIZE(sizes); i++)
        printf("%8u", sizes[i]);
    printf("\n");
    for (enum what what = POST_ONE; what < WHATS; what++) {
        printf("%-40s", text[what]);
        for (u32 i = 0; i < ARRAY_SIZE(sizes); i++)
            if (what == POST_TWO && sizes[i] < 4)
                printf("%8s", "-");
            else
                printf("%8llu", (unsigned long long)instructions(what, sizes[i]));
        printf("\n");
    }
}
