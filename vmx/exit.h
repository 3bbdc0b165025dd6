/*
 * exit.h - exit reasons by name, and what the exit qualification says for those that have one. Pure.
 */
#pragma once
#include "arch/types.h"

enum vmx_exit_reason_number {
#define VMX_EXIT_REASON(name, number) VMX_EXIT_##name = (number),
#include "vmx/exit.def"
#undef VMX_EXIT_REASON
    VMX_EXIT_COUNT = 78 /* one more than the highest known */
};
_Static_assert(VMX_EXIT_COUNT == (int)VMX_EXIT_TDCALL + 1, "table size");

#define VMX_REASON_BASIC_MASK   0xFFFFu
#define VMX_REASON_ENTRY_FAILED (1u << 31) /* the VM entry failed; nothing of the guest ran (26.8) */

/* "EPT_VIOLATION"; "?" for an unknown number. */
const char *vmx_exit_name(u32 basic_reason);

/* MOV CR (28), table 27-3 */
enum vmx_cr_access_type { VMX_CR_MOV_TO, VMX_CR_MOV_FROM, VMX_CR_CLTS, VMX_CR_LMSW };
static inline unsigned vmx_cr_number(u64 qualification)
{
    return qualification & 15;
}
static inline enum vmx_cr_access_type vmx_cr_type(u64 qualification)
{
    return (enum vmx_cr_access_type)(qualification >> 4 & 3);
}
static inline unsigned vmx_cr_gpr(u64 qualification)
{
    return qualification >> 8 & 15;
}
static inline u16 vmx_cr_lmsw_source(u64 qualification)
{
    return qualification >> 16 & 0xFFFF;
}

static inline u64 vmx_cr_make(enum vmx_cr_access_type type, unsigned cr, unsigned gpr, u16 lmsw_source)
{
    return cr | (u64)type << 4 | (u64)gpr << 8 | (u64)lmsw_source << 16;
}

/* MOV DR (29), table 27-4 */
static inline unsigned vmx_dr_number(u64 qualification)
{
    return qualification & 7;
}
static inline bool vmx_dr_is_to(u64 qualification)
{
    return !(qualification >> 4 & 1);
}
static inline unsigned vmx_dr_gpr(u64 qualification)
{
    return qualification >> 8 & 15;
}
static inline u64 vmx_dr_make(bool to, unsigned dr, unsigned gpr)
{
    return dr | (to ? 0 : 1u << 4) | (u64)gpr << 8;
}

/* I/O (30), table 27-5 */
static inline unsigned vmx_io_size(u64 qualification)
{
    return (qualification & 7) + 1;
}
static inline bool vmx_io_is_in(u64 qualification)
{
    return qualification >> 3 & 1;
}
static inline bool vmx_io_is_string(u64 qualification)
{
    return qualification >> 4 & 1;
}
static inline bool vmx_io_has_rep(u64 qualification)
{
    return qualification >> 5 & 1;
}
static inline u16 vmx_io_port(u64 qualification)
{
    return qualification >> 16 & 0xFFFF;
}
static inline u64 vmx_io_make(unsigned size, bool in, bool string, bool rep, u16 port)
{
    return (size - 1) | (in ? BIT(3) : 0) | (string ? BIT(4) : 0) | (rep ? BIT(5) : 0) | (u64)port << 16;
}

/* EPT violation (48), table 27-7 */
#define VMX_EPT_READ         BIT(0)
#define VMX_EPT_WRITE        BIT(1)
#define VMX_EPT_EXECUTE      BIT(2)
#define VMX_EPT_LINEAR_VALID BIT(7)
#define VMX_EPT_AFTER_WALK   BIT(8) /* the access was to the final address, not to a paging structure */
#define VMX_QUAL_IRET_NMI    BIT(12)

/* Task switch (9), table 27-2 */
static inline u16 vmx_task_selector(u64 qualification)
{
    return qualification & 0xFFFF;
}
enum vmx_task_source { VMX_TASK_CALL, VMX_TASK_IRET, VMX_TASK_JMP, VMX_TASK_GATE };
static inline enum vmx_task_source vmx_task_source(u64 qualification)
{
    return (enum vmx_task_source)(qualification >> 30 & 3);
}
