/*
 * ept.h - the EPT of a VM: its p2m, as the CPU reads it (SDM Vol 3C 28.2). Pure: edits tables in memory.
 *
 * One for all vCPUs, filled when the VM is made. An entry says what the p2m says and nothing else; no bit of it is
 * the guest's choice:
 *
 *   P2M_RAM_RW   read, write, execute; write-back, whatever the guest's PAT says (IPAT), as under a shadow
 *   P2M_RAM_RO   read, execute; likewise
 *   else         0: every access is an EPT violation
 *
 * 512 pages that lie together in a 2 MiB frame are one entry until one of them changes. The table that then takes its
 * place has been there from the start, so no change needs memory.
 *
 * On many CPUs a guest that changes the size of a page under its own running code can bring the whole machine down, if
 * the TLB for instructions gets the old and the new size (machine check; IA32_ARCH_CAPABILITIES.IF_PSCHANGE_MC_NO, SDM
 * Vol 4, says it cannot). There an entry of 2 MiB is not executable, so that this TLB never holds any: who executes from
 * it makes an EPT violation, and ept_update() for that page makes the table.
 *
 *   tables:  PML4 | PDPTs | PDs | PTs        one PT for each 2 MiB of guest-physical space, used or not
 *
 * Writers: whoever has changed the p2m, on any CPU, one at a time (lock). Readers: CPUs, at any time: an entry is one
 * atomic word, and a table is complete before it is linked to. Accessed and dirty flags are not used.
 */
#pragma once
#include "arch/err.h"
#include "arch/spinlock.h"
#include "mm/p2m.h"

/* Entries, Vol 3C tables 28-1 to 28-6 */
#define EPT_READ    BIT(0)
#define EPT_WRITE   BIT(1)
#define EPT_EXECUTE BIT(2)
#define EPT_WB      (6ull << 3) /* of an entry that maps a page */
#define EPT_IPAT    BIT(6)      /* likewise: the guest's PAT does not count */
#define EPT_LARGE   BIT(7)

/* What entries of 2 MiB there may be. */
enum ept_large { EPT_LARGE_NONE, EPT_LARGE_DATA, EPT_LARGE_ANY };

struct ept {
    struct spinlock lock; /* writers; none of them waits for anything */
    const struct p2m *p2m;
    hpa_t root;           /* the PML4: constant */
    _Atomic u64 *pd, *pt; /* all tables of a kind, one behind the other: constant */
    enum ept_large large;
};

/* Bytes of tables for that many gfns, a multiple of the page size. */
u64 ept_size(u64 gfns);

/* Makes the tables from the p2m, in zeroed frames that belong to them from now on. large: what the CPUs can
 * (IA32_VMX_EPT_VPID_CAP bit 16) and stand. RANGE: more than 48 bits of addresses. */
enum err must_check ept_init(struct ept *ept, const struct p2m *p2m, void *tables, enum ept_large large);

/*
 * The p2m entry of gfn has changed. If it allows less than before, or another frame, the caller then has INVEPT executed
 * on every CPU that may have used these tables, before anybody else gets the page (28.3.3.4).
 */
void ept_update(struct ept *ept, u64 gfn);
