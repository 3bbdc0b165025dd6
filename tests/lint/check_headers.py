"""Every header compiles alone, with gcc and with clang, in the hypervisor's own dialect."""
from common import files, finish, parallel, run

FLAGS = ['-std=gnu17', '-ffreestanding', '-mgeneral-regs-only', '-mno-red-zone', '-Wall', '-Wextra', '-Werror', '-I.',
         '-Ibuild/gen', '-fsyntax-only', '-x', 'c']
EFI_FLAGS = ['-isystem', '/usr/include/efi', '-isystem', '/usr/include/efi/x86_64', '-fshort-wchar',
             '-DGNU_EFI_USE_MS_ABI']

headers = [h for h in files('*.h') if h.parts[:2] != ('ipc', 'linux')]


def check(job):
    compiler, header = job
    flags = FLAGS + (EFI_FLAGS if header.parts[0] == 'boot' else [])
    code, text = run(compiler, *flags, '-', input=f'#include "{header}"\n'.encode())
    return [f'{header}:1: does not compile alone with {compiler}:\n{text}'] if code else []


findings = sum(parallel(check, [(c, h) for c in ('gcc', 'clang') for h in headers]), [])
finish(findings, f'{len(headers)} headers with two compilers')
