"""EPT: of VMs that ask for it, and of all others while they do not page, where the CPUs have unrestricted guest. That
these guests' own checks pass is in test_guests.py, test_demo's and Linux's tests; here is that EPT was in use."""
import re

import boots
import phrases
import pytest

# name, the boot by EPT, the boot by shadow alone, how many times fewer exits at least
FEWER = [('real', 'guests-haswell', 'guests-no-ept', 2), ('mb32', 'guests-ept', 'guests-no-ept', 10),
         ('torture', 'guests-ept', 'guests-no-ept', 10), ('real', 'guests-2', 'guests-2-no-ept', 2),
         ('real', 'guests-2-shared', 'guests-2-no-ept', 2)]
GUESTS = {boot.name: boot for boot in boots.GUEST_BOOTS + boots.TWO_BOOTS}


def exits(boot, vm):
    return int(re.search(r' and (\d+) exits', dict(phrases.VM_ENDED.findall(boot.text))[vm])[1])


@pytest.mark.parametrize('vm, boot, other_boot, times', [(vm, GUESTS[by], GUESTS[without], times)
                                                         for vm, by, without, times in FEWER],
                         ids=[f'{case[0]}-{case[1]}' for case in FEWER], indirect=['boot', 'other_boot'])
def test_by_ept_there_are_fewer_exits(vm, boot, other_boot, times):
    assert exits(boot, vm) * times <= exits(other_boot, vm)


@pytest.mark.parametrize('vm', ['real', 'mb32'])
@pytest.mark.parametrize('boot, by_ept', [(boot, 'no-ept' not in boot.name) for boot in boots.TWO_BOOTS],
                         ids=[boot.name for boot in boots.TWO_BOOTS], indirect=['boot'])
def test_a_vm_of_several_vcpus_runs_by_ept_while_it_does_not_page(boot, by_ept, vm):
    said = phrases.guest_lines(boot.text, vm)
    assert any(f'{vm}: PASS' in line for line in said), said[-5:]
    used = sum(int(n) for n in re.findall(r'EPT_VIOLATION +(\d+)', boot.text))
    assert bool(used) == by_ept


@pytest.mark.parametrize('boot', [GUESTS['guests-ept']], ids=str, indirect=True)
def test_an_l1_data_cache_that_cannot_be_flushed_is_said(boot):
    """This CPU has neither RDCL_NO nor L1D_FLUSH."""
    assert 'vm real: paging = ept on a CPU with L1TF that cannot flush its L1 data cache' in boot.text


@pytest.mark.parametrize('boot', [boots.NO_EPT], ids=str, indirect=True)
def test_a_cpu_without_ept_says_so_and_runs_the_others(boot):
    line = str(boots.line_of(boots.NO_EPT_INI, 'paging = ept'))
    assert (line, "this machine's CPUs have no EPT; write paging = shadow") in [
        (at, text) for at, _, text in phrases.CONFIG_ERROR.findall(boot.text)]
    assert 'vm refused: not started: see the errors above' in boot.text
    assert 'elf64: PASS' in phrases.guest_lines(boot.text, 'good')
