/* links: vmm/load_guest.c vmm/load_place.c vmm/load_entry.c vmm/load_elf.c vmm/load_linux.c
 * vmm/load_multiboot.c vmm/load_flat.c */
/*
 * fuzz_load.c - libFuzzer target: any bytes as a guest image, in each format, with a module made of them,
 * too. The loader writes guest memory only (the fixture refuses anything else), says why it fails, and a
 * guest that is loaded starts inside its memory.
 */
#include "tests/unit/load_fixture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fixture *f;
    enum err e;

    if (!f)
        f = fixture_new(64 * MIB);
    if (size < 1)
        return 0;
    f->vm.format = data[0] % (FORMAT_FLAT + 1);
    f->request.initrd = (struct image){"initrd", data[0] & 0x10 ? data : NULL, size};
    f->request.module_count = data[0] & 0x20 ? 1 : 0;
    f->request.modules[0] = (struct image){"module", data, size};
    e = fixture_load(f, data + 1, size - 1);
    require((e == ERR_OK) == (f->said[0] == 0));
    require(e != ERR_FAULT); /* everything was checked before it was written */
    if (e == ERR_OK) {
        require(fixture_at(f, f->entry.rip, 1) != NULL && f->entry.rip != 0);
        require(f->entry.mode == ENTRY_PROT32 || fixture_at(f, f->entry.cr3, PAGE_SIZE) != NULL);
    }
    return 0;
}
