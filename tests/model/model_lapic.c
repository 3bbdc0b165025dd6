/*
 * model_lapic.c - two CPUs post interrupts to a local APIC while its owner takes some (vmm/dev/vlapic.c): what is in IRR is
 * in its summary, or will be when the post has ended. `startup`: INIT and SIPI in this order start, in the other
 * one they do not, whatever the owner was doing.
 */
#include "tests/model/explore.h"
#include "vmm/dev/platform.h"

#define VECTOR_A 0x41
#define VECTOR_B 0x52 /* of the same word */
#define LOOKS    2u

struct shared {
    struct vlapic l, second;
    struct vplatform *vp;
    bool running, second_running;
    u32 taken;
};

static struct shared *s = MODEL_SHARED(struct shared);

/* What the other files of vmm/dev would do has no part in it. */
void vplat_eoi_broadcast(struct vplatform *vp, u64 now, u8 vector)
{
    (void)vp, (void)now, (void)vector;
}
void vplat_retry_levels(struct vplatform *vp)
{
    (void)vp;
}

static void start_lapic(struct vlapic *l)
{
    vlapic_init(l, NULL, 0, false);
    atomic_store_explicit(&l->svr, VLAPIC_SVR_ENABLE, memory_order_relaxed);
    model_constant(&l->base, &l->isr);
    model_private(2, &l->isr, l + 1);
}

static void set_up(void)
{
    start_lapic(&s->l);
    start_lapic(&s->second);
    s->running = s->second_running = true;
}

#if STARTUP
static void started(void)
{
    vlapic_post_event(&s->l, VLAPIC_EVENT_SIPI, 7); /* no effect: it runs */
    vlapic_post_event(&s->l, VLAPIC_EVENT_INIT, 0);
    vlapic_post_event(&s->l, VLAPIC_EVENT_SIPI, 8);
}
static void ended(void)
{
    vlapic_post_event(&s->second, VLAPIC_EVENT_SIPI, 8);
    vlapic_post_event(&s->second, VLAPIC_EVENT_INIT, 0);
}

/* As vmm/events.c: of both at once INIT was first. */
static void look(struct vlapic *l, bool *running)
{
    u32 events = vlapic_events_take(l, vlapic_startup(l, !*running));

    if (events & VLAPIC_EVENT_INIT)
        *running = false;
    if (events & VLAPIC_EVENT_SIPI)
        *running = true;
}

static void owner(void)
{
    for (u32 i = 0; i < LOOKS; i++) {
        look(&s->l, &s->running);
        look(&s->second, &s->second_running);
    }
}

static void check(void)
{
    owner();
    model_require(s->running && !s->second_running);
}
#else
static void post_one(void)
{
    (void)vlapic_post(&s->l, VECTOR_A, false);
}
static void post_both(void)
{
    (void)vlapic_post(&s->l, VECTOR_A, false);
    (void)vlapic_post(&s->l, VECTOR_B, false);
}
#define started post_one
#define ended   post_both

static void look(void)
{
    int vector = vlapic_pending_vector(&s->l);

    if (vector < 0)
        return;
    vlapic_accept(&s->l, (u8)vector);
    vlapic_eoi(&s->l, 0);
    s->taken++;
}

static void owner(void)
{
    for (u32 i = 0; i < LOOKS; i++)
        look();
}

static void check(void)
{
    for (u32 i = 0; i < 2; i++)
        look();
    model_require(!s->l.irr[VECTOR_A / 64] && s->taken >= 2 && s->taken <= 3);
}
#endif

int main(void)
{
    static const struct model m = {MODEL_NAME, set_up, {started, ended, owner}, check, sizeof(struct shared)};
    return model_run(&m, MODEL_BROKEN);
}
