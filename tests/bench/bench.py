#!/usr/bin/python3
"""bench.py - runs the benchmark guest as the only VM under Bochs and writes build/bench.tsv.

A tick is one emulated instruction and exits cost none, so both are reported. Exits per operation are those of the
VM between two result lines, preparation included, less those by which the guest printed; the hypervisor says after
each result line how many exits the VM has had, and how many NMIs were sent to make one of its vCPUs exit:
"[patchbay] bench vm bench: exits N kicks N". The guest runs three times: with one vCPU, case n with two on two CPUs,
and where the model has EPT with one vCPU again, with paging = ept (the last columns).
"""
import argparse
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / os.environ.get('BUILD', 'build')     # make BUILD=... says where
sys.path.insert(0, str(HERE.parent / 'tools'))
from lab import machine
from lab.disk import ToolError

RESULT = re.compile(r'^\[bench\] (R (\S+)(?: n=(\d+))?(?: min=(\d+))?(?: med=(\d+))?(?: mean=(\d+))?.*)$')
EXITS = re.compile(r'^\[patchbay\] bench vm bench: exits (\d+) kicks (\d+)$')
SPOKEN = re.compile(r'^\[bench\] (.*)$')
DONE = 'END all-checks-passed'
COLUMNS = ('case', 'ticks', 'exits_per_op', 'kicks_per_op', 'native', 'kvm_ept0', 'kvm_ept0_exits', 'ept',
           'ept_exits', 'kvm_ept1')
NO_EPT = ('core2_penryn_t9600',)
SMP_CASE, SMP_PARTS = 'n.smp-shootdown', ('n1.smp-local', 'n2.smp-remote')      # one loop; the parts come first


def reference():
    rows = [line.split('\t') for line in (HERE / 'reference.tsv').read_text().split('\n')
            if line and not line.startswith('#')]
    return {row[0]: dict(zip(rows[0], row)) for row in rows[1:]}


def esp(folder, keys):
    shutil.copytree(BUILD / 'esp', folder, dirs_exist_ok=True)
    target = folder / 'EFI/patchbay'
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(BUILD / 'bench/guest.bin', target / 'bench.bin')
    (target / 'patchbay.ini').write_text((HERE / 'bench.ini').read_text() + keys)
    return folder


def parse(text):
    """The result lines: {case: (ticks, samples, (exits, kicks) since the result line before or None)}."""
    results, printed, before, last = {}, 0, None, None
    for line in text.split('\n'):
        if result := RESULT.match(line):
            smallest = result[4] or result[6]
            last = result[2]
            results[last] = (int(smallest) if smallest else None, int(result[3] or 1), None)
        if exits := EXITS.match(line):
            now = (int(exits[1]), int(exits[2]))
            if before is not None and last:
                ticks, samples, _ = results[last]
                results[last] = (ticks, samples, (max(0, now[0] - before[0] - printed), now[1] - before[1]))
            before, printed = now, 0
        elif spoken := SPOKEN.match(line):
            printed += len(spoken[1]) + 1           # one exit for each character
    if SMP_CASE in results:         # all that the loop did was counted at its first line
        results[SMP_CASE] = (*results[SMP_CASE][:2], results[SMP_PARTS[0]][2])
    return results


def exits_per_op(counts, samples, there):
    """Exits and kicks of one operation, '-' where they were not counted."""
    if counts is None or there.get('kvm_ept0_exits') == '-':
        return ['-', '-']
    operations = samples * int(there.get('per', 1))
    return [f'{count / operations:.2f}' for count in counts]


def table(results, by_ept):
    known = reference()
    rows = []
    for case, (ticks, samples, counts) in results.items():
        there = known.get(case, {})
        ept_ticks, ept_samples, ept_counts = by_ept.get(case, (None, 1, None))
        rows.append((case, 'n/a' if ticks is None else str(ticks), *exits_per_op(counts, samples, there),
                     there.get('native', '-'), there.get('kvm_ept0', '-'), there.get('kvm_ept0_exits', '-'),
                     '-' if ept_ticks is None else str(ept_ticks),
                     exits_per_op(ept_counts, ept_samples, there)[0], there.get('kvm_ept1', '-')))
    return rows


def run(model, vcpus, timeout, paging='shadow'):
    """One boot with as many CPUs as vCPUs: its result lines, and whether every check passed."""
    with tempfile.TemporaryDirectory(prefix='patchbay-bench-') as scratch:
        spec = machine.Spec(cpus=vcpus, ips=machine.LINUX_IPS, model=model)
        result = machine.run(esp(Path(scratch), f'vcpus = {vcpus}\npaging = {paging}\n'), spec, timeout=timeout)
    complete = f'[bench] {DONE}' in result.com1 and not result.code
    if not complete:
        print(result)
    return parse(result.com1), complete


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--model', default=machine.DEFAULT_MODEL)
    parser.add_argument('--timeout', type=float, default=600)
    args = parser.parse_args()
    print(f'bench: Bochs, {args.model}, one CPU, then two; takes a minute or so', flush=True)
    results, complete = run(args.model, 1, args.timeout)
    smp, smp_complete = run(args.model, 2, args.timeout)
    results |= {case: smp[case] for case in (*SMP_PARTS, SMP_CASE) if case in smp}
    by_ept, ept_complete = ({}, True) if args.model in NO_EPT else run(args.model, 1, args.timeout, 'ept')
    complete = complete and smp_complete and ept_complete
    rows = table(results, by_ept)
    BUILD.mkdir(exist_ok=True)
    with open(BUILD / 'bench.tsv', 'w') as out:
        for row in (COLUMNS, *rows):
            out.write('\t'.join(row) + '\n')
    widths = [max(len(row[i]) for row in (COLUMNS, *rows)) for i in range(len(COLUMNS))]
    for row in (COLUMNS, *rows):
        print('  '.join(cell.ljust(width) if i == 0 else cell.rjust(width)
                        for i, (cell, width) in enumerate(zip(row, widths))))
    print(f'bench: {"every check in the guest passed" if complete else "the guest did not finish"}; '
          f'written to {BUILD}/bench.tsv')
    return 0 if complete else 1


if __name__ == '__main__':
    try:
        sys.exit(main())
    except (ToolError, OSError) as error:
        sys.exit(f'bench: {error}')
