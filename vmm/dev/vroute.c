/*
 * vroute.c - which vCPUs an interrupt message (IPI, IOAPIC) goes to. SDM Vol 3A 10.6.2 and 10.12.10.
 * Takes no lock: reads the targets' destination registers relaxed, as a message on a bus would find them.
 */
#include "arch/msr.h"
#include "vmm/dev/platform.h"

#define XAPIC_BROADCAST  0xFFu
#define X2APIC_BROADCAST 0xFFFFFFFFu

static u32 load32(const _Atomic u32 *p)
{
    return atomic_load_explicit((_Atomic u32 *)p, memory_order_relaxed);
}

static bool is_broadcast(const struct vroute_message *m)
{
    return m->dest == (m->x2apic ? X2APIC_BROADCAST : XAPIC_BROADCAST);
}

static bool matches_logical(const struct vlapic *l, u32 dest)
{
    u32 ldr = load32(&l->ldr);
    if (vlapic_is_x2apic(l))
        return (ldr >> 16) == (dest >> 16) && (ldr & dest & 0xFFFF);
    if (dest > XAPIC_BROADCAST)
        return false;
    ldr >>= 24;
    if (load32(&l->dfr) >> 28 == VLAPIC_DFR_FLAT)
        return ldr & dest;
    return (ldr >> 4) == (dest >> 4) && (ldr & dest & 0xF); /* cluster model */
}

static bool matches(const struct vlapic *l, const struct vroute_message *m)
{
    if (!vlapic_enabled(l))
        return false;
    if (is_broadcast(m))
        return true;
    return m->logical ? matches_logical(l, m->dest) : l->id == m->dest;
}

static bool give(struct vplatform *vp, u32 target, const struct vroute_message *m)
{
    struct vlapic *l = &vp->cpu[target].lapic;
    const struct vplat_ops *ops = &vp->config.ops;
    enum vplat_deliver kind = VPLAT_DELIVER_INTERRUPT;

    switch (m->mode) {
    case VLAPIC_MODE_FIXED:
    case VLAPIC_MODE_LOWEST:
        if (!vlapic_post(l, m->vector, m->level))
            return false;
        break;
    case VLAPIC_MODE_NMI:
        vlapic_post_event(l, VLAPIC_EVENT_NMI, 0);
        kind = VPLAT_DELIVER_NMI;
        break;
    case VLAPIC_MODE_INIT:
        vlapic_post_event(l, VLAPIC_EVENT_INIT, 0);
        kind = VPLAT_DELIVER_INIT;
        break;
    case VLAPIC_MODE_SIPI:
        vlapic_post_event(l, VLAPIC_EVENT_SIPI, m->vector);
        kind = VPLAT_DELIVER_SIPI;
        break;
    default: return false; /* SMI: no SMM here; ExtINT: only through LINT0; 3: reserved */
    }
    ops->deliver(ops->ctx, target, kind, m->vector);
    return true;
}

/* Lowest priority: the targets take turns, which is all that the SDM lets software count on. */
static u32 give_lowest(struct vplatform *vp, const struct vroute_message *m)
{
    u32 n = vp->config.vcpus;
    u32 first = atomic_fetch_add_explicit(&vp->lowest_next, 1, memory_order_relaxed) % n;
    for (u32 i = 0; i < n; i++) {
        u32 target = (first + i) % n;
        if (matches(&vp->cpu[target].lapic, m) && give(vp, target, m))
            return 1;
    }
    return 0;
}

u32 vroute_send(struct vplatform *vp, const struct vroute_message *m)
{
    u32 accepted = 0;
    if (m->mode == VLAPIC_MODE_LOWEST)
        return give_lowest(vp, m);
    for (u32 i = 0; i < vp->config.vcpus; i++)
        if (matches(&vp->cpu[i].lapic, m) && give(vp, i, m))
            accepted++;
    return accepted;
}

u32 vroute_broadcast(struct vplatform *vp, const struct vroute_message *m, u32 self, bool including_self)
{
    u32 accepted = 0;
    for (u32 i = 0; i < vp->config.vcpus; i++)
        if ((i != self || including_self) && vlapic_enabled(&vp->cpu[i].lapic) && give(vp, i, m))
            accepted++;
    return accepted;
}

bool vroute_self(struct vplatform *vp, const struct vroute_message *m, u32 self)
{
    return give(vp, self, m);
}
