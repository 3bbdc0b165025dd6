"""A file is one reason to change: mostly under 400 lines, never over 600. A function is one thought: 19 of 20 are at
most 60 lines, none is over 120."""
import re

from common import code_lines, files, finish, read

FILE_LIMIT, FILE_GOAL = 600, 400
FUNCTION_LIMIT, FUNCTION_GOAL, LONG_SHARE = 120, 60, 0.05

sources = [p for p in files('*.c', '*.h') if not p.name.endswith('_font.c')]
findings, long_files, functions, long_functions = [], [], 0, []
for path in sources:
    length = read(path).count('\n')
    if length > FILE_LIMIT:
        findings.append(f'{path}:1: {length} lines')
    elif length > FILE_GOAL:
        long_files.append(f'{path} ({length})')
    if path.suffix != '.c':
        continue
    start = None
    for number, line in code_lines(path):
        if line.startswith('{'):
            start = number
        elif line.startswith('}') and start is not None and not re.match(r'\}\s*\w*\s*;|\}.*=', line):
            functions += 1
            if number - start > FUNCTION_LIMIT:
                findings.append(f'{path}:{start}: a function of {number - start} lines')
            elif number - start > FUNCTION_GOAL:
                long_functions.append(f'{path}:{start} ({number - start})')
            start = None
if long_files:
    print(f'over {FILE_GOAL} lines: ' + ', '.join(long_files))
if len(long_functions) > functions * LONG_SHARE:
    findings.append(f'{len(long_functions)} of {functions} functions are over {FUNCTION_GOAL} lines: '
                    + ', '.join(long_functions))
finish(findings, f'{len(sources)} files, {len(long_files)} over {FILE_GOAL} lines; {functions} functions, '
                 f'{len(long_functions)} over {FUNCTION_GOAL} lines')
