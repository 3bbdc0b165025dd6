/* vcpu_access.h - what the emulation of one instruction of a vCPU knows and finds. Private to vmm/access*.c and
 * their callers. */
#pragma once
#include "arch/types.h"
#include "vmm/decode_cache.h"

#define ACCESS_NOT_BEGUN 1u

struct vcpu_access {
    u64 rflags;          /* at the exit */
    u32 rights;          /* GWALK_USER at CPL 3, GWALK_AC with RFLAGS.AC; 0 for accesses of the CPU itself */
    u32 explicit_rights; /* what rights are again after those */
    u8 cpl;
    bool aligned; /* misaligned accesses are #AC */
    bool locked;  /* the instruction locks the bus */
    /* The linear page | 1 that the shadow has just translated for a permitted write, and its bytes; 0: none. */
    u64 hint_page;
    u8 *hint_bytes;
    gpa_t hint_gpa;
    u64 device_page;   /* linear page | 1 of a device that the shadow has just looked up, 0: none ... */
    u32 device_access; /* ... for GWALK_WRITE, or for reads only (0) */
    gpa_t device_gpa;
    u64 begun; /* shadow_write_begin() has been done for the word at this gpa; else ACCESS_NOT_BEGUN */
    u32 fetch_bytes;
    union {
        u8 code[DECODE_WINDOW]; /* the first bytes at RIP; fetch_bytes of them are valid */
        u64 window[DECODE_WINDOW / sizeof(u64)];
    };
    u8 code_bits;    /* operating size of that code */
    u8 fault_vector; /* 0: none; to be injected when emulation says EMULATE_FAULT */
    u32 fault_error;
    gva_t fault_address;
    struct decode_cache decoded;
};
