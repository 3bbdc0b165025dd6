/* explore.c - see explore.h. This file and nothing else in the program is compiled without -fsanitize=thread.
 */
#include "tests/model/explore.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define STACK_BYTES  16384
#define BUFFER_MAX   24
#define DEPTH_MAX    4000
#define VISITED_LOG2 25
#define STEP_COMMIT  8 /* choices 0..2: run that thread; 8..10: its oldest store reaches memory */
#define TRACE_MAX    400

u8 model_arena[MODEL_ARENA_BYTES] aligned_to(4096);

struct store {
    u32 word; /* index of the 8-byte word */
    u64 value, mask;
};

struct thread {
    jmp_buf at;
    bool done, waits_empty; /* its next access needs an empty store buffer */
    u32 buffered;
    struct store buffer[BUFFER_MAX];
};

/* A state, but for the stacks, of which only the used part is kept. */
struct state {
    u8 memory[MODEL_ARENA_BYTES]; /* what all threads see */
    struct thread thread[MODEL_THREADS_MAX];
};

static struct state now;
static u8 stack[MODEL_THREADS_MAX][STACK_BYTES] aligned_to(64);
static u32 stack_low[MODEL_THREADS_MAX]; /* used part: from here up */
static u8 seen_by_current[MODEL_ARENA_BYTES];
static int current = -1; /* the thread that runs; -1: explorer, set_up or check */
static u32 arena_words;
static jmp_buf explorer;
static ucontext_t boot_context[MODEL_THREADS_MAX], main_context;
static const struct model *model;
static const char *violation;
static int violation_line;
static u32 threads;
#define OWNER_SHARED 0
#define OWNER_NOBODY 255                   /* constant */
static u8 owner_of[MODEL_ARENA_BYTES / 8]; /* by word: those two, or thread + 1 */

/* The bytes of the arena that the running thread stores to before its next access. */
static struct {
    u64 from, to;
} about_to_store;

static void set_owner(const void *from, const void *to, u8 owner)
{
    for (const u8 *p = from; p < (const u8 *)to; p += 8)
        owner_of[(p - model_arena) / 8] = owner;
}

void model_private(u32 thread, const void *from, const void *to)
{
    set_owner(from, to, (u8)(thread + 1));
}

void model_constant(const void *from, const void *to)
{
    set_owner(from, to, OWNER_NOBODY);
}

void model_require_(bool condition, const char *text, int line)
{
    if (!condition && !violation) {
        violation = text;
        violation_line = line;
    }
}

int model_thread(void)
{
    return current;
}

/* ---- the running thread's view of memory: memory with its own buffered stores on top ---- */

static void show_view(int t)
{
    memcpy(model_arena, now.memory, sizeof(u64) * arena_words);
    for (u32 i = 0; t >= 0 && i < now.thread[t].buffered; i++) {
        const struct store *s = &now.thread[t].buffer[i];
        u64 *word = (u64 *)(void *)model_arena + s->word;
        *word = (*word & ~s->mask) | (s->value & s->mask);
    }
    memcpy(seen_by_current, model_arena, sizeof(u64) * arena_words);
}

static void buffer_store(struct thread *t, struct store s)
{
    if (t->buffered == BUFFER_MAX) {
        fprintf(stderr, "store buffer of the model is too small\n");
        exit(2);
    }
    t->buffer[t->buffered++] = s;
}

static u64 bytes_mask(u64 from, u64 to)
{
    u64 mask = 0;

    for (u64 b = from; b < to; b++)
        mask |= 0xffull << b * 8;
    return mask;
}

/* Stores are made by the code itself; what each has stored is found by comparing, and where by what was said before: a
 * store of what is there already is one, too. */
static void collect_stores(void)
{
    for (u32 w = 0; w < arena_words; w++) {
        u64 old = ((u64 *)(void *)seen_by_current)[w], new = ((u64 *)(void *)model_arena)[w];
        u64 at = w * sizeof(u64), mask = 0;
        if (about_to_store.from < at + sizeof(u64) && about_to_store.to > at)
            mask =
                bytes_mask(MAX(about_to_store.from, at) - at, MIN(about_to_store.to, at + sizeof(u64)) - at);
        if (old == new && !mask)
            continue;
        ((u64 *)(void *)seen_by_current)[w] = new;
        if (owner_of[w] != OWNER_SHARED) { /* nobody else sees when */
            model_require(owner_of[w] == current + 1);
            ((u64 *)(void *)now.memory)[w] = new;
            continue;
        }
        for (u32 b = 0; b < 64; b += 8)
            if ((old ^ new) >> b & 0xff)
                mask |= 0xffull << b;
        buffer_store(&now.thread[current], (struct store){w, new, mask});
    }
    about_to_store.from = about_to_store.to = 0;
}

static void commit_oldest(struct thread *t)
{
    struct store s = t->buffer[0];
    u64 *word = (u64 *)(void *)now.memory + s.word;

    *word = (*word & ~s.mask) | (s.value & s.mask);
    t->buffered--;
    memmove(&t->buffer[0], &t->buffer[1], t->buffered * sizeof(s));
    memset(&t->buffer[t->buffered], 0, sizeof(s));
}

/* ---- switching ---- */

/* The running thread stops before an access; returns when it is its turn again. */
static void point(bool needs_empty_buffer)
{
    struct thread *t = &now.thread[current];

    collect_stores();
    t->waits_empty = needs_empty_buffer;
    if (!_setjmp(t->at))
        _longjmp(explorer, 1);
    t->waits_empty = false;
}

static void thread_main(int t)
{
    if (!_setjmp(now.thread[t].at))
        swapcontext(&boot_context[t], &main_context);
    model->thread[t]();
    collect_stores();
    now.thread[t].done = true;
    _longjmp(explorer, 1);
}

static __attribute__((noinline)) void resume(int t)
{
    if (!_setjmp(explorer)) {
        current = t;
        show_view(t);
        _longjmp(now.thread[t].at, 1);
    }
    current = -1;
}

/* ---- what -fsanitize=thread calls ---- */

static bool shared(const volatile void *p)
{
    if (current < 0 || (u8 *)p < model_arena || (u8 *)p >= model_arena + sizeof(model_arena))
        return false;
    u8 owner = owner_of[((u8 *)p - model_arena) / 8];
    model_require(owner == OWNER_SHARED || owner == OWNER_NOBODY || owner == current + 1);
    return owner == OWNER_SHARED;
}

/* A locked operation waits for the store buffer whatever it is made on. */
static void locked(const volatile void *p)
{
    if (shared(p) || (current >= 0 && now.thread[current].buffered))
        point(true);
}

static void plain(const volatile void *p)
{
    if (shared(p))
        point(false);
}

static void note_store(const volatile void *p, u64 bytes)
{
    if (!shared(p))
        return;
    about_to_store.from = (u64)((u8 *)p - model_arena);
    about_to_store.to = about_to_store.from + bytes;
}

/* The declaration comes last, for the semicolon. */
#define PLAIN(name, stored_bytes)        \
    void __tsan_##name(void *p);         \
    void __tsan_##name(void *p)          \
    {                                    \
        plain(p);                        \
        if (stored_bytes)                \
            note_store(p, stored_bytes); \
    }                                    \
    void __tsan_##name(void *p)
PLAIN(read1, 0);
PLAIN(read2, 0);
PLAIN(read4, 0);
PLAIN(read8, 0);
PLAIN(read16, 0);
PLAIN(write1, 1);
PLAIN(write2, 2);
PLAIN(write4, 4);
PLAIN(write8, 8);
PLAIN(write16, 16);
PLAIN(unaligned_read2, 0);
PLAIN(unaligned_read4, 0);
PLAIN(unaligned_read8, 0);
PLAIN(unaligned_write2, 2);
PLAIN(unaligned_write4, 4);
PLAIN(unaligned_write8, 8);
PLAIN(volatile_read4, 0);
PLAIN(volatile_read8, 0);
PLAIN(volatile_write4, 4);
PLAIN(volatile_write8, 8);

void __tsan_read_range(void *p, unsigned long n);
void __tsan_write_range(void *p, unsigned long n);
void __tsan_init(void);
void __tsan_func_entry(void *p);
void __tsan_func_exit(void);
void __tsan_read_range(void *p, unsigned long n)
{
    (void)n;
    plain(p);
}
void __tsan_write_range(void *p, unsigned long n)
{
    plain(p);
    note_store(p, n);
}
void __tsan_init(void) {}
void __tsan_func_entry(void *p)
{
    (void)p;
}
void __tsan_func_exit(void) {}

/* A store of an atomic: seq_cst reaches memory at once, after all earlier ones. */
static void stored(bool at_once)
{
    if (current < 0)
        return;
    collect_stores();
    while (at_once && now.thread[current].buffered)
        commit_oldest(&now.thread[current]);
}

#define RMW(bits, name, expression)                                                  \
    u##bits __tsan_atomic##bits##_##name(volatile u##bits *p, u##bits v, int order); \
    u##bits __tsan_atomic##bits##_##name(volatile u##bits *p, u##bits v, int order)  \
    {                                                                                \
        (void)order;                                                                 \
        locked(p);                                                                   \
        u##bits old = *p;                                                            \
        *p = (u##bits)(expression);                                                  \
        if (shared(p))                                                               \
            stored(true);                                                            \
        return old;                                                                  \
    }
#define ATOMICS(bits)                                                                                    \
    u##bits __tsan_atomic##bits##_load(const volatile u##bits *p, int order);                            \
    u##bits __tsan_atomic##bits##_load(const volatile u##bits *p, int order)                             \
    {                                                                                                    \
        (void)order;                                                                                     \
        plain(p);                                                                                        \
        return *p;                                                                                       \
    }                                                                                                    \
    void __tsan_atomic##bits##_store(volatile u##bits *p, u##bits v, int order);                         \
    void __tsan_atomic##bits##_store(volatile u##bits *p, u##bits v, int order)                          \
    {                                                                                                    \
        if (order == __ATOMIC_SEQ_CST)                                                                   \
            locked(p);                                                                                   \
        else                                                                                             \
            plain(p);                                                                                    \
        note_store(p, bits / 8);                                                                         \
        *p = v;                                                                                          \
        if (shared(p))                                                                                   \
            stored(order == __ATOMIC_SEQ_CST);                                                           \
    }                                                                                                    \
    RMW(bits, exchange, v)                                                                               \
    RMW(bits, fetch_add, old + v)                                                                        \
    RMW(bits, fetch_sub, old - v)                                                                        \
    RMW(bits, fetch_or, old | v)                                                                         \
    RMW(bits, fetch_and, old &v)                                                                         \
    int __tsan_atomic##bits##_compare_exchange_strong(volatile u##bits *p, u##bits *expected, u##bits v, \
                                                      int a, int b);                                     \
    int __tsan_atomic##bits##_compare_exchange_strong(volatile u##bits *p, u##bits *expected, u##bits v, \
                                                      int a, int b)                                      \
    {                                                                                                    \
        (void)a;                                                                                         \
        (void)b;                                                                                         \
        locked(p);                                                                                       \
        u##bits old = *p;                                                                                \
        if (old != *expected) {                                                                          \
            *expected = old;                                                                             \
            return 0;                                                                                    \
        }                                                                                                \
        *p = v;                                                                                          \
        if (shared(p))                                                                                   \
            stored(true);                                                                                \
        return 1;                                                                                        \
    }                                                                                                    \
    int __tsan_atomic##bits##_compare_exchange_weak(volatile u##bits *p, u##bits *expected, u##bits v,   \
                                                    int a, int b);                                       \
    int __tsan_atomic##bits##_compare_exchange_weak(volatile u##bits *p, u##bits *expected, u##bits v,   \
                                                    int a, int b)                                        \
    {                                                                                                    \
        return __tsan_atomic##bits##_compare_exchange_strong(p, expected, v, a, b);                      \
    }                                                                                                    \
    void __tsan_atomic##bits##_store(volatile u##bits *p, u##bits v, int order)

ATOMICS(8);
ATOMICS(16);
ATOMICS(32);
ATOMICS(64);

/* ---- states ---- */

struct saved {
    struct state *state;
    u8 *stacks;
    u8 next_choice;
};
static struct saved path[DEPTH_MAX];
static u8 choice_at[DEPTH_MAX];
static struct {
    u64 a, b;
} * visited;
static u64 states, executions, steps;
static u32 deepest;

static u64 mix(u64 h, const void *data, u64 bytes)
{
    const u64 *p = data;

    for (u64 i = 0; i < bytes / 8; i++) {
        h = (h ^ p[i]) * 0x9E3779B97F4A7C15ull;
        h ^= h >> 29;
    }
    return h;
}

static u64 hash(u64 h)
{
    h = mix(h, now.memory, sizeof(u64) * arena_words);
    for (u32 t = 0; t < threads; t++) {
        struct thread *x = &now.thread[t];
        u64 head[2] = {x->done | x->waits_empty << 1 | (u64)x->buffered << 8, t};
        h = mix(h, head, sizeof(head));
        h = mix(h, x->buffer, x->buffered * sizeof(struct store));
        if (x->done)
            continue;
        h = mix(h, x->at, 64); /* the callee-saved registers, stack pointer and address */
        h = mix(h, stack[t] + stack_low[t], STACK_BYTES - stack_low[t]);
    }
    return h;
}

/* True: was here before. */
static bool visit(void)
{
    u64 a = hash(1) | 1, b = hash(0x1234567), slot = a >> (64 - VISITED_LOG2);

    for (;; slot = (slot + 1) & ((1ull << VISITED_LOG2) - 1)) {
        if (visited[slot].a == a && visited[slot].b == b)
            return true;
        if (!visited[slot].a)
            break;
    }
    visited[slot].a = a;
    visited[slot].b = b;
    if (++states > 3ull << (VISITED_LOG2 - 2)) {
        fprintf(stderr, "%s: more states than the table holds\n", model->name);
        exit(2);
    }
    return false;
}

/* Stack below the lowest address that a thread has ever stopped at is dead; above it is part of the state.
 * Dead slots in between only make equal states look different, which costs time. */
static void note_stack(void)
{
    for (u32 t = 0; t < threads; t++) {
        u32 low = STACK_BYTES;
        for (u32 i = 0; i < STACK_BYTES; i += 64)
            if (((u64 *)(void *)&stack[t][i])[0] | ((u64 *)(void *)&stack[t][i])[3]) {
                low = i;
                break;
            }
        stack_low[t] = MIN(stack_low[t], low);
    }
}

static void save(struct saved *s)
{
    if (!s->state) {
        s->state = malloc(sizeof(struct state));
        s->stacks = malloc(sizeof(stack));
    }
    memcpy(s->state, &now, sizeof(now));
    for (u32 t = 0; t < threads; t++)
        memcpy(s->stacks + t * STACK_BYTES + stack_low[t], stack[t] + stack_low[t],
               STACK_BYTES - stack_low[t]);
}

static void restore(const struct saved *s)
{
    memcpy(&now, s->state, sizeof(now));
    for (u32 t = 0; t < threads; t++)
        memcpy(stack[t] + stack_low[t], s->stacks + t * STACK_BYTES + stack_low[t],
               STACK_BYTES - stack_low[t]);
}

static bool possible(u8 choice)
{
    u32 t = choice % STEP_COMMIT;

    if (t >= threads)
        return false;
    if (choice >= STEP_COMMIT)
        return now.thread[t].buffered != 0;
    return !now.thread[t].done && !(now.thread[t].waits_empty && now.thread[t].buffered);
}

static void take(u8 choice)
{
    steps++;
    if (choice >= STEP_COMMIT)
        commit_oldest(&now.thread[choice % STEP_COMMIT]);
    else
        resume(choice);
}

static void start(void)
{
    memset(&now, 0, sizeof(now));
    memset(model_arena, 0, sizeof(model_arena));
    memset(owner_of, 0, sizeof(owner_of));
    model->set_up();
    arena_words = (u32)(model->bytes ? ALIGN_UP(model->bytes, 8) : MODEL_ARENA_BYTES) / 8;
    memcpy(now.memory, model_arena, sizeof(model_arena));
    for (u32 t = 0; t < threads; t++) {
        memset(stack[t], 0, STACK_BYTES);
        stack_low[t] = STACK_BYTES;
        getcontext(&boot_context[t]);
        boot_context[t].uc_stack.ss_sp = stack[t];
        boot_context[t].uc_stack.ss_size = STACK_BYTES;
        makecontext(&boot_context[t], (void (*)(void))thread_main, 1, (int)t);
        swapcontext(&main_context, &boot_context[t]);
    }
}

static void end_of_execution(void)
{
    executions++;
    show_view(-1);
    model->check();
}

static const char *access_name(u8 choice)
{
    return choice >= STEP_COMMIT ? "'s oldest store reaches memory" : " goes on";
}

static void print_path(u32 depth)
{
    u32 run = 1;

    for (u32 i = 0; i < depth && i < TRACE_MAX; i++, run++) {
        if (i + 1 < depth && choice_at[i + 1] == choice_at[i])
            continue;
        printf("    thread %c%s, %u time(s)\n", 'A' + choice_at[i] % STEP_COMMIT, access_name(choice_at[i]),
               run);
        run = 0;
    }
}

/* Depth first over all choices. */
static u32 explore(void)
{
    u32 depth = 0;

    start();
    note_stack();
    save(&path[0]);
    path[0].next_choice = 0;
    for (;;) {
        u8 choice = path[depth].next_choice;
        while (choice < 2 * STEP_COMMIT && !possible(choice))
            choice++;
        if (choice == 2 * STEP_COMMIT) {
            if (depth == 0)
                return 0;
            depth--;
            restore(&path[depth]);
            continue;
        }
        path[depth].next_choice = choice + 1;
        choice_at[depth] = choice;
        take(choice);
        note_stack();
        if (violation)
            return depth + 1;
        bool ended = true;
        for (u32 t = 0; t < threads; t++)
            ended &= now.thread[t].done && !now.thread[t].buffered;
        bool old = visit();
        if (ended && !old)
            end_of_execution();
        if (violation)
            return depth + 1;
        if (ended || old) {
            restore(&path[depth]);
            continue;
        }
        if (++depth == DEPTH_MAX) {
            fprintf(stderr, "%s: deeper than %u steps\n", model->name, DEPTH_MAX);
            exit(2);
        }
        deepest = MAX(deepest, depth);
        save(&path[depth]);
        path[depth].next_choice = 0;
    }
}

int model_run(const struct model *m, bool expect_broken)
{
    u32 depth;

    model = m;
    while (threads < MODEL_THREADS_MAX && m->thread[threads])
        threads++;
    visited = calloc(1ull << VISITED_LOG2, sizeof(*visited));
    if (!visited)
        return 2;
    depth = explore();
    printf("%s: %llu states, %llu ends, %llu steps, longest path %u\n", m->name, (unsigned long long)states,
           (unsigned long long)executions, (unsigned long long)steps, deepest);
    if (violation) {
        printf("  %s: violated: %s (line %d)\n", expect_broken ? "FOUND" : "FAILED", violation,
               violation_line);
        print_path(depth);
    } else {
        printf("  %s\n", expect_broken ? "FAILED: the mistake was not found" : "holds in every order");
    }
    return (violation != NULL) == expect_broken ? 0 : 1;
}
