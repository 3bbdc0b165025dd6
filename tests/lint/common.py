"""common.py - what the checks share: which files there are, and how a check ends.

A check prints one line per finding (file:line: what) and as its last line a summary; exit code 1 if it
found anything, 77 if it could not run.
"""
import concurrent.futures
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / os.environ.get('BUILD', 'build')     # make BUILD=... says where
LAYERS = ('boot', 'vmm', 'mm', 'ipc', 'vmx', 'arch')
SKIPPED = 77


def files(*patterns, under=LAYERS):
    """Files of the project (tracked, or new and not ignored) that match, as paths relative to ROOT."""
    listed = subprocess.run(['git', 'ls-files', '-z', '-co', '--exclude-standard', '--', *under], cwd=ROOT,
                            check=True, stdout=subprocess.PIPE).stdout.decode().split('\0')
    paths = sorted({Path(name) for name in listed if name})
    return [p for p in paths if any(p.match(pattern) for pattern in patterns) and (ROOT / p).is_file()]


def read(path):
    return (ROOT / path).read_text(errors='replace')


def without_comments(text):
    """C text with comments and string contents blanked, so that line numbers and columns stay."""
    def blank(match):
        return re.sub(r'[^\n]', ' ', match[0]) if match[0].startswith('/') else \
               match[0][0] + re.sub(r'[^\n]', ' ', match[0][1:-1]) + match[0][-1]
    return re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.S)


def code_lines(path):
    """(number, line) of a C file, comments and strings blanked."""
    return list(enumerate(without_comments(read(path)).split('\n'), 1))


def parallel(function, items):
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(function, items))


def run(*words, **options):
    """(exit code, output) of a program."""
    done = subprocess.run(list(map(str, words)), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=False, **options)
    return done.returncode, done.stdout.decode(errors='replace')


def finish(findings, summary):
    """Prints the findings and the summary, and ends the check."""
    for finding in findings:
        print(finding)
    print(f'{len(findings)} findings: {summary}' if findings else f'clean: {summary}')
    sys.exit(1 if findings else 0)
