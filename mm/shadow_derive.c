/*
 * shadow_derive.c - from a guest entry (primary) to a shadow entry (derived).
 *
 * A primary that is not present, has A=0 or has a reserved bit set derives to nothing: the first use must
 * fault, so that A is set and the guest gets its own fault. Writable needs D=1 for the same reason. A
 * not-present derived entry is always 0: guest-chosen bits never stand in one (L1TF).
 */
#include "mm/shadow_internal.h"

struct shadow_table shadow_table(const struct shadow *sh, u64 key)
{
    u64 map = p2m_get(sh->vm->p2m, key_gfn(key));
    struct shadow_table table = {NULL, 0};

    if (likely(p2m_entry_is_ram(map)))
        table.at = hpa_to_ptr(p2m_entry_hpa(map));
    if (unlikely(p2m_entry_type(map) != P2M_RAM_RW))
        table.pretend = PTE_A | PTE_D;
    return table;
}

u64 shadow_primary_in(struct shadow_table table, u64 key, u32 slot)
{
    u32 index;

    if (likely(key_mode(key) != GWALK_32BIT))
        return atomic_load_explicit((const _Atomic u64 *)table.at + slot, memory_order_seq_cst) |
               table.pretend;
    /* One 4-byte table makes two level-1 pages of 512 entries, or four level-2 pages of 256 pairs. */
    index =
        key_level(key) == 1 ? key_quadrant(key) * ENTRIES + slot : (key_quadrant(key) * ENTRIES + slot) / 2;
    return atomic_load_explicit((const _Atomic u32 *)table.at + index, memory_order_seq_cst) | table.pretend;
}

u64 shadow_primary(const struct shadow *sh, u64 key, u32 slot)
{
    struct shadow_table table = shadow_table(sh, key);

    return table.at ? shadow_primary_in(table, key, slot) : 0;
}

bool shadow_primary_large(u64 key, u64 primary)
{
    u32 level = key_level(key);

    if (level == 1 || level == 4 || !(primary & PTE_PS))
        return false;
    return key_mode(key) != GWALK_32BIT || (key & KEY_PSE);
}

bool shadow_primary_usable(const struct shadow *sh, u64 key, u64 primary)
{
    bool large = shadow_primary_large(key, primary);

    if ((primary & (PTE_P | PTE_A)) != (PTE_P | PTE_A))
        return false;
    if (key_mode(key) == GWALK_32BIT)
        return !large || !(primary & gwalk_reserved_bits_4m(sh->maxphyaddr));
    return !(primary &
             gwalk_reserved_bits(key_mode(key), key & KEY_NXE, sh->maxphyaddr, (u8)key_level(key), large));
}

/*
 * U, W, NX of the derived entry. final: the primary maps a page. CR0.WP=0 lets the supervisor write read-only
 * pages; hardware runs with WP=1, so such a page is either (U as the guest has it, read-only) or, after a
 * supervisor write (wp0_write), (supervisor, writable, not executable if SMEP would have forbidden it).
 */
u64 shadow_rights(u64 key, u64 primary, bool final, bool wp0_write)
{
    u64 rights = PTE_P | (primary & (PTE_U | PTE_NX));
    bool writable = primary & PTE_W;

    if (unlikely(key & KEY_WP0)) {
        if (!final)
            return rights | PTE_W;
        writable = writable && (key & KEY_INHERIT_W);
        if (!writable && wp0_write) {
            if ((key & KEY_SMEP) && (key & KEY_INHERIT_U) && (rights & PTE_U))
                rights |= PTE_NX;
            rights &= ~PTE_U;
            writable = true;
        }
    }
    if (writable && (!final || (primary & PTE_D)))
        rights |= PTE_W;
    return rights;
}

u64 shadow_child_key(u64 key, u32 slot, u64 primary)
{
    u32 level = key_level(key);
    u32 role = (u32)key & KEY_ROLE_MASK;
    u64 base;

    if (key_direct(key))
        return key_make_direct(key_gfn(key) + ((u64)slot << (ENTRY_BITS * (level - 1))), level - 1) |
               (key & KEY_EPT);
    if (!shadow_primary_large(key, primary)) {
        u64 gfn = (primary & PTE_ADDR_MASK) >> PAGE_SHIFT;
        if (role & KEY_WP0)
            role &= ~((primary & PTE_W ? 0 : KEY_INHERIT_W) | (primary & PTE_U ? 0 : KEY_INHERIT_U));
        return key_make(gfn, role, level - 1, key_mode(key) == GWALK_32BIT ? slot & 1 : 0);
    }
    if (key_mode(key) == GWALK_32BIT)
        base = (gwalk_4m_base((u32)primary).v >> PAGE_SHIFT) + (slot & 1) * ENTRIES;
    else
        base = (primary & PTE_ADDR_MASK) >> PAGE_SHIFT & ~(BIT(ENTRY_BITS * (level - 1)) - 1);
    return key_make_direct(base, level - 1);
}

u64 shadow_leaf(struct shadow *sh, u64 gfn, u64 rights)
{
    u64 map = p2m_get(sh->vm->p2m, gfn);

    if (unlikely(!p2m_entry_is_ram(map)))
        return 0;
    if ((rights & PTE_W) && (p2m_entry_type(map) != P2M_RAM_RW ||
                             !trace_allow_writable(trace_of(sh->vm->traces, gfn), sh->users)))
        rights &= ~PTE_W;
    return (map & P2M_FRAME_MASK) | rights | PTE_A | PTE_D;
}

u64 shadow_derive(struct shadow *sh, u64 key, u32 slot, u64 primary)
{
    enum gwalk_mode mode = key_mode(key);
    u64 rights;
    u32 child;

    if ((primary & (PTE_P | PTE_A)) != (PTE_P | PTE_A))
        return 0;
    if (likely(key_level(key) == 1)) {
        if (mode != GWALK_32BIT && (primary & gwalk_reserved_common(mode, key & KEY_NXE, sh->maxphyaddr)))
            return 0;
        rights = primary & (PTE_P | PTE_U | PTE_NX | PTE_G | (primary & PTE_D ? PTE_W : 0));
        if (unlikely(key & KEY_WP0))
            rights = shadow_rights(key, primary, true, false) | (primary & PTE_G);
        return shadow_leaf(sh, (primary & PTE_ADDR_MASK) >> PAGE_SHIFT, rights);
    }
    if (!shadow_primary_usable(sh, key, primary))
        return 0;
    rights = shadow_rights(key, primary, shadow_primary_large(key, primary), false);
    child = shadow_page_find(sh, shadow_child_key(key, slot, primary));
    return child ? page_hpa(sh, child - 1) | rights : 0;
}
