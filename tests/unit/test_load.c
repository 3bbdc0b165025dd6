/* links: vmm/load_guest.c vmm/load_place.c vmm/load_entry.c vmm/load_elf.c vmm/load_linux.c
 * vmm/load_multiboot.c vmm/load_flat.c */
/* test_load.c - guest images: where they land, how the vCPU starts, and what is said about bad ones. */
#include "tests/unit/load_fixture.h"

#include "arch/regs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static u8 image[32 * MIB];

static void expect_fail(struct fixture *f, u64 size, enum err e, const char *text)
{
    u8 *copy = malloc(size ? size : 1); /* exact, so that the sanitizer sees reads past the end */
    char line[512];

    memcpy(copy, image, size);
    f->written = 0;
    enum err got = fixture_load(f, copy, size);
    snprintf(line, sizeof(line), "kernel: %s\n", text);
    assert_string_equal(f->said, line);
    assert_int_equal(got, e);
    assert_int_equal(f->written, 0); /* checked whole before the first write */
    free(copy);
}

/* Walks the entry tables as the CPU would; returns the physical address, ~0 if not mapped. */
static u64 walk(struct fixture *f, u64 va)
{
    u64 table = f->entry.cr3;

    for (int shift = 39; shift >= 21; shift -= 9) {
        u64 e = fixture_read(f, table + (va >> shift & 511) * 8, 8);

        if (!(e & PTE_P) || !(e & PTE_W) || (e & PTE_NX))
            return ~0ull;
        table = e & PTE_ADDR_MASK;
        if (e & PTE_PS)
            return table | (va & (BIT(shift) - 1));
    }
    return ~0ull;
}

static void check_long_entry(struct fixture *f)
{
    struct entry_state *e = &f->entry;
    u64 top = f->layout.ram[f->layout.count - 1].base + f->layout.ram[f->layout.count - 1].size;

    assert_int_equal(e->mode, ENTRY_LONG64);
    assert_true(e->cr0 & CR0_PG && e->cr0 & CR0_PE && e->cr4 == CR4_PAE && e->efer == (EFER_LME | EFER_LMA));
    assert_int_equal(e->rflags, 2);
    for (u64 va = 0; va < MAX(top, 4 * GIB); va += 2 * MIB)
        assert_true(walk(f, va + 0x1234) == va + 0x1234);
    assert_non_null(fixture_at(f, e->gpr[GPR_RSP], 8));
    /* The descriptors say what the hidden parts say (SDM Vol 3A 3.4.5, Vol 3C 24.4.1). */
    u64 cs = fixture_read(f, e->gdt_base + e->cs.selector, 8),
        ds = fixture_read(f, e->gdt_base + e->data.selector, 8);
    assert_int_equal((cs >> 40 & 0xF0FF), e->cs.rights);
    assert_int_equal((ds >> 40 & 0xF0FF), e->data.rights);
    assert_true(e->cs.selector + 7u <= e->gdt_limit && e->data.selector + 7u <= e->gdt_limit);
}

static void test_layout(void **state)
{
    struct guest_map_entry map[GUEST_MAP_MAX];
    struct guest_layout l = guest_layout(64 * MIB + 5);

    (void)state;
    assert_int_equal(l.count, 1);
    assert_int_equal(l.ram[0].size, 64 * MIB);
    assert_int_equal(guest_map(&l, map), 3);
    assert_int_equal(map[1].type, GUEST_MAP_RESERVED);
    assert_true(map[2].base == MIB && map[2].size == 63 * MIB);
    l = guest_layout(3 * GIB);
    assert_int_equal(l.count, 1);
    l = guest_layout(5 * GIB);
    assert_int_equal(l.count, 2);
    assert_true(l.ram[1].base == 4 * GIB && l.ram[1].size == 2 * GIB && l.ram[0].size == 3 * GIB);
    assert_int_equal(guest_map(&l, map), 4);
}

static void test_flat(void **state)
{
    static const u64 sizes[] = {4 * MIB, 64 * MIB, 3 * GIB, 5 * GIB, 64 * GIB};

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct fixture *f = fixture_new(sizes[i]);

        memset(image, 0xCC, MIB);
        f->vm.format = FORMAT_FLAT;
        f->vm.vcpus = 2;
        assert_int_equal(fixture_load(f, image, MIB), ERR_OK);
        check_long_entry(f);
        assert_int_equal(f->entry.rip, 0x200000);
        assert_int_equal(f->entry.gpr[GPR_RDI], 0);
        assert_int_equal(f->entry.gpr[GPR_RSI], 2);
        assert_int_equal(f->entry.gpr[GPR_RDX], 0x1000);
        assert_string_equal((char *)fixture_at(f, 0x1000, 16), "one two=2");
        assert_string_equal((char *)fixture_at(f, f->entry.gpr[GPR_RCX], 8), "kernel");
        assert_int_equal(fixture_read(f, 0x2FFFFF, 1), 0xCC);
        assert_int_equal(fixture_read(f, 0x300000, 1), 0);
        assert_true(f->entry.cr3 < 0xA0000 && f->entry.every_vcpu);
        struct entry_state second = entry_for_vcpu(&f->entry, 1);
        assert_int_equal(second.gpr[GPR_RDI], 1);
        assert_true(second.gpr[GPR_RSP] < f->entry.gpr[GPR_RSP]);
        fixture_free(f);
    }
    struct fixture *f = fixture_new(4 * MIB);
    f->vm.format = FORMAT_FLAT;
    expect_fail(f, 2 * MIB + 1, ERR_NO_MEMORY, "3M from 2M do not fit into the VM's memory of 4M");
    expect_fail(f, 0, ERR_TRUNCATED, "the file is empty");
    f->vm.format = FORMAT_AUTO;
    memset(image, 0xCC, MIB);
    expect_fail(f, 4096, ERR_BAD_IMAGE,
                "neither a Linux bzImage, multiboot nor ELF64; if it is a raw image write format = flat");
    f->vm.format = FORMAT_FLAT;
    f->fail_after = 3;
    assert_int_equal(fixture_load(f, image, 100), ERR_FAULT);
    fixture_free(f);
}

static void test_linux(void **state)
{
    struct fixture *f = fixture_new(64 * MIB);
    static const u8 initrd[5000] = {1, 2, 3};
    u64 size = make_bzimage(image, 300000), bp;

    (void)state;
    f->request.initrd = (struct image){"initrd", initrd, sizeof(initrd)};
    assert_int_equal(fixture_load(f, image, size), ERR_OK);
    check_long_entry(f);
    assert_int_equal(f->entry.rip, 0x1000200);
    assert_false(f->entry.every_vcpu);
    bp = f->entry.gpr[GPR_RSI];
    assert_int_equal(fixture_read(f, bp + 0x202, 4), 0x53726448);
    assert_int_equal(fixture_read(f, bp + 0x210, 1), 0xFF);
    assert_string_equal((char *)fixture_at(f, fixture_read(f, bp + 0x228, 4), 16), "one two=2");
    u64 rd = fixture_read(f, bp + 0x218, 4);
    assert_int_equal(rd, 64 * MIB - 8192);
    assert_int_equal(fixture_read(f, bp + 0x21C, 4), 5000);
    assert_int_equal(fixture_read(f, rd, 3), 0x030201);
    assert_int_equal(fixture_read(f, bp + 0x070, 8), 0xE0000);
    assert_int_equal(fixture_read(f, bp + 0x1E8, 1), 3);
    assert_int_equal(fixture_read(f, bp + 0x2D0 + 8, 8), 0xA0000);
    assert_int_equal(fixture_read(f, bp + 0x2D0 + 20 + 16, 4), 2);
    assert_int_equal(fixture_read(f, bp + 0x2D0 + 40, 8), 0x100000);
    assert_int_equal(fixture_read(f, 0x1000000, 1), 0x90);
    put(image, 0x22C, 0x1FFFFFF, 4); /* initrd_addr_max */
    assert_int_equal(fixture_load(f, image, size), ERR_OK);
    assert_int_equal(fixture_read(f, bp + 0x218, 4), 32 * MIB - 8192);
    fixture_free(f);
}

static void test_linux_bad(void **state)
{
    struct fixture *f = fixture_new(64 * MIB);
    static const u8 initrd[47 * MIB];
    u64 size = make_bzimage(image, 300000);

    (void)state;
    expect_fail(f, size - 16, ERR_TRUNCATED, "the file has 302544 bytes, but its header says 302560");
    expect_fail(f, 2000, ERR_TRUNCATED, "the file ends inside its setup code");
    f->vm.format = FORMAT_LINUX;
    expect_fail(f, 600, ERR_TRUNCATED, "600 bytes are too few for a Linux kernel");
    put(image, 0x206, 0x20B, 2);
    expect_fail(f, size, ERR_BAD_IMAGE, "boot protocol 2.11 is too old; 2.12 (Linux 3.8) or later is needed");
    put(image, 0x206, 0x20C, 2);
    put(image, 0x236, 0, 2);
    expect_fail(f, size, ERR_BAD_IMAGE, "the kernel has no 64-bit entry; a 64-bit kernel is needed");
    put(image, 0x236, 1, 2);
    put(image, 0x211, 0, 1);
    expect_fail(f, size, ERR_BAD_IMAGE, "a zImage, which loads low; a bzImage is needed");
    put(image, 0x211, 1, 1);
    put(image, 0x260, 1000, 4);
    expect_fail(f, size, ERR_BAD_IMAGE, "the header says 1000 bytes of memory are enough for 293K of kernel");
    put(image, 0x260, 100 * MIB, 4);
    expect_fail(f, size, ERR_NO_MEMORY, "the kernel needs 100M of memory at 16M, the VM has 64M");
    put(image, 0x260, 2 * MIB, 4);
    put(image, 0x258, 0x1000100, 8);
    expect_fail(f, size, ERR_BAD_IMAGE, "the load address 0x1000100 in the header is impossible");
    put(image, 0x258, -0x200000ll, 8);
    expect_fail(f, size, ERR_NO_MEMORY, "the kernel needs 2M of memory at 17592186044414M, the VM has 64M");
    put(image, 0x258, 0x1000000, 8);
    put(image, 0x238, 5, 4);
    expect_fail(f, size, ERR_RANGE, "the command line is longer than the 5 bytes this kernel takes");
    put(image, 0x238, 255, 4);
    put(image, 0x1F4, 3, 4);
    expect_fail(f, size, ERR_BAD_IMAGE, "the header says the kernel has 48 bytes");
    put(image, 0x1F4, 300000 / 16, 4);
    f->request.initrd = (struct image){"initrd", initrd, sizeof(initrd)};
    assert_int_equal(fixture_load(f, image, size), ERR_NO_MEMORY);
    assert_string_equal(f->said, "initrd: 47M of initrd do not fit beside the kernel into 64M\n");
    f->request.initrd.data = NULL;
    put(image, 0x202, 0, 4);
    expect_fail(f, size, ERR_BAD_IMAGE, "not a Linux bzImage (no 'HdrS' at 0x202)");
    fixture_free(f);
}

static void test_elf64(void **state)
{
    static const struct make_segment good[] = {{0x400000, 0x400000, 5000, 9000},
                                               {0x600000, 0x600000, 100, 100}};
    static const struct make_segment low[] = {{0xFFFF800000001000, 0x1000, 0x20000, 0x20000}};
    static const struct make_segment all_low[] = {{0x1000, 0x1000, 1000, 0x9F000}};
    struct fixture *f = fixture_new(64 * MIB);
    u64 size = make_elf(image, 64, 0x400010, good, 2, false);

    (void)state;
    memset(fixture_at(f, 0x400000, 9000), 0xEE, 9000);
    assert_int_equal(fixture_load(f, image, size), ERR_OK);
    check_long_entry(f);
    assert_int_equal(f->entry.rip, 0x400010);
    assert_int_equal(fixture_read(f, 0x400000 + 4999, 4), 1);
    assert_int_equal(fixture_read(f, 0x400000 + 8999, 1), 0);
    assert_int_equal(fixture_read(f, 0x600000 + 99, 1), 2);
    assert_string_equal((char *)fixture_at(f, f->entry.gpr[GPR_RDX], 16), "one two=2");
    /* Tables go around the segments; a virtual entry address becomes the physical one. */
    size = make_elf(image, 64, 0xFFFF800000001040, low, 1, false);
    assert_int_equal(fixture_load(f, image, size), ERR_OK);
    check_long_entry(f);
    assert_int_equal(f->entry.rip, 0x1040);
    assert_int_equal(f->entry.gpr[GPR_RDX], 0x21000);
    size = make_elf(image, 64, 0x1000, all_low, 1, false);
    assert_int_equal(fixture_load(f, image, size), ERR_OK);
    check_long_entry(f);
    assert_int_equal(f->entry.gpr[GPR_RDX], 0x100000);
    fixture_free(f);
}

static void test_elf_bad(void **state)
{
    static const struct make_segment good[] = {{0x400000, 0x400000, 5000, 9000},
                                               {0x600000, 0x600000, 100, 100}};
    struct make_segment bad[20];
    struct fixture *f = fixture_new(64 * MIB);
    u64 size = make_elf(image, 64, 0x400010, good, 2, false);

    (void)state;
    expect_fail(f, size - 1, ERR_TRUNCATED, "the file ends inside the segment at 0x600000");
    expect_fail(f, 100, ERR_TRUNCATED, "the file ends before its program headers do");
    expect_fail(f, 40, ERR_TRUNCATED, "the file ends inside its ELF header");
    put(image, 16, 3, 2);
    expect_fail(f, size, ERR_BAD_IMAGE, "the ELF file has type 3 and is no executable (type 2)");
    put(image, 16, 2, 2);
    put(image, 18, 183, 2);
    expect_fail(f, size, ERR_BAD_IMAGE, "the ELF file is for machine 183, not for x86-64");
    put(image, 18, 62, 2);
    put(image, 32, UINT64_MAX - 8, 8);
    expect_fail(f, size, ERR_TRUNCATED, "the file ends before its program headers do");
    put(image, 32, 64, 8);
    put(image, 54, 55, 2);
    expect_fail(f, size, ERR_BAD_IMAGE, "the ELF file has no usable program headers");
    memcpy(bad, good, sizeof(good));
    bad[1].paddr = 0x400FFF;
    size = make_elf(image, 64, 0x400010, bad, 2, false);
    expect_fail(f, size, ERR_BAD_IMAGE, "the segment at 0x400fff overlaps another one");
    bad[1].paddr = 0x402328;
    size = make_elf(image, 64, 0x500010, bad, 2, false);
    expect_fail(f, size, ERR_BAD_IMAGE, "the entry 0x500010 is in none of the segments");
    bad[1].paddr = 64 * MIB - 50;
    size = make_elf(image, 64, 0x400010, bad, 2, false);
    expect_fail(f, size, ERR_NO_MEMORY,
                "the segment 0x3ffffce to 0x4000032 is outside the VM's memory of 64M");
    bad[1].paddr = UINT64_MAX - 50;
    size = make_elf(image, 64, 0x400010, bad, 2, false);
    expect_fail(f, size, ERR_BAD_IMAGE, "the segment at 0xffffffffffffffcd wraps around");
    bad[1].paddr = 0x9FFFF;
    size = make_elf(image, 64, 0x400010, bad, 2, false);
    expect_fail(f, size, ERR_BAD_IMAGE, "the segment at 0x9ffff covers the reserved range 640K to 1M");
    bad[1].memory = 50;
    size = make_elf(image, 64, 0x400010, bad, 2, false);
    expect_fail(f, size, ERR_BAD_IMAGE, "the segment at 0x9ffff is larger in the file than in memory");
    for (u32 i = 0; i < 17; i++)
        bad[i] = (struct make_segment){0x200000 + i * 4096, 0x200000 + i * 4096, 10, 10};
    size = make_elf(image, 64, 0x200000, bad, 17, false);
    expect_fail(f, size, ERR_BAD_IMAGE, "more than 16 loadable segments");
    size = make_elf(image, 32, 0x400010, good, 2, false);
    expect_fail(f, size, ERR_BAD_IMAGE,
                "a 32-bit ELF file without a multiboot header; make it ELF64 or add the header");
    put(image, 52, 4, 4); /* no PT_LOAD left */
    put(image, 84, 4, 4);
    f->vm.format = FORMAT_MULTIBOOT;
    expect_fail(f, size, ERR_BAD_IMAGE, "no multiboot header in the first 8192 bytes");
    put(image, 0x800, 0x1BADB002, 4);
    put(image, 0x808, -0x1BADB002, 4);
    expect_fail(f, size, ERR_BAD_IMAGE, "the ELF file has nothing to load");
    f->vm.format = FORMAT_ELF;
    expect_fail(f, size, ERR_BAD_IMAGE,
                "a 32-bit ELF file; format elf is ELF64 (32-bit guests need a multiboot header)");
    fixture_free(f);
}

static void check_multiboot_info(struct fixture *f, u32 modules)
{
    u64 info = f->entry.gpr[GPR_RBX];
    u32 flags = (u32)fixture_read(f, info, 4);

    assert_int_equal(f->entry.mode, ENTRY_PROT32);
    assert_int_equal(f->entry.gpr[GPR_RAX], 0x2BADB002);
    assert_true((f->entry.cr0 & CR0_PE) && !(f->entry.cr0 & CR0_PG));
    assert_int_equal(flags, 0x24D);
    assert_int_equal(fixture_read(f, info + 4, 4), 640);
    assert_int_equal(fixture_read(f, info + 8, 4), 63 * 1024);
    assert_string_equal((char *)fixture_at(f, fixture_read(f, info + 16, 4), 32), "kernel one two=2");
    assert_int_equal(fixture_read(f, info + 20, 4), modules);
    assert_int_equal(fixture_read(f, info + 44, 4), 3 * 24);
    u64 mmap_at = fixture_read(f, info + 48, 4);
    assert_int_equal(fixture_read(f, mmap_at, 4), 20);
    assert_int_equal(fixture_read(f, mmap_at + 48 + 4, 8), MIB);
    assert_int_equal(fixture_read(f, mmap_at + 48 + 12, 8), 63 * MIB);
    assert_string_equal((char *)fixture_at(f, fixture_read(f, info + 64, 4), 16), "Patchbay");
}

static void check_module(struct fixture *f, u32 index, u32 bytes, u64 low, u64 high, const char *text)
{
    u64 list = fixture_read(f, f->entry.gpr[GPR_RBX] + 24, 4) + index * 16;
    u64 start = fixture_read(f, list, 4), end = fixture_read(f, list + 4, 4);

    assert_int_equal(end - start, bytes);
    assert_int_equal(start & PAGE_MASK, 0);
    assert_in_range(start, low, high - 1);
    assert_int_equal(fixture_read(f, start, 1), 0x11 + index);
    assert_string_equal((char *)fixture_at(f, fixture_read(f, list + 8, 4), 32), text);
}

static void test_multiboot(void **state)
{
    static const struct make_segment good[] = {{0x100000, 0x100000, 5000, 9000},
                                               {0x200000, 0x200000, 100, 100}};
    static u8 modules[3][600000];
    struct fixture *f = fixture_new(64 * MIB);

    (void)state;
    for (u32 i = 0; i < 3; i++)
        memset(modules[i], 0x11 + (int)i, sizeof(modules[i]));
    for (u32 bits = 32; bits <= 64; bits += 32) {
        u64 size = make_elf(image, bits, 0x100010, good, 2, true);

        assert_int_equal(fixture_load(f, image, size), ERR_OK);
        check_multiboot_info(f, 0);
        assert_int_equal(f->entry.rip, 0x100010);
        assert_int_equal(fixture_read(f, 0x200063, 1), 2);
    }
    f->request.initrd = (struct image){"initrd", modules[0], 5000};
    f->request.modules[0] = (struct image){"big", modules[1], 600000};
    f->request.modules[1] = (struct image){"small", modules[2], 1};
    f->request.module_count = f->vm.module_count = 2;
    strcpy(f->vm.modules[0].args, "x y");
    assert_int_equal(fixture_load(f, image, make_elf(image, 32, 0x100010, good, 2, true)), ERR_OK);
    check_multiboot_info(f, 3);
    check_module(f, 0, 5000, 0x20000, 0x9F000, "initrd");
    check_module(f, 1, 600000, 0x200064, 64 * MIB, "big x y");
    check_module(f, 2, 1, 0x20000, 0x9F000, "small");
    fixture_free(f);
}

static void test_multiboot_addressed(void **state)
{
    struct fixture *f = fixture_new(64 * MIB);

    (void)state;
    make_addressed(image, 64, 0x100000, 0x101000, 0x108000, 0x100020, 4096 + 50);
    memset(fixture_at(f, 0x100000, 0x9000), 0xEE, 0x9000);
    assert_int_equal(fixture_load(f, image, 4096 + 50), ERR_OK);
    check_multiboot_info(f, 0);
    assert_int_equal(f->entry.rip, 0x100020);
    assert_int_equal(fixture_read(f, 0x100FFF, 2), 0x5A);
    assert_int_equal(fixture_read(f, 0x107FFF, 2), 0xEE00);
    make_addressed(image, 64, 0x100000, 0, 0, 0x100020, 4096);
    assert_int_equal(fixture_load(f, image, 4096), ERR_OK);
    expect_fail(f, 64 + 31, ERR_TRUNCATED, "the file ends inside its multiboot header");
    make_addressed(image, 64, 0x100000, 0x102000, 0, 0x100020, 4096);
    expect_fail(f, 4096, ERR_TRUNCATED, "the file ends 4096 bytes before its load_end_addr");
    make_addressed(image, 64, 0x100000, 0xFF000, 0, 0x100020, 4096);
    expect_fail(f, 4096, ERR_BAD_IMAGE, "the header's load addresses are backwards");
    make_addressed(image, 64, 0x100000, 0x101000, 0x100800, 0x100020, 4096);
    expect_fail(f, 4096, ERR_BAD_IMAGE, "the header's bss_end_addr lies inside the kernel");
    make_addressed(image, 64, 0x100000, 0, 0xFFFFFFFF, 0x100020, 4096);
    expect_fail(f, 4096, ERR_NO_MEMORY, "0x100000 to 0xffffffff is not in the VM's usable memory of 64M");
    make_addressed(image, 64, 0x100000, 0, 0, 0x101000, 4096);
    expect_fail(f, 4096, ERR_BAD_IMAGE, "the entry 0x101000 is outside the kernel");
    put(image, 64 + 12, 0x100041, 4);
    expect_fail(f, 4096, ERR_BAD_IMAGE, "the load address 0x100000 in the header is before the file");
    put(image, 64 + 4, 8, 4);
    put(image, 64 + 8, -(0x1BADB002u + 8), 4);
    expect_fail(f, 4096, ERR_BAD_IMAGE, "the multiboot header requires unknown features (flags 0x8)");
    put(image, 64 + 4, 0, 4);
    put(image, 64 + 8, -0x1BADB002u, 4);
    expect_fail(f, 4096, ERR_BAD_IMAGE, "the multiboot kernel is no ELF file and names no addresses");
    fixture_free(f);
}

static void test_no_room(void **state)
{
    static const struct make_segment all[] = {{0x1000, 0x1000, 10, 0x9F000},
                                              {0x100000, 0x100000, 10, 3 * MIB}};
    static const u8 module[MIB];
    struct fixture *f = fixture_new(4 * MIB);
    u64 size = make_elf(image, 64, 0x1000, all, 2, false);

    (void)state;
    expect_fail(f, size, ERR_NO_MEMORY, "no place for 84K of page tables besides the image");
    size = make_elf(image, 64, 0x1000, all, 2, true);
    expect_fail(f, size, ERR_NO_MEMORY, "no place for the boot information beside the kernel");
    size = make_elf(image, 32, 0x100000, all + 1, 1, true);
    f->request.modules[0] = (struct image){"module", module, sizeof(module)};
    f->request.module_count = 1;
    assert_int_equal(fixture_load(f, image, size), ERR_NO_MEMORY);
    assert_string_equal(f->said, "module: the module's 1M do not fit beside the kernel into 4M\n");
    f->vm.format = FORMAT_FLAT;
    assert_int_equal(fixture_load(f, image, size), ERR_INVALID);
    assert_string_equal(f->said, "kernel: a flat image takes no modules\n");
    fixture_free(f);
}

static u64 read_kernel_file(u8 *to, u64 max)
{
    const char *path = getenv("PB_VMLINUZ");
    FILE *file = fopen(path ? path : "build/linux/vmlinuz", "rb");
    u64 size = 0;

    if (file) {
        size = fread(to, 1, max, file);
        fclose(file);
    }
    return size;
}

/* Changes a few bytes of an image, its header most of all; whatever the loader says, it keeps to its bounds.
 */
static void damage(struct fixture *f, u64 size, u64 header, int steps)
{
    u8 *copy = malloc(size);
    int loaded = 0;

    memcpy(copy, image, size);
    for (int i = 0; i < steps; i++) {
        u64 at[4], length = size;
        int n = 1 + rand() % 4;

        for (int k = 0; k < n; k++) {
            at[k] = (u64)rand() % (rand() % 8 ? header : size);
            copy[at[k]] = rand() % 2 ? (u8)rand() : (u8)(copy[at[k]] ^ (1u << rand() % 8));
        }
        if (rand() % 4 == 0)
            length = rand() % 2 ? (u64)rand() % size : MIN((u64)rand() % (2 * header), size);
        u8 *exact = length < 65536 ? malloc(length ? length : 1) : copy;
        if (exact != copy)
            memcpy(exact, copy, length);
        enum err e = fixture_load(f, exact, length);
        assert_int_equal(e == ERR_OK, f->said[0] == 0);
        if (e == ERR_OK) {
            assert_non_null(fixture_at(f, f->entry.rip, 1));
            loaded++;
        }
        if (exact != copy)
            free(exact);
        for (int k = 0; k < n; k++)
            copy[at[k]] = image[at[k]];
    }
    print_message("  %d of %d damaged images could still be loaded\n", loaded, steps);
    free(copy);
}

static void test_random_damage(void **state)
{
    static const struct make_segment elf[] = {{0x100000, 0x100000, 5000, 9000},
                                              {0x200000, 0x200000, 100, 100}};
    const char *env = getenv("PB_SEED");
    unsigned seed = env ? (unsigned)strtoul(env, NULL, 0) : 1;
    int steps = (env = getenv("PB_STEPS")) ? atoi(env) : 3000;
    struct fixture *f = fixture_new(16 * MIB);

    (void)state;
    print_message("seed %u, %d steps\n", seed, steps);
    srand(seed);
    damage(f, make_elf(image, 64, 0x100010, elf, 2, false), 256, steps);
    damage(f, make_elf(image, 32, 0x100010, elf, 2, true), 256, steps);
    damage(f, make_elf(image, 64, 0x100010, elf, 2, true), 4096, steps);
    damage(f, make_addressed(image, 64, 0x100000, 0x101000, 0x108000, 0x100020, 4096), 128, steps);
    fixture_free(f);
    f = fixture_new(64 * MIB);
    u64 size = make_bzimage(image, 20000);
    damage(f, size, 0x290, steps);
    fixture_free(f);
}

static void test_debian_kernel(void **state)
{
    static u8 big[32 * MIB];
    const char *env = getenv("PB_STEPS");
    u64 size = read_kernel_file(big, sizeof(big));
    struct fixture *f;

    (void)state;
    if (size == 0) {
        print_message("no build/linux/vmlinuz: make linux fetches it\n");
        skip();
    }
    f = fixture_new(128 * MIB);
    assert_int_equal(fixture_load(f, big, size), ERR_OK);
    assert_int_equal(load_detect(&f->request.kernel), FORMAT_LINUX);
    check_long_entry(f);
    assert_int_equal(fixture_load(f, big, size - 4096), ERR_TRUNCATED);
    assert_int_equal(size <= sizeof(image), 1);
    memcpy(image, big, size);
    damage(f, size, 0x290, env ? atoi(env) / 10 : 300);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),        cmocka_unit_test(test_flat),
        cmocka_unit_test(test_linux),         cmocka_unit_test(test_linux_bad),
        cmocka_unit_test(test_elf64),         cmocka_unit_test(test_elf_bad),
        cmocka_unit_test(test_multiboot),     cmocka_unit_test(test_multiboot_addressed),
        cmocka_unit_test(test_no_room),       cmocka_unit_test(test_random_damage),
        cmocka_unit_test(test_debian_kernel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
