"""The counters of vCPUs: a guest that compares them with what it did, the host tool's view of a page that it printed,
and the table at a VM's end."""
import re
import subprocess

import boots
import phrases
import pytest

every_machine = pytest.mark.parametrize('boot', boots.STATS_BOOTS, ids=str, indirect=True)
every_vm = pytest.mark.parametrize('vm, vcpus', [('stats', 2), ('single', 1)])
TABLE_ROW = re.compile(r'^\[patchbay\]  +(\S+) ((?: +\d+)+)(?:  [a-z, A-Z]+)?$', re.M)


def table(text, vm):
    """The table that was printed when the VM ended: {name: [numbers]}."""
    start = re.search(rf'^\[patchbay\] vm {vm}: \d+ vCPUs?, \d+ ms, patch channels \d+ KiB$', text, re.M)
    assert start, 'no table was printed'
    end = re.compile(r'^\[patchbay\] (?! )', re.M).search(text, start.end())
    rows = TABLE_ROW.findall(text, start.end(), end.start() if end else len(text))
    return {name: [int(number) for number in numbers.split()] for name, numbers in rows}


@every_machine
@every_vm
def test_counters_are_what_the_guest_did(boot, vm, vcpus):
    said = phrases.guest_lines(boot.text, vm)
    assert not [line for line in said if 'FAIL' in line]
    assert 'stats64: PASS' in said


@every_machine
@every_vm
def test_the_tool_shows_the_page_that_was_printed(boot, vm, vcpus):
    pieces = [re.sub('^[0-9a-f]{8}: ', '', line) for line in phrases.guest_lines(boot.text, vm)
              if re.fullmatch('([0-9a-f]{8}: )?[0-9a-f]+', line)]       # long lines may come in two pieces
    run = subprocess.run([boots.BUILD / 'patchbay-stat', '--raw'], input=''.join(pieces), capture_output=True,
                         text=True, check=True)
    assert not run.stderr
    shown = {name: int(value) for name, value in (line.split('\t') for line in run.stdout.splitlines())}
    assert shown['exits'] == sum(value for name, value in shown.items() if name.startswith('exit:'))
    assert shown['exit:CPUID'] >= 1000 and shown['exit:INVLPG'] >= 1000
    assert shown['fills'] > 0 and shown['shadow-pages'] <= shown['shadow-frames']


@every_machine
@every_vm
def test_the_table_at_the_end(boot, vm, vcpus):
    rows = table(boot.text, vm)
    ended = re.search(rf'vm {vm}: ended: .* and (\d+) exits', boot.text)
    for name, numbers in rows.items():
        assert len(numbers) == (1 if vcpus == 1 else vcpus + 1), name
        assert numbers[-1] == (numbers[0] if vcpus == 1 else sum(numbers[:-1])), name
    assert rows['exits'][-1] == int(ended[1])
    reasons = [numbers[-1] for name, numbers in rows.items() if name.isupper()]
    assert sum(reasons) == rows['exits'][-1]
