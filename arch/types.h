/*
 * types.h - the basic types everything is written in.
 *
 * Addresses of different kinds are different types, so that mixing them does not compile:
 *   gva_t  guest virtual (linear) address
 *   gpa_t  guest physical address; gfn = gpa >> 12
 *   hpa_t  host physical address;  hfn = hpa >> 12
 *
 * The hypervisor runs on an identity map (virtual = physical, see mm/README.md), so hpa_to_ptr() costs
 * nothing; on the host the unit tests use their own pointers as "physical" addresses in the same way.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t s32;
typedef int64_t s64;

typedef struct {
    u64 v;
} gva_t;
typedef struct {
    u64 v;
} gpa_t;
typedef struct {
    u64 v;
} hpa_t;

#define GVA(x) ((gva_t){(x)})
#define GPA(x) ((gpa_t){(x)})
#define HPA(x) ((hpa_t){(x)})

#define PAGE_SHIFT 12
#define PAGE_SIZE  4096ull
#define PAGE_MASK  (PAGE_SIZE - 1)

#define KIB (1ull << 10)
#define MIB (1ull << 20)
#define GIB (1ull << 30)

static inline void *hpa_to_ptr(hpa_t a)
{
    return (void *)(uintptr_t)a.v;
}
static inline hpa_t ptr_to_hpa(const void *p)
{
    return HPA((uintptr_t)p);
}

#define ARRAY_SIZE(a)    (sizeof(a) / sizeof((a)[0]))
#define BIT(n)           (1ull << (n))
#define ALIGN_UP(x, a)   (((x) + (a)-1) & ~((a)-1))
#define ALIGN_DOWN(x, a) ((x) & ~((a)-1))
#define MIN(a, b)        ((a) < (b) ? (a) : (b))
#define MAX(a, b)        ((a) > (b) ? (a) : (b))

#define must_check        __attribute__((warn_unused_result))
#define no_return         __attribute__((noreturn))
#define packed_layout     __attribute__((packed))
#define aligned_to(n)     __attribute__((aligned(n)))
#define printf_like(f, a) __attribute__((format(printf, f, a)))
/* Not on any hot path: compiled for size, and apart from its callers. */
#define rarely_run        __attribute__((cold, noinline))
#define likely(x)         __builtin_expect(!!(x), 1)
#define unlikely(x)       __builtin_expect(!!(x), 0)
