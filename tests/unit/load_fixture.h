/* load_fixture.h - for tests of the loaders: a guest's memory, and small images to load. */
#pragma once
#include "vmm/load_guest.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct fixture {
    u8 *low, *high; /* sparse */
    struct guest_layout layout;
    struct vm_config vm;
    struct load_request request;
    struct entry_state entry;
    char said[1024];
    u64 fail_after; /* writes until memory refuses, 0: never */
    u64 written;    /* bytes */
};

static inline u8 *fixture_at(struct fixture *f, u64 gpa, u64 size)
{
    for (u32 i = 0; i < f->layout.count; i++) {
        const struct guest_range *r = &f->layout.ram[i];

        if (gpa >= r->base && size <= r->size && gpa - r->base <= r->size - size)
            return (i ? f->high : f->low) + (gpa - r->base);
    }
    return NULL;
}

static inline bool fixture_write(void *ctx, gpa_t to, const void *data, u64 size)
{
    struct fixture *f = ctx;
    u8 *at = fixture_at(f, to.v, size);

    if (!at || (f->fail_after && --f->fail_after == 0))
        return false;
    memcpy(at, data, size);
    f->written += size;
    return true;
}

static inline bool fixture_zero(void *ctx, gpa_t to, u64 size)
{
    struct fixture *f = ctx;
    u8 *at = fixture_at(f, to.v, size);

    if (!at)
        return false;
    memset(at, 0, size);
    f->written += size;
    return true;
}

static inline void fixture_say(void *ctx, const char *text)
{
    struct fixture *f = ctx;
    size_t used = strlen(f->said);
    size_t n = strnlen(text, sizeof(f->said) - used - 2);

    memcpy(f->said + used, text, n);
    f->said[used + n] = '\n';
    f->said[used + n + 1] = 0;
}

static inline u8 *fixture_map(u64 size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED)
        abort();
    return p;
}

static inline struct fixture *fixture_new(u64 memory)
{
    struct fixture *f = calloc(1, sizeof(*f));

    f->layout = guest_layout(memory);
    f->low = fixture_map(f->layout.ram[0].size);
    if (f->layout.count > 1)
        f->high = fixture_map(f->layout.ram[1].size);
    strcpy(f->vm.name, "test");
    strcpy(f->vm.cmdline, "one two=2");
    f->vm.memory = memory;
    f->vm.vcpus = 1;
    f->request.vm = &f->vm;
    f->request.mem = (struct guest_mem_ops){f, fixture_write, fixture_zero};
    f->request.report = fixture_say;
    f->request.report_ctx = f;
    f->request.acpi_rsdp = 0xE0000;
    return f;
}

static inline void fixture_free(struct fixture *f)
{
    munmap(f->low, f->layout.ram[0].size);
    if (f->high)
        munmap(f->high, f->layout.ram[1].size);
    free(f);
}

static inline enum err fixture_load(struct fixture *f, const u8 *data, u64 size)
{
    f->said[0] = 0;
    f->request.kernel = (struct image){"kernel", data, size};
    return load_guest(&f->request, &f->entry);
}

static inline u64 fixture_read(struct fixture *f, u64 gpa, u32 size)
{
    u64 v = 0;
    u8 *at = fixture_at(f, gpa, size);

    if (!at)
        abort();
    memcpy(&v, at, size);
    return v;
}

static inline void put(u8 *to, u64 offset, u64 value, u32 size)
{
    memcpy(to + offset, &value, size);
}

/* A bzImage: 4 setup sectors, `payload` bytes of kernel filled with 0x90. */
#define BZ_SETUP 2560u
static inline u64 make_bzimage(u8 *to, u64 payload)
{
    memset(to, 0, BZ_SETUP);
    memset(to + BZ_SETUP, 0x90, payload);
    put(to, 0x1F1, 4, 1);
    put(to, 0x1F4, (payload + 15) / 16, 4);
    put(to, 0x1FE, 0xAA55, 2);
    put(to, 0x200, 0x6AEB, 2);
    put(to, 0x202, 0x53726448, 4);
    put(to, 0x206, 0x20F, 2);
    put(to, 0x211, 1, 1);
    put(to, 0x22C, 0x7FFFFFFF, 4);
    put(to, 0x230, 0x200000, 4);
    put(to, 0x234, 1, 1);
    put(to, 0x236, 3, 2);
    put(to, 0x238, 2047, 4);
    put(to, 0x258, 0x1000000, 8);
    put(to, 0x260, payload + 0x100000, 4);
    return BZ_SETUP + payload;
}

struct make_segment {
    u64 vaddr, paddr, file_size, memory;
};

/* An ELF executable; segment bytes are its index + 1. Returns its size. `multiboot`: a header at 0x800. */
static inline u64 make_elf(u8 *to, u32 bits, u64 entry, const struct make_segment *segments, u32 count,
                           bool multiboot)
{
    u64 at = 4096, header = bits == 64 ? 64 : 52, each = bits == 64 ? 56 : 32;

    memset(to, 0, 4096);
    memcpy(to,
           "\x7F"
           "ELF",
           4);
    put(to, 4, bits / 32, 1);
    put(to, 5, 1, 1);
    put(to, 6, 1, 1);
    put(to, 16, 2, 2);
    put(to, 18, bits == 64 ? 62 : 3, 2);
    put(to, 24, entry, bits / 8);
    put(to, bits == 64 ? 32 : 28, header, bits / 8);
    put(to, bits == 64 ? 54 : 42, each, 2);
    put(to, bits == 64 ? 56 : 44, count, 2);
    for (u32 i = 0; i < count; i++) {
        u8 *p = to + header + i * each;

        put(p, 0, 1, 4);
        put(p, bits == 64 ? 8 : 4, at, bits / 8);
        put(p, bits == 64 ? 16 : 8, segments[i].vaddr, bits / 8);
        put(p, bits == 64 ? 24 : 12, segments[i].paddr, bits / 8);
        put(p, bits == 64 ? 32 : 16, segments[i].file_size, bits / 8);
        put(p, bits == 64 ? 40 : 20, segments[i].memory, bits / 8);
        memset(to + at, (int)i + 1, segments[i].file_size);
        at += segments[i].file_size;
    }
    if (multiboot) {
        put(to, 0x800, 0x1BADB002, 4);
        put(to, 0x804, 3, 4);
        put(to, 0x808, -(0x1BADB002u + 3u), 4);
    }
    return at;
}

/* A raw multiboot kernel with addresses in its header at file offset `at`. */
static inline u64 make_addressed(u8 *to, u64 at, u32 load, u32 load_end, u32 bss_end, u32 entry, u64 size)
{
    memset(to, 0x5A, size);
    put(to, at, 0x1BADB002, 4);
    put(to, at + 4, 0x10003, 4);
    put(to, at + 8, -(0x1BADB002u + 0x10003u), 4);
    put(to, at + 12, load + at, 4);
    put(to, at + 16, load, 4);
    put(to, at + 20, load_end, 4);
    put(to, at + 24, bss_end, 4);
    put(to, at + 28, entry, 4);
    return size;
}
