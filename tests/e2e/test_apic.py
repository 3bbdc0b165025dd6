"""A guest's local APIC in xAPIC mode: priorities by TPR and CR8, and what its registers cost."""
import re

import boots
import phrases
import pytest

every_machine = pytest.mark.parametrize('boot', boots.APIC_BOOTS, ids=str, indirect=True)
COST = re.compile(r'^apic64: (.*): (\d+) ticks, (\d+\.\d+) exits$')


@every_machine
def test_priorities(boot):
    said = phrases.guest_lines(boot.text, 'apic')
    assert not [line for line in said if 'FAIL' in line]
    assert 'apic64: PASS' in said
    assert boot.result.code == 0, boot.result.why


@every_machine
def test_costs(boot):
    """MOV CR8 needs no exit where the CPU keeps TPR itself (these do); an EOI needs one."""
    costs = {m[1]: (int(m[2]), float(m[3])) for m in map(COST.match, phrases.guest_lines(boot.text, 'apic')) if m}
    for case in ('CR8 write up', 'CR8 read'):
        assert costs[case][0] < 50 and costs[case][1] < 0.1, costs
    assert costs['EOI'][0] < 2000 and costs['EOI'][1] < 1.2, costs
