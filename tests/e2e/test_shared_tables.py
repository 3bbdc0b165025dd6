"""Several vCPUs on one set of page tables, each with a shadow of its own (P48, P61) or all with one (P62): what one
changes, the others see as the SDM allows; what several fill with garbage harms nobody else. The guests check
themselves: see tests/guests/smp64.c."""
import re

import boots
import phrases
import pytest

every_boot = pytest.mark.parametrize('boot', boots.SHARED_TABLES_BOOTS + boots.ONE_SHADOW_BOOTS, ids=str, indirect=True)
every_machine = pytest.mark.parametrize('boot', boots.SHARED_TABLES_BOOTS, ids=str, indirect=True)


@every_boot
@pytest.mark.parametrize('vm, says', [('coherent', 'smp64: PASS'), ('hostile', 'smp64: PASS'),
                                      ('witness', 'torture64: PASS')])
def test_guest_passes(boot, vm, says):
    said = phrases.guest_lines(boot.text, vm)
    assert any(says in line for line in said), said[-5:]
    assert not any('FAIL' in line for line in said)


@every_machine
def test_there_was_something_to_see(boot):
    """Accesses while the tables changed, faults among them, and patches from one vCPU to another."""
    said = '\n'.join(phrases.guest_lines(boot.text, 'coherent'))
    accesses, faults = map(int, re.search(r'(\d+) accesses while others changed the tables, (\d+) of them faults',
                                          said).groups())
    assert accesses > 5000 and faults > 1000
    table = boot.text.split('vm coherent: 4 vCPUs')[1]
    for counter in ('posted', 'applied', 're-derived', 'asked-others'):
        assert int(re.search(rf'^\S+\s+{counter}\b.*?(\d+)  \w+$', table, re.M).group(1)) > 0, counter


@pytest.mark.parametrize('boot', boots.OWN_FAULTS_BOOTS, ids=str, indirect=True)
def test_own_faults_cost_no_exit_on_several_vcpus(boot):
    """But for some at the start, while the tables are traced; and none is seen once another vCPU has made the entry
    present."""
    for vm in ('faults', 'handover'):
        said = phrases.guest_lines(boot.text, vm)
        assert any('smp64: PASS' in line for line in said), said[-5:]
    taken = int(re.search(r'(\d+) faults at entries', '\n'.join(phrases.guest_lines(boot.text, 'faults')))[1])
    table = boot.text.split('vm faults: 2 vCPUs')[1]
    exits = int(re.search(r'^\S+\s+guest-faults\b.*?(\d+)  \w+$', table, re.M).group(1))
    print(f'\n{taken} faults of its own, {exits} exits for them')
    assert taken == 2 * 10 * 511 and exits <= taken / 100


@every_boot
def test_it_ends_with_success(boot):
    assert boot.result.code == 0, boot.result.why
    assert not phrases.PANIC.search(boot.text)
