"""conftest.py - the machine's parameters, and the fixture that boots each configuration once.

    pytest tests/e2e --machine qemu-kvm          on QEMU with nested KVM instead of Bochs
    pytest tests/e2e --model broadwell_ult --cpus 4 -k demo-2cpus
"""
import concurrent.futures
import dataclasses
import sys
from pathlib import Path

import pytest

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
import boots
import boots_smp
from lab import machine

EMULATORS_AT_ONCE = 2
runner = pytest.StashKey()


def pytest_addoption(parser):
    parser.addoption('--machine', choices=('bochs', 'qemu-kvm'), default='bochs',
                     help='where to run what needs VMX (what needs its absence runs on qemu-tcg)')
    parser.addoption('--model', help='Bochs CPU model for all boots that do not ask for another than haswell')
    parser.addoption('--cpus', type=int, help='number of CPUs for all boots')
    parser.addoption('--long', type=int, default=1, metavar='N', help='N times the load of SMP Linux')


class Runner:
    """Boots what the selected tests ask for, in their order, two at a time, each once."""

    def __init__(self, config):
        self.config = config
        self.pool = concurrent.futures.ThreadPoolExecutor(EMULATORS_AT_ONCE)
        self.futures = {}

    def adapted(self, boot):
        """The boot as the command line wants it."""
        spec, option = boot.spec, self.config.getoption
        if spec.kind == 'bochs':
            spec = dataclasses.replace(spec, kind=option('--machine'), cpus=option('--cpus') or spec.cpus)
            if option('--model') and spec.model == boots.HASWELL:
                spec = dataclasses.replace(spec, model=option('--model'))
        return dataclasses.replace(boot, spec=spec, timeout=boot.timeout * option('--long'))

    def request(self, boot):
        if boot.name not in self.futures and not self.why_not(boot):
            self.futures[boot.name] = self.pool.submit(boots.run, self.adapted(boot))

    def why_not(self, boot):
        """Why this boot cannot be run here, in words; None if it can."""
        if self.config.getoption('--machine') == 'qemu-kvm' and boot.spec.kind == 'bochs':
            offered, reason = machine.kvm_offers_vmx()
            if not offered:
                return reason
            if boot.spec.model != boots.HASWELL or boot.spec.strict_msrs:
                return 'the CPU model is the host\'s under KVM'
            if boot.spec.ips != boots.Spec().ips and not boot.drive:
                return 'instruction counts are Bochs\'s alone'
        return None

    def outcome(self, boot):
        reason = self.why_not(boot)
        if reason:
            pytest.skip(reason)
        self.request(boot)
        return self.futures[boot.name].result()

    def close(self):
        self.pool.shutdown(wait=False, cancel_futures=True)


def pytest_configure(config):
    config.stash[runner] = Runner(config)
    boots_smp.storm_times = config.getoption('--long')


def pytest_unconfigure(config):
    config.stash[runner].close()


def wanted_boots(items):
    """All boots that the tests name by @pytest.mark.parametrize('boot', ...), longest first, each once."""
    found = {}
    for item in items:
        for value in getattr(item, 'callspec', None) and item.callspec.params.values() or ():
            if isinstance(value, boots.Boot):
                found[value.name] = value
    return sorted(found.values(), key=lambda boot: -boot.timeout)


def pytest_collection_finish(session):
    if not session.config.option.collectonly:
        for boot in wanted_boots(session.items):
            session.config.stash[runner].request(boot)


@pytest.fixture(scope='session')
def boot(request):
    """The Outcome of the Boot that the test is parametrized with."""
    return request.config.stash[runner].outcome(request.param)


@pytest.fixture(scope='session')
def other_boot(request):
    """A second one, to compare with."""
    return request.config.stash[runner].outcome(request.param)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows what its machine said, once per boot."""
    outcome = yield
    report = outcome.get_result()
    if report.when == 'call' and report.failed:
        for value in item.funcargs.values():
            if isinstance(value, boots.Outcome) and not value.facts.get('shown'):
                value.facts['shown'] = True
                report.sections.append((f'boot {value.boot.name}', str(value.result)[-12000:]))
