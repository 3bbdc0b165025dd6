/*
 * storm.c - load for a Linux guest's memory management on all its CPUs, with every byte checked; needs no C library.
 *
 *   storm forks P R      P processes at once: R times memory is filled, forked, copied on write by both sides; the
 *                        child checks it and ends, by exec every other time
 *   storm threads N R    N threads of one process: R times one of them maps, protects or empties pages that all
 *                        check after a barrier (so translations have to be gone on all CPUs); beside it each of
 *                        them maps and unmaps memory of its own
 *   storm memory MB R    R times so much memory is touched, checked, and partly given back
 *
 * The last line is "storm: ... good", or "storm: FAIL what, where, found, expected".
 */
typedef unsigned long u64;

enum {
    SYS_READ = 0,
    SYS_WRITE = 1,
    SYS_OPEN = 2,
    SYS_MMAP = 9,
    SYS_MPROTECT = 10,
    SYS_MUNMAP = 11,
    SYS_MADVISE = 28,
    SYS_CLONE = 56,
    SYS_FORK = 57,
    SYS_EXECVE = 59,
    SYS_EXIT = 60,
    SYS_WAIT4 = 61,
    SYS_FUTEX = 202,
    SYS_SETAFFINITY = 203,
    SYS_EXIT_GROUP = 231,
    O_RDWR = 2,
    PROT_READ = 1,
    PROT_RW = 3,
    MAP_PRIVATE_ANONYMOUS = 0x22,
    MAP_FIXED = 0x10,
    MADV_DONTNEED = 4,
    FUTEX_WAIT = 0,
    FUTEX_WAKE = 1,
    EFAULT = 14,
    THREAD_FLAGS = 0x50f00, /* CLONE_VM | FS | FILES | SIGHAND | THREAD | SYSVSEM */
    PAGE = 4096,
    WORDS = PAGE / 8,
    FORK_PAGES = 64,
    SLOTS = 24,
    OWN_PAGES = 32,
    THREADS_MAX = 64,
    STACK_BYTES = 16384,
    STEPS = 4,
};

static long call6(long n, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
    register u64 r10 __asm__("r10") = d;
    register u64 r8 __asm__("r8") = e;
    register u64 r9 __asm__("r9") = f;

    __asm__ volatile("syscall"
                     : "+a"(n)
                     : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return n;
}

static long call3(long n, u64 a, u64 b, u64 c)
{
    return call6(n, a, b, c, 0, 0, 0);
}

static void say(const char *text)
{
    u64 length = 0;

    while (text[length])
        length++;
    call3(SYS_WRITE, 1, (u64)text, length);
}

static void say_number(u64 value)
{
    char digits[24];
    unsigned at = sizeof digits - 1;

    digits[at] = 0;
    do
        digits[--at] = "0123456789abcdef"[value % 16];
    while (value /= 16);
    say(" 0x");
    say(digits + at);
}

static __attribute__((noreturn)) void end(u64 code)
{
    call3(SYS_EXIT_GROUP, code, 0, 0);
    __builtin_unreachable();
}

static void expect(const char *what, u64 where, u64 found, u64 expected)
{
    if (__builtin_expect(found == expected, 1))
        return;
    say("storm: FAIL ");
    say(what);
    say_number(where);
    say_number(found);
    say_number(expected);
    say("\n");
    end(1);
}

static u64 *map_at(u64 address, u64 pages)
{
    long at = call6(SYS_MMAP, address, pages * PAGE, PROT_RW,
                    MAP_PRIVATE_ANONYMOUS | (address ? MAP_FIXED : 0), ~0ul, 0);

    expect("mmap", address, at < 0 && at > -PAGE, 0);
    return (u64 *)at;
}

static void unmap(u64 *at, u64 pages)
{
    expect("munmap", (u64)at, (u64)call3(SYS_MUNMAP, (u64)at, pages * PAGE, 0), 0);
}

static u64 stamp(u64 who, u64 round, u64 page)
{
    return (who << 48 ^ round << 20 ^ page) * 0x9e3779b97f4a7c15ul;
}

/* First and last word of each page. */
static void fill(u64 *at, u64 pages, u64 who, u64 round)
{
    for (u64 p = 0; p < pages; p++)
        at[p * WORDS] = at[p * WORDS + WORDS - 1] = stamp(who, round, p);
}

static void check(const char *what, const u64 *at, u64 first, u64 pages, u64 who, u64 round)
{
    for (u64 p = first; p < pages; p++) {
        expect(what, (u64)&at[p * WORDS], at[p * WORDS], stamp(who, round, p));
        expect(what, (u64)&at[p * WORDS], at[p * WORDS + WORDS - 1], stamp(who, round, p));
    }
}

static int zero_fd;

/* Does the kernel get at the page, for reading or to write a zero into its second word? */
static void expect_access(const char *what, u64 *at, int may_write)
{
    long got = call3(SYS_READ, (u64)zero_fd, (u64)&at[1], 8);

    expect(what, (u64)at, (u64)got, may_write ? 8 : (u64)-EFAULT);
}

static void stay_on(u64 cpu)
{
    u64 mask = 1ul << cpu;

    if (call3(SYS_SETAFFINITY, 0, sizeof mask, (u64)&mask) < 0) { /* fewer CPUs than workers */
        mask = 1;
        expect("sched_setaffinity", cpu, (u64)call3(SYS_SETAFFINITY, 0, sizeof mask, (u64)&mask), 0);
    }
}

/* ---- forks ---- */

static u64 child_code(u64 who, u64 round)
{
    return 1 + (who * 7 + round) % 100;
}

static __attribute__((noreturn)) void child(u64 *at, u64 who, u64 round)
{
    static char code[2];
    char *argv[] = {"storm", "code", code, 0};

    check("child sees", at, 0, FORK_PAGES, who, round);
    fill(at, FORK_PAGES / 2, who + 1, round);
    check("child wrote", at, 0, FORK_PAGES / 2, who + 1, round);
    check("child kept", at, FORK_PAGES / 2, FORK_PAGES, who, round);
    code[0] = (char)child_code(who, round);
    if (round % 2)
        call3(SYS_EXECVE, (u64) "/bin/storm", (u64)argv, 0);
    end(child_code(who, round));
}

static void fork_round(u64 who, u64 round)
{
    u64 *at = map_at(0, FORK_PAGES);
    int status = 0;

    fill(at, FORK_PAGES, who, round);
    long pid = call3(SYS_FORK, 0, 0, 0);
    expect("fork", who, pid < 0, 0);
    if (pid == 0)
        child(at, who, round);
    fill(at + FORK_PAGES / 4 * WORDS, FORK_PAGES / 4, who + 2, round);
    expect("wait4", who, (u64)call6(SYS_WAIT4, (u64)pid, (u64)&status, 0, 0, 0, 0), (u64)pid);
    expect("child's status", who, (u64)status, child_code(who, round) << 8);
    check("parent kept", at, 0, FORK_PAGES / 4, who, round);
    check("parent wrote", at + FORK_PAGES / 4 * WORDS, 0, FORK_PAGES / 4, who + 2, round);
    check("parent kept", at, FORK_PAGES / 2, FORK_PAGES, who, round);
    unmap(at, FORK_PAGES);
    expect_access("unmapped", at, 0);
}

static void forks(u64 workers, u64 rounds)
{
    for (u64 w = 0; w < workers; w++) {
        long pid = call3(SYS_FORK, 0, 0, 0);
        expect("fork of a worker", w, pid < 0, 0);
        if (pid)
            continue;
        for (u64 r = 0; r < rounds; r++)
            fork_round(w * 16, r);
        end(0);
    }
    for (u64 w = 0; w < workers; w++) {
        int status = 1;
        call6(SYS_WAIT4, ~0ul, (u64)&status, 0, 0, 0, 0);
        expect("worker's status", w, (u64)status, 0);
    }
}

/* ---- threads ---- */

static u64 thread_count, thread_rounds, *slots;
static unsigned arrived, generation, ended;

static void wait_while(unsigned *word, unsigned value)
{
    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) == value)
        call6(SYS_FUTEX, (u64)word, FUTEX_WAIT, value, 0, 0, 0);
}

static void barrier(void)
{
    unsigned now = __atomic_load_n(&generation, __ATOMIC_ACQUIRE);

    if (__atomic_add_fetch(&arrived, 1, __ATOMIC_ACQ_REL) == thread_count) {
        __atomic_store_n(&arrived, 0, __ATOMIC_RELAXED);
        __atomic_add_fetch(&generation, 1, __ATOMIC_ACQ_REL);
        call6(SYS_FUTEX, (u64)&generation, FUTEX_WAKE, THREADS_MAX, 0, 0, 0);
    } else {
        wait_while(&generation, now);
    }
}

/* One thread changes the slots, in turn in STEPS ways. */
static void change_slots(u64 round)
{
    u64 bytes = SLOTS * PAGE, at = (u64)slots;

    switch (round % STEPS) {
    case 0: /* other pages at the same addresses */
        map_at(at, SLOTS);
        fill(slots, SLOTS, 99, round);
        break;
    case 1: expect("mprotect", at, (u64)call3(SYS_MPROTECT, at, bytes, PROT_READ), 0); break;
    case 2:
        expect("mprotect", at, (u64)call3(SYS_MPROTECT, at, bytes, PROT_RW), 0);
        fill(slots, SLOTS, 99, round);
        break;
    case 3: expect("madvise", at, (u64)call3(SYS_MADVISE, at, bytes, MADV_DONTNEED), 0); break;
    }
}

/* What all threads wrote in that round. */
static void check_words(u64 round)
{
    if (round % 2)
        return;
    for (u64 s = 0; s < SLOTS; s++)
        for (u64 t = 0; t < thread_count; t++)
            expect("other thread's word", t, slots[s * WORDS + 2 + t], stamp(t, round, s));
}

static void check_slots(u64 me, u64 round)
{
    switch (round % STEPS) {
    case 0:
    case 2:
        check("slot", slots, 0, SLOTS, 99, round);
        for (u64 s = 0; s < SLOTS; s++)
            slots[s * WORDS + 2 + me] = stamp(me, round, s);
        break;
    case 1:
        check("protected slot", slots, 0, SLOTS, 99, round - 1);
        for (u64 s = 0; s < SLOTS; s++)
            expect_access("protected slot", &slots[s * WORDS], 0);
        break;
    case 3:
        for (u64 s = 0; s < SLOTS; s++)
            expect("emptied slot", s, slots[s * WORDS] | slots[s * WORDS + 2 + me], 0);
        break;
    }
}

static void own_memory(u64 me, u64 round)
{
    u64 *at = map_at(0, OWN_PAGES);

    fill(at, OWN_PAGES, me, round);
    expect("mprotect", (u64)at, (u64)call3(SYS_MPROTECT, (u64)at, OWN_PAGES * PAGE, PROT_READ), 0);
    expect_access("own page protected", at, 0);
    check("own page", at, 0, OWN_PAGES, me, round);
    expect("mprotect", (u64)at, (u64)call3(SYS_MPROTECT, (u64)at, OWN_PAGES * PAGE, PROT_RW), 0);
    fill(at, OWN_PAGES, me, round + 1);
    check("own page", at, 0, OWN_PAGES, me, round + 1);
    unmap(at, OWN_PAGES);
}

static void thread(u64 me)
{
    stay_on(me);
    for (u64 r = 0; r < thread_rounds; r++) {
        if (r % thread_count == me) {
            if (r)
                check_words(r - 1);
            change_slots(r);
        }
        barrier();
        check_slots(me, r);
        own_memory(me, r);
        barrier();
    }
    __atomic_add_fetch(&ended, 1, __ATOMIC_ACQ_REL);
    call6(SYS_FUTEX, (u64)&ended, FUTEX_WAKE, THREADS_MAX, 0, 0, 0);
    for (;;)
        call3(SYS_EXIT, 0, 0, 0);
}

/* The child starts at thread(me) on its own stack. */
static void start_thread(u64 me)
{
    u64 *top = map_at(0, STACK_BYTES / PAGE) + STACK_BYTES / 8;
    long result = SYS_CLONE;

    __asm__ volatile("syscall\n"
                     "test %%rax, %%rax\n"
                     "jnz 1f\n"
                     "mov %[me], %%rdi\n"
                     "call *%[fn]\n"
                     "1:"
                     : "+a"(result)
                     : "D"((u64)THREAD_FLAGS), "S"(top), "d"(0ul), [me] "r"(me), [fn] "r"(thread)
                     : "rcx", "r11", "r10", "r8", "memory");
    expect("clone", me, result < 0, 0);
}

static void threads(u64 count, u64 rounds)
{
    thread_count = count;
    thread_rounds = rounds;
    slots = map_at(0, SLOTS);
    for (u64 t = 0; t < count; t++)
        start_thread(t);
    for (unsigned now; (now = __atomic_load_n(&ended, __ATOMIC_ACQUIRE)) != count;)
        wait_while(&ended, now);
}

/* ---- memory ---- */

static void memory(u64 mb, u64 rounds)
{
    u64 pages = mb * 256, *at = map_at(0, pages);

    for (u64 r = 0; r < rounds; r++) {
        fill(at, pages, 7, r);
        check("page", at, 0, pages, 7, r);
        for (u64 p = r % 3; p < pages; p += 3)
            call3(SYS_MADVISE, (u64)&at[p * WORDS], PAGE, MADV_DONTNEED);
        for (u64 p = 0; p < pages; p++)
            expect("page", p, at[p * WORDS], p % 3 == r % 3 ? 0 : stamp(7, r, p));
    }
    unmap(at, pages);
}

static u64 number(const char *text)
{
    u64 n = 0;

    for (; *text >= '0' && *text <= '9'; text++)
        n = n * 10 + (u64)(*text - '0');
    return n;
}

__attribute__((used, noreturn)) static void main_program(u64 *stack)
{
    const char *how = stack[0] > 1 ? (const char *)stack[2] : "";
    const char *first = stack[0] > 2 ? (const char *)stack[3] : "1";
    u64 rounds = number(stack[0] > 3 ? (const char *)stack[4] : "1");

    if (how[0] == 'c')
        end((unsigned char)first[0]);
    zero_fd = (int)call3(SYS_OPEN, (u64) "/dev/zero", O_RDWR, 0);
    expect("/dev/zero", 0, zero_fd < 0, 0);
    if (how[0] == 'f')
        forks(number(first), rounds);
    else if (how[0] == 't')
        threads(number(first), rounds);
    else if (how[0] == 'm')
        memory(number(first), rounds);
    else
        expect("forks, threads or memory", 0, 1, 0);
    say("storm: ");
    say(how);
    say(" ");
    say(first);
    say(" good\n");
    end(0);
}

__asm__(".globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call main_program\n");
