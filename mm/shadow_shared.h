/*
 * shadow_shared.h - tables that all vCPUs of a VM share, for the other shadow*.c: what differs there. The calls of
 * shadow.h hand over to the shadow_shared_* of the same name where they are given a view.
 */
#pragma once
#include "mm/shadow_internal.h"

/* The tables with the view in them, under the lock; and back. What they owe as a flush is the caller's. */
struct shadow *shadow_shared_enter(struct shadow *view);
void shadow_shared_leave(struct shadow *view, struct shadow *sh);

struct flush shadow_shared_set_paging(struct shadow *view, const struct paging_state *ps);
struct flush shadow_shared_set_cr3(struct shadow *view, u64 cr3);
struct flush shadow_shared_invlpg(struct shadow *view, gva_t gva);
struct shadow_fault shadow_shared_fault(struct shadow *view, gva_t gva, u32 error_code, u32 cpl, bool ac);
struct flush shadow_shared_write_done(struct shadow *view, gpa_t gpa, u32 length);
struct flush shadow_shared_give_up(struct shadow *view, gpa_t gpa);
struct flush shadow_shared_rewrite(struct shadow *view, gpa_t gpa);
struct flush shadow_shared_drop_frame(struct shadow *view, u64 gfn, hpa_t frame, bool read_only);
struct flush shadow_shared_service_kicks(struct shadow *view);
struct flush shadow_shared_clear(struct shadow *view);
void shadow_shared_make_view(struct shadow *view, const struct shadow_config *c);

/* Below, sh is the tables with a view in them, under the lock. */

/* STALE pages, to which no link leads any more, are free when every vCPU has flushed. */
void shadow_shared_quarantine(struct shadow *sh);
/* The vCPUs in writable flush, so that nothing they have cached is writable of gfn. True: they have, or do before they
 * enter the guest. */
bool shadow_shared_install(struct shadow *sh, u64 gfn, u64 writable);
/* Every frame becomes free or spare, but for those in use and in quarantine. */
void shadow_shared_free_all(struct shadow *sh);
/* A killed page of level 4, which nothing but a view's root leads to: its frame can be used again at once. */
void shadow_shared_give_root(struct shadow *sh, u32 no);
/* No frame is free: now there is one, for the new root of the vCPU whose view this is. */
void shadow_shared_spare_root(struct shadow *sh);
/* A link to page no is about to be made, and other vCPUs may use it at once: nothing is left below it that is older than the
 * guest's tables are now. */
void shadow_shared_before_link(struct shadow *sh, u32 no);
/* shadow_cut_pae_roots() for every view. */
void shadow_shared_cut_roots(struct shadow *sh, bool all);
