"""An unmodified Debian kernel on shadow page tables, to a shell on its serial console and back, while two other VMs
exchange pages (issue point 6, G1)."""
import hashlib
import importlib.machinery
import importlib.util
import re

import boots
import phrases
import pytest

every_linux = pytest.mark.parametrize('boot', boots.LINUX_BOOTS, ids=str, indirect=True)
MAX_RATIO_TO_NATIVE = 1.3
BAD_WORDS = re.compile(r'\bOops\b|(?-i:\bBUG\b)|soft lockup|hard LOCKUP|Call Trace|rcu.*stall|general protection|'
                       r'unable to handle|WARNING: CPU', re.I)


def known_bytes():
    """The contents of /known, by the program that made the initramfs."""
    path = str(boots.ROOT / 'tests/tools/mkinitrd')
    loader = importlib.machinery.SourceFileLoader('mkinitrd', path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader('mkinitrd', loader))
    loader.exec_module(module)
    return module.known_bytes()


def output(boot, name):
    """What a command printed at the shell; it has to have succeeded."""
    assert name in boot.facts, boot.facts.get('error', f'{name} was not reached')
    status, text = boot.facts[name]
    assert status == 0, text
    return text


@every_linux
def test_uname(boot):
    version = (boots.BUILD / 'linux/version').read_text().strip().removeprefix('linux-image-')
    assert version in output(boot, 'uname')


@every_linux
def test_cpuinfo(boot):
    text = output(boot, 'cpuinfo')
    assert len(re.findall(r'^processor\s*:', text, re.M)) == 1
    assert 'GenuineIntel' in text and re.search(r'^flags\s*:.*\bhypervisor\b', text, re.M)
    assert not re.search(r'^flags\s*:.*\b(?:vmx|pcid|pku|la57)\b', text, re.M)


@every_linux
def test_memory_is_what_the_configuration_says(boot):
    total = int(re.search(r'MemTotal:\s+(\d+) kB', output(boot, 'meminfo'))[1])
    assert 256 * 1024 * 0.7 < total <= 256 * 1024


@every_linux
def test_dmesg_is_clean(boot):
    found = BAD_WORDS.findall(output(boot, 'dmesg')) + BAD_WORDS.findall(boot.text)
    assert not found


@every_linux
def test_200_forks(boot):
    assert 'forks: 200 of 200 good' in output(boot, 'forks')


@every_linux
def test_sha256sum_is_the_hosts(boot):
    output(boot, 'dd')
    assert hashlib.sha256(known_bytes()).hexdigest() in output(boot, 'sha256sum')


@every_linux
def test_interrupts_and_the_clock_advance(boot):
    first, second = map(int, re.findall(r'^(\d+)$', output(boot, 'clock'), re.M))
    assert 1 <= second - first <= 3
    assert re.search(r'(?:LOC|\b0):\s+[1-9]\d*', output(boot, 'interrupts'))


@every_linux
def test_poweroff_is_reported(boot):
    assert 'error' not in boot.facts, boot.facts['error']
    assert 'linux' in dict(phrases.VM_ENDED.findall(boot.text))


@every_linux
def test_the_demonstration_ran_at_the_same_time(boot):
    assert boot.result.code == 0, boot.result.why
    for vm in ('alpha', 'beta'):
        assert any(phrases.DEMO_PASS in line for line in phrases.guest_lines(boot.text, vm))


@pytest.mark.parametrize('boot', [boots.LINUX_BOOTS[0]], ids=str, indirect=True)
@pytest.mark.parametrize('other_boot', [boots.NATIVE_LINUX], ids=str, indirect=True)
def test_boot_takes_at_most_1_3_times_native(boot, other_boot, record_property):
    assert 'ticks' in other_boot.facts, other_boot.facts['error']
    assert 'shell_ready' in boot.facts, boot.facts.get('error')
    entered = {name: int(tsc) for name, tsc in phrases.ENTERED.findall(boot.text)}
    assert 'linux' in entered, 'no line tells when the VM was entered'
    ours, native = boot.facts['shell_ready'] - entered['linux'], other_boot.facts['ticks']
    print(f'\nLinux to its shell: {ours} ticks under Patchbay, {native} natively, ratio {ours / native:.2f}')
    record_property('ticks', f'{ours} under Patchbay, {native} natively')
    assert ours <= MAX_RATIO_TO_NATIVE * native
