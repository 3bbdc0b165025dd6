/* loops.h - the measured loops; see bench.h. Included once by each kind, after what it defines. */
#define IN_REGISTER(value)      __asm__("" : "+r"(value))
#define KEEP_COMPILER_HONEST(p) __asm__ volatile("" : : "g"(p) : "memory")

static struct channel_of_kind first_channel;
#ifndef ONE_THREAD_ONLY
static struct channel_of_kind second_channel;
#endif

struct taken {
    uint64_t count, sum, last;
};

/* The consumer's work is the same for all: it reads the whole patch. */
static ALWAYS_INLINE void take(void *ctx, const struct bench_patch *p)
{
    struct taken *t = (struct taken *)ctx;

    t->count++;
    t->sum += p->frame + p->derived + p->primary + p->index;
    t->last = p->primary;
}

static ALWAYS_INLINE struct bench_patch patch_number(uint64_t n, enum bench_keys keys)
{
    struct bench_patch p;

    uint64_t entry = keys == KEYS_DISTINCT ? n : keys == KEYS_IN_PAIRS ? n / 2 : 7;
    uint32_t index = entry % 512;

    IN_REGISTER(index); /* a caller has it at hand; it is not worked out twice, as a number and as a field */
    p.frame = entry / 512;
    p.derived = n << 12;
    p.primary = n;
    p.index = (uint16_t)index;
    p.unused = 0;
    return p;
}

static ALWAYS_INLINE uint64_t one_thread_with(uint64_t count, uint32_t batch, enum bench_keys keys)
{
    struct taken t = {0, 0, 0};
    uint64_t n = 0;

    kind_init(&first_channel);
    while (n < count) {
        for (uint32_t i = 0; i < batch; i++) {
            struct bench_patch p = patch_number(n++, keys);
            kind_post(&first_channel, &p);
        }
        KEEP_COMPILER_HONEST(&first_channel);
        kind_drain(&first_channel, &t);
        KEEP_COMPILER_HONEST(&first_channel);
    }
    bench_sink = t.sum;
    return t.count;
}

static uint64_t one_thread(uint64_t count, uint32_t batch, enum bench_keys keys)
{
    switch (keys) { /* three loops, each without the question */
    case KEYS_DISTINCT: return one_thread_with(count, batch, KEYS_DISTINCT);
    case KEYS_IN_PAIRS: return one_thread_with(count, batch, KEYS_IN_PAIRS);
    default: return one_thread_with(count, batch, KEYS_ONE);
    }
}

#ifndef ONE_THREAD_ONLY
static void two_threads_init(void)
{
    kind_init(&first_channel);
    kind_init(&second_channel);
}

static ALWAYS_INLINE void wait_for(struct channel_of_kind *k, struct taken *t, uint64_t number)
{
    for (kind_drain(k, t); t->last != number; kind_drain(k, t))
        __builtin_ia32_pause();
}

static void produce(uint64_t count)
{
    for (uint64_t n = 1; n <= count; n++) {
        struct bench_patch p = patch_number(n, KEYS_DISTINCT);
        while (!kind_post(&first_channel, &p))
            __builtin_ia32_pause();
    }
}

static uint64_t consume(uint64_t count)
{
    struct taken t = {0, 0, 0};

    wait_for(&first_channel, &t, count);
    bench_sink = t.sum;
    return t.count;
}

static void ping(uint64_t rounds)
{
    struct taken t = {0, 0, 0};

    for (uint64_t n = 1; n <= rounds; n++) {
        struct bench_patch p = patch_number(n, KEYS_DISTINCT);
        kind_post(&first_channel, &p);
        wait_for(&second_channel, &t, n);
    }
    bench_sink = t.sum;
}

static void pong(uint64_t rounds)
{
    struct taken t = {0, 0, 0};

    for (uint64_t n = 1; n <= rounds; n++) {
        wait_for(&first_channel, &t, n);
        struct bench_patch p = patch_number(n, KEYS_DISTINCT);
        kind_post(&second_channel, &p);
    }
    bench_sink = t.sum;
}
#endif
