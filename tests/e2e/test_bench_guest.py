"""The benchmark guest checks every byte it reads while it changes its page tables in every way: with EPT in the
machine and without (issue point 4). Its figures are `make bench`'s affair, but for one bar."""
import re

import boots
import phrases
import pytest

pytestmark = pytest.mark.parametrize('boot', boots.BENCH_BOOTS, ids=str, indirect=True)

MAX_CPUID_INSTRUCTIONS = 400


def test_every_check_passes(boot):
    assert any('END all-checks-passed' in line for line in phrases.guest_lines(boot.text, 'bench'))
    assert boot.result.code == 0


def test_a_cpuid_exit_is_short(boot):
    found = re.search(r'^\[bench\] R a\.cpuid .*\bmin=(\d+)', boot.text, re.M)
    assert found, 'no figure for CPUID'
    assert int(found[1]) <= MAX_CPUID_INSTRUCTIONS
