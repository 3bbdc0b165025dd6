"""EPT: of VMs that ask for it, and of all others while they do not page, where the CPUs have unrestricted guest. That
these guests' own checks pass is in test_guests.py, test_demo's and Linux's tests; here is that EPT was in use."""
import re

import boots
import phrases
import pytest

# name, the boot by EPT, the boot by shadow alone, how many times fewer exits at least
FEWER = [('real', 'guests-haswell', 'guests-no-ept', 2), ('mb32', 'guests-ept', 'guests-no-ept', 10),
         ('torture', 'guests-ept', 'guests-no-ept', 10)]
GUESTS = {boot.name: boot for boot in boots.GUEST_BOOTS}


def exits(boot, vm):
    return int(re.search(r' and (\d+) exits', dict(phrases.VM_ENDED.findall(boot.text))[vm])[1])


@pytest.mark.parametrize('vm, boot, other_boot, times', [(vm, GUESTS[by], GUESTS[without], times)
                                                         for vm, by, without, times in FEWER],
                         ids=[case[0] for case in FEWER], indirect=['boot', 'other_boot'])
def test_by_ept_there_are_fewer_exits(vm, boot, other_boot, times):
    assert exits(boot, vm) * times <= exits(other_boot, vm)


@pytest.mark.parametrize('boot', [boots.NO_EPT], ids=str, indirect=True)
def test_a_cpu_without_ept_says_so_and_runs_the_others(boot):
    line = str(boots.line_of(boots.NO_EPT_INI, 'paging = ept'))
    assert (line, "this machine's CPUs have no EPT; write paging = shadow") in [
        (at, text) for at, _, text in phrases.CONFIG_ERROR.findall(boot.text)]
    assert 'vm refused: not started: see the errors above' in boot.text
    assert 'elf64: PASS' in phrases.guest_lines(boot.text, 'good')
