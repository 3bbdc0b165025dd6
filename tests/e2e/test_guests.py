"""Guests of all formats and paging modes (issue points 4 and 7, G3, P64): multiboot with modules, ELF64 and flat. The
guests check themselves; see tests/guests/."""
import re

import boots
import phrases
import pytest

every_machine = pytest.mark.parametrize('boot', boots.GUEST_BOOTS, ids=str, indirect=True)


@every_machine
@pytest.mark.parametrize('vm, says', [('mb32', 'mb32: PASS'), ('mb32', 'mb32: PDPTEs are in registers'),
                                      ('elf64', 'elf64: PASS'), ('torture', 'torture64: PASS'),
                                      ('real', 'real: PASS'), ('real', 'real: this line by OUTSB')])
def test_guest_passes(boot, vm, says):
    said = phrases.guest_lines(boot.text, vm)
    assert any(says in line for line in said), said[-5:]
    assert not any('FAIL' in line for line in said)


@every_machine
def test_multiboot_information(boot):
    """Command line, memory and both modules with their arguments and contents."""
    said = '\n'.join(phrases.guest_lines(boot.text, 'mb32'))
    assert re.search(r"command line '.*first=1 second=two'", said)
    assert re.search(r'memory: (?:6[34]\d|63\d) KiB low, (?:6[0-9]{4}) KiB from 1 MiB', said)
    for name, argument in (('one.txt', 'the first'), ('two.bin', 'the second one')):
        content = boots.MODULES[name]
        assert re.search(rf"module '.*{argument}' of {len(content)} bytes, sum {sum(content)}\b", said), said


@every_machine
def test_every_paging_mode_was_used(boot):
    said = '\n'.join(phrases.guest_lines(boot.text, 'mb32'))
    for mode in ('no paging', '32-bit paging', 'PAE paging', 'PAE paging, 2 MiB pages', '32-bit paging, 4 MiB pages'):
        assert f'mb32: {mode}: good' in said


@every_machine
def test_elf_command_line(boot):
    assert any(line.startswith('elf64:') and "command line 'a b c'" in line
               for line in phrases.guest_lines(boot.text, 'elf64'))


@every_machine
def test_it_ends_with_success(boot):
    assert boot.result.code == 0, boot.result.why
    assert not phrases.PANIC.search(boot.text)
