"""[machine] audit = every: after each exit of Linux from its start to power off, of guests in all paging modes, and of
several vCPUs on one set of tables, the shadow tables say what the guest's tables say."""
import re

import boots
import phrases
import pytest

AUDITED = re.compile(phrases.HYPERVISOR + r'vm (\S+): (\d+) audits of its shadow$', re.M)
ENDED = re.compile(phrases.HYPERVISOR + r'vm (\S+): ended: .* and (\d+) exits$', re.M)
ALL_BOOTS = boots.AUDITED_GUEST_BOOTS + boots.AUDITED_SMP_BOOTS + boots.AUDITED_LINUX_BOOTS
every_boot = pytest.mark.parametrize('boot', ALL_BOOTS, ids=str, indirect=True)
every_linux = pytest.mark.parametrize('boot', boots.AUDITED_LINUX_BOOTS, ids=str, indirect=True)


@every_boot
def test_no_difference_after_any_exit(boot):
    assert 'shadow audit' not in boot.text and not phrases.PANIC.search(boot.text)
    audits, exits = dict(AUDITED.findall(boot.text)), dict(ENDED.findall(boot.text))
    assert audits and audits == exits
    assert boot.result.code == 0, boot.result.why


@every_linux
def test_linux_did_what_it_should(boot, record_property):
    assert 'error' not in boot.facts, boot.facts['error']
    assert 'forks: 50 of 50 good' in boot.facts['forks'][1]
    entered, ready = phrases.ENTERED.search(boot.text), phrases.SHELL_READY.search(boot.text)
    ticks = int(ready[1]) - int(entered[2])
    print(f'\nLinux to its shell with an audit after every exit: {ticks} ticks')
    record_property('ticks', str(ticks))


@every_linux
def test_the_table_at_the_console_key(boot):
    """ctrl-a s, typed at the shell's prompt."""
    assert 'error' not in boot.facts, boot.facts['error']
    for name in ('exits', 'CR_ACCESS', 'fills', 'traces', 'interrupts', 'audits'):
        assert re.search(rf'\[patchbay\]  +{name} +[1-9]\d*', boot.facts['table']), name
