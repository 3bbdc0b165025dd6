"""C files are as clang-format leaves them (.clang-format)."""
from common import files, finish, parallel, run

sources = files('*.c', '*.h', under=('arch', 'boot', 'ipc', 'mm', 'vmm', 'vmx', 'tests'))


def check(path):
    code, text = run('clang-format', '--dry-run', '-Werror', path)
    return [line for line in text.split('\n') if 'error:' in line][:3] if code else []


finish(sum(parallel(check, sources), []), f'{len(sources)} files')
