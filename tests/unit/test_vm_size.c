/* links: vmm/vm_size.c mm/ept.c mm/shadow.c mm/shadow_pool.c mm/shadow_derive.c mm/shadow_fill.c
 * mm/shadow_leaf.c mm/shadow_sync.c mm/shadow_revoke.c mm/revoke.c mm/shadow_reach.c mm/shadow_patch.c
 * mm/shadow_shared.c mm/audit.c mm/rmap.c mm/trace.c mm/gwalk.c mm/p2m.c mm/guest_mem.c mm/channel.c mm/matrix.c */
/* test_vm_size.c - what a VM costs: each part is counted for those that have it, and for no others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "vmm/vm.h"
#include "vmm/vm_size.h"

static struct vm_config of(u64 memory, u32 vcpus)
{
    return (struct vm_config){.memory = memory, .vcpus = vcpus};
}

static u64 gfns(u64 memory)
{
    return (memory >> PAGE_SHIFT) + vm_window_pages(memory >> PAGE_SHIFT);
}

static void an_ept_is_counted_where_there_is_one(void **state)
{
    struct vm_config vm = of(256 * MIB, 1);
    u64 shadow, ept;

    (void)state;
    shadow = vm_overhead(&vm);
    vm.unpaged = UNPAGED_SHADOW; /* while it does not page its EPT is part of its shadow */
    assert_int_equal(vm_overhead(&vm), shadow);
    vm.paging = PAGING_EPT;
    ept = vm_overhead(&vm);
    assert_int_equal(ept - shadow, ept_size(gfns(vm.memory)));
}

static void each_vcpu_has_its_shadow_unless_they_share(void **state)
{
    struct vm_config one = of(256 * MIB, 1), two = of(256 * MIB, 2), four = of(256 * MIB, 4);
    u64 pool = (u64)shadow_frames_suggested(256 * MIB) << PAGE_SHIFT, vcpu;

    (void)state;
    vcpu = vm_overhead(&two) - vm_overhead(&one);
    assert_in_range(vcpu, pool + sizeof(struct vcpu), pool + sizeof(struct vcpu) + 8 * PAGE_SIZE);
    assert_int_equal(vm_overhead(&four) - vm_overhead(&two), 2 * vcpu);
    four.shadow = SHADOW_SHARED; /* the pool of two */
    assert_int_equal(vm_overhead(&four) - vm_overhead(&two), 2 * (vcpu - pool));
    four.paging = PAGING_EPT; /* nothing is shared then */
    assert_int_equal(vm_overhead(&four) - vm_overhead(&two), 2 * vcpu + ept_size(gfns(four.memory)));
}

static void it_grows_with_memory(void **state)
{
    struct vm_config small = of(256 * MIB, 1), large = of(8 * GIB, 1);
    u64 more = vm_overhead(&large) - vm_overhead(&small);

    (void)state;
    /* p2m and traces 24 bytes a page, shadow frames 1 % */
    assert_in_range(more, 8 * GIB / 70, 8 * GIB / 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_ept_is_counted_where_there_is_one),
        cmocka_unit_test(each_vcpu_has_its_shadow_unless_they_share),
        cmocka_unit_test(it_grows_with_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
