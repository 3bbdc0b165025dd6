/* load_flat.c - a raw 64-bit image at 2 MiB (load_guest.h). */
#include "vmm/load_parts.h"

enum err load_flat(struct loader *l, struct entry_state *entry)
{
    const struct image *file = &l->request->kernel;
    u64 block;
    enum err e;

    if (!load_take(l, LOAD_FLAT_BASE, file->size))
        return load_fail(l, ERR_NO_MEMORY, file->name, "%s from 2M do not fit into the VM's memory of %s",
                         load_size_text(file->size).text, load_size_text(l->request->vm->memory).text);
    e = load_enter_long(l, entry, &block);
    if (e != ERR_OK)
        return e;
    if (!load_write(l, LOAD_FLAT_BASE, file->data, file->size))
        return load_fault(l, LOAD_FLAT_BASE);
    load_plain_registers(l, entry, block, LOAD_FLAT_BASE);
    return ERR_OK;
}
