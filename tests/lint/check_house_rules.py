"""House rules that a reader with a grep can check: no #ifdef in .c files, no volatile outside arch/, no
left-over markers, no stand-alone fences, no bare hexadecimal numbers outside register headers and tables, no fixed
sleeps in tests, #pragma once in headers."""
import re

from common import LAYERS, code_lines, files, finish, read

CONDITIONAL = re.compile(r'^\s*#\s*(?:ifdef|ifndef|if|elif)\b')
VOLATILE = re.compile(r'\bvolatile\b')
FENCE = re.compile(r'\batomic_(?:thread|signal)_fence\b|\b__sync_synchronize\b')
HEX = re.compile(r'\b0[xX][0-9a-fA-F]{2,}[uUlL]*\b')
# A counter has one writer: counter_add(), because `++` on it is a locked instruction (arch/counter.h).
COUNTING = re.compile(r'\bstats\.\w+(?:\[\w+\])?\s*(?:\+\+|--|[-+|]=)|(?:\+\+|--)[\w>-]*\bstats\.')
MARKER = re.compile(r'\b(?:TODO|FIXME|XXX|HACK)\b|'
                    r'\bnot (?:yet )?implemented\b|\bstubbed\b|\bdummy implementation\b', re.I)
SLEEP = re.compile(r'\b(?:time\.sleep|usleep|nanosleep|sleep)\s*\(')
# Numbers that are clearer bare: all-ones and low-bits masks of a width, and ASCII.
PLAIN_HEX = re.compile(r'0[xX](?:7?[fF]+|00|20)[uUlL]*$')
# A line that gives the number a name is where a number belongs.
NAMING = re.compile(r'^\s*#\s*define\b|^\s*[A-Z][A-Z0-9_]*\s*=|\b(?:enum|static const|const)\b.*=|\bstatic_assert\b'
                    r'|^\s*[A-Z_0-9]+\(')
# A constant table: its rows may be numbers up to its end.
TABLE = re.compile(r'^\s*\}\s*\w+\[.*\]\s*=\s*\{|\bEFI_GUID\b.*=|'
                   r'\bconst\b[^;()]*\[[^;]*\]\s*(?:=\s*\{?[^;]*|)$')
# Files whose business is numbers of hardware or of a file format, by their names.
NUMBER_FILES = re.compile(r'\.def$|_font\.|^vmm/demo/|^ipc/linux/|/offsets\.c$')

findings = []
sources = files('*.c', '*.h', '*.def')
for path in sources:
    name, guest = str(path), str(path).startswith(('vmm/demo/', 'ipc/linux/'))
    text, in_table, in_define = read(path), False, False
    if path.suffix == '.h' and name != 'ipc/abi.h' and '#pragma once' not in text:
        findings.append(f'{name}:1: a header without #pragma once')
    for number, line in code_lines(path):
        if path.suffix == '.c' and CONDITIONAL.match(line):
            findings.append(f'{name}:{number}: conditional compilation in a .c file')
        if VOLATILE.search(line) and not guest and path.parts[0] != 'arch' and 'asm' not in line:
            findings.append(f'{name}:{number}: volatile outside arch/')
        if FENCE.search(line) and not guest:
            findings.append(f'{name}:{number}: a stand-alone fence')
        if COUNTING.search(line):
            findings.append(f'{name}:{number}: a counter changed by an operator: counter_add()')
        in_table = TABLE.search(line) is not None or in_table and '};' not in line
        in_define = (in_define or line.startswith('#define')) and line.endswith('\\')
        named = in_table or in_define or NAMING.search(line) or NUMBER_FILES.search(name)
        if path.suffix == '.c' and not named:
            for found in HEX.findall(line):
                if not PLAIN_HEX.match(found):
                    findings.append(f'{name}:{number}: bare {found}')
for path in files('*.c', '*.h', '*.asm', '*.py', '*.ld', 'Makefile', under=(*LAYERS, 'tests', 'Makefile')):
    if path.parts[:2] == ('tests', 'lint'):
        continue
    for number, line in enumerate(read(path).split('\n'), 1):
        if MARKER.search(line):
            findings.append(f'{path}:{number}: left-over marker: {line.strip()[:70]}')
for path in files('*.c', '*.py', under=('tests',)):
    if path.parts[:2] == ('tests', 'lint'):
        continue
    for number, line in enumerate(read(path).split('\n'), 1):
        if SLEEP.search(line):
            findings.append(f'{path}:{number}: a fixed sleep in a test')
finish(findings, f'{len(sources)} files by the rules of the house')
