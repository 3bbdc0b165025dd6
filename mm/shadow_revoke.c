/*
 * shadow_revoke.c - the guest's own faults with no exit in VMs of several vCPUs: the list of this vCPU's pages in which
 * others may revoke entries, the proof that they find all they have to, and frames that they may still be looking at
 * (mm/revoke.h).
 */
#include "mm/shadow_internal.h"

static u32 announced_by(const struct shadow *other, u64 gfn[ANNOUNCED_MAX], u32 count)
{
    for (u32 i = 0; other && i < SHADOW_WRITING_SLOTS; i++) {
        u64 word = atomic_load_explicit(&other->writing[i], memory_order_acquire);
        if (word)
            gfn[count++] = word - 1;
    }
    return count;
}

u32 shadow_announced(const struct shadow *sh, u64 gfn[ANNOUNCED_MAX])
{
    u32 count = 0;

    for (u32 first = 0; first < sh->vm->vcpus; first += 8)
        for (u64 bytes = shadow_others_storing(sh, first); bytes; bytes &= bytes - 1)
            count = announced_by(sh->vm->vcpu[first + (u32)__builtin_ctzll(bytes) / 8], gfn, count);
    return count;
}

void shadow_prove(struct shadow *sh)
{
    u64 gfn[ANNOUNCED_MAX];
    u32 count;

    revoke_list_turn(&sh->list);
    count = shadow_announced(sh, gfn);
    sh->unproven = matrix_pending_others(sh->vm->matrix, sh->consumer);
    while (count)
        sh->unproven |= shadow_has_page_of(sh, gfn[--count]);
    shadow_choose_filter(sh);
}

void shadow_list_page(struct shadow *sh, u32 no)
{
    struct shadow_page *p = &sh->page[no];
    bool upper = key_level(p->key) > 1;

    if (!sh->forward_flags || !key_forwards(p->key) || (p->flags & PAGE_LISTED))
        return;
    /* So that frames which wait for others cannot be all. Leaf tables leave places to upper ones: without them all faults
     * exit. */
    u32 places = upper ? sh->frame_count / 4 * 3 : sh->frame_count / 2;
    if (sh->listed < places && revoke_list_add(&sh->list, key_gfn(p->key), no, upper)) {
        p->flags |= PAGE_LISTED;
        sh->listed++;
    } else if (upper) {
        sh->unlisted++;
        shadow_choose_filter(sh);
    }
}

void shadow_unlist_page(struct shadow *sh, u32 no)
{
    struct shadow_page *p = &sh->page[no];

    if (p->flags & PAGE_LISTED) {
        revoke_list_remove(&sh->list, key_gfn(p->key), no);
        p->table = (u32)key_gfn(p->key);
    } else if (sh->forward_flags && key_forwards(p->key) && key_level(p->key) > 1) {
        sh->unlisted--;
        shadow_choose_filter(sh);
    }
}

static bool awaited(const struct shadow_page *p, const u64 *gfn, u32 count)
{
    for (u32 i = 0; i < count && (p->flags & PAGE_LISTED); i++)
        if ((u32)gfn[i] == p->table)
            return true;
    return false;
}

/* Byte by byte: what others have looked at in our frames, they have before the store (release) that ends what they
 * announced, and what we do with the frames comes after the load of that byte. */
void shadow_frames_free(struct shadow *sh, bool free_all)
{
    u64 gfn[ANNOUNCED_MAX];
    u32 count = 0;

    for (u32 i = 0; sh->listed && i < sh->vm->vcpus; i++) /* after they were taken out of the list */
        if (i != sh->vcpu && atomic_load_explicit(&sh->vm->storing[i], memory_order_seq_cst))
            count = announced_by(sh->vm->vcpu[i], gfn, count);
    sh->stale_count = 0;
    for (u32 no = sh->frame_count; no-- > 0;) {
        const struct shadow_page *p = &sh->page[no];
        if (p->state == PAGE_STALE && unlikely(awaited(p, gfn, count)))
            sh->stale_count++;
        else if (p->state == PAGE_STALE || (free_all && p->state != PAGE_LIVE))
            shadow_frame_give(sh, no);
    }
}

void shadow_revoke(struct shadow *sh, u64 gfn, u32 first, u32 last)
{
    for (u64 others = shadow_others_interested(sh, gfn); others; others &= others - 1) {
        struct shadow *other = sh->vm->vcpu[__builtin_ctzll(others)];
        if (other && other->list.word)
            revoke_entries(&other->list, other->frames, gfn, first, last);
    }
}
