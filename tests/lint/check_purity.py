"""Inline assembly stands in arch/cpu.h and vmx/insn.h only; what does not include one of those,
directly or through other headers, is pure and must have no assembly, no privileged builtin and no linker symbol."""
import re

from common import code_lines, files, finish, read

# Headers and files that may hold asm: the two instruction headers, and what hands layouts to nasm.
ASM_HOMES = {'arch/cpu.h', 'vmx/insn.h'}
GUESTS = 'vmm/demo/'        # guest code, not the hypervisor's
ASM = re.compile(r'\b(?:__)?asm(?:__)?\b')
PRIVILEGED = re.compile(r'\b__builtin_ia32_(?!pause)\w+|\b__(?:in|out)(?:byte|word|dword)\b')


def homes(path):
    return str(path) in ASM_HOMES or path.name == 'offsets.c' or str(path).startswith(GUESTS) \
        or path.parts[:2] == ('ipc', 'linux')


def includes(path):
    return re.findall(r'(?m)^\s*#\s*include\s+"([^"]+)"', read(path))


sources = files('*.c', '*.h', '*.def')
known = {str(p): p for p in sources}
reach = {}


def impure(name, seen):
    """Whether the file includes an instruction header, directly or not."""
    if name in ASM_HOMES:
        return True
    if name in seen or name not in known:
        return False
    if name not in reach:
        reach[name] = any(impure(i, seen | {name}) for i in includes(known[name]))
    return reach[name]


findings, pure = [], 0
for path in sources:
    if homes(path):
        continue
    is_pure = not impure(str(path), set())
    pure += is_pure
    for number, line in code_lines(path):
        if ASM.search(line):
            findings.append(f'{path}:{number}: inline assembly outside {", ".join(sorted(ASM_HOMES))}')
        if is_pure and PRIVILEGED.search(line):
            findings.append(f'{path}:{number}: a privileged builtin in a pure file')
finish(findings, f'{len(sources)} files, {pure} of them pure')
