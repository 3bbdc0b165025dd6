/*
 * guest.h - the register state a guest starts with. The builders are pure; vmx_guest_write() (vcpu.h) puts
 * the result into a VMCS.
 */
#pragma once
#include "arch/types.h"
#include "vmx/vmcs.h"

/* Segment access rights as in the VMCS (SDM Vol. 3C 24.4.1, table 24-2). */
#define VMX_AR_TYPE_MASK   0xFu
#define VMX_AR_ACCESSED    (1u << 0)
#define VMX_AR_WRITABLE    (1u << 1) /* data; readable for code */
#define VMX_AR_EXPAND_DOWN (1u << 2) /* data; conforming for code */
#define VMX_AR_CODE        (1u << 3)
#define VMX_AR_S           (1u << 4) /* code or data, not system */
#define VMX_AR_DPL_SHIFT   5
#define VMX_AR_DPL_MASK    (3u << VMX_AR_DPL_SHIFT)
#define VMX_AR_P           (1u << 7)
#define VMX_AR_RESERVED    0xFFFE0F00u
#define VMX_AR_L           (1u << 13)
#define VMX_AR_DB          (1u << 14)
#define VMX_AR_G           (1u << 15)
#define VMX_AR_UNUSABLE    (1u << 16)
#define VMX_TYPE_LDT       2u
#define VMX_TYPE_TSS16     3u  /* busy */
#define VMX_TYPE_TSS       11u /* busy; 32 or 64 bits */

struct vmx_seg {
    u16 selector;
    u32 limit;
    u32 access; /* VMX_AR_* */
    u64 base;
};

static inline unsigned vmx_access_dpl(u32 access)
{
    return (access & VMX_AR_DPL_MASK) >> VMX_AR_DPL_SHIFT;
}

struct vmx_guest_init {
    u64 rip, rsp, rflags;
    u64 cr0, cr3, cr4, efer; /* as the guest sees them */
    struct vmx_seg seg[VMX_SEG_COUNT];
    u64 gdtr_base, idtr_base;
    u32 gdtr_limit, idtr_limit;
};

/* 64-bit mode, ring 0: flat segments (CS 0x10, data 0x18: the 64-bit boot protocol of Linux), no IDT.
 * cr3 is the guest's own; cr4 gets PAE, cr0 PG|PE|ET|NE|WP, efer LME|LMA|NXE. */
void vmx_guest_init_long64(struct vmx_guest_init *init, u64 rip, u64 rsp, u64 cr3);
/* 32-bit protected mode without paging, ring 0, flat segments (CS 0x08, data 0x10), no IDT: multiboot. */
void vmx_guest_init_protected32(struct vmx_guest_init *init, u64 rip, u64 rsp);
/* Real mode at selector << 4 + ip: after INIT-SIPI with CS = vector << 8, ip = 0 (Vol. 3A 9.1.1, 10.4).
 * Needs unrestricted guest or an emulation of real mode. */
void vmx_guest_init_real(struct vmx_guest_init *init, u16 selector, u16 ip);
/* Real mode with CR0, segments and RIP of a hardware reset (Vol. 3A table 9-1). */
void vmx_guest_init_reset(struct vmx_guest_init *init);
