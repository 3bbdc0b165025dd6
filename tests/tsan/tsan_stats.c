/* tsan_stats.c - two vCPUs fault, write their page tables and have events, while a third thread reads the counters of
 * both as PB_CALL_STATS and the console do: no data race, and a counter never goes back. */
#include "tests/tsan/threads.h"
#include "tests/unit/stats_world.h"

#include "vmx/exit.h"

#define STEPS 60000u

static _Atomic u32 running;

static void run_vcpu(struct vcpu *v, u64 steps)
{
    u64 random = env_number("PB_SEED", 7) + v->index;

    for (u64 i = 0; i < steps; i++) {
        u64 page = next_random(&random) % 64 + 64 * v->index;
        gpa_t entry = GPA(4ull << PAGE_SHIFT | page << 3);
        u64 value = (512 + next_random(&random) % 512) << PAGE_SHIFT | WORLD_PAGE;

        counter_one(&v->stats.by_reason[i % VMX_EXIT_COUNT]);
        (void)shadow_fault(&v->shadow, GVA(WORLD_VA + (page << PAGE_SHIFT)), 0, 0, false);
        shadow_write_begin(&v->shadow, entry, sizeof(value));
        REQUIRE(guest_mem_write(&v->vm->p2m, entry, &value, sizeof(value)) == ERR_OK);
        (void)shadow_write_done(&v->shadow, entry, sizeof(value));
        (void)shadow_invlpg(&v->shadow, GVA(WORLD_VA + (page << PAGE_SHIFT)));
        (void)shadow_service_kicks(&v->shadow);
    }
    atomic_fetch_sub(&running, 1);
}

static void read_both(void)
{
    static struct pb_stats last[WORLD_VCPUS];
    u64 rounds = 0;

    for (; atomic_load(&running); rounds++)
        for (u32 i = 0; i < WORLD_VCPUS; i++) {
            struct pb_stats now;
            stats_read(&world_vcpu[i], &now);
            for (u32 c = 0; c < PB_STAT_COUNT; c++)
                REQUIRE(c == PB_STAT_SHADOWS || c == PB_STAT_LOOSE || now.counter[c] >= last[i].counter[c]);
            last[i] = now;
        }
    printf("%llu operations, %llu rounds of reading; fills %llu and %llu, patches posted %llu and %llu\n",
           (unsigned long long)(WORLD_VCPUS * env_number("PB_STEPS", STEPS)), (unsigned long long)rounds,
           (unsigned long long)last[0].counter[PB_STAT_FILLS],
           (unsigned long long)last[1].counter[PB_STAT_FILLS],
           (unsigned long long)last[0].counter[PB_STAT_POSTED],
           (unsigned long long)last[1].counter[PB_STAT_POSTED]);
}

static void *body(void *which)
{
    u32 i = (u32)(uintptr_t)which;

    if (i < WORLD_VCPUS)
        run_vcpu(&world_vcpu[i], env_number("PB_STEPS", STEPS));
    else
        read_both();
    return NULL;
}

int main(void)
{
    world_start();
    running = WORLD_VCPUS;
    run_threads(WORLD_VCPUS + 1, body);
    return 0;
}
