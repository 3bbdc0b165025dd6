"""Includes point down: boot -> vmm -> {mm, ipc, vmx} -> arch; mm, ipc and vmx never include each other."""
import re

from common import files, finish, read

# A folder may include itself and these. boot/ knows the hypervisor by one header, vmm/main.h; arch/ and
# mm/'s frames and host map serve it before that.
ALLOWED = {
    'arch': set(),
    'mm': {'arch'},
    'ipc': {'arch'},
    'vmx': {'arch'},
    'vmm': {'mm', 'ipc', 'vmx', 'arch'},
    'boot': {'mm', 'arch'},
}
BOOT_SEES = {'vmm/main.h'}

findings = []
sources = files('*.c', '*.h', '*.def', '*.asm', '*.S')
for path in sources:
    layer = path.parts[0]
    for number, line in enumerate(read(path).split('\n'), 1):
        include = re.match(r'\s*[#%]\s*include\s+"([^"]+)"', line)
        if not include or '/' not in include[1]:
            continue
        target = include[1].split('/')[0]
        if target == layer or target not in ALLOWED or target in ALLOWED[layer]:
            continue
        if layer == 'boot' and include[1] in BOOT_SEES:
            continue
        if path.parts[:2] == ('vmm', 'demo') and target == 'ipc':
            continue
        findings.append(f'{path}:{number}: {layer}/ must not include {include[1]}')
finish(findings, f'the includes of {len(sources)} files')
