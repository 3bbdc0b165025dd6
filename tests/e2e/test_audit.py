"""[machine] audit = every: after each exit of Linux from its start to power off, and of guests in all paging modes, the
shadow tables say what the guest's tables say."""
import re

import boots
import phrases
import pytest

AUDITED = re.compile(phrases.HYPERVISOR + r'vm (\S+): (\d+) audits of its shadow$', re.M)
ENDED = re.compile(phrases.HYPERVISOR + r'vm (\S+): ended: .* and (\d+) exits$', re.M)
every_boot = pytest.mark.parametrize('boot', boots.AUDITED_GUEST_BOOTS + boots.AUDITED_LINUX_BOOTS, ids=str,
                                     indirect=True)


@every_boot
def test_no_difference_after_any_exit(boot):
    assert 'shadow audit' not in boot.text and not phrases.PANIC.search(boot.text)
    audits, exits = dict(AUDITED.findall(boot.text)), dict(ENDED.findall(boot.text))
    assert audits and audits == exits
    assert boot.result.code == 0, boot.result.why


@pytest.mark.parametrize('boot', boots.AUDITED_LINUX_BOOTS, ids=str, indirect=True)
def test_linux_did_what_it_should(boot, record_property):
    assert 'error' not in boot.facts, boot.facts['error']
    assert 'forks: 50 of 50 good' in boot.facts['forks'][1]
    entered, ready = phrases.ENTERED.search(boot.text), phrases.SHELL_READY.search(boot.text)
    ticks = int(ready[1]) - int(entered[2])
    print(f'\nLinux to its shell with an audit after every exit: {ticks} ticks')
    record_property('ticks', str(ticks))
