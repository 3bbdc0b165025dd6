"""The hypervisor builds without a warning with both compilers."""
from common import finish, run

findings = []
for compiler in ('gcc', 'clang'):
    code, text = run('make', '--no-print-directory', f'CC={compiler}', f'BUILD=build/warnings-{compiler}',
                     'EXTRA_CFLAGS=-Werror', 'efi')
    if code:
        errors = [line for line in text.split('\n') if 'error' in line][:20]
        findings += [f'{compiler}: {line}' for line in errors or [text]]
finish(findings, 'gcc and clang with -Werror')
