"""The Python programs compile, and no line is longer than 120 characters."""
import ast

from common import files, finish, read

PYTHON = ('#!/usr/bin/python3', '"""')
sources = [p for p in files('*.py', 'tests/tools/*', under=('tests',)) if read(p).startswith(PYTHON)]
findings = []
for path in sources:
    text = read(path)
    try:
        ast.parse(text)
    except SyntaxError as error:
        findings.append(f'{path}:{error.lineno}: {error.msg}')
    findings += [f'{path}:{n}: {len(line)} characters' for n, line in enumerate(text.split('\n'), 1) if len(line) > 120]
finish(findings, f'{len(sources)} programs')
