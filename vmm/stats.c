/* stats.c - what happened so far. */
#include "vmm/stats.h"

#include "arch/format.h"
#include "arch/log.h"

u64 stats_value(const struct vcpu *v, u32 index)
{
    struct shadow_stats s = shadow_stats_read(&v->shadow);
    const struct vcpu_messages *m = &v->messages;

    switch (index) {
    case PB_STAT_EXITS: return vcpu_exits(v);
    case PB_STAT_SENT: return counter_get(&m->sent);
    case PB_STAT_RECEIVED: return counter_get(&m->received);
    case PB_STAT_REFUSED: return counter_get(&m->refused);
    case PB_STAT_PAGES_OUT: return counter_get(&m->pages_out);
    case PB_STAT_PAGES_IN: return counter_get(&m->pages_in);
    case PB_STAT_POSTED: return s.patches_posted;
    case PB_STAT_ABSORBED: return s.patches_skipped;
    case PB_STAT_OVERFLOWS: return s.overflows;
    case PB_STAT_DRAINED:
        return s.patches_applied + s.patches_invalidated + s.patches_rederived + s.patches_unused;
    case PB_STAT_APPLIED: return s.patches_applied;
    case PB_STAT_INVALIDATED: return s.patches_invalidated;
    case PB_STAT_REDERIVED: return s.patches_rederived;
    case PB_STAT_RESYNCS: return s.resyncs;
    case PB_STAT_FILLS: return s.fills;
    case PB_STAT_PREFILLS: return s.prefills + s.fills_extra;
    case PB_STAT_KICKS: return counter_get(&v->stats.kicks);
    case PB_STAT_SHADOWS: return s.pages_used;
    case PB_STAT_RECLAIMED: return s.pages_reclaimed;
    }
    return 0;
}

static void print_vcpu(const struct vm *vm, const struct vcpu *v)
{
    struct shadow_stats s = shadow_stats_read(&v->shadow);
    char line[200] = "";
    size_t n = 0;

    for (u32 r = 0; r < VMX_EXIT_COUNT; r++)
        if (counter_get(&v->stats.by_reason[r]) && n < sizeof(line) - 40)
            n += format_string(line + n, sizeof(line) - n, " %s %lu", vmx_exit_name(r),
                               counter_get(&v->stats.by_reason[r]));
    log_line("%s/%u: %lu exits:%s", vm->name, v->index, vcpu_exits(v), line);
    log_line("%s/%u: shadow: fills %lu+%lu, traced writes %lu, posted %lu, absorbed %lu, applied %lu, "
             "re-derived %lu, "
             "overflows %lu, resyncs %lu",
             vm->name, v->index, s.fills, s.fills_extra, s.traced_writes, s.patches_posted, s.patches_skipped,
             s.patches_applied, s.patches_rederived, s.overflows, s.resyncs);
    log_line("%s/%u: shadow: events %lu, roots built %lu, traces given up %lu, pages %lu of %u, "
             "reclaimed %lu",
             vm->name, v->index, s.events, s.root_builds, s.traces_given_up, s.pages_used,
             v->shadow.frame_count, s.pages_reclaimed);
    log_line("%s/%u: messages: sent %lu, received %lu, refused %lu, pages out %lu, in %lu", vm->name,
             v->index, counter_get(&v->messages.sent), counter_get(&v->messages.received),
             counter_get(&v->messages.refused), counter_get(&v->messages.pages_out),
             counter_get(&v->messages.pages_in));
}

void stats_print(const struct vm *vm)
{
    for (u32 i = 0; i < vm->vcpus; i++)
        print_vcpu(vm, vm->vcpu[i]);
}

void stats_print_all(void)
{
    for (u32 i = 0; i < vm_count; i++)
        if (vms[i])
            stats_print(vms[i]);
}
