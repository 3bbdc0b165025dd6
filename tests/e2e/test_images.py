"""A guest image that is truncated, too large or not what it claims gives an error with the file and the reason, and
the other VMs still start (issue point 7)."""
import boots
import phrases
import pytest

pytestmark = pytest.mark.parametrize('boot', [boots.BAD_IMAGE], ids=str, indirect=True)


@pytest.mark.parametrize('name', boots.BAD_IMAGES)
def test_the_file_and_the_reason_are_told(boot, name):
    said = [line for line in boot.text.split('\n') if line.startswith('[patchbay] ') and f'{name}.bin' in line]
    assert said, 'no line names the file'
    assert any(len(line.split(f'{name}.bin')[1].strip(" :'")) > 10 for line in said), said


def test_the_other_vms_run_all_the_same(boot):
    for vm in ('alpha', 'beta'):
        assert any(phrases.DEMO_PASS in line for line in phrases.guest_lines(boot.text, vm))


def test_it_ends_without_a_panic(boot):
    assert boot.result.code < 120, boot.result.why
    assert not phrases.PANIC.search(boot.text)
