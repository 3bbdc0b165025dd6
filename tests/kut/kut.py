#!/usr/bin/python3
"""kut.py - boots images of kvm-unit-tests as VMs under Bochs and counts what they report.

    tests/kut/kut.py --kut /path/to/kvm-unit-tests/x86 [--kut32 ...] [--model M]... [--long] [NAME]...

Nothing of kvm-unit-tests is part of Patchbay: README.md says how to fetch and build it. Each image gets a VM of its
own and is told by a multiboot module what it would otherwise ask a device of QEMU's. What a test printed is left in
build/kut/. The exit code is 0 if every test did what cases.py expects.
"""
import argparse
import concurrent.futures
import contextlib
import dataclasses
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import pexpect

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / os.environ.get('BUILD', 'build')     # make BUILD=... says where
sys.path[:0] = [str(HERE), str(HERE.parent / 'tools')]
from cases import CASES
from lab import machine
from lab.disk import ToolError

VM = 'kut'
MEMORY_MIB = 256
LOG_LIMIT = 256 << 20    # vmexit's ipi mode sends two million IPIs, and each is a line in Bochs's log
INI = """[machine]
exit = on

[vm {vm}]
kernel = EFI/patchbay/kut.flat
format = multiboot
memory = {memory}M
vcpus = {vcpus}
cmdline = {arguments}
modules = EFI/patchbay/env.txt
testdev = on
"""
ENVIRONMENT = 'NR_CPUS={vcpus}\nTEST_DEVICE=0\nMEMSIZE={memory}\n'
SAID = re.compile(rf'^\[{VM}\] (.*)$', re.M)
VERDICT = re.compile(r'^(PASS|FAIL|SKIP): (.*)$')
ENDED = re.compile(rf'^\[patchbay\] vm {VM}: ended: (.*), code (\d+), after (\d+) ms and (\d+) exits$', re.M)
COLUMNS = ('test', 'build', 'model', 'PASS', 'FAIL', 'SKIP', 'exits', 'seconds', '')


@dataclasses.dataclass(frozen=True)
class Job:
    case: object
    bits: int
    model: str
    image: Path

    def __str__(self):
        return f'{self.case.name}-{self.bits}-{self.model}'


@dataclasses.dataclass
class Report:
    job: Job
    counts: dict        # PASS, FAIL, SKIP
    exits: str
    seconds: float
    findings: list      # what is not as expected, in words

    def row(self):
        counts = [str(self.counts[word]) for word in ('PASS', 'FAIL', 'SKIP')]
        verdict = 'as expected' if not self.findings else '; '.join(self.findings)
        return (self.job.case.name, str(self.job.bits), self.job.model, *counts, self.exits, f'{self.seconds:.0f}',
                verdict)


def fill(esp, job):
    """Puts the hypervisor, the image and its configuration on a system partition."""
    shutil.copytree(BUILD / 'esp', esp, dirs_exist_ok=True)
    folder = esp / 'EFI/patchbay'
    folder.mkdir(parents=True, exist_ok=True)
    values = {'vm': VM, 'memory': MEMORY_MIB, 'vcpus': job.case.vcpus, 'arguments': job.case.arguments}
    shutil.copy(job.image, folder / 'kut.flat')
    (folder / 'env.txt').write_text(ENVIRONMENT.format(**values))
    (folder / 'patchbay.ini').write_text(INI.format(**values))


def judge(job, text):
    """What the console says about the test: ({PASS, FAIL, SKIP: count}, exits, what is not as expected)."""
    case, findings = job.case, []
    counts = {'PASS': 0, 'FAIL': 0, 'SKIP': 0}
    lines = [line.strip() for line in SAID.findall(text)]
    for line in lines:
        verdict = VERDICT.match(line)
        if not verdict:
            continue
        counts[verdict[1]] += 1
        if verdict[1] == 'FAIL' and not any(words in verdict[2] for words in case.refused):
            findings.append(line)
    least = case.passes_on(job.model, job.bits)
    if counts['PASS'] < least:
        findings.append(f'{counts["PASS"]} of {least} PASS lines')
    findings += [f'no line like "{wanted}"' for wanted in case.wanted
                 if not any(re.search(wanted, line) for line in lines)]
    end = ENDED.search(text)
    if case.until:
        findings += [] if re.search(case.until, text) else [f'did not come to "{case.until}"']
    elif not end or end[1] != 'exit port':
        findings.append('did not come to its end' if not end else f'ended: {end[1]}')
    elif int(end[2]) != 0 and not case.refused:
        findings.append(f'exit code {end[2]}')
    return counts, end[4] if end else '-', findings


def run(job):
    """One boot. Runs in a worker thread."""
    spec = machine.Spec(cpus=job.case.cpus, model=job.model)
    with tempfile.TemporaryDirectory(prefix='patchbay-kut-') as scratch:
        fill(Path(scratch), job)
        with machine.Machine(Path(scratch), spec, timeout=job.case.timeout, log_limit=LOG_LIMIT) as running:
            if job.case.until:
                with contextlib.suppress(pexpect.ExceptionPexpect):
                    running.console.expect(job.case.until, timeout=job.case.timeout)
                running.backend.stop()
            result = running.wait()
    folder = BUILD / 'kut'
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f'{job}.log').write_text(str(result) if result.code else result.com1)
    counts, exits, findings = judge(job, result.com1)
    return Report(job, counts, exits, result.seconds, findings)


def jobs_of(args):
    folders = {64: args.kut, 32: args.kut32}
    chosen, missing = [], []
    for case in CASES:
        if args.names and case.name not in args.names or not (case.daily or args.long or args.names):
            continue
        for bits in case.bits:
            if not folders[bits]:
                continue
            image = folders[bits] / f'{case.file}.flat'
            if not image.exists():
                missing.append(str(image))
                continue
            models = [m for m in case.models if m in args.model] if args.model else case.models
            chosen += [Job(case, bits, model, image) for model in models]
    return chosen, missing


def show(row, widths):
    print('  '.join(cell.ljust(width) if i < 3 else cell.rjust(width) if i < 8 else cell
                    for i, (cell, width) in enumerate(zip(row, widths))), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--kut', type=Path, help='folder with the 64-bit .flat images')
    parser.add_argument('--kut32', type=Path, help='folder with the 32-bit .flat images')
    parser.add_argument('--model', action='append', help='only on this CPU model; may be repeated')
    parser.add_argument('--long', action='store_true', help='those too that take minutes or hours')
    parser.add_argument('--jobs', type=int, default=2, help='machines at once')
    parser.add_argument('names', nargs='*', help='only these tests')
    args = parser.parse_args()
    if not args.kut and not args.kut32:
        print('kut: where are the images of kvm-unit-tests? make kut KUT=/path/to/kvm-unit-tests/x86; '
              'tests/kut/README.md says how to fetch and build them')
        return 2
    jobs, missing = jobs_of(args)
    names = [(job.case.name, str(job.bits), job.model) for job in jobs]
    widths = [max(len(cell) for cell in column) for column in zip(COLUMNS[:3], *names)] + [6, 6, 6, 9, 7, 0]
    show(COLUMNS, widths)
    bad = 0
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for report in pool.map(run, jobs):
            show(report.row(), widths)
            bad += bool(report.findings)
    for image in missing:
        print(f'kut: {image} is missing')
    print(f'kut: {len(jobs) - bad} of {len(jobs)} as expected; what they printed is in {BUILD}/kut/')
    return 1 if bad or missing or not jobs else 0


if __name__ == '__main__':
    try:
        sys.exit(main())
    except (ToolError, OSError) as error:
        sys.exit(f'kut: {error}')
