"""The hypervisor's code and read-only data stay within 256 KiB (the two guests it carries for the demonstration are
counted too)."""
import re

from common import BUILD, SKIPPED, finish, run

LIMIT = 256 << 10
COUNTED = re.compile(r'^\.(?:text|rodata)')

elf = BUILD / 'patchbay.elf'
if not elf.exists():
    print('build/patchbay.elf has not been built')
    raise SystemExit(SKIPPED)
code, text = run('readelf', '-SW', elf)
sections = re.findall(r'\]\s+(\.\S+)\s+\w+\s+[0-9a-f]+\s+[0-9a-f]+\s+([0-9a-f]+)', text)
counted = {name: int(size, 16) for name, size in sections if COUNTED.match(name)}
total = sum(counted.values())
parts = ', '.join(f'{name} {size}' for name, size in counted.items())
summary = f'{total} of {LIMIT} bytes ({parts})'
if not counted:
    finish([f'{elf}: no .text section in the output of readelf'], summary)
finish([f'{elf}: {total} bytes of code and read-only data, {LIMIT} allowed'] if total > LIMIT else [], summary)
