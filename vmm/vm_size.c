/* vm_size.c - see vm_size.h; vm_create.c takes it all. */
#include "vmm/vm_size.h"

#include "vmm/vm.h"

#define WINDOW_SHARE 64u /* one page for so many of RAM ... */
#define WINDOW_MIN   256u
#define WINDOW_MAX   8192u

u64 vm_window_pages(u64 ram_pages)
{
    return MIN(MAX(ram_pages / WINDOW_SHARE, (u64)WINDOW_MIN), (u64)WINDOW_MAX);
}

u64 vm_overhead(const struct vm_config *vm)
{
    u64 pages = vm->memory >> PAGE_SHIFT, gfns = pages + vm_window_pages(pages);
    u64 tables = (u64)shadow_frames_suggested(vm->memory) << PAGE_SHIFT;
    bool shares = vm->shadow == SHADOW_SHARED && vm->paging != PAGING_EPT;
    u64 sets = shares ? MIN(vm->vcpus, 2u) : vm->vcpus;

    return gfns * (sizeof(u64) + sizeof(struct trace)) + (vm->paging == PAGING_EPT ? ept_size(gfns) : 0) +
           sets * tables + vm->vcpus * (sizeof(struct vcpu) + sizeof(struct vmcs_block) + PAGE_SIZE) +
           sizeof(struct vm);
}
