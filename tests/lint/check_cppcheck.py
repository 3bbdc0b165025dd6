"""cppcheck finds nothing (warning, performance and portability classes)."""
import os

from common import BUILD, LAYERS, finish, run

cache = BUILD / 'cppcheck'
cache.mkdir(parents=True, exist_ok=True)
code, text = run('cppcheck', '--quiet', '--enable=warning,performance,portability', '--std=c11', '--platform=unix64',
                 '--inline-suppr', '--error-exitcode=1', f'--cppcheck-build-dir={cache}', '-j', os.cpu_count() or 1,
                 '-I.', '-Ibuild/gen', '-D__x86_64__', '-D__UINT64_TYPE__=unsigned long',
                 '-D__UINT8_TYPE__=unsigned char', '-D__UINT16_TYPE__=unsigned short', '-D__UINT32_TYPE__=unsigned int',
                 '--suppress=missingInclude', '--suppress=missingIncludeSystem', '--suppress=unmatchedSuppression',
                 '--template={file}:{line}: {id}: {message}', '-i', 'ipc/linux', *LAYERS)
findings = [line for line in text.split('\n') if line.strip()]
finish(findings if code else [], 'the whole hypervisor')
