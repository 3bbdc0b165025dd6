"""Guests that cannot go on are stopped alone, with a report; all others run to their end."""
import re

import boots
import phrases
import pytest

every_machine = pytest.mark.parametrize('boot', boots.BAD_GUEST_BOOTS, ids=str, indirect=True)
CODE_FAULT = 101


@every_machine
@pytest.mark.parametrize('vm, reason', [('triple', 'triple fault'),
                                        ('device', 'device access at 0xfee00000 .*cannot be emulated: dd 00')])
def test_the_reason_is_told(boot, vm, reason):
    assert re.search(phrases.HYPERVISOR + rf'vm {vm}, vCPU 0: stopped: .*{reason}', boot.text, re.M)
    assert dict(phrases.VM_ENDED.findall(boot.text))[vm].startswith(f'stopped by the hypervisor, code {CODE_FAULT}')


@every_machine
def test_the_report_has_the_registers_and_the_whole_vmcs(boot):
    for field in ('GUEST_RIP', 'GUEST_CR3', 'GUEST_CS_ACCESS', 'HOST_RIP', 'EXIT_REASON'):
        assert boot.text.count(field) == len(boots.BAD_GUESTS), field


@every_machine
def test_reports_are_not_mixed(boot):
    """Each one stands in one piece: its last line comes before the next one's first."""
    events = re.findall(r'stopped: |VMCS guest fields|VMCS host fields', boot.text)
    assert events == ['stopped: ', 'VMCS guest fields', 'VMCS host fields'] * len(boots.BAD_GUESTS)


@every_machine
def test_the_others_are_not_concerned(boot):
    ended = dict(phrases.VM_ENDED.findall(boot.text))
    assert all(ended[vm].startswith('exit port, code 0') for vm in ('alpha', 'beta', 'step')), ended
    assert boot.text.count(phrases.DEMO_PASS) == 2
    assert boot.result.code == CODE_FAULT
    assert not phrases.PANIC.search(boot.text)


@every_machine
def test_halt_under_single_step_wakes(boot):
    assert 'step: PASS' in phrases.guest_lines(boot.text, 'step')
