"""clang-tidy with the checks of .clang-tidy finds nothing."""
import re

from common import ROOT, files, finish, parallel, run

FLAGS = ['-std=gnu17', '-ffreestanding', '-mgeneral-regs-only', '-mno-red-zone', '-I.', '-Ibuild/gen']
EFI_FLAGS = ['-isystem', '/usr/include/efi', '-isystem', '/usr/include/efi/x86_64', '-fshort-wchar',
             '-DGNU_EFI_USE_MS_ABI']
sources = [p for p in files('*.c') if p.name != 'offsets.c' and p.parts[:2] != ('ipc', 'linux')]


def check(path):
    flags = FLAGS + (EFI_FLAGS if path.parts[0] == 'boot' else [])
    _, text = run('clang-tidy', '--quiet', '--warnings-as-errors=*', path, '--', *flags)
    return [line for line in text.split('\n') if re.search(r': (?:warning|error): ', line) and line[:5] != '/usr/']


found = sorted(set(sum(parallel(check, sources), [])))
finish([line.replace(f'{ROOT}/', '') for line in found], f'{len(sources)} files')
