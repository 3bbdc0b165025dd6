/* stats.c - what happened so far. */
#include "vmm/stats.h"

#include "arch/string.h"
#include "arch/tsc.h"

#define PB_STAT_ROW(index, id, name, unit, when) _Static_assert(PB_STAT_##id == (index), name);
#include "ipc/stats.def"
_Static_assert(PB_STAT_COUNT <= PB_STATS_COUNTERS && VMX_EXIT_COUNT <= PB_STATS_REASONS,
               "room in struct pb_stats");
_Static_assert(offsetof(struct pb_stats, counter) == PB_STATS_HEADER, "ipc/abi.h says so");
_Static_assert(offsetof(struct pb_stats, exits) == 1024 && sizeof(struct pb_stats) == 2048, "likewise");

static void read_shadow(const struct shadow *sh, u64 *c)
{
    struct shadow_stats s = shadow_stats_read(sh);

    c[PB_STAT_POSTED] = s.patches_posted;
    c[PB_STAT_ABSORBED] = s.patches_skipped;
    c[PB_STAT_OVERFLOWS] = s.overflows;
    c[PB_STAT_APPLIED] = s.patches_applied;
    c[PB_STAT_INVALIDATED] = s.patches_invalidated;
    c[PB_STAT_REDERIVED] = s.patches_rederived;
    c[PB_STAT_UNUSED] = s.patches_unused;
    c[PB_STAT_DRAINED] = s.patches_applied + s.patches_invalidated + s.patches_rederived + s.patches_unused;
    c[PB_STAT_RESYNCS] = s.resyncs;
    c[PB_STAT_FILLS] = s.fills;
    c[PB_STAT_PREFILLS] = s.prefills + s.fills_extra;
    c[PB_STAT_NEIGHBOURS] = s.fills_extra;
    c[PB_STAT_GUEST_FAULTS] = s.guest_faults;
    c[PB_STAT_TRACED] = s.traced_writes;
    c[PB_STAT_DEVICE] = s.mmio;
    c[PB_STAT_FLUSHES] = s.events;
    c[PB_STAT_TRACES] = s.traces_installed;
    c[PB_STAT_UNTRACED] = s.traces_given_up;
    c[PB_STAT_RETRACED] = s.retraced;
    c[PB_STAT_LOOSE] = s.pages_loose;
    c[PB_STAT_LOOSE_READS] = s.loose_syncs;
    c[PB_STAT_LOOSE_CHANGED] = s.loose_changed;
    c[PB_STAT_MADE] = s.pages_made;
    c[PB_STAT_SHADOWS] = s.pages_used;
    c[PB_STAT_RECLAIMED] = s.pages_reclaimed;
    c[PB_STAT_ASKED] = s.kicks_sent;
    c[PB_STAT_SERVED] = s.kicks_served;
    c[PB_STAT_FRAMES] = sh->frame_count;
}

static void read_vcpu(const struct vcpu *v, u64 *c)
{
    const struct vcpu_messages *m = &v->messages;

    c[PB_STAT_SENT] = counter_get(&m->sent);
    c[PB_STAT_RECEIVED] = counter_get(&m->received);
    c[PB_STAT_REFUSED] = counter_get(&m->refused);
    c[PB_STAT_PAGES_OUT] = counter_get(&m->pages_out);
    c[PB_STAT_PAGES_IN] = counter_get(&m->pages_in);
    c[PB_STAT_EMULATED] = counter_get(&v->stats.emulated);
    c[PB_STAT_INTERRUPTS] = counter_get(&v->stats.interrupts);
    c[PB_STAT_KICKS] = counter_get(&v->stats.kicks);
    c[PB_STAT_NMIS] = counter_get(&v->stats.nmis_sent);
    c[PB_STAT_NMIS_SHADOW] = counter_get(&v->stats.nmis_shadow);
    c[PB_STAT_AUDITS] = counter_get(&v->stats.audits);
    c[PB_STAT_CHANNELS] = counter_get(&v->vm->channel_bytes);
}

void stats_read(const struct vcpu *v, struct pb_stats *out)
{
    memset(out, 0, sizeof(*out));
    out->magic = PB_STATS_MAGIC;
    out->version = PB_STATS_VERSION;
    out->counters_at = offsetof(struct pb_stats, counter);
    out->exits_at = offsetof(struct pb_stats, exits);
    out->counters = PB_STAT_COUNT;
    out->reasons = VMX_EXIT_COUNT;
    out->bytes = sizeof(*out);
    out->vm = v->vm->id;
    out->vcpu = v->index;
    out->vcpus = v->vm->vcpus;
    for (u32 r = 0; r < VMX_EXIT_COUNT; r++) {
        out->exits[r] = counter_get(&v->stats.by_reason[r]);
        out->counter[PB_STAT_EXITS] += out->exits[r];
    }
    read_vcpu(v, out->counter);
    read_shadow(&v->shadow, out->counter);
}

u32 stats_call(struct vcpu *v, u64 gpa, u64 which, u64 room, u64 now, u64 *written, struct flush *flush)
{
    u32 bytes = (u32)MIN(room, sizeof(struct pb_stats)),
        index = which == PB_STATS_SELF ? v->index : (u32)which;
    struct pb_stats s;

    *flush = FLUSH_NOTHING;
    if (room < PB_STATS_HEADER || room > PAGE_SIZE || room % sizeof(u64))
        return PB_STATUS_BAD_LENGTH;
    if (which != PB_STATS_SELF && which >= v->vm->vcpus)
        return PB_STATUS_NO_SUCH_VCPU;
    if (gpa % sizeof(u64) || (gpa & PAGE_MASK) + room > PAGE_SIZE)
        return PB_STATUS_BAD_ADDRESS;
    stats_read(v->vm->vcpu[index], &s);
    s.tsc = now + vcpu_lapic(v)->tsc_offset;
    s.tsc_hz = tsc_hz();
    s.bytes = (u16)bytes;
    shadow_write_begin(&v->shadow, GPA(gpa), bytes);
    enum err e = guest_mem_write(&v->vm->p2m, GPA(gpa), &s, bytes);
    *flush = shadow_write_done(&v->shadow, GPA(gpa), bytes);
    if (e != ERR_OK)
        return PB_STATUS_BAD_ADDRESS;
    *written = bytes;
    return PB_STATUS_OK;
}
