"""cppcheck finds nothing (warning, performance and portability classes)."""
import os

from common import BUILD, LAYERS, finish, run

# What is suppressed: the distance of two linker symbols is no mistake (arch/image.h); "uninitialized" is the clang
# analyzer's business, which knows what our own memcpy() does; "either redundant or out of bounds" does not know enums.
SUPPRESSED = ('comparePointers', 'uninitvar', 'arrayIndexOutOfBoundsCond', 'missingInclude', 'missingIncludeSystem',
              'unmatchedSuppression')
cache = BUILD / 'cppcheck'
cache.mkdir(parents=True, exist_ok=True)
code, text = run('cppcheck', '--quiet', '--enable=warning,performance,portability', '--std=c11', '--platform=unix64',
                 '--inline-suppr', '--error-exitcode=1', f'--cppcheck-build-dir={cache}', '-j', os.cpu_count() or 1,
                 '-I.', '-Ibuild/gen', '-D__x86_64__', '-D__UINT64_TYPE__=unsigned long',
                 '-D__UINT8_TYPE__=unsigned char', '-D__UINT16_TYPE__=unsigned short', '-D__UINT32_TYPE__=unsigned int',
                 *(f'--suppress={name}' for name in SUPPRESSED),
                 '--template={file}:{line}: {id}: {message}', '-i', 'ipc/linux', *LAYERS)
findings = [line for line in text.split('\n') if line.strip()]
finish(findings if code else [], 'the whole hypervisor')
