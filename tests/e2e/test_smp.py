"""VMs of several vCPUs, on as many CPUs and on fewer (G2), alone and beside others (G4): page-table changes
seen everywhere, shares of the CPUs, interrupts between vCPUs, INIT and SIPI; and the unmodified Debian kernel
under load on all its CPUs.

    make e2e E2E_ARGS="-k linux-smp --long 20"     the load of Linux twenty times as long
"""
import re

import boots_smp
import phrases
import pytest
from test_linux import BAD_WORDS

every_bench = pytest.mark.parametrize('boot', boots_smp.BENCH_SMP, ids=str, indirect=True)
every_smp = pytest.mark.parametrize('boot', boots_smp.SMP_BOOTS, ids=str, indirect=True)
every_linux = pytest.mark.parametrize('boot', boots_smp.LINUX_SMP, ids=str, indirect=True)
pinned = pytest.mark.parametrize('boot', [boots_smp.SMP_PINNED], ids=str, indirect=True)

KVM_ROUND_TRIP = 9835       # tests/bench/reference.tsv, case n
CASE_N = re.compile(r'^\[bench\] R n\.smp-shootdown .*\bmin=(\d+)', re.M)
COUNTS = re.compile(r'exits (\d+) kicks (\d+)$', re.M)
SETUP_KICKS = 20            # traces of the tables are installed once; the 1000 rounds need none


@every_bench
def test_every_check_of_the_benchmark_passes(boot):
    assert any('END all-checks-passed' in line for line in phrases.guest_lines(boot.text, 'bench'))
    assert boot.result.code == 0


@pytest.mark.parametrize('boot', [boots_smp.BENCH_SMP[0], boots_smp.BENCH_SMP[2]], ids=str, indirect=True)
def test_a_remap_across_two_vcpus_costs_a_quarter_and_no_nmi(boot):
    assert int(CASE_N.search(boot.text)[1]) <= KVM_ROUND_TRIP / 4
    assert int(COUNTS.findall(boot.text)[-1][1]) <= SETUP_KICKS


@every_smp
def test_the_smp_guest_passes(boot):
    assert 'cpus64: PASS' in phrases.guest_lines(boot.text, 'smp'), phrases.guest_lines(boot.text, 'smp')
    assert boot.result.code == 0


@pinned
def test_pinned_vcpus_are_where_they_are_wanted(boot):
    assert re.search(r'^\[patchbay\] vm smp: 64 MiB, 3 vCPUs on cpus 1 2 1,', boot.text, re.M)
    assert 'cpus64: PASS' in phrases.guest_lines(boot.text, 'smp')


@pinned
def test_init_to_the_boot_processor_ends_the_vm(boot):
    assert 'reset: INIT sent to its boot processor' in dict(phrases.VM_ENDED.findall(boot.text)).get('smp', '')


@pytest.mark.parametrize('boot', boots_smp.GIVING, ids=str, indirect=True)
def test_a_page_that_was_given_away_is_gone_for_all_vcpus(boot):
    assert 'cpus64: PASS 120 pages given away' in phrases.guest_lines(boot.text, 'donor')
    assert 'cpus64: PASS 120 pages received' in phrases.guest_lines(boot.text, 'sink')
    assert boot.result.code == 0


def outputs(boot, key):
    """What that command printed, in each of the VMs; it has to have succeeded."""
    found = []
    for name in boots_smp.NAMES.get(boot.boot.name, ('linux',)):
        assert (key, name) in boot.facts, boot.facts.get('error', f'{key} was not reached')
        status, text = boot.facts[key, name]
        assert status == 0, text
        found.append(text)
    return found


@every_linux
def test_linux_uses_all_its_cpus(boot):
    vcpus = boots_smp.VCPUS[boot.boot.name]
    for text in outputs(boot, 'nproc'):
        assert re.search(rf'^{vcpus}$', text, re.M)
        timers = re.search(r'LOC:((?:\s+\d+)+)', text)[1].split()
        assert len(timers) == vcpus and all(int(count) > 0 for count in timers)


@every_linux
@pytest.mark.parametrize('part', range(len(boots_smp.STORM)), ids=[c.split()[1] for c in boots_smp.STORM])
def test_the_storm_finds_no_wrong_byte(boot, part):
    for text in outputs(boot, f'storm{part}'):
        assert re.search(r'^storm: .* good$', text, re.M) and 'FAIL' not in text, text


@every_linux
def test_the_kernel_is_content(boot, record_property):
    found = [word for text in (*outputs(boot, 'dmesg'), boot.text) for word in BAD_WORDS.findall(text)]
    assert not found
    begin, end = (int(re.search(r'^tsc load: (\d+)$', outputs(boot, key)[0], re.M)[1]) for key in ('begin', 'end'))
    print(f'\n{end - begin} ticks under load')
    record_property('ticks', f'{end - begin} under load')


@every_linux
def test_power_off_ends_it(boot):
    assert 'error' not in boot.facts, boot.facts['error']
    assert boot.result.code == 0, boot.result.why
    ended = dict(phrases.VM_ENDED.findall(boot.text))
    for name in boots_smp.NAMES.get(boot.boot.name, ('linux',)):
        assert ended[name].startswith('power off')
